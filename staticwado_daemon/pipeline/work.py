"""What the publisher has yet to write, when, and what the disk refuses."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from staticwado_daemon.archive.disk import SyncFailed
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Transient

_log = structlog.get_logger(__name__)

QUIET_SECONDS: Final = 2.0
"""How long a study rests before its cold files are written."""


@dataclass(slots=True)
class Work:
    """What is yet to be written of a study.

    Attributes:
        changed: series whose hot files are due; None for all of them.
        hot_due, cold_due: not before these times.
    """

    changed: set[UID] | None
    hot_due: float
    cold_due: float

    @property
    def is_hot(self) -> bool:
        """Whether hot files are due; cold ones wait for them."""
        return self.changed is None or bool(self.changed)


class Agenda:
    """The studies that are to be written, and what the disk refuses at present.

    Args:
        doubt: called when a sync has failed: of what is computed from all studies any file may be lost.

    Attributes:
        studies: what is yet to be written of each.
    """

    def __init__(self, doubt: Callable[[], None]) -> None:
        self.studies: dict[UID, Work] = {}
        self._doubt = doubt
        self._failures: dict[str, str] = {}

    @property
    def failure(self) -> str | None:
        """What the disk says that it refuses; None while it doesn't."""
        return next(iter(self._failures.values()), None)

    def note(self, study: UID, series: set[UID] | None) -> None:
        """Note that series of a study have changed, or all of it."""
        now = time.monotonic()
        work = self.studies.setdefault(study, Work(set(), now, 0.0))
        work.changed = None if series is None or work.changed is None else work.changed | series
        work.cold_due = now + QUIET_SECONDS

    def is_doubtful(self, study: UID) -> bool:
        """Whether all of a study is to be written, as after an attempt that was interrupted."""
        return study in self.studies and self.studies[study].changed is None

    def refused(self, what: str, error: OSError | Transient) -> str:
        """Note that the disk refused something, a study by its UID; until it succeeds that is a failure."""
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        if self._failures.get(what) != reason:
            _log.error("disk_refused", what=what, reason=reason)
        self._failures[what] = reason
        if isinstance(error, SyncFailed):
            # Studies without a mark are on the disk; of the others any file may be lost.
            for uid in self.studies:
                self.note(uid, None)
            self._doubt()
        return reason

    def succeeded(self, what: str) -> None:
        """Note that the disk takes it."""
        self._failures.pop(what, None)


def next_due(work: Iterable[Work], index_due: float | None) -> float | None:
    """When something is due; None if nothing is. Hot files go before the list of studies, and that before cold ones."""
    work = tuple(work)
    due = [each.hot_due for each in work if each.is_hot]
    if index_due is not None:
        due.append(index_due)
    else:
        due.extend(each.cold_due for each in work if not each.is_hot)
    return min(due, default=None)
