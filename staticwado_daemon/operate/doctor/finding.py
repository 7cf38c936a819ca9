"""What a look at one thing ends in, and how many looks are taken one after the other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from staticwado_daemon.errors import StaticwadoError


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: `ok` with what is so, or else with what to do about it; one sentence."""

    ok: bool
    sentence: str


Look: TypeAlias = Callable[[], Finding]


def fine(sentence: str) -> Finding:
    """All is well."""
    return Finding(ok=True, sentence=sentence)


def attention(sentence: str) -> Finding:
    """Somebody has to do something."""
    return Finding(ok=False, sentence=sentence)


def examine(looks: Mapping[str, Look]) -> Iterator[tuple[str, Finding]]:
    """Take one look after the other; one that fails is itself a finding, and stops none of the others."""
    for name, look in looks.items():
        try:
            finding = look()
        except StaticwadoError as error:
            finding = attention(str(error))
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            finding = attention(f"can't be looked at: {place}{error.strerror or error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the other looks are still wanted
            finding = attention(f"can't be looked at, which is a fault of this program: {error!r}")
        yield name, finding
