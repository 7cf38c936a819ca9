"""What the running daemon says of itself: one small file in the state directory, for `status`, health and metrics."""

from collections import deque
from pathlib import Path

import msgspec
import orjson

from staticwado_daemon.archive.hidden import NOTHING, Hidden
from staticwado_daemon.pipeline.struct_file import StructFile, padded, read_struct

REPORT = "status.json"
"""The file's name below the state directory."""

FRESH_SECONDS = 15.0
"""A running daemon keeps its report younger than this."""

_SENTENCES = 4096  # bytes of `degraded`, so that the report fits
_RATE_SECONDS = 60.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a daemon and of what is on its way to its tree.

    Attributes:
        running: false in the last report before the end.
        pid: of the main process.
        backlog: sources without a receipt.
        waiting: those of the backlog that ended too early and wait for the rest.
        published: sources whose content is in the tree.
        instances: visible now.
        studies: visible now.
        receipts: sources by outcome.
        rejected: sources that could not be stored.
        idle: nothing is on its way, and every file of the tree is written.
        degraded: one sentence for each thing that isn't as it should be.
        folders: how each inbound folder is followed: "inotify", "polling", "unavailable", or at first "starting".
        rate: sources per second that got their receipts, over the last minute.
        published_at: when the latest of them was published (Unix time); None before the first.
        hidden: instances of which something is stored but not shown.
    """

    running: bool
    pid: int
    backlog: int
    waiting: int = 0
    published: int
    instances: int
    studies: int
    receipts: dict[str, int] = msgspec.field(default_factory=dict)
    rejected: int
    idle: bool
    degraded: tuple[str, ...] = ()
    folders: dict[str, str] = msgspec.field(default_factory=dict)
    rate: float = 0.0
    published_at: float | None = None
    hidden: Hidden = NOTHING


class ReportFile(StructFile[Report]):
    """The report's file, as the daemon writes it.

    Args:
        state_dir: where it stands.
    """

    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir / REPORT, _encode)


class Rate:
    """How many things are done per second, from their number at many moments of the last minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, done: int) -> float:
        """Take the number at `now` (monotonic seconds); give the mean rate since a minute ago, to a tenth.

        Where things were undone (receipts withdrawn), that counts against what was done, but no rate is negative.
        """
        self._samples.append((now, done))
        while self._samples[0][0] < now - _RATE_SECONDS:
            self._samples.popleft()
        then, before = self._samples[0]
        return max(0.0, round((done - before) / (now - then), 1)) if now > then else 0.0


def read_report(path: Path) -> Report | None:
    """What the latest daemon last said of itself; None if there is no telling (no file, an older version's).

    Raises:
        PermissionError: if the file may not be read.
    """
    return read_struct(path, Report)


def _encode(report: Report) -> bytes:
    """Of what has no end only as much as there is always room for."""
    sentences = [each.encode("utf-8", "backslashreplace").decode() for each in report.degraded]
    while len(orjson.dumps(sentences)) > _SENTENCES:
        sentences.pop()
    folders = {each.encode("utf-8", "backslashreplace").decode(): mode for each, mode in report.folders.items()}
    return padded(msgspec.structs.replace(report, degraded=tuple(sentences), folders=folders))
