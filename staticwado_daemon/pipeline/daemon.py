"""The daemon's loop: inbound folders and requests on one side of the line, journal and report on the other."""

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from staticwado_daemon.archive.tombstone import moment
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound import drop, refused
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import STORED, Receipt
from staticwado_daemon.inbound.source import Source, remove
from staticwado_daemon.pipeline import requests
from staticwado_daemon.pipeline.asked import Requests
from staticwado_daemon.pipeline.create import rejection
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.report import Rate, Report, ReportFile
from staticwado_daemon.pipeline.space import Space
from staticwado_daemon.pipeline.staged import Finished

_TICK_SECONDS = 0.25
_REPORT_SECONDS = 0.5
_NOTES_SECONDS = 1.0
_LOG_SECONDS = 5.0
_PURGE_SECONDS = 600.0
_REFUSAL_SECONDS = 90.0  # longer than a refused file rests before it is tried again

_SILENCE_SECONDS = 60.0
_SILENT = "the publisher has been busy with one step for more than a minute: the tree's disk may hang; see dmesg"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a daemon works.

    Attributes:
        root: of the tree.
        state_dir: where the report goes, and the journal is.
        drop_dir: the one inbound folder that is ours and gets emptied, if there is one.
        space: what is to be left free on the tree's disk.
        keep_deleted_days: for how long what was deleted can be brought back.
    """

    root: Path
    state_dir: Path
    drop_dir: Path | None
    space: Space
    keep_deleted_days: float = 30.0


class Daemon:
    """Everything that runs in the main process.

    Args:
        places: where.
        line: started, with `journal`.
        inbound: not yet started.
        journal: of receipts.
        check: called in every step; raises what must end the daemon.
        told: called with every report, about twice a second for as long as the loop gets on.
    """

    def __init__(
        self,
        places: Places,
        line: Line,
        inbound: Inbound,
        journal: Journal,
        check: Callable[[], None],
        told: Callable[[Report], None],
    ) -> None:
        self._root = places.root
        self._state_dir = places.state_dir
        self._space = places.space
        self._keep_deleted = timedelta(days=places.keep_deleted_days)
        self._purged = -math.inf
        self._noted = -math.inf
        # Inbound folders give real paths.
        self._drop_dir = places.drop_dir.resolve() if places.drop_dir else None
        self._line = line
        self._inbound = inbound
        self._journal = journal
        self._check = check
        self._told = told
        self._requests = Requests(places.root, line, journal, inbound, self._drop_dir)
        self._closing: list[tuple[Source, Receipt]] = []
        self._outcomes: Counter[str] = Counter()
        self._logged = 0.0
        self._refused_at, self._refusal = -math.inf, ""
        self._unnoted = ""
        self._short: str | None = None
        self._stopping = threading.Event()
        self._report_file = ReportFile(places.state_dir)
        self._reported = 0.0
        self._said_idle = False
        self._rate = Rate()
        self._published_at: float | None = None

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
        self._requests.take()
        hurry = False
        if not self._is_short():
            # Half of the room is for the inbound folders, however much somebody asks for.
            hurry = self._requests.submit((self._line.room + 1) // 2)
            self._line.submit(self._inbound.take(self._line.room))
        for finished in self._line.pump(0 if hurry else _TICK_SECONDS):
            self._settle(finished)
        self._close()
        self._requests.answer()
        if not self._stopping.is_set():
            self._check()
        now = time.monotonic()
        if self._drop_dir and now - self._noted > _NOTES_SECONDS:
            self._noted = now
            self._take_notes(self._drop_dir)
        if self._outcomes and (now - self._logged > _LOG_SECONDS or self._line.idle):
            self._log_outcomes()
        if now - self._purged > _PURGE_SECONDS:
            self._purged = now
            self._line.purge(moment(datetime.now(UTC) - self._keep_deleted))
        # Who waits for the end of what they have just handed in must not be told of the rest before it.
        if now - self._reported > _REPORT_SECONDS or (self._said_idle and not self._is_idle()):
            self._report(running=True)

    def _is_short(self) -> bool:
        """Whether there is too little room to take anything more; what is under way is finished."""
        before, self._short = self._short, self._space.shortage()
        if self._short and not before:
            _log.error("intake_waits", reason=self._short)
        elif before and not self._short:
            _log.info("intake_resumes")
        return bool(self._short)

    def _take_notes(self, drop_dir: Path) -> None:
        """Give receipts to what was refused before it could come to the line."""
        try:
            for receipt in refused.take(drop_dir, self._journal):
                self._count(receipt)
        except Transient as why:
            if str(why) != self._unnoted:
                _log.warning("refusals_not_noted", reason=str(why))
            self._unnoted = str(why)
        else:
            self._unnoted = ""

    def _log_outcomes(self) -> None:
        """Log what became of files lately; counts alone, for a reason may quote the file and so name a patient."""
        self._logged = time.monotonic()
        level = logging.WARNING if self._outcomes["rejected"] else logging.INFO
        _log.log(level, "files_done", **self._outcomes)
        self._outcomes.clear()

    def _settle(self, finished: Finished) -> None:
        """Tell whoever a source came from what became of it."""
        source, result = finished.source, finished.result
        if source.requested is not None:
            if receipt := self._requests.settle(finished):
                self._count(receipt)
        elif isinstance(result, Receipt):
            self._closing.append((source, result))
        elif result.incomplete and source.final:
            self._line.conclude(source, rejection(source, result))
        else:
            if result.refused:
                self._note_refusal(result.reason)
            self._requests.note(source.path, result)
            self._inbound.retry(source, incomplete=result.incomplete)

    def _note_refusal(self, reason: str) -> None:
        """Remember for the status, and log now and then, that the disk doesn't take what arrives."""
        now = time.monotonic()
        if now - self._refused_at > _REFUSAL_SECONDS:
            _log.error("files_wait_for_the_disk", reason=reason)
        self._refused_at, self._refusal = now, reason

    def _close(self) -> None:
        """Be done with files of the inbound folders, which have their receipts in the journal."""
        gone: list[Path] = []
        for source, receipt in self._closing:
            self._count(receipt)
            self._requests.note(source.path, receipt)
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

    def _count(self, receipt: Receipt) -> None:
        self._outcomes[receipt.outcome] += 1
        if receipt.outcome in STORED:
            self._refused_at = -math.inf
        if receipt.outcome == "published":
            self._published_at = time.time()

    def _is_idle(self) -> bool:
        return not self._requests.backlog and self._line.idle and self._inbound.idle

    def _troubles(self) -> list[str]:
        failure = self._line.progress.failure
        if not failure and time.monotonic() - self._refused_at < _REFUSAL_SECONDS:
            failure = self._refusal
        tree = f"the tree can't be written: {failure}" if failure else None
        silent = _SILENT if self._line.silence > _SILENCE_SECONDS else None
        return [each for each in (tree, silent, self._no_receipts(), self._short) if each]

    def _no_receipts(self) -> str | None:
        """Why nobody gets a receipt, in one sentence; None if they do."""
        failure = self._line.journal_failure
        return f"{failure}; files wait until {self._state_dir} has room and can be written" if failure else None

    def _report(self, *, running: bool) -> None:
        """Say how far everything is, to `staticwado status` and to whoever looks after the daemon."""
        self._reported = time.monotonic()
        self._requests.report(self._short, self._no_receipts())
        counts = self._journal.counts()
        backlog = self._requests.backlog + self._inbound.backlog + self._line.backlog
        self._said_idle = not backlog and self._is_idle()
        report = Report(
            running=running,
            pid=os.getpid(),
            backlog=backlog,
            waiting=self._inbound.waiting,
            published=sum(counts.get(outcome, 0) for outcome in STORED),
            instances=self._line.progress.instances,
            studies=self._line.progress.studies,
            receipts={str(outcome): count for outcome, count in counts.items()},
            rejected=counts.get("rejected", 0),
            idle=self._said_idle,
            degraded=(*self._inbound.degraded, *self._troubles()),
            folders=self._inbound.modes,
            rate=self._rate.note(self._reported, sum(counts.values())),
            published_at=self._published_at,
            hidden=self._line.progress.hidden,
        )
        self._told(report)
        self._report_file.tell(report)
