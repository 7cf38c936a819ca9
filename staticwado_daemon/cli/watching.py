"""A bar for work that is counted in one thing and read in bytes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from staticwado_daemon.operate.verify.check import Watch

_SHOWN_SECONDS = 0.2


@contextmanager
def bar(noun: str) -> "Iterator[Watch]":
    """A bar on stderr, with bytes and bytes a second; nothing when stderr isn't a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from staticwado_daemon.operate.verify.check import Watch
    from staticwado_daemon.units import size

    console = Console(stderr=True)
    columns = BarColumn(bar_width=16), MofNCompleteColumn(), TextColumn(noun), TimeRemainingColumn()
    told = TextColumn("{task.description}")
    started, shown, count = time.monotonic(), 0.0, 0
    with Bar(*columns, told, console=console, disable=not console.is_terminal, transient=True) as shown_bar:
        task = shown_bar.add_task("", total=None)

        def read(number: int) -> None:
            nonlocal shown, count
            count += number
            now = time.monotonic()
            if now - shown > _SHOWN_SECONDS:
                shown = now
                rate = count / max(now - started, 1e-3)
                shown_bar.update(task, description=f"{size(count)} read, {size(rate)}/s")

        yield Watch(lambda done, total: shown_bar.update(task, completed=done, total=total), read)
