"""What a peer has and we lack, found by C-FIND.

What we hold decides, so that a pull which was interrupted goes on where it ended when it is repeated. What was deleted
or rejected here counts as held: it isn't to come back.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.archive import holdings, regular
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.pulling.inventory import Item, of_study, uids
from staticwado_daemon.dimse.query.question import ask, identifier
from staticwado_daemon.errors import Rejected, StaticwadoError, Transient

Way: TypeAlias = Literal["get", "move"]
_MODELS: Final[Mapping[Way, str]] = {"get": contexts.STUDY_ROOT_GET, "move": contexts.STUDY_ROOT_MOVE}

_MOST_STUDIES: Final = 100_000
"""Of one question; whoever has more of them by its keys doesn't look at these."""
_HEAD_BYTES: Final = 1024
"""Of a file: its preamble, and what of group 0002 we write."""
_MEDIA_STORAGE_SOP_INSTANCE_UID: Final = b"\x02\0\x03\0UI"
"""(0002,0003) in Explicit VR Little Endian; two bytes of length and the value come after it."""


@dataclass(frozen=True, slots=True)
class Lack:
    """What a peer has of a study and we don't.

    Attributes:
        study: Study Instance UID.
        total: how many instances the peer has of it.
        items: those that we lack, series by series.
        whole: the series of which we have nothing.
        problem: why the peer doesn't tell; None if it does.
    """

    study: UID
    total: int
    items: tuple[Item, ...]
    whole: frozenset[UID]
    problem: str | None = None


def held(root: Path, study: UID) -> frozenset[UID]:
    """The SOP Instance UIDs that a tree knows of a study, shown or not."""
    return frozenset(identity.instance for identity in merge(holdings.held(root, study)))


def waiting(drop: Path) -> frozenset[UID]:
    """The SOP Instance UIDs of what waits in the drop folder for the daemon."""
    found = set()
    for path in drop.glob("*.dcm"):
        try:
            with regular.opened(path) as file:
                head = file.read(_HEAD_BYTES)
            start = head.index(_MEDIA_STORAGE_SOP_INSTANCE_UID) + len(_MEDIA_STORAGE_SOP_INSTANCE_UID) + 2
            length = int.from_bytes(head[start - 2 : start], "little")
            found.add(UID(head[start : start + length].decode("ascii").rstrip("\0 ")))
        except (OSError, ValueError, Rejected):
            continue  # somebody else's, or the daemon has just taken it
    return frozenset(found)


def ways(association: Association) -> tuple[Way, ...]:
    """How the peer lets itself be fetched from, the best one first: what C-GET brings comes on this very way."""
    accepted = {str(each.abstract_syntax) for each in association.accepted_contexts}
    return tuple(way for way, model in _MODELS.items() if model in accepted)


def proposals() -> list[PresentationContext]:
    """What is proposed to find out what there is, and by which way it can be had."""
    return contexts.messages([contexts.STUDY_ROOT_FIND, *_MODELS.values()])


def studies(association: Association, peer: Peer, keys: Mapping[str, str], today: date) -> list[UID]:
    """The studies that a peer has by these keys, each once; as `question.identifier` and `question.ask`."""
    return list(uids(ask(association, peer, identifier("STUDY", keys, today), _MOST_STUDIES), "StudyInstanceUID", peer))


def lack(association: Association, peer: Peer, study: UID, here: Container[str]) -> Lack:
    """What a peer has of a study that isn't `here`; nothing, and the problem, if it fails to tell that.

    Raises:
        Transient: if the association ends.
    """
    try:
        items = list(of_study(association, peer, study))
    except Transient:
        raise
    except StaticwadoError as error:
        return Lack(study, 0, (), frozenset(), str(error))
    missing = tuple(item for item in items if item.identity.instance not in here)
    kept = {item.identity.series for item in items if item.identity.instance in here}
    whole = frozenset(item.identity.series for item in missing) - kept
    return Lack(study, len(items), missing, whole)
