"""The line: sources in, receipts out.

It keeps the workers busy with batches, hands what they staged to the publisher in the order of submission, and
journals what became of each source once that is on the disk. It runs in the main process and decides nothing about
DICOM or the tree.
"""

import queue
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import structlog

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Action, moment
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, StaticwadoError
from staticwado_daemon.inbound.content import CHANGED
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline.interrupts import interrupts_put_off
from staticwado_daemon.pipeline.messages import (
    Batch,
    Committed,
    Flush,
    Flushed,
    Obeyed,
    Progress,
    Purge,
    Reindex,
    Remove,
    Renew,
    Reply,
    Sweep,
    Tidy,
)
from staticwado_daemon.pipeline.publisher_process import PublisherProcess
from staticwado_daemon.pipeline.staged import Finished, Staged, Unfinished
from staticwado_daemon.pipeline.unwritten import Unwritten
from staticwado_daemon.pipeline.workers import Result, Workers

_log = structlog.get_logger(__name__)

BATCH_FILES = 16
BATCH_BYTES = 64 * 1024 * 1024
_MOST_COMMITTING = 64  # batches: what a publisher that is slower than the workers has before it


@dataclass(eq=False, slots=True)
class _Task:
    """Sources under way; `results` are there once their worker is done."""

    sources: tuple[Source, ...]
    directory: Path
    future: "Future[list[Result]]"
    alone: bool
    results: list[Result] | None = None


_Event: TypeAlias = Reply | _Task | StaticwadoError | None


