"""What a peer has and we lack: found by C-FIND, fetched by C-GET or C-MOVE, and handed over as what is received is.

What we hold decides, so that a pull which was interrupted goes on where it ended when it is repeated. What was deleted
or rejected here counts as held: it isn't to come back.
"""

import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.archive import holdings
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.patience import PATIENT, Patience
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.pulling import retrieval
from staticwado_daemon.dimse.pulling.inventory import Item, of_study, uid
from staticwado_daemon.dimse.pulling.retrieval import MOST_CLASSES, Arrivals, Part
from staticwado_daemon.dimse.query.question import ask, identifier
from staticwado_daemon.errors import StaticwadoError, Transient

Way: TypeAlias = Literal["get", "move"]
MODELS: Final[Mapping[Way, str]] = {"get": contexts.STUDY_ROOT_GET, "move": contexts.STUDY_ROOT_MOVE}

_MOST_INSTANCES: Final = 100
"""UIDs in one request; some peers take no longer lists."""
_MOST_STUDIES: Final = 100_000
"""Of one question; whoever has more of them by its keys doesn't look at these."""
_ARRIVAL_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
MOVE_SECONDS: Final = 600.0
"""Between two answers of a C-MOVE, of which many peers give but the last one."""


@dataclass(frozen=True, slots=True)
class Lack:
    """What a peer has of a study and we don't.

    Attributes:
        study: Study Instance UID.
        total: how many instances the peer has of it.
        items: those that we lack, series by series.
        whole: the series of which we have nothing.
    """

    study: UID
    total: int
    items: tuple[Item, ...]
    whole: frozenset[UID]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of a study that was fetched.

    Attributes:
        lack: what was wanted.
        fetched: how many instances came, or were sent on by the peer.
        problem: why that isn't all; None if it is.
    """

    lack: Lack
    fetched: int
    problem: str | None = None


def held(root: Path, study: UID) -> frozenset[UID]:
    """The SOP Instance UIDs that a tree knows of a study, shown or not."""
    return frozenset(identity.instance for identity in merge(holdings.held(root, study)))


def waiting(drop: Path) -> frozenset[UID]:
    """The SOP Instance UIDs of what waits in the drop folder for the daemon."""
    found = set()
    for path in drop.glob("*.dcm"):
        try:
            found.add(UID(str(read_file_meta_info(path).MediaStorageSOPInstanceUID)))
        except (OSError, InvalidDicomError, AttributeError, StaticwadoError):
            continue  # somebody else's, or the daemon has just taken it
    return frozenset(found)


def ways(association: Association) -> tuple[Way, ...]:
    """How the peer lets itself be fetched from, the best one first: what C-GET brings comes on this very way."""
    accepted = {str(each.abstract_syntax) for each in association.accepted_contexts}
    return tuple(way for way, model in MODELS.items() if model in accepted)


def proposals() -> list[PresentationContext]:
    """What is proposed to find out what there is, and by which way it can be had."""
    return contexts.messages([contexts.STUDY_ROOT_FIND, *MODELS.values()])


def studies(association: Association, peer: Peer, keys: Mapping[str, str], today: date) -> list[UID]:
    """The studies that a peer has by these keys, each once; as `question.identifier` and `question.ask`."""
    answers = ask(association, peer, identifier("STUDY", keys, today), _MOST_STUDIES)
    return list(dict.fromkeys(uid(answer, "StudyInstanceUID", peer) for answer in answers))


def lack(association: Association, peer: Peer, study: UID, here: Container[str]) -> Lack:
    """What a peer has of a study that isn't `here`; as `inventory.of_study`."""
    items = list(of_study(association, peer, study))
    missing = tuple(item for item in items if item.identity.instance not in here)
    kept = {item.identity.series for item in items if item.identity.instance in here}
    whole = frozenset(item.identity.series for item in missing) - kept
    return Lack(study, len({item.identity for item in items}), missing, whole)


def get(local: Local, peer: Peer, wanted: Lack, arrivals: Arrivals, patience: Patience = PATIENT) -> Pulled:
    """Fetch what is lacked of a study by C-GET; where the association is lost, the rest is asked for again.

    What the peer fails to send is asked for once more without compression.

    Args:
        local: we.
        peer: from whom.
        wanted: what.
        arrivals: where it goes, and what of it has come.
        patience: with associations that are lost.
    """
    tries, plain, whole, problem = 0, False, wanted.whole, None
    while left := [each for each in wanted.items if _is_to_come(each, arrivals)]:
        before = len(arrivals.stored)
        tries += 1
        try:
            _get(local, peer, left, whole, arrivals, plain=plain)
            problem = f"{peer} didn't send all that it lists"
        except Transient as error:
            problem, whole = str(error), frozenset()
            tries = 1 if len(arrivals.stored) > before else tries
            if patience.pause(tries):
                continue
            break
        except StaticwadoError as error:
            problem = str(error)
        if plain:
            break
        plain, whole = True, frozenset()
    return _outcome(wanted, arrivals, problem)


