"""Ingesting a given list of files: the same line as the daemon's, without the watching."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.named import look
from staticwado_daemon.inbound.receipt import STORED, Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.space import Space
from staticwado_daemon.pipeline.staged import Finished, Unfinished

MAXIMUM_TRIES = 3
"""How often a file that changes while it is read is tried before it is rejected."""

_WAIT_SECONDS = 0.5


def create(
    line: Line,
    journal: Journal,
    space: Space,
    inputs: Iterable[Source | Receipt],
    on_receipt: Callable[[Receipt], None],
) -> list[Receipt]:
    """Ingest and publish all sources; return when everything is written.

    Args:
        line: started.
        journal: the line's.
        space: what is to be left free on the disk of the tree.
        inputs: sources in the order in which they are to be taken; what is no source comes with its receipt.
        on_receipt: told of each receipt as it is written.

    Returns:
        One receipt for each input, as things stand at the end.

    Raises:
        StaticwadoError: if there is too little room to take any more; what was taken is finished.
    """
    left: Iterator[Source | Receipt] = iter(inputs)
    given = Given(journal, space.root)
    receipts: list[Receipt] = []
    more = True
    while more or line.backlog:
        ready: list[Receipt] = []
        if more and (shortage := space.shortage()):
            raise StaticwadoError(shortage)
        for _ in range(line.room):
            source = next(left, None)
            if source is None:
                more = False
                break
            receipt = source if isinstance(source, Receipt) else given.known(source)
            if receipt:
                ready.append(receipt)
            elif isinstance(source, Source):
                line.submit([source])
        finished = line.pump(0 if ready else _WAIT_SECONDS)
        settled = (given.settle(each, line) for each in finished)
        for receipt in (*ready, *filter(None, settled)):
            receipts.append(receipt)
            on_receipt(receipt)
    number = line.flush()
    while not line.is_flushed(number):
        line.pump(_WAIT_SECONDS)
    return [line.current(receipt) for receipt in receipts]


class Given:
    """What holds for files that somebody named, rather than put into a watched folder: they get an answer now."""

    def __init__(self, journal: Journal, root: Path) -> None:
        self._journal = journal
        self._root = root
        self._tries: Counter[Path] = Counter()

    def known(self, source: Source) -> Receipt | None:
        """The receipt of a file that hasn't changed since it was stored, if what was stored still stands."""
        if self._journal.known(str(source.path), source.stamp) not in STORED:
            return None
        try:
            receipt = self._journal.find(source.path)[0]
        except Transient:
            # Without its receipt the file is read once more, and found to be a duplicate.
            return None
        if receipt.identity is None or not (self._root / layout.instance_dir(receipt.identity)).is_dir():
            return None
        return replace(receipt, outcome="duplicate", reason=None)

    def settle(self, finished: Finished, line: Line) -> Receipt | None:
        """The receipt of a source that has left the line; None if it was sent through once more."""
        source, result = finished.source, finished.result
        if isinstance(result, Receipt):
            del self._tries[source.path]
            return result
        self._tries[source.path] += 1
        again = look(source.path, requested=source.requested)
        if not result.incomplete and self._tries[source.path] < MAXIMUM_TRIES and isinstance(again, Source):
            line.submit([again])
            return None
        del self._tries[source.path]
        receipt = _rejected(source, result)
        if result.incomplete:  # what may pass without the file changing isn't remembered against it
            with suppress(Transient):  # the answer holds even if the journal can't take it now
                self._journal.write([receipt])
        return receipt


def give_up(source: Source, unfinished: Unfinished, journal: Journal) -> Receipt:
    """Reject a source that nobody waits for any longer.

    Raises:
        Transient: if that can't be journalled now.
    """
    receipt = _rejected(source, unfinished)
    journal.write([receipt])
    return receipt


def _rejected(source: Source, unfinished: Unfinished) -> Receipt:
    return Receipt(source.path, source.stamp, "rejected", unfinished.reason)
