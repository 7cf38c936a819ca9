"""Ingesting a given list of files: the same line as the daemon's, without the watching."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.named import look
from staticwado_daemon.inbound.receipt import STORED, Receipt
from staticwado_daemon.inbound.source import Source, remove
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.requests import Answer
from staticwado_daemon.pipeline.space import Space
from staticwado_daemon.pipeline.staged import Finished, Unfinished

MAXIMUM_TRIES = 3
"""How often a file that changes while it is read is tried before it is rejected."""

_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Created:
    """What became of given files.

    Attributes:
        receipts: one for each input that was taken, as things stand at the end.
        failure: why that isn't all there was to do: there is too little room to take the rest, or some files of the
            tree could not be written (what has a receipt is stored all the same). None if all is done.
    """

    receipts: list[Receipt]
    failure: str | None


def create(
    line: Line,
    journal: Journal,
    space: Space,
    inputs: Iterable[Source | Receipt],
    on_receipt: Callable[[Receipt], None],
) -> Created:
    """Ingest and publish all sources; return when everything is written.

    Where there comes to be too little room no more is taken, and what was taken is finished.

    Args:
        line: started.
        journal: the line's.
        space: what is to be left free on the disk of the tree.
        inputs: sources in the order in which they are to be taken; what is no source comes with its receipt.
        on_receipt: told of each receipt as it is written.

    Raises:
        StaticwadoError: if the line can't go on.
    """
    left: Iterator[Source | Receipt] = iter(inputs)
    given = Given(journal, space.root)
    receipts: list[Receipt] = []
    shortage: str | None = None
    more = True
    while more or line.backlog:
        ready: list[Receipt] = []
        if more and (shortage := space.shortage()):
            more = False
        for _ in range(line.room if more else 0):
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
    failure = _flush(line)
    current = [line.current(receipt) for receipt in receipts]
    given.close(current)
    return Created(current, shortage or failure)


def _flush(line: Line) -> str | None:
    """Have everything written; say why it isn't."""
    try:
        number = line.flush()
        while not line.is_flushed(number):
            line.pump(_WAIT_SECONDS)
    except StaticwadoError as why:
        return str(why)
    return None


class Given:
    """What holds for files that somebody named, rather than put into a watched folder: they get an answer now."""

    def __init__(self, journal: Journal, root: Path) -> None:
        self._journal = journal
        self._root = root
        self._tries: Counter[Path] = Counter()
        self._removed: set[Path] = set()

    def known(self, source: Source) -> Receipt | None:
        """The receipt of a file that hasn't changed since it was stored, if what was stored still stands."""
        if (
            source.force
            or source.after_ingest == "delete"
            or self._journal.known(str(source.path), source.stamp) not in STORED
        ):
            return None
        try:
            found = self._journal.find(source.path)
        except Transient:
            found = []
        if not found:
            # Without its receipt the file is read once more, and found to be a duplicate.
            return None
        receipt = found[0]
        identity, content = receipt.identity, receipt.content
        if identity is None or content is None or not (self._root / layout.instance_dir(identity)).is_dir():
            return None
        if receipt.outcome != "superseded" and (self._root / layout.kept_dir(identity, content)).is_dir():
            # Another version is published now: this one may have been deleted or rejected.
            return None
        return replace(receipt, outcome="duplicate", reason=None)

    def settle(self, finished: Finished, line: Line) -> Receipt | None:
        """The receipt of a source that has left the line; None if it was sent through once more.

        A source that is to go is gone then, or the receipt says why it isn't.
        """
        source, result = finished.source, finished.result
        if isinstance(result, Receipt):
            del self._tries[source.path]
            return self._remove(source, result) if source.after_ingest == "delete" else result
        self._tries[source.path] += 1
        delete = source.after_ingest == "delete"
        again = look(source.path, requested=source.requested, force=source.force, delete=delete, by=source.by)
        if not result.incomplete and self._tries[source.path] < MAXIMUM_TRIES and isinstance(again, Source):
            line.submit([again])
            return None
        del self._tries[source.path]
        receipt = rejection(source, result)
        if result.incomplete:  # what may pass without the file changing isn't remembered against it
            with suppress(Transient):  # the answer holds even if the journal can't take it now
                self._journal.write([receipt])
        return receipt

    def close(self, receipts: Iterable[Receipt | Answer]) -> None:
        """Be done with files that have these receipts: of those that were removed the paths may be used again."""
        gone = [each.path for each in receipts if each.path in self._removed]
        self._removed.difference_update(gone)
        if gone:
            with suppress(Transient):  # until their paths are used again that makes no difference
                self._journal.removed(gone)

    def _remove(self, source: Source, receipt: Receipt) -> Receipt:
        if receipt.outcome not in STORED:
            return receipt
        try:
            if remove(source):
                self._removed.add(source.path)
                return receipt
            why = "the source has changed since, and stays"
        except Transient as error:
            why = str(error)
        return replace(receipt, reason="; ".join(filter(None, (receipt.reason, why))))


def rejection(source: Source, unfinished: Unfinished) -> Receipt:
    """The receipt of a source that nobody waits for any longer."""
    return Receipt(source.path, source.stamp, "rejected", unfinished.reason)