def _is_to_come(item: Item, arrivals: Arrivals) -> bool:
    instance = item.identity.instance
    return instance not in arrivals.stored and instance not in arrivals.refused


def _outcome(wanted: Lack, arrivals: Arrivals, problem: str | None) -> Pulled:
    instances = {each.identity.instance for each in wanted.items}
    stored = len(instances & arrivals.stored)
    if stored == len(instances):
        return Pulled(wanted, stored)
    refused = [arrivals.refused[each] for each in sorted(instances & arrivals.refused.keys())]
    if refused:
        problem = f"{len(refused)} refused here: {refused[0].comment or f'0x{refused[0].status:04X}'}"
    return Pulled(wanted, stored, problem)


def _get(
    local: Local, peer: Peer, items: Sequence[Item], whole: frozenset[UID], arrivals: Arrivals, *, plain: bool
) -> None:
    """Fetch instances, on as many associations as their SOP classes need."""
    # Nothing on the association itself says how long a message may take: that is looked after where objects arrive.
    ours = replace(local, answer_seconds=None)
    for classes, some in _by_classes(items):
        proposed = contexts.messages([contexts.STUDY_ROOT_GET]) + retrieval.receiving(classes, plain=plain)
        provides = dict.fromkeys(str(each.abstract_syntax) for each in proposed[1:])
        with associated(ours, peer, proposed, provides=provides, storage=arrivals) as association:
            apart = {item.identity.series for item in items if item.sop_class not in classes} if classes else set()
            for part in parts(some, whole - apart):
                retrieval.get(association, peer, part, arrivals, local.answer_seconds or MOVE_SECONDS)


def _by_classes(items: Sequence[Item]) -> Iterator[tuple[list[str], list[Item]]]:
    """Divide instances so that the SOP classes of each portion fit on one association."""
    known = list(dict.fromkeys(item.sop_class for item in items))
    if "" in known:
        yield [], list(items)
        return
    for start in range(0, len(known), MOST_CLASSES):
        classes = known[start : start + MOST_CLASSES]
        yield classes, [item for item in items if item.sop_class in classes]


def parts(items: Iterable[Item], whole: Container[UID] = frozenset()) -> Iterator[Part]:
    """The requests for instances: whole series where nothing of them is there, lists of the others.

    Args:
        items: what is wanted; all of a series stand together.
        whole: the series that may be asked for as such.
    """
    for (study, series), members in groupby(items, lambda item: (item.identity.study, item.identity.series)):
        instances = tuple(item.identity.instance for item in members)
        if series in whole:
            yield Part(study, series)
            continue
        for start in range(0, len(instances), _MOST_INSTANCES):
            yield Part(study, series, instances[start : start + _MOST_INSTANCES])


def move(
    local: Local,
    peer: Peer,
    wanted: Lack,
    told: Callable[[int], None] = lambda _sent: None,
    patience: Patience = PATIENT,
) -> Pulled:
    """Have what is lacked of a study sent to our own node by C-MOVE; where the association is lost, it is asked again.

    Args:
        local: we; the peer must know by this title where our node listens.
        peer: from whom.
        wanted: what.
        told: is told how many the peer has sent so far.
        patience: with associations that are lost.
    """
    ours = replace(local, answer_seconds=MOVE_SECONDS)
    sent, failed, tries = 0, 0, 0
    left = list(parts(wanted.items, wanted.whole))
    while left:
        tries += 1
        try:
            with associated(ours, peer, contexts.messages([contexts.STUDY_ROOT_MOVE])) as association:
                while left:
                    last = (0, 0)
                    for last in retrieval.move(association, peer, left[0], local.title):
                        told(sent + last[0])
                    sent, failed, tries = sent + last[0], failed + last[1], 0
                    left.pop(0)
        except Transient as error:
            if not patience.pause(tries):
                return Pulled(wanted, sent, str(error))
        except StaticwadoError as error:
            return Pulled(wanted, sent, str(error))
    problem = f"{peer} couldn't send {failed:,} of them" if failed else None
    # Not every peer counts.
    return Pulled(wanted, max(0, len(wanted.items) - failed), problem)


def arrived(pulled: Pulled, here: Callable[[UID], Collection[UID]]) -> Pulled:
    """Compare what a peer says that it has moved with what has come: it may have sent that to somebody else.

    Args:
        pulled: by `move`.
        here: gives the SOP Instance UIDs that are here of a study, in the tree or on their way into it.
    """
    wanted = {each.identity.instance for each in pulled.lack.items}
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while (came := len(wanted.intersection(here(pulled.lack.study)))) < pulled.fetched:
        if time.monotonic() > deadline:
            problem = f"{pulled.fetched - came:,} were sent, but didn't come here: compare our host and port there"
            return Pulled(pulled.lack, came, problem)
        time.sleep(_LOOK_SECONDS)
    return pulled
