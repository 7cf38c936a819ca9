"""docs/formats.md from the verdicts: files of one kind that fare alike share a row."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from tests.formats.judgement import NOT_APPLICABLE, YES, Verdict

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"

_COLUMNS = ("stored", "frames equal", "restored", "thumbnail", "opens in OHIF")
_HEAD = """# Formats

What becomes of every kind of DICOM object. This page is made by a test (`python -m tests.formats` writes it): every
file of [pydicom](https://pypi.org/project/pydicom/) and [pydicom-data](https://pypi.org/project/pydicom-data/), and
objects made for the purpose from their pixels, go through `staticwado create` twice: with the usual transcoding, and
with frames passed through (`contentType: "none"`). *yes* holds for both.

* **stored**: an instance was published. What isn't stored has a receipt with this reason.
* **frames equal**: compressed frames have the bytes of the source; all others decode to its very samples.
* **restored**: `staticwado export` gives the source back, byte for byte.
* **thumbnail**: there is one.
* **opens in OHIF**: the viewer shows it, from the files alone.

A dash stands where the question doesn't arise.
"""
_CHAPTERS = {
    "objects": "Objects made for the tests",
    "pydicom": "Files of pydicom",
    "pydicom-data": "Files of pydicom-data",
}


def page(verdicts: Sequence[Verdict]) -> str:
    """The whole page."""
    parts = [_HEAD, _summary(verdicts)]
    for origin, title in _CHAPTERS.items():
        of_origin = [verdict for verdict in verdicts if verdict.name.partition("/")[0] == origin]
        parts.append(f"## {title}\n\n{_table('files', _rows(of_origin))}")
    return "\n".join(parts)


def _summary(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for origin, title in _CHAPTERS.items():
        cells = [verdict.cells for verdict in verdicts if verdict.name.partition("/")[0] == origin]
        counts = [Counter(column) for column in zip(*cells, strict=True)]
        asked = [sum(count.values()) - count[NOT_APPLICABLE] for count in counts]
        rows.append([f"{title} ({len(cells)})", *(f"{c[YES]} of {n}" for c, n in zip(counts, asked, strict=True))])
    return _table("", rows)


def _rows(verdicts: Iterable[Verdict]) -> Iterator[list[str]]:
    """Files of a kind that fare alike; kinds that have the same files are told together."""
    files: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for verdict in verdicts:
        files[verdict.kind, *verdict.cells].append(_short(verdict.name, verdict.kind))
    kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (kind, *cells), names in sorted(files.items(), key=lambda row: row[0][0].casefold()):
        kinds[", ".join(names), *cells].append(f"**{kind}**")
    for (names, *cells), alike in kinds.items():
        yield [f"{', '.join(alike)}: {names}", *cells]


def _short(name: str, kind: str) -> str:
    """A name without what the chapter and the row say already."""
    origin, _, rest = name.partition("/")
    if origin == "objects":
        return rest.removeprefix(f"{kind}/")
    path = PurePosixPath(rest)
    shown = path.relative_to("test_files") if path.is_relative_to("test_files") else path
    return f"`{shown}`"


def _table(first: str, rows: Iterable[Sequence[str]]) -> str:
    lines = [(first, *_COLUMNS), ("---",) * (1 + len(_COLUMNS)), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)
