"""For which of the instances that somebody refers to this archive vouches, and why not for the others."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse.commitment.messages import CLASS_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE
from staticwado_daemon.dimse.commitment.transactions import Failure, Reference
from staticwado_daemon.operate import safekeeping
from staticwado_daemon.operate.safekeeping import Fault

_REASONS: dict[Fault, int] = {
    "unknown": NO_SUCH_INSTANCE,
    "removed": NO_SUCH_INSTANCE,
    "class": CLASS_CONFLICT,
    "damaged": PROCESSING_FAILURE,
    "no_original": PROCESSING_FAILURE,
}


class Index(Protocol):
    """What of the query index is asked here."""

    def instances(self, sop_instance_uid: UID) -> Sequence[Identity]:
        """Where the instances of a SOP Instance UID are."""


@dataclass(frozen=True, slots=True)
class Archive:
    """What is asked about instances.

    Attributes:
        root: of the tree.
        drop: the drop folder, in which received files wait for the daemon.
        report: the file in which the daemon says how it is.
        open_index: opens the query index; StaticwadoError while that can't answer.
        again: seconds until the second look at what seems to be wrong.
    """

    root: Path
    drop: Path
    report: Path
    open_index: Callable[[], AbstractContextManager[Index]]
    again: float = 1.0

    def has_all(self, references: Iterable[Reference]) -> bool:
        """Whether every instance is known, be it safe or not.

        Raises:
            StaticwadoError: if that can't be told now.
        """
        with self.open_index() as index:
            return all(index.instances(UID(each.instance)) for each in references)

    def is_under_way(self) -> bool:
        """Whether what isn't known may come yet.

        Raises:
            OSError: if that can't be told now.
        """
        return safekeeping.is_under_way(self.root, self.drop, self.report)

    def failures(self, references: Sequence[Reference]) -> tuple[Failure, ...]:
        """Those that the archive doesn't vouch for; all others are on the disk on return.

        What seems to be wrong while somebody writes is believed only when it is seen twice.

        Raises:
            StaticwadoError, OSError: if that can't be told now.
        """
        failed = self._look(references)
        if failed:
            time.sleep(self.again)
            failed = self._look([each.reference for each in failed])
        safekeeping.make_durable(self.root)
        return tuple(failed)

    def _look(self, references: Sequence[Reference]) -> list[Failure]:
        with self.open_index() as index:
            places = {each: index.instances(UID(each.instance)) for each in references}
        by_study: dict[UID, set[safekeeping.Wanted]] = {}
        for reference, identities in places.items():
            for identity in identities:
                by_study.setdefault(identity.study, set()).add((identity, reference.sop_class))
        faults = {
            wanted: fault
            for study, those in by_study.items()
            for wanted, fault in safekeeping.look(self.root, study, those).items()
        }
        found = {
            reference: [faults[identity, reference.sop_class] for identity in identities]
            for reference, identities in places.items()
        }
        return [Failure(reference, _reason(each)) for reference, each in found.items() if None not in each]


def _reason(faults: Sequence[Fault | None]) -> int:
    """The reason of an instance that may be in several studies, and is safe in none of them: what is worst."""
    return max((_REASONS[each] for each in faults if each), key=_GRAVITY.index, default=NO_SUCH_INSTANCE)


_GRAVITY = (NO_SUCH_INSTANCE, CLASS_CONFLICT, PROCESSING_FAILURE)
