"""What others ask the running daemon to do: their requests, from being taken to being answered."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.inbound import names
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.named import look
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline import requests
from staticwado_daemon.pipeline.create import Given
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.requests import Answer, Request
from staticwado_daemon.pipeline.retry import withdraw
from staticwado_daemon.pipeline.staged import Finished, Unfinished

_FLUSH_SECONDS = 1.0
_MISS_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Asked:
    """A request under way: what became of its files so far, and which are still to come.

    Attributes:
        request: as it was taken.
        waiting: how many files are on the line for it.
        expected: those that come by the inbound folders.
        results: of the files that are done.
        flush: the number of the flush that ends it.
        flushed_at: when that was asked for.
    """

    request: Request
    waiting: int = 0
    expected: set[Path] = field(default_factory=set)
    results: list[Receipt | Answer] = field(default_factory=list)
    flush: int | None = None
    flushed_at: float = -math.inf

    def done(self, line: Line) -> bool:
        """Whether all is done and written; what is done is written without waiting for quiet.

        Raises:
            StaticwadoError: if the disk refused some of it.
        """
        if self.waiting or self.expected:
            return False
        if self.flush is None:
            now = time.monotonic()
            if now - self.flushed_at < _FLUSH_SECONDS:
                return False
            self.flush, self.flushed_at = line.flush(), now
        return line.is_flushed(self.flush)


class Asked:
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
        self._under_way: dict[str, _Asked] = {}
        self._missed_at = -math.inf

    def take(self) -> None:
        """Take over the requests that have come."""
        try:
            for request in requests.pending(self._root):
                self._obey(request)
        except OSError as error:
            _log.warning("requests_unreadable", reason=error.strerror)

    def settle(self, finished: Finished) -> Receipt | None:
        """Note what became of a source that was asked for; None if it was sent through the line once more."""
        receipt = self._given.settle(finished, self._line)
        if receipt and finished.source.requested:
            asked = self._under_way[finished.source.requested]
            asked.results.append(receipt)
            asked.waiting -= 1
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
        for asked in self._under_way.values():
            if path in asked.expected:
                asked.expected.discard(path)
                asked.results.append(told)

    def answer(self) -> None:
        """Tell those who asked what became of their files, once everything of it is written."""
        self._miss()
        for number, asked in list(self._under_way.items()):
            try:
                if asked.done(self._line):
                    requests.answer(self._root, number, [self._current(each) for each in asked.results])
                    del self._under_way[number]
            except (StaticwadoError, OSError) as why:
                # The disk refuses files; what is asked for waits for it to be mended, as everything does.
                _log.warning("answer_delayed", reason=str(why))
                asked.flush = None

    def report(self) -> None:
        """Show those who wait for an answer how far it is."""
        for number, asked in self._under_way.items():
            try:
                requests.report(self._root, number, Counter(str(each.outcome) for each in asked.results))
            except OSError as error:
                _log.warning("progress_not_written", reason=error.strerror)

    def _current(self, result: Receipt | Answer) -> Receipt | Answer:
        return self._line.current(result) if isinstance(result, Receipt) else result

    def _obey(self, request: Request) -> None:
        asked = _Asked(request)
        self._under_way[request.id] = asked
        if request.command == "index":
            self._line.reindex()
        for path in request.paths:
            if request.command == "retry":
                self._retry(asked, path)
            else:
                self._take(asked, path)
        _log.info("request_taken", command=request.command, files=len(request.paths))

    def _take(self, asked: _Asked, path: Path) -> None:
        source = look(path, requested=asked.request.id)
        receipt = source if isinstance(source, Receipt) else self._given.known(source)
        if receipt is not None:
            asked.results.append(receipt)
        elif isinstance(source, Source):
            asked.waiting += 1
            self._line.submit([source])

    def _retry(self, asked: _Asked, path: Path) -> None:
        """Have a file taken again: by its inbound folder where it lies in one, else as `create` does."""
        try:
            found = withdraw(path, self._journal, self._drop_dir)
        except Transient as why:
            asked.results.append(Answer(path, "rejected", f"can't be tried again now: {why}", None))
            return
        for each in found:
            if isinstance(each, Receipt):
                asked.results.append(each)
            elif not names.skip_path(str(each)) and self._inbound.look_again(each):
                asked.expected.add(each)
            else:
                self._take(asked, each)

    def _miss(self) -> None:
        """Expect no more what somebody has taken away since."""
        now = time.monotonic()
        if now - self._missed_at < _MISS_SECONDS:
            return
        self._missed_at = now
        for asked in self._under_way.values():
            for path in list(asked.expected):
                found = look(path)
                if isinstance(found, Receipt):
                    asked.expected.discard(path)
                    asked.results.append(found)
