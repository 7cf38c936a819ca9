"""The daemon's loop: inbound folders and requests on one side of the line, journal and status on the other."""

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import structlog

from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.inbound import drop, named
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import STORED, Receipt
from staticwado_daemon.inbound.source import Source, remove
from staticwado_daemon.pipeline import requests
from staticwado_daemon.pipeline.create import Given, give_up
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.requests import Request
from staticwado_daemon.pipeline.staged import Finished, Unfinished

STATUS = "status.json"
"""Below the state directory: what the running daemon last said of itself."""

_TICK_SECONDS = 0.25
_REPORT_SECONDS = 0.5
_LOG_SECONDS = 5.0
_FLUSH_SECONDS = 1.0
_REFUSAL_SECONDS = 90.0  # longer than a refused file rests before it is tried again
_TOUCH_SECONDS = 5.0

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


class Daemon:
    """Everything that runs in the main process.

    Args:
        root: of the tree.
        state_dir: where the status goes.
        line: started, with `journal`.
        inbound: not yet started.
        drop_dir: the one inbound folder that is ours and gets emptied, if there is one.
        journal: of receipts.
        check: called now and then; raises what must end the daemon.
    """

    def __init__(
        self,
        root: Path,
        state_dir: Path,
        line: Line,
        inbound: Inbound,
        drop_dir: Path | None,
        journal: Journal,
        check: Callable[[], None],
    ) -> None:
        self._root = root
        self._state_dir = state_dir
        self._line = line
        self._inbound = inbound
        # Inbound folders give real paths.
        self._drop_dir = drop_dir.resolve() if drop_dir else None
        self._journal = journal
        self._check = check
        self._given = Given(journal, root)
        self._asked: dict[str, _Asked] = {}
        self._closing: list[tuple[Source, Receipt]] = []
        self._outcomes: Counter[str] = Counter()
        self._logged = 0.0
        self._refused_at, self._refusal = -math.inf, ""
        self._stopping = threading.Event()
        self._reported = 0.0
        self._touched = 0.0
        self._status: dict[str, object] = {}
        self._unwritten = False

    def stop(self) -> None:
        """End the loop after its present step; a signal handler may call this."""
        self._stopping.set()
        self._line.wake()

    def run(self) -> None:
        """Work until told to stop.

        Raises:
            StaticwadoError: if the daemon can't go on.
        """
        requests.abandon(self._root)
        self._inbound.start()
        _log.info("daemon_started", root=str(self._root))
        try:
            while not self._stopping.is_set():
                self._step()
        finally:
            self._inbound.stop()
            self._report(running=False)
            _log.info("daemon_stopped")

    def _step(self) -> None:
        try:
            for request in requests.pending(self._root):
                self._obey(request)
        except OSError as error:
            _log.warning("requests_unreadable", reason=error.strerror)
        self._line.submit(self._inbound.take(self._line.room))
        for finished in self._line.pump(_TICK_SECONDS):
            self._settle(finished)
        self._close()
        self._answer()
        if not self._stopping.is_set():
            self._check()
        now = time.monotonic()
        if self._outcomes and (now - self._logged > _LOG_SECONDS or self._line.idle):
            self._log_outcomes()
        if now - self._reported > _REPORT_SECONDS:
            self._report(running=True)

    def _log_outcomes(self) -> None:
        """Log what became of files lately; counts alone, for a reason may quote the file and so name a patient."""
        self._logged = time.monotonic()
        level = logging.WARNING if self._outcomes["rejected"] else logging.INFO
        _log.log(level, "files_done", **self._outcomes)
        self._outcomes.clear()

    def _answer(self) -> None:
        """Tell those who asked what became of their files, once everything of it is written."""
        for number, asked in list(self._asked.items()):
            try:
                if asked.done(self._line):
                    requests.answer(self._root, number, [self._line.current(each) for each in asked.receipts])
                    del self._asked[number]
            except (StaticwadoError, OSError) as why:
                # The disk refuses files; what is asked for waits for it to be mended, as everything does.
                _log.warning("answer_delayed", reason=str(why))
                asked.flush = None

    def _obey(self, request: Request) -> None:
        asked = _Asked(request)
        self._asked[request.id] = asked
        if request.command == "index":
            self._line.reindex()
        for path in request.paths:
            self._take(asked, path)
        _log.info("request_taken", command=request.command, files=len(request.paths))

    def _take(self, asked: "_Asked", path: Path) -> None:
        source = named.look(path, requested=asked.request.id)
        receipt = source if isinstance(source, Receipt) else self._given.known(source)
        if receipt is not None:
            asked.receipts.append(receipt)
        elif isinstance(source, Source):
            asked.waiting += 1
            self._line.submit([source])

    def _settle(self, finished: Finished) -> None:
        """Tell whoever a source came from what became of it."""
        source, result = finished.source, finished.result
        if source.requested is not None:
            receipt = self._given.settle(finished, self._line)
            if receipt:
                self._outcomes[receipt.outcome] += 1
                asked = self._asked[source.requested]
                asked.receipts.append(receipt)
                asked.waiting -= 1
        elif isinstance(result, Receipt):
            self._closing.append((source, result))
        elif result.incomplete and source.final:
            self._give_up(source, result)
        else:
            if result.refused:
                self._note_refusal(result.reason)
            self._inbound.retry(source, incomplete=result.incomplete)

    def _note_refusal(self, reason: str) -> None:
        """Remember for the status, and log now and then, that the disk doesn't take what arrives."""
        now = time.monotonic()
        if now - self._refused_at > _REFUSAL_SECONDS:
            _log.error("files_wait_for_the_disk", reason=reason)
        self._refused_at, self._refusal = now, reason

    def _give_up(self, source: Source, unfinished: Unfinished) -> None:
        try:
            self._closing.append((source, give_up(source, unfinished, self._journal)))
        except Transient as why:
            _log.error("journal_refused", reason=str(why))
            self._inbound.retry(source, incomplete=False)

    def _close(self) -> None:
        """Be done with files of the inbound folders, which have their receipts in the journal."""
        self._outcomes.update(str(receipt.outcome) for _, receipt in self._closing)
        gone: list[Path] = []
        for source, receipt in self._closing:
            try:
                if self._clear(source, receipt):
                    gone.append(source.path)
            except Transient as why:
                _log.warning("source_not_removed", reason=str(why))
        try:
            if gone:
                self._journal.removed(gone)
        except Transient as why:
            # Their receipts stay current: until their paths are used again that makes no difference.
            _log.error("journal_refused", reason=str(why))
        for _, receipt in self._closing:
            self._inbound.done(receipt)
        self._closing.clear()

    def _clear(self, source: Source, receipt: Receipt) -> bool:
        """Take the file out of its folder where that is wanted; says whether it is gone."""
        if self._drop_dir and source.path.is_relative_to(self._drop_dir):
            return drop.clear(self._drop_dir, receipt)
        return source.after_ingest == "delete" and receipt.outcome in STORED and remove(source)

    def _touch(self) -> None:
        """Let the report that is there count as one of now; that needs no space."""
        if self._reported - self._touched > _TOUCH_SECONDS:
            os.utime(self._state_dir / STATUS)
            self._touched = self._reported

    def _report_requests(self) -> None:
        """Show those who wait for an answer how far it is."""
        for number, asked in self._asked.items():
            try:
                requests.report(self._root, number, Counter(str(each.outcome) for each in asked.receipts))
            except OSError as error:
                _log.warning("progress_not_written", reason=error.strerror)

    def _troubles(self) -> list[str]:
        failure = self._line.progress.failure
        if not failure and time.monotonic() - self._refused_at < _REFUSAL_SECONDS:
            failure = self._refusal
        return [f"the tree can't be written: {failure}"] if failure else []

    def _report(self, *, running: bool) -> None:
        """Write the status for `staticwado status`, if it has changed."""
        self._reported = time.monotonic()
        self._report_requests()
        counts = self._journal.counts()
        backlog = self._inbound.backlog + self._line.backlog
        status: dict[str, object] = {
            "running": running,
            "pid": os.getpid(),
            "backlog": backlog,
            "published": sum(counts.get(outcome, 0) for outcome in STORED),
            "instances": self._line.progress.instances,
            "studies": self._line.progress.studies,
            "receipts": dict(counts),
            "rejected": counts.get("rejected", 0),
            "waiting": self._inbound.waiting,
            "degraded": [_printable(each) for each in (*self._inbound.degraded, *self._troubles())],
            "idle": not backlog and self._line.idle and self._inbound.idle,
        }
        try:
            if status == self._status:
                self._touch()
                return
            temporary = self._state_dir / f"{STATUS}.part"
            temporary.write_bytes(orjson.dumps(status))
            temporary.rename(self._state_dir / STATUS)
        except OSError as error:
            # Whoever asks learns that the report is old; the next one may be written again.
            if not self._unwritten:
                _log.warning("status_not_written", reason=error.strerror)
            self._unwritten = True
        else:
            self._status, self._unwritten = status, False


def _printable(sentence: str) -> str:
    """A sentence with a folder's name in it, which may hold bytes that are no text."""
    return sentence.encode("utf-8", "backslashreplace").decode()
