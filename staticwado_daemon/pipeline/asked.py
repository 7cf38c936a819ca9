"""What others ask the running daemon to do: their requests, from being taken to being answered."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.inbound import named
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline import requests
from staticwado_daemon.pipeline.create import Given
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.requests import Request
from staticwado_daemon.pipeline.staged import Finished

_FLUSH_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Asked:
    """A request under way: what became of its files so far, and how many are still to come."""

    request: Request
    waiting: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    flush: int | None = None
    flushed_at: float = -math.inf

    def done(self, line: Line) -> bool:
        """Whether all is done and written; what is done is written without waiting for quiet.

        Raises:
            StaticwadoError: if the disk refused some of it.
        """
        if self.waiting:
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
    """

    def __init__(self, root: Path, line: Line, journal: Journal) -> None:
        self._root = root
        self._line = line
        self._given = Given(journal, root)
        self._under_way: dict[str, _Asked] = {}

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
            asked.receipts.append(receipt)
            asked.waiting -= 1
        return receipt

    def answer(self) -> None:
        """Tell those who asked what became of their files, once everything of it is written."""
        for number, asked in list(self._under_way.items()):
            try:
                if asked.done(self._line):
                    requests.answer(self._root, number, [self._line.current(each) for each in asked.receipts])
                    del self._under_way[number]
            except (StaticwadoError, OSError) as why:
                # The disk refuses files; what is asked for waits for it to be mended, as everything does.
                _log.warning("answer_delayed", reason=str(why))
                asked.flush = None

    def report(self) -> None:
        """Show those who wait for an answer how far it is."""
        for number, asked in self._under_way.items():
            try:
                requests.report(self._root, number, Counter(str(each.outcome) for each in asked.receipts))
            except OSError as error:
                _log.warning("progress_not_written", reason=error.strerror)

    def _obey(self, request: Request) -> None:
        asked = _Asked(request)
        self._under_way[request.id] = asked
        if request.command == "index":
            self._line.reindex()
        for path in request.paths:
            self._take(asked, path)
        _log.info("request_taken", command=request.command, files=len(request.paths))

    def _take(self, asked: _Asked, path: Path) -> None:
        source = named.look(path, requested=asked.request.id)
        receipt = source if isinstance(source, Receipt) else self._given.known(source)
        if receipt is not None:
            asked.receipts.append(receipt)
        elif isinstance(source, Source):
            asked.waiting += 1
            self._line.submit([source])