class Line:
    """The running line of one root.

    Args:
        root: of the tree.
        workers: who ingests.
        journal: where receipts go.
        publish: what the publisher process does with its end of the connection: `publishing.run` for this root, as a
            partial that can be pickled.
    """

    def __init__(self, root: Path, workers: Workers, journal: Journal, publish: Callable[[Connection], None]) -> None:
        self._root = root
        self._workers = workers
        self._parallel = workers.count * 2
        self._journal = journal
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._waiting: deque[Source] = deque()
        self._running: deque[_Task] = deque()
        self._committing: dict[int, tuple[Source, ...]] = {}
        self._batches = 0
        self._unwritten = Unwritten(journal)
        self._orders = 0
        self._obeyed: dict[int, Obeyed] = {}
        self._flushes = 0
        self._flushed = 0
        self._flush_failure: str | None = None
        self._progress = Progress(0, 0, 0)
        self._publisher = PublisherProcess(publish, self._events.put)

    def __enter__(self) -> Self:
        """Start the publisher and the workers.

        Raises:
            StaticwadoError: if the root can't be written to, or another process is writing there.
        """
        with ExitStack() as undo:
            with interrupts_put_off():
                self._publisher.start()
                undo.callback(self._publisher.end)
            self._workers.__enter__()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; what the publisher has been given is still finished, and nothing else."""
        with interrupts_put_off():
            self._workers.__exit__(kind, error, traceback)
            self._publisher.end()
            self._take_replies_left()

    @property
    def backlog(self) -> int:
        """Sources submitted whose receipts are not written yet."""
        under_way = sum(len(task.sources) for task in self._running)
        committing = sum(len(batch) for batch in self._committing.values())
        return len(self._waiting) + under_way + committing + len(self._unwritten)

    @property
    def room(self) -> int:
        """How many more sources are worth submitting now; none for as long as the journal refuses many receipts."""
        return max(0, 2 * self._parallel * BATCH_FILES - len(self._waiting) - len(self._unwritten))

    @property
    def idle(self) -> bool:
        """Whether nothing is under way and every file of the tree, the cold ones included, is written."""
        return not self.backlog and not self._progress.dirty and self._progress.taken == self._publisher.told

    @property
    def progress(self) -> Progress:
        """What the publisher last said."""
        return self._progress

    @property
    def silence(self) -> float:
        """Seconds for which the publisher has owed an answer; 0 while it owes none."""
        return self._publisher.silence

    @property
    def journal_failure(self) -> str | None:
        """Why the journal doesn't take the receipts that are held until it does; None while it does."""
        return self._unwritten.failure

    def wake(self) -> None:
        """Make a waiting `pump` return; any thread may call this."""
        self._events.put(None)

    def submit(self, sources: Sequence[Source]) -> None:
        """Take sources to be ingested."""
        self._waiting.extend(sources)
        self._fill()

    def conclude(self, source: Source, receipt: Receipt) -> None:
        """Take a source that left the line unfinished once more, to leave it with a receipt of the caller's."""
        self._unwritten.hold(Finished(source, receipt))

    def flush(self) -> int:
        """Have everything written without waiting for quiet; returns a number to ask `is_flushed` by."""
        self._flushes += 1
        self._publisher.tell(Flush(self._flushes))
        return self._flushes

    def is_flushed(self, number: int) -> bool:
        """Whether everything submitted and committed before this flush is written.

        Raises:
            StaticwadoError: if the disk refused some of it; it is tried again for as long as the line runs.
        """
        if self._flushed >= number and self._flush_failure is not None:
            raise StaticwadoError(f"the tree could not be written completely: {self._flush_failure}")
        return self._flushed >= number

    def reindex(self) -> None:
        """Have the studies index made anew."""
        self._publisher.tell(Reindex())

    def renew(self, studies: Sequence[UID]) -> None:
        """Have everything of these studies that is computed from their records made anew; a `flush` tells the end."""
        self._publisher.tell(Renew(tuple(studies)))

    def remove(self, action: Action, targets: Sequence[Target], by: str, reason: str) -> int:
        """Have things deleted, rejected or brought back; returns a number to ask `obeyed` by."""
        self._orders += 1
        self._publisher.tell(Remove(self._orders, action, tuple(targets), moment(), by, reason))
        return self._orders

    def tidy(self, *, aside: Sequence[str] = (), grouped: Sequence[UID] = ()) -> int:
        """Have files moved out of the way, and those of studies merged; returns a number to ask `obeyed` by."""
        self._orders += 1
        self._publisher.tell(Tidy(self._orders, tuple(aside), tuple(grouped)))
        return self._orders

    def obeyed(self, number: int) -> Obeyed | None:
        """What became of an order, told once; None while it isn't done."""
        return self._obeyed.pop(number, None)

    def purge(self, before: str) -> None:
        """Have gone for good what was deleted before a moment, as tombstones have it."""
        self._publisher.tell(Purge(before))

    def current(self, receipt: Receipt) -> Receipt:
        """The receipt as things stand now: a later content may have superseded what it speaks of."""
        if receipt.stamp and self._journal.known(str(receipt.path), receipt.stamp) == "superseded":
            return replace(receipt, outcome="superseded") if receipt.outcome == "published" else receipt
        return receipt

    def pump(self, timeout: float) -> list[Finished]:
        """Move everything on by one step; wait `timeout` seconds at most for there to be one.

        Returns:
            the sources that have left the line; their receipts are journalled.

        Raises:
            StaticwadoError: if the publisher has died.
        """
        for event in self._wait(timeout):
            if isinstance(event, _Task):
                self._take_results(event)
            elif isinstance(event, Committed):
                self._take_committed(event)
            elif isinstance(event, Progress):
                self._progress = event
            elif isinstance(event, Flushed):
                self._flushed, self._flush_failure = event.number, event.failure
            elif isinstance(event, Obeyed):
                self._obeyed[event.number] = event
            elif event is not None:
                raise event
        self._forward()
        self._fill()
        return self._unwritten.write()

    def _wait(self, timeout: float) -> list[_Event]:
        """What has happened; when nothing has, what happens first within `timeout` seconds."""
        events: list[_Event] = []
        try:
            events.append(self._events.get(timeout=timeout))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            return events

    def _fill(self) -> None:
        """Give the workers batches, small ones while there is little to do."""
        while self._waiting and self._has_room():
            most = min(BATCH_FILES, 1 + len(self._waiting) // self._parallel)
            batch = [self._waiting.popleft()]
            size = batch[0].stamp.size
            while self._waiting and len(batch) < most and size + self._waiting[0].stamp.size <= BATCH_BYTES:
                batch.append(self._waiting.popleft())
                size += batch[-1].stamp.size
            self._running.append(self._start(tuple(batch), alone=False))

    def _has_room(self) -> bool:
        """Whether another batch may start; of finished ones that wait for a slow one before them there may be a few."""
        busy = sum(task.results is None for task in self._running)
        waiting = len(self._committing) >= _MOST_COMMITTING
        return busy < self._parallel and len(self._running) < 4 * self._parallel and not waiting

    def _start(self, sources: tuple[Source, ...], *, alone: bool) -> _Task:
        directory = self._root / layout.STAGING / uuid.uuid4().hex
        task = _Task(sources, directory, self._workers.submit(sources, directory), alone)
        task.future.add_done_callback(lambda _: self._events.put(task))
        return task

    def _take_results(self, task: _Task) -> None:
        failure = task.future.exception()
        if failure is None:
            task.results = task.future.result()
            return
        # A future fails when its worker has ended, so nobody writes there any more.
        self._publisher.tell(Sweep(task.directory))
        _log.warning("worker_lost", kind=type(failure).__name__, sources=len(task.sources), alone=task.alone)
        if task.alone:
            task.results = [_given_up(source, failure) for source in task.sources]
            return
        # One of them may have cost the worker its life: each gets a second chance, alone.
        position = self._running.index(task)
        self._running.remove(task)
        for offset, source in enumerate(task.sources):
            self._running.insert(position + offset, self._start((source,), alone=True))

    def _forward(self) -> None:
        """Hand on what the workers have finished, in the order of submission."""
        while self._running and self._running[0].results is not None:
            task = self._running.popleft()
            staged = []
            for source, result in zip(task.sources, task.results or [], strict=True):
                if isinstance(result, Staged):
                    staged.append(result)
                else:
                    self._unwritten.hold(Finished(source, result))
            if staged:
                self._batches += 1
                self._committing[self._batches] = tuple(each.source for each in staged)
                self._publisher.tell(Batch(self._batches, tuple(staged)))

    def _take_committed(self, committed: Committed) -> None:
        sources = self._committing.pop(committed.number)
        refused = committed.failure is not None
        again = Unfinished(committed.failure or CHANGED, incomplete=False, refused=refused)
        for source, receipt in zip(sources, committed.receipts, strict=True):
            self._unwritten.hold(Finished(source, receipt or again))
        self._unwritten.supersede(committed.superseded)

    def _take_replies_left(self) -> None:
        """Journal what the publisher finished after the last `pump`."""
        for event in self._wait(0):
            if isinstance(event, Committed):
                self._take_committed(event)
        self._unwritten.write()


def _given_up(source: Source, failure: BaseException) -> Receipt:
    if isinstance(failure, TimeoutError):
        reason = "took too long to read"
    elif isinstance(failure, Corrupt):
        reason = "the process that read it gave no valid answer, twice"
    else:
        reason = "the process that read it died, twice"
    return Receipt(source.path, source.stamp, "rejected", reason)
