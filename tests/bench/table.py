"""Figures, next to what they should be, as a table for a terminal and for a page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing.

    Attributes:
        what: its name, with its unit.
        figure: as it is to be read.
        budget: what it should be; "" where nothing was promised.
        met: whether it is that.
    """

    what: str
    figure: str
    budget: str = ""
    met: bool = True


def at_most(what: str, value: float, limit: float, form: str = ".2f") -> Row:
    """A row whose figure should not exceed a limit."""
    return Row(what, f"{value:{form}}", f"≤ {limit:{form}}", value <= limit)


def at_least(what: str, value: float, limit: float, form: str = ".0f") -> Row:
    """A row whose figure should reach a limit."""
    return Row(what, f"{value:{form}}", f"≥ {limit:{form}}", value >= limit)


def as_text(heading: str, rows: Iterable[Row]) -> str:
    """A group of rows for a terminal."""
    lines = [f"  {row.what:<66} {row.figure:>16}   {row.budget}{'' if row.met else '  MISSED'}" for row in rows]
    return "\n".join([heading, *lines, ""])


def as_page(machine: Sequence[tuple[str, str]], groups: Iterable[tuple[str, Sequence[Row]]]) -> str:
    """All groups and the machine, as Markdown."""
    lines = ["| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in machine)]
    for heading, rows in groups:
        lines += ["", f"| {heading} | measured | budget |", "|---|---:|---:|"]
        lines += [f"| {row.what} | {row.figure} | {row.budget}{'' if row.met else ' **missed**'} |" for row in rows]
    return "\n".join(lines)


def write_into(page: Path, text: str) -> None:
    """Put `text` between the page's two markers, in place of what stands there."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
