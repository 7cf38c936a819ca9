"""Verdicts on one file, from two trees: frames transcoded as usual, and passed through."""

import fnmatch
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from tests.formats import trees
from tests.formats.sources import Source, sources, transfer_syntax
from tests.formats.trees import Tree

_DATA = Path(__file__).parents[1] / "data"
YES, NOT_APPLICABLE = "yes", "\N{EN DASH}"
UNEXPLAINED = "there is none"
_PIXELS = {"PixelData", *trees.FLOATS}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one file: each is "yes", a dash where the question doesn't arise, or "no: " and the reason."""

    name: str
    kind: str
    stored: str
    frames: str = NOT_APPLICABLE
    restored: str = NOT_APPLICABLE
    thumbnail: str = NOT_APPLICABLE
    opens: str = NOT_APPLICABLE

    @property
    def cells(self) -> tuple[str, ...]:
        return self.stored, self.frames, self.restored, self.thumbnail, self.opens


def judge(directory: Path) -> Iterator[Verdict]:
    """Create both trees below `directory` and judge every file."""
    everything = list(sources(directory / "sources"))
    transcoded = trees.make(directory / "transcoded", everything)
    passed = trees.make(directory / "passed", everything, "--content-type", "none")
    for source in everything:
        yield _verdict(source, transcoded, passed)


def _verdict(source: Source, transcoded: Tree, passed: Tree) -> Verdict:
    both = (transcoded, passed)
    kind = _kind(source)
    refusals = {_refusal(tree.receipt(source)) for tree in both}
    if refusals != {""}:
        return Verdict(source.name, kind, _no(" / ".join(sorted(refusals))))
    image = _has_pixels(source)
    return Verdict(
        source.name,
        kind,
        stored=YES,
        frames=_frames(source, both) if image else NOT_APPLICABLE,
        restored=YES if all(trees.is_restored(tree, source) for tree in both) else _no("the file differs"),
        thumbnail=_thumbnail(source, both) if image else NOT_APPLICABLE,
        opens=opens(source),
    )


def _frames(source: Source, both: tuple[Tree, Tree]) -> str:
    found = {trees.difference(tree, source) for tree in both} - {""}
    return _no(reason("frames", source.name) or " / ".join(sorted(found))) if found else YES


def _thumbnail(source: Source, both: tuple[Tree, Tree]) -> str:
    if all(trees.has_thumbnail(tree, source) for tree in both):
        return YES
    return _no(reason("thumbnail", source.name) or UNEXPLAINED)


def opens(source: Source) -> str:
    """Whether OHIF shows it, by what was found out about OHIF."""
    why = reason("files", source.name)
    if not why and source.read is not None:
        sop_class = UID(str(source.read.get("SOPClassUID", "")))
        why = reasons("sop-classes").get(sop_class, "")
        if not why and not _has_pixels(source) and sop_class.name.endswith("Image Storage"):
            why = "it has no pixels"
    return _no(why) if why else YES


def _has_pixels(source: Source) -> bool:
    return source.read is not None and bool(_PIXELS & {element.keyword for element in source.read})


def _refusal(receipt: dict[str, Any]) -> str:
    return "" if receipt["outcome"] == "published" else f"{receipt['outcome']}: {receipt['reason']}"


def reason(table: str, name: str) -> str:
    """What a table says of a file; "" if nothing."""
    return next((why for pattern, why in reasons(table).items() if fnmatch.fnmatchcase(name, pattern)), "")


@cache
def reasons(table: str) -> dict[str, str]:
    """One of the tables "frames" and "thumbnail" (formats.toml), "files" and "sop-classes" (opens-in-ohif.toml)."""
    found: dict[str, dict[str, str]] = {}
    for name in ("formats.toml", "opens-in-ohif.toml"):
        found |= tomllib.loads((_DATA / name).read_text(encoding="utf-8"))
    return found[table]


def _kind(source: Source) -> str:
    """The rows' heading: the family of an object, the transfer syntax of any other file."""
    origin, _, rest = source.name.partition("/")
    if origin == "objects":
        return rest.partition("/")[0]
    if source.read is None or "SOPClassUID" not in source.read:
        return "without SOP class"
    syntax = transfer_syntax(source.read)
    return UID(syntax).name.split(",")[0].split(" (")[0].split(":")[0]


def _no(reason: str) -> str:
    return f"no: {reason}"
