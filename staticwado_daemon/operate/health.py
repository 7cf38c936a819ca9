"""Whether a tree's daemon does its work, as judged by the report that it keeps."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from staticwado_daemon.pipeline.report import FRESH_SECONDS, Report, read_report

Status = Literal["ok", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class Health:
    """How a daemon is.

    Attributes:
        status: "ok"; "degraded" if it works although something isn't as it should be; "down" if it doesn't work.
        reasons: one sentence for each thing that is wrong. They may name folders, but nobody's data.
        report: the latest, which says little about now if the daemon is down; None without a readable one.
        age: of the report, in seconds; None without one.
    """

    status: Status
    reasons: tuple[str, ...] = ()
    report: Report | None = None
    age: float | None = None


def look(report: Path) -> Health:
    """Judge the daemon that keeps its report in this file."""
    try:
        # Before the report: one that is replaced in between is younger than it seems, which harms nobody.
        modified = report.stat().st_mtime
        said = read_report(report)
    except FileNotFoundError:
        return Health("down", ("no daemon has reported yet",))
    except OSError as error:
        return Health("down", (f"the daemon's report can't be read: {error.strerror}",))
    age = max(0.0, time.time() - modified)
    if said is None:
        return Health("down", ("the daemon's report is none that this version can read",), None, age)
    if not said.running:
        return Health("down", ("the daemon has ended",), said, age)
    if age > FRESH_SECONDS:
        return Health("down", (f"the daemon has not reported for more than {FRESH_SECONDS:.0f} s",), said, age)
    return Health("degraded" if said.degraded else "ok", said.degraded, said, age)
