"""What a peer has of a study, by C-FIND: its series, and their instances (PS3.4 C.4.1.2.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from pynetdicom.association import Association

from staticwado_daemon.archive.search import Level
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.query.question import Answer, ask, identifier, value
from staticwado_daemon.errors import Rejected, StaticwadoError

_NO_DAY = date(2000, 1, 1)
"""Nothing here is asked by date."""


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
        StaticwadoError: if the peer answers with a failure, or with what is no UID.
    """
    for series in _uids(association, peer, "SERIES", {"StudyInstanceUID": study}):
        yield from of_series(association, peer, study, series)


def of_series(association: Association, peer: Peer, study: UID, series: UID) -> Iterator[Item]:
    """Every instance that a peer has of a series; as `of_study`."""
    asked = identifier("IMAGE", {"StudyInstanceUID": study, "SeriesInstanceUID": series}, _NO_DAY)
    for answer in ask(association, peer, asked):
        instance = uid(answer, "SOPInstanceUID", peer)
        yield Item(Identity(study, series, instance), value(answer, "SOPClassUID"))


def _uids(association: Association, peer: Peer, level: Level, keys: dict[str, str]) -> list[UID]:
    """All are read before the next question: one is answered to its end before another is put."""
    found = ask(association, peer, identifier(level, keys, _NO_DAY))
    return list(dict.fromkeys(uid(answer, "SeriesInstanceUID", peer) for answer in found))


def uid(answer: Answer, keyword: str, peer: Peer) -> UID:
    """The UID in an answer.

    Raises:
        StaticwadoError: if it is none.
    """
    try:
        return UID(value(answer, keyword))
    except Rejected as error:
        raise StaticwadoError(f"{peer} answers C-FIND with a {keyword} that is {error.reason}") from None
