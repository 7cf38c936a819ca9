"""What others ask the running daemon to do: their requests, from being taken to being answered.

A request may name a million files, on a slow disk: each step of the daemon deals with a few of them.
"""

import itertools
import math
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.named import look
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline import orders, requests
from staticwado_daemon.pipeline.create import Given
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.requests import Answer, Request
from staticwado_daemon.pipeline.retry import withdraw
from staticwado_daemon.pipeline.staged import Finished, Unfinished

_AGAIN_SECONDS = 1.0
"""How long to wait before the publisher is asked once more for what the disk refused."""

_MISS_SECONDS = 1.0
_MISS_FILES = 1000
_LONGEST_SECONDS = 0.5
"""How long the files of requests may keep the daemon in one go; a file system that hangs adds one call to it."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _UnderWay:
    """A request under way: what became of its files so far, and which are still to come.

    Attributes:
        request: as it was taken.
        left: its files that nobody has looked at yet.
        waiting: how many files are on the line for it.
        expected: those that come by the inbound folders, in the order in which they are to be looked for.
        results: of the files that are done.
        counts: these by outcome.
        order: the number of what the publisher is to do to what is in the tree, until that is done.
        order_due: when it is to be told that once more, because the disk refused some of it.
        flush: the number of the flush that ends it.
        flushed_at: when that was asked for.
        delay: why it isn't answered although all is done.
    """

    request: Request
    left: deque[Path]
    waiting: int = 0
    expected: dict[Path, None] = field(default_factory=dict)
    results: list[Receipt | Answer] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    order: int | None = None
    order_due: float | None = None
    flush: int | None = None
    flushed_at: float = -math.inf
    delay: str | None = None

    def note(self, result: Receipt | Answer) -> None:
        """Take what became of a file."""
        self.results.append(result)
        self.counts[result.outcome] += 1

    def done(self, line: Line) -> bool:
        """Whether all is done and written; what is done is written without waiting for quiet.

        Raises:
            StaticwadoError: if the disk refused some of it.
        """
        if self.left or self.waiting or self.expected or not self._is_obeyed(line):
            return False
        if self.flush is None:
            now = time.monotonic()
            if now - self.flushed_at < _AGAIN_SECONDS:
                return False
            self.flush, self.flushed_at = line.flush(), now
        return line.is_flushed(self.flush)

    def _is_obeyed(self, line: Line) -> bool:
        """Whether what is to be done to what is in the tree is done; what the disk refused is asked for again."""
        if self.order is not None and (done := line.obeyed(self.order)) is not None:
            for each in orders.answers(self.request, done.done):
                self.note(each)
            self.order, self.delay = None, done.failure
            if done.failure:
                self.order_due = time.monotonic() + _AGAIN_SECONDS
        if self.order_due is not None and time.monotonic() >= self.order_due:
            self.order, self.order_due = orders.begin(line, self.request), None
        return self.order is None and self.order_due is None


class Requests:
    """The requests under way.

    Args:
        root: of the tree.
        line: started, with `journal`.
        journal: of receipts.
        inbound: the folders, which look again at what is to be tried again.
        drop_dir: the drop folder, a real path.
    """

    def __init__(self, root: Path, line: Line, journal: Journal, inbound: Inbound, drop_dir: Path | None) -> None:
        self._root = root
        self._line = line
        self._journal = journal
        self._inbound = inbound
        self._drop_dir = drop_dir
        self._given = Given(journal, root)
        self._under_way: dict[str, _UnderWay] = {}
        self._missed_at = -math.inf
        self._unreported = False

    @property
    def backlog(self) -> int:
        """How many of their files nobody has looked at yet."""
        return sum(len(each.left) for each in self._under_way.values())

    def take(self) -> None:
        """Take over the requests that have come; their files stay where they are until `submit`."""
        try:
            pending = requests.pending(self._root)
        except OSError as error:
            _log.warning("requests_unreadable", reason=error.strerror)
            return
        for request in pending:
            self._under_way[request.id] = _UnderWay(request, deque(request.paths))
            self._under_way[request.id].order = orders.begin(self._line, request)
            _log.info("request_taken", command=request.command, files=len(request.paths))

    def submit(self, limit: int) -> bool:
        """Look at up to `limit` files, the oldest request's first, and give the line what has to be read.

        Returns:
            whether there is more to look at that needn't wait for the line, because some of these needed no reading.
        """
        at_once = False
        until = time.monotonic() + _LONGEST_SECONDS
        for each in self._under_way.values():
            while each.left and limit and time.monotonic() <= until:
                results, limit = len(each.results), limit - 1
                path = each.left.popleft()
                if each.request.command == "retry":
                    self._retry(each, path)
                else:
                    self._take(each, path)
                at_once |= len(each.results) > results
        return at_once and any(each.left for each in self._under_way.values())

    def settle(self, finished: Finished) -> Receipt | None:
        """Note what became of a source that was asked for; None if it was sent through the line once more."""
        receipt = self._given.settle(finished, self._line)
        if receipt and finished.source.requested:
            under_way = self._under_way[finished.source.requested]
            under_way.note(receipt)
            under_way.waiting -= 1
        return receipt

    def note(self, path: Path, result: Receipt | Unfinished) -> None:
        """Note what became of a file of the inbound folders, for those who asked to have it tried again.

        One that ends too early isn't waited for: that may take its time. One that can't be stored just now is.
        """
        if isinstance(result, Receipt):
            told: Receipt | Answer = result
        elif result.incomplete:
            told = Answer(path, "waiting", result.reason, None)
        else:
            return
        for each in self._under_way.values():
            if path in each.expected:
                del each.expected[path]
                each.note(told)

    def answer(self) -> None:
        """Tell those who asked what became of their files, once everything of it is written."""
        self._miss()
        for number, each in list(self._under_way.items()):
            try:
                if each.done(self._line):
                    results = [self._current(result) for result in each.results]
                    self._given.close(results)
                    requests.answer(self._root, number, results)
                    del self._under_way[number]
            except (StaticwadoError, OSError) as why:
                # The disk refuses files; what is asked for waits for it to be mended, as everything does.
                if each.delay != str(why):
                    _log.warning("answer_delayed", reason=str(why))
                each.delay, each.flush = str(why), None

    def report(self, shortage: str | None, refusal: str | None) -> None:
        """Show those who wait for an answer how far it is.

        Args:
            shortage: why their files are not taken in at present.
            refusal: why nobody gets a receipt at present.
        """
        try:
            for number, each in self._under_way.items():
                waits = (shortage if each.left else each.delay) or refusal
                requests.report(self._root, number, each.counts, waits)
        except OSError as error:
            if not self._unreported:
                _log.warning("progress_not_written", reason=error.strerror)
            self._unreported = True
        else:
            self._unreported = False

    def _current(self, result: Receipt | Answer) -> Receipt | Answer:
        return self._line.current(result) if isinstance(result, Receipt) else result

    def _take(self, under_way: _UnderWay, path: Path) -> None:
        request, options = under_way.request, under_way.request.options
        source = look(path, requested=request.id, force=options.force, delete=options.delete, by=options.by)
        receipt = source if isinstance(source, Receipt) else self._given.known(source)
        if receipt is not None:
            under_way.note(receipt)
        elif isinstance(source, Source):
            under_way.waiting += 1
            self._line.submit([source])

    def _retry(self, under_way: _UnderWay, path: Path) -> None:
        """Have a file taken again: by its inbound folder where it lies in one, else as `create` does."""
        try:
            found = withdraw(path, self._journal, self._drop_dir)
        except Transient as why:
            under_way.note(Answer(path, "rejected", f"can't be tried again now: {why}", None))
            return
        for each in found:
            if isinstance(each, Receipt):
                under_way.note(each)
            elif self._inbound.look_again(each):
                under_way.expected[each] = None
            else:
                self._take(under_way, each)

    def _miss(self) -> None:
        """Expect no more what somebody has taken away since; look for a few each time, in turn."""
        now = time.monotonic()
        if now - self._missed_at < _MISS_SECONDS:
            return
        self._missed_at = now
        for each in self._under_way.values():
            for path in list(itertools.islice(each.expected, _MISS_FILES)):
                if time.monotonic() > now + _LONGEST_SECONDS:
                    return
                del each.expected[path]
                found = look(path)
                if isinstance(found, Receipt):
                    each.note(found)
                else:
                    each.expected[path] = None
