"""Objects fetched from a peer: one C-GET or C-MOVE, from the request to its last answer (PS3.4 C.4.2, C.4.3)."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association.provider import give_up
from staticwado_daemon.dimse.association.requestor import asking, ended
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.pulling.arrivals import Arrivals
from staticwado_daemon.dimse.statuses import SUCCESS, is_pending, is_warning, told
from staticwado_daemon.errors import StaticwadoError

MOST_CLASSES: Final = (contexts.MAXIMUM - 1) // len(contexts.STORAGE_SYNTAXES)
"""So many SOP classes can be fetched on one association in any transfer syntax, each as it is stored."""

_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """What one request is for.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        instances: SOP Instance UIDs; none of them means the whole series.
        count: how many instances that is, as far as we know.
    """

    study: UID
    series: UID
    instances: tuple[UID, ...] = ()
    count: int = 0

    def identifier(self) -> Dataset:
        """The request's identifier."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "IMAGE" if self.instances else "SERIES"
        asked.StudyInstanceUID = self.study
        asked.SeriesInstanceUID = self.series
        if self.instances:
            asked.SOPInstanceUID = list(self.instances)
        return asked


class Counts(NamedTuple):
    """How many objects of a C-MOVE have been sent, and how many have failed, so far."""

    sent: int
    failed: int


def receiving(classes: Sequence[str], *, plain: bool = False) -> list[PresentationContext]:
    """What is proposed besides C-GET itself: each class in each transfer syntax, so that it comes as it is stored.

    Args:
        classes: SOP Class UIDs, at most `MOST_CLASSES` of them; none if the peer doesn't say. Then there is room for
            one context for each class that is common, of which the peer chooses the transfer syntax.
        plain: no transfer syntax but the uncompressed ones, for peers that take the first best context for an object
            and fail because it is none of its transfer syntax.
    """
    if plain or not classes:
        syntaxes = contexts.MESSAGE_SYNTAXES if plain else contexts.STORAGE_SYNTAXES
        return contexts.receiving(classes or contexts.COMMON_STORAGE[: contexts.MAXIMUM - 1], syntaxes)
    return [build_context(uid, [syntax]) for uid in classes for syntax in contexts.STORAGE_SYNTAXES]


def get(association: Association, peer: Peer, part: Part, arrivals: Arrivals, seconds: float) -> None:
    """Have the peer send a part on this association (C-GET); what came is in `arrivals`.

    Args:
        association: with the context of the Study Root C-GET, and those of `receiving`; its storage is `arrivals`.
        peer: with whom it is.
        part: which.
        arrivals: is told of each object.
        seconds: for which nothing at all may come.

    Raises:
        Transient: if the association ends, or nothing comes any more.
        StaticwadoError: if the peer answers with a failure of the whole.
    """
    with asking(association, peer), _watched(association, arrivals, seconds):
        for status, _ in association.send_c_get(part.identifier(), contexts.STUDY_ROOT_GET):
            arrivals.moved_at = time.monotonic()
            _check(status, association, peer, "C-GET")


def move(association: Association, peer: Peer, part: Part, title: str) -> Iterator[Counts]:
    """Have the peer send a part to somebody else, which may be us (C-MOVE).

    Args:
        association: with the context of the Study Root C-MOVE.
        peer: with whom it is.
        part: which.
        title: the AE title to which it is to be sent, as the peer knows it.

    Yields:
        how far it is.

    Raises:
        Transient: if the association ends, or nothing is heard any more.
        StaticwadoError: if the peer answers with a failure of the whole.
    """
    with asking(association, peer):
        for status, _ in association.send_c_move(part.identifier(), title, contexts.STUDY_ROOT_MOVE):
            _check(status, association, peer, "C-MOVE")
            yield Counts(_count(status, "Completed") + _count(status, "Warning"), _count(status, "Failed"))


def _count(status: Dataset, kind: str) -> int:
    return int(status.get(f"NumberOf{kind}Suboperations") or 0)


def _check(status: Dataset, association: Association, peer: Peer, operation: str) -> None:
    """Raise if an answer means that nothing came of the whole; single failures are counted in others."""
    if "Status" not in status:
        raise ended(association, peer)
    code = int(status.Status)
    if code != SUCCESS and not is_pending(code) and not is_warning(code) and not _count(status, "Completed"):
        raise StaticwadoError(f"{peer} answers {operation} with: {told(status)}")


@contextmanager
def _watched(association: Association, arrivals: Arrivals, seconds: float) -> Iterator[None]:
    """Abort an association on which nothing comes any more: that between two answers there is none is allowed."""
    arrivals.moved_at = time.monotonic()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_SECONDS):
            if arrivals.is_given_up() or time.monotonic() - arrivals.moved_at > seconds:
                give_up(association)
                return

    watcher = threading.Thread(target=watch, name="watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
