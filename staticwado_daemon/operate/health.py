"""Whether a tree's daemon does its work: the one judgement, by its lock, its process and the report that it keeps."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from staticwado_daemon.archive.lock import Role, lock_holder
from staticwado_daemon.pipeline.report import FRESH_SECONDS, Report, read_report
from staticwado_daemon.pipeline.struct_file import lives

Condition = Literal["ok", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class Health:
    """How a daemon is.

    Attributes:
        status: "ok"; "degraded" if it works although something isn't as it should be; "down" if it doesn't work.
        reasons: one sentence for each thing that is wrong. They may name folders, but nobody's data.
        report: the latest, which says little about now if the daemon is down; None without a readable one.
        age: of the report, in seconds; None without one.
        holder: who is writing to the tree; None if nobody is.
        pid: of the daemon's main process, where the report's is there still, whether it works or hangs.
    """

    status: Condition
    reasons: tuple[str, ...] = ()
    report: Report | None = None
    age: float | None = None
    holder: Role | None = None
    pid: int | None = None

    @property
    def running(self) -> bool | None:
        """Whether a daemon is at work; None if one holds the tree that says nothing: it is starting, or it hangs."""
        if self.status != "down":
            return True
        return None if self.holder == "daemon" else False


def look(report: Path, root: Path) -> Health:
    """Judge the daemon of a tree; that it can't be judged is a reason, too.

    Args:
        report: the file in which it says how it is.
        root: of the tree.
    """
    try:
        return judge(report, root)
    except OSError as error:
        return Health("down", (f"the daemon's report or its lock can't be read: {error.strerror}",))


def judge(report: Path, root: Path) -> Health:
    """Judge the daemon of a tree, as `look` does.

    Raises:
        OSError: if its report or its lock can't be read.
    """
    try:
        # Before the report: one that is replaced in between is younger than it seems, which harms nobody.
        age = max(0.0, time.time() - report.stat().st_mtime)
        said = read_report(report)
    except (FileNotFoundError, NotADirectoryError):
        return Health("down", ("no daemon has reported yet",), holder=lock_holder(root))
    # After the report: a daemon that begins has the lock first, and one that ends has it last.
    holder = lock_holder(root)
    if said is None:
        return Health("down", ("the daemon's report is none that this version can read",), None, age, holder)
    if not said.running:
        return Health("down", ("the daemon has ended",), said, age, holder)
    # The lock is held by the daemon's publisher, which outlives its main process for a moment.
    if holder != "daemon" or not lives(said.pid):
        return Health("down", ("the daemon has ended without a word: its log may say why",), said, age, holder)
    if age > FRESH_SECONDS:
        silent = f"the daemon has not reported for more than {FRESH_SECONDS:.0f} s"
        return Health("down", (silent,), said, age, holder, said.pid)
    return Health("degraded" if said.degraded else "ok", said.degraded, said, age, holder, said.pid)
