"""Bars on stderr, while something takes its time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from staticwado_daemon.operate.verify.check import Watch

_SHOWN_SECONDS = 0.2


@contextmanager
def bar(total: int | None, noun: str = "", *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A bar; nothing when stderr isn't a terminal.

    What is yielded moves it, by rich's names: `advance` or `completed`, a new `total`, and a `description` for the end.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    remaining, told = TimeRemainingColumn(elapsed_when_finished=True), TextColumn("{task.description}")
    columns = BarColumn(bar_width=16), MofNCompleteColumn(), TextColumn(noun), remaining, told
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as shown:
        yield partial(shown.update, shown.add_task("", total=total))


@contextmanager
def reading_bar(noun: str) -> "Iterator[Watch]":
    """A bar with bytes and bytes a second, for work that is counted in one thing and read in bytes."""
    from staticwado_daemon.operate.verify.check import Watch
    from staticwado_daemon.units import size

    started, shown, count = time.monotonic(), 0.0, 0
    with bar(None, noun) as show:

        def read(number: int) -> None:
            nonlocal shown, count
            count += number
            now = time.monotonic()
            if now - shown > _SHOWN_SECONDS:
                shown = now
                rate = count / max(now - started, 1e-3)
                show(description=f"{size(count)} read, {size(rate)}/s")

        yield Watch(lambda done, total: show(completed=done, total=total), read)
