"""What a peer has of a study, by C-FIND: its series, and their instances (PS3.4 C.4.1.2.1)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

import structlog
from pynetdicom.association import Association

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.query.question import Answer, ask, identifier, value
from staticwado_daemon.errors import Rejected

_NO_DAY = date(2000, 1, 1)
"""Nothing here is asked by date."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """An instance that a peer has.

    Attributes:
        identity: Study, Series and SOP Instance UID.
        sop_class: SOP Class UID, "" if the peer doesn't say.
    """

    identity: Identity
    sop_class: str


def of_study(association: Association, peer: Peer, study: UID) -> Iterator[Item]:
    """Every instance that a peer has of a study, series by series; none if it hasn't got it.

    Args:
        association: with the context of the Study Root C-FIND.
        peer: with whom it is.
        study: which.

    Raises:
        StaticwadoError: if the peer answers with a failure.
    """
    asked = identifier("SERIES", {"StudyInstanceUID": study}, _NO_DAY)
    # All are read before the next question: one is answered to its end before another is put.
    for series in list(uids(ask(association, peer, asked), "SeriesInstanceUID", peer)):
        yield from of_series(association, peer, study, series)


def of_series(association: Association, peer: Peer, study: UID, series: UID) -> Iterator[Item]:
    """Every instance that a peer has of a series; as `of_study`."""
    asked = identifier("IMAGE", {"StudyInstanceUID": study, "SeriesInstanceUID": series}, _NO_DAY)
    found = uids(ask(association, peer, asked), "SOPInstanceUID", peer)
    return (Item(Identity(study, series, each), value(answer, "SOPClassUID")) for each, answer in found.items())


def uids(answers: Iterable[Answer], keyword: str, peer: Peer) -> dict[UID, Answer]:
    """The answers by the UID in them, each once; those in which it is none are passed over, and the log says so.

    What has no UID can't be asked for, nor be stored; it is to keep nothing else from that.
    """
    found: dict[UID, Answer] = {}
    faults: list[str] = []
    for answer in answers:
        try:
            found.setdefault(UID(value(answer, keyword)), answer)
        except Rejected as error:
            faults.append(error.reason)
    if faults:
        _log.warning("answers_passed_over", peer=str(peer), count=len(faults), reason=f"{keyword} is {faults[0]}")
    return found
