"""What a command uses while it runs: memory and open descriptors of each of its processes, as the kernel tells them."""

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.programs import PATIENCE, REPOSITORY, STATICWADO

_PAUSE = 0.05
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


@dataclass(slots=True)
class Usage:
    """What was seen of one process.

    Attributes:
        peak: bytes of memory that it had at once, at most.
        descriptors: how many it had open, as often as somebody looked.
    """

    peak: int = 0
    descriptors: list[int] = field(default_factory=list)


def run(*words: str | Path, patience: float = PATIENCE) -> dict[int, Usage]:
    """Run a command of `staticwado` to its successful end; say what each of its processes used."""
    seen: dict[int, Usage] = {}
    with subprocess.Popen(
        [*STATICWADO, *map(str, words)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.monotonic() + patience
        while process.poll() is None:
            assert time.monotonic() < deadline, f"{words[0]} takes too long"
            for number in _family(process.pid):
                _look(number, seen.setdefault(number, Usage()))
            time.sleep(_PAUSE)
        assert process.stdout
        assert process.returncode == 0, process.stdout.read()[-4000:]
    return seen


def _look(number: int, usage: Usage) -> None:
    directory = Path("/proc") / str(number)
    with suppress(OSError):  # it has just ended
        if found := _PEAK.search((directory / "status").read_text()):
            usage.peak = max(usage.peak, 1024 * int(found[1]))
        usage.descriptors.append(len(list((directory / "fd").iterdir())))


def _family(number: int) -> Sequence[int]:
    """A process and its descendants."""
    parents = dict(_parents())
    family = [number]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def _parents() -> Iterator[tuple[int, int]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            yield int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
