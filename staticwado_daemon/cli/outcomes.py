"""What became of many files, as people want to see it: while it happens, and at the end."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from staticwado_daemon.cli.watching import bar
from staticwado_daemon.errors import StaticwadoError

if TYPE_CHECKING:
    from staticwado_daemon.pipeline.requests import Answer

COLORS = {
    "published": "green",
    "duplicate": None,
    "superseded": "yellow",
    "rejected": "red",
    "ignored": None,
    "waiting": "yellow",
}
MEANINGS = {
    "published": "in the tree now",
    "duplicate": "known already",
    "superseded": "a newer version of the same instance stands",
    "rejected": "could not be stored",
    "ignored": "nothing to store",
    "waiting": "ended too early and may get the rest",
}
_SHOWN = {"rejected": 20, "waiting": 20, "ignored": 3}
"""How many files of an outcome a summary names; --json names them all."""


class Progress:
    """A bar on stderr whose numbers add up: done = the sum of the outcomes. Nothing when stderr isn't a terminal."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._counts: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._total = total

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar = bar(self._total, quiet=self._quiet)
        self._update = self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the bar away; the summary says the rest."""
        self._bar.__exit__(kind, error, traceback)

    def add(self, outcome: str) -> None:
        """Count a file that is done."""
        self._counts[outcome] += 1
        self._show()

    def add_others(self, counts: Mapping[str, int]) -> None:
        """Show, beside the files counted here, how many a daemon has done by now."""
        self._others = Counter(counts)
        self._show()

    def _show(self) -> None:
        counts = self._counts + self._others
        told = " · ".join(f"{outcome} {counts[outcome]:,}" for outcome in COLORS if counts[outcome])
        self._update(completed=counts.total(), description=told)

    @property
    def done(self) -> int:
        """How many files are done, here and by a daemon."""
        return (self._counts + self._others).total()

    def say(self, words: str) -> None:
        """Say what is waited for."""
        self._update(description=words)


def to_json(answers: Sequence["Answer"]) -> str:
    """One object: the counts, and a receipt for each file. File names that aren't UTF-8 keep their bytes (PEP 383)."""
    from staticwado_daemon.inbound.receipt import OUTCOMES

    counts = Counter(answer.outcome for answer in answers)
    receipts = [
        {
            "path": str(answer.path),
            "outcome": answer.outcome,
            "reason": answer.reason,
            "sopInstanceUID": answer.instance,
        }
        for answer in answers
    ]
    return json.dumps({**dict.fromkeys(OUTCOMES, 0), **counts, "receipts": receipts})


def print_summary(answers: Sequence["Answer"], root: Path, seconds: float) -> None:
    """Print the counts, where the files went, what was not stored as asked for, and which ones not at all and why."""
    counts = Counter(answer.outcome for answer in answers)
    width = len(f"{len(answers):,}")
    for outcome, color in COLORS.items():
        if counts[outcome]:
            name = click.style(f"{outcome:<10}", fg=color)
            click.echo(f"  {name}  {counts[outcome]:>{width},}  {MEANINGS[outcome]}")
    rate = f", {len(answers) / seconds:.0f} a second" if 1 <= seconds < len(answers) else ""
    unit = "file" if len(answers) == 1 else "files"
    click.echo(f"  {unit:<10}  {len(answers):>{width},}  in {seconds:.1f} s{rate}, into {printable(str(root))}")
    _print_warnings([answer for answer in answers if answer.outcome == "published" and answer.reason])
    for outcome in _SHOWN:
        _print_reasons(outcome, [answer for answer in answers if answer.outcome == outcome])


def _print_warnings(answers: Sequence["Answer"]) -> None:
    """Say what else there is to know of files that are stored, without naming them."""
    if answers:
        click.echo()
    for reason, count in Counter(answer.reason or "" for answer in answers).most_common():
        click.echo(f"{count:,} {click.style('published', fg=COLORS['published'])}, {printable(reason)}")


def _print_reasons(outcome: str, answers: Sequence["Answer"]) -> None:
    """Name the first files by reason."""
    by_reason: dict[str, list[str]] = {}
    for answer in answers:
        by_reason.setdefault(answer.reason or "no reason given", []).append(printable(str(answer.path)))
    left = _SHOWN[outcome]
    for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        click.echo(f"\n{click.style(outcome, fg=COLORS[outcome])}: {printable(reason)} ({len(names):,})")
        click.echo("".join(f"  {name}\n" for name in names[:left]), nl=False)
        left = max(0, left - len(names))
    if len(answers) > _SHOWN[outcome]:
        click.echo(f"  … and {len(answers) - _SHOWN[outcome]:,} more: --json names them all")


def first_of(lines: Sequence[str], count: int = 20) -> Iterator[str]:
    """The first of many lines, and then how many more there are."""
    yield from lines[:count]
    if len(lines) > count:
        yield f"… and {len(lines) - count:,} more: --json names them all"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun in English: `1 study`, `2 studies`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"


def printable(text: str) -> str:
    """Spell out bytes that are no text, and control characters that would command the terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]


def require_all(failure: str | None, left: int) -> None:
    """Make sure, once what was done is printed, that it was all there was to do.

    Args:
        failure: why it wasn't.
        left: how many files were not taken.

    Raises:
        StaticwadoError: if there is a `failure`.
    """
    if failure:
        raise StaticwadoError(f"{counted(left, 'file')} not taken: {failure}" if left > 0 else failure)


def exit_code(answers: Sequence["Answer"]) -> int:
    """0, or 3 if something was rejected or is yet to come."""
    return 3 if any(answer.outcome in {"rejected", "waiting"} for answer in answers) else 0


def print_object(text: str) -> None:
    """Print the one object that --json promises, all of it or nothing."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
