"""What is lacked is fetched by C-GET or C-MOVE, again and again, until it has come or there is a reason why not."""

import time
from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Final

from pynetdicom.association import Association

from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.patience import PATIENT, Patience
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.pulling import retrieval
from staticwado_daemon.dimse.pulling.arrivals import Arrivals
from staticwado_daemon.dimse.pulling.inventory import Item
from staticwado_daemon.dimse.pulling.lacking import Lack
from staticwado_daemon.dimse.pulling.retrieval import MOST_CLASSES, Counts, Part
from staticwado_daemon.dimse.statuses import is_passing
from staticwado_daemon.errors import StaticwadoError, Transient

_MOST_INSTANCES: Final = 100
"""UIDs in one request; some peers take no longer lists."""
_ARRIVAL_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
MOVE_SECONDS: Final = 600.0
"""Between two answers of a C-MOVE, of which many peers give but the last one."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of a study that was fetched.

    Attributes:
        lack: what was wanted.
        fetched: how many instances came, or were sent on by the peer.
        problem: why that isn't all; None if it is.
        is_general: whether other studies would have the same problem: the association was lost, what is sent goes
            elsewhere, or we have no room for it.
    """

    lack: Lack
    fetched: int
    problem: str | None = None
    is_general: bool = False


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
    tries, plain, whole, problem, is_general = 0, False, wanted.whole, None, False
    while left := [each for each in wanted.items if _is_to_come(each, arrivals)]:
        before = len(arrivals.stored)
        tries += 1
        try:
            refusal = _get(local, peer, left, whole, arrivals, plain=plain)
            problem, is_general = refusal or f"{peer} didn't send all that it lists", False
        except Transient as error:
            problem, is_general, whole = str(error), True, frozenset()
            tries = 1 if len(arrivals.stored) > before else tries
            if patience.pause(tries):
                continue
            break
        except StaticwadoError as error:
            problem, is_general = str(error), True
        if plain:
            break
        plain, whole = True, frozenset()
    return _outcome(wanted, arrivals, problem, is_general=is_general)


def _is_to_come(item: Item, arrivals: Arrivals) -> bool:
    instance = item.identity.instance
    return instance not in arrivals.stored and instance not in arrivals.refused


def _outcome(wanted: Lack, arrivals: Arrivals, problem: str | None, *, is_general: bool) -> Pulled:
    instances = {each.identity.instance for each in wanted.items}
    stored = len(instances & arrivals.stored)
    if stored == len(instances):
        return Pulled(wanted, stored)
    refused = [arrivals.refused[each] for each in sorted(instances & arrivals.refused.keys())]
    if refused:
        problem = f"{len(refused)} refused here: {refused[0].comment or f'0x{refused[0].status:04X}'}"
        is_general = is_general or any(is_passing(each.status) for each in refused)
    return Pulled(wanted, stored, problem, is_general)


def _get(
    local: Local, peer: Peer, items: Sequence[Item], whole: frozenset[UID], arrivals: Arrivals, *, plain: bool
) -> str | None:
    """Fetch instances, on as many associations as their SOP classes need; the first failure of a whole part, if any."""
    refusal = None
    # Nothing on the association itself says how long a message may take: that is looked after where objects arrive.
    ours = replace(local, answer_seconds=None)
    for classes, some in _by_classes(items):
        proposed = contexts.messages([contexts.STUDY_ROOT_GET]) + retrieval.receiving(classes, plain=plain)
        provides = dict.fromkeys(str(each.abstract_syntax) for each in proposed[1:])
        with associated(ours, peer, proposed, provides=provides, storage=arrivals) as association:
            apart = {item.identity.series for item in items if item.sop_class not in classes} if classes else set()
            for part in parts(some, whole - apart):
                try:
                    retrieval.get(association, peer, part, arrivals, local.answer_seconds or MOVE_SECONDS)
                except Transient:
                    raise
                except StaticwadoError as error:  # which says nothing about the others
                    refusal = refusal or str(error)
    return refusal


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
            yield Part(study, series, count=len(instances))
            continue
        for start in range(0, len(instances), _MOST_INSTANCES):
            some = instances[start : start + _MOST_INSTANCES]
            yield Part(study, series, some, len(some))


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
    sent, failed, tries, problem = 0, 0, 0, None
    left = deque(parts(wanted.items, wanted.whole))
    while left:
        tries += 1
        try:
            with associated(ours, peer, contexts.messages([contexts.STUDY_ROOT_MOVE])) as association:
                while left:
                    counts, refusal = _moved(association, peer, left[0], local.title, partial(_tell, told, sent))
                    sent, failed, tries = sent + counts.sent, failed + counts.failed, 0
                    problem = problem or refusal
                    left.popleft()
        except Transient as error:
            if not patience.pause(tries):
                return Pulled(wanted, sent, str(error), is_general=True)
        except StaticwadoError as error:
            return Pulled(wanted, sent, str(error), is_general=True)
    if failed and not problem:
        problem = f"{peer} couldn't send {failed:,} of them"
    # Not every peer counts.
    return Pulled(wanted, max(0, len(wanted.items) - failed), problem)


def _tell(told: Callable[[int], None], before: int, count: int) -> None:
    told(before + count)


def _moved(
    association: Association, peer: Peer, part: Part, title: str, told: Callable[[int], None]
) -> tuple[Counts, str | None]:
    """Have one part sent; how many objects were, and the failure of the whole, which says nothing about others.

    Raises:
        Transient: if the association ends.
    """
    counts = Counts(0, 0)
    try:
        for counts in retrieval.move(association, peer, part, title):
            told(counts.sent)
    except Transient:
        raise
    except StaticwadoError as error:
        return Counts(0, part.count), str(error)
    return counts, None


def arrived(pulled: Pulled, here: Callable[[UID], Collection[str]]) -> Pulled:
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
            return Pulled(pulled.lack, came, problem, is_general=True)
        time.sleep(_LOOK_SECONDS)
    return pulled
