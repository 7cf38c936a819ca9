"""What is yet to be written of a study, and when."""

from collections.abc import Iterable
from dataclasses import dataclass

from staticwado_daemon.dicom.uids import UID


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


def next_due(work: Iterable[Work], index_due: float | None) -> float | None:
    """When something is due; None if nothing is. Hot files go before the list of studies, and that before cold ones."""
    work = tuple(work)
    due = [each.hot_due for each in work if each.is_hot]
    if index_due is not None:
        due.append(index_due)
    else:
        due.extend(each.cold_due for each in work if not each.is_hot)
    return min(due, default=None)
