"""The daemon's loop: inbound folders and requests on one side of the line, journal and status on the other."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import structlog

from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound import drop
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import STORED, Receipt
from staticwado_daemon.inbound.source import Source, Stamp, remove
from staticwado_daemon.pipeline import requests
from staticwado_daemon.pipeline.create import Given, give_up
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.requests import Request
from staticwado_daemon.pipeline.staged import Finished

STATUS = "status.json"
"""Below the state directory: what the running daemon last said of itself."""

_TICK_SECONDS = 0.25
_REPORT_SECONDS = 0.5

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Asked:
    """A request under way: what became of its files so far, and how many are still to come."""

    request: Request
    waiting: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    flushed: bool = False

    def done(self, line: Line) -> bool:
        """Whether all is done and written; what is done is written without waiting for quiet."""
        if not self.waiting and not self.flushed:
            line.flush()
            self.flushed = True
        return not self.waiting and line.idle


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
        self._stopping = threading.Event()
        self._reported = 0.0
        self._status: dict[str, object] = {}

    def stop(self) -> None:
        """End the loop after its present step; a signal handler may call this."""
        self._stopping.set()
        self._line.wake()

    def run(self) -> None:
        """Work until told to stop.

        Raises:
            StaticwadoError: if the daemon can't go on.
        """
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
        for request in requests.pending(self._root):
            self._obey(request)
        self._line.submit(self._inbound.take(self._line.room))
        finished = self._line.pump(_TICK_SECONDS)
        for each in finished:
            self._settle(each)
        # Counts alone: a reason may quote the file, and what it quotes may name a patient.
        outcomes = Counter(str(each.result.outcome) for each in finished if isinstance(each.result, Receipt))
        if outcomes:
            _log.info("receipts", **outcomes)
        for asked in [each for each in self._asked.values() if each.done(self._line)]:
            requests.answer(self._root, asked.request.id, [self._line.current(each) for each in asked.receipts])
            del self._asked[asked.request.id]
        self._check()
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._report(running=True)

    def _obey(self, request: Request) -> None:
        asked = _Asked(request)
        self._asked[request.id] = asked
        if request.command == "index":
            self._line.reindex()
        for path in request.paths:
            self._take(asked, path)
        _log.info("request_taken", command=request.command, files=len(request.paths))

    def _take(self, asked: "_Asked", path: Path) -> None:
        try:
            source = Source(path, Stamp.of(path.lstat()), requested=asked.request.id)
        except OSError as error:
            asked.receipts.append(Receipt(path, None, "rejected", f"cannot be read: {error.strerror}"))
            return
        receipt = self._given.known(source)
        if receipt:
            asked.receipts.append(receipt)
        else:
            asked.waiting += 1
            self._line.submit([source])

    def _settle(self, finished: Finished) -> None:
        """Tell whoever a source came from what became of it."""
        source, result = finished.source, finished.result
        if source.requested is not None:
            receipt = self._given.settle(finished, self._line)
            if receipt:
                asked = self._asked[source.requested]
                asked.receipts.append(receipt)
                asked.waiting -= 1
        elif isinstance(result, Receipt):
            self._close(source, result)
        elif result.incomplete and source.final:
            self._close(source, give_up(source, result, self._journal))
        else:
            self._inbound.retry(source, incomplete=result.incomplete)

    def _close(self, source: Source, receipt: Receipt) -> None:
        """Be done with a file of an inbound folder, which has its receipt in the journal."""
        try:
            if self._clear(source, receipt):
                self._journal.removed([source.path])
        except Transient as why:
            _log.warning("source_not_removed", reason=str(why))
        self._inbound.done(receipt)

    def _clear(self, source: Source, receipt: Receipt) -> bool:
        """Take the file out of its folder where that is wanted; says whether it is gone."""
        if self._drop_dir and source.path.is_relative_to(self._drop_dir):
            return drop.clear(self._drop_dir, receipt)
        return source.after_ingest == "delete" and receipt.outcome in STORED and remove(source)

    def _report(self, *, running: bool) -> None:
        """Write the status for `staticwado status`, if it has changed."""
        self._reported = time.monotonic()
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
            "degraded": self._inbound.degraded,
            "idle": not backlog and self._line.idle and self._inbound.idle,
        }
        if status == self._status:
            return
        self._status = status
        temporary = self._state_dir / f"{STATUS}.part"
        temporary.write_bytes(orjson.dumps(status))
        temporary.rename(self._state_dir / STATUS)
