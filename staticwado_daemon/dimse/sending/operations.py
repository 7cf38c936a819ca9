"""C-STORE sub-operations: objects sent one after the other, the next ones prepared meanwhile (PS3.4 annex B).

Used by whoever sends: C-GET, C-MOVE, and `staticwado send`.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.association.provider import is_over, undisturbed
from staticwado_daemon.dimse.association.transmission import store
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.dimse.sending.renditions import HELD_BYTES, Rendition, Renditions
from staticwado_daemon.dimse.statuses import SUCCESS, is_warning, words
from staticwado_daemon.errors import Rejected, StaticwadoError

_AHEAD: Final = 8
_AHEAD_BYTES: Final = 64 << 20
"""How many renditions are prepared before they are needed, and how many bytes of them are held."""
_ALL_AHEAD_BYTES: Final = 256 << 20
"""How many bytes all who send at the same time hold of them; but each prepares one in any case."""
_WORKERS: Final = min(2, os.cpu_count() or 1)
"""Threads that prepare: codecs and digests let others work meanwhile."""
_LOOK_SECONDS: Final = 1.0
_LAST_MESSAGE_ID: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one instance.

    Attributes:
        chosen: the instance.
        status: that the receiver answered (PS3.4 table B.2-1); None if it wasn't asked, or gave no answer.
        reason: why it isn't stored there, or what the receiver adds; without anything of the instance.
        transfer_syntax: in which it was sent; empty if it wasn't.
        length: of the data set that was sent, in bytes.
        lost: the association ended before there was an answer.
    """

    chosen: Chosen
    status: int | None
    reason: str = ""
    transfer_syntax: str = ""
    length: int = 0
    lost: bool = False

    @property
    def is_completed(self) -> bool:
        """Whether it is stored as sent."""
        return self.status == SUCCESS

    @property
    def is_warning(self) -> bool:
        """Whether it is stored, but not quite as sent."""
        return self.status is not None and is_warning(self.status)

    @property
    def is_failed(self) -> bool:
        """Whether it isn't stored."""
        return not self.is_completed and not self.is_warning


@dataclass(frozen=True, slots=True)
class Batch:
    """Instances that one association can carry, and what is to be proposed for them."""

    contexts: tuple[PresentationContext, ...]
    chosen: tuple[Chosen, ...]


def batches(chosen: Iterable[Chosen]) -> list[Batch]:
    """Divide instances among associations, of which each takes no more than 128 presentation contexts."""
    by_class: dict[str, list[Chosen]] = {}
    for each in chosen:
        by_class.setdefault(each.sop_class, []).append(each)
    found: list[Batch] = []
    for own in by_class.values():
        for proposed, members in _proposals(own):
            if found and len(found[-1].contexts) + len(proposed) <= contexts.MAXIMUM:
                last = found.pop()
                found.append(Batch((*last.contexts, *proposed), (*last.chosen, *members)))
            else:
                found.append(Batch(tuple(proposed), tuple(members)))
    return found


def _proposals(chosen: Sequence[Chosen]) -> Iterator[tuple[list[PresentationContext], list[Chosen]]]:
    """The contexts for instances of one class, in more than one portion where it has a hundred transfer syntaxes."""
    if not _is_uid(chosen[0].sop_class):  # nobody can take it, and proposing that may end the association for all
        yield [], list(chosen)
        return
    syntaxes = list(dict.fromkeys(each.transfer_syntax for each in chosen))
    room = contexts.MAXIMUM - len(contexts.MESSAGE_SYNTAXES)
    for start in range(0, len(syntaxes), room):
        some = frozenset(syntaxes[start : start + room])
        members = [each for each in chosen if each.transfer_syntax in some]
        yield contexts.sending((each.sop_class, each.transfer_syntax) for each in members), members


def _is_uid(text: str) -> bool:
    try:
        UID(text)
    except Rejected:
        return False
    return True


def accepted(association: Association) -> dict[str, dict[str, int]]:
    """The contexts by which we may send objects: context identifiers by SOP class and transfer syntax.

    As the acceptor we may only where the requestor has proposed to be the SCP (PS3.7 D.3.3.4), which is C-GET's way.
    """
    selected = association.requestor.role_selection if association.is_acceptor else {}
    receives = {str(uid) for uid, role in selected.items() if role.scp_role}
    found: dict[str, dict[str, int]] = {}
    for context in association.accepted_contexts:
        sop_class = str(context.abstract_syntax)
        if context.as_scu and context.context_id and (association.is_requestor or sop_class in receives):
            found.setdefault(sop_class, {}).setdefault(str(context.transfer_syntax[0]), context.context_id)
    return found


def send(
    association: Association,
    chosen: Sequence[Chosen],
    renditions: Renditions,
    *,
    originator: tuple[str, int] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    waiting: Callable[[], None] = lambda: None,
) -> Generator[Sent, None, None]:
    """Send instances, and yield what became of each, in their order.

    It ends early when it is told to stop, or with the instance at which the association is lost.

    Args:
        association: established; nobody else uses it meanwhile.
        chosen: what is sent.
        renditions: makes the objects.
        originator: AE title and message ID of the C-MOVE request that these are sub-operations of.
        is_stopped: asked before each instance, and now and then while one is made.
        waiting: called now and then while one is made, which may take long.
    """
    takes = accepted(association)
    ready = _Ahead(chosen, lambda each, ended: renditions.prepare(each, takes.get(each.sop_class, {}).keys(), ended))
    with undisturbed(association), ready:
        for number, each in enumerate(chosen):
            while not ready.has(_LOOK_SECONDS):
                if is_stopped() or is_over(association):
                    break
                waiting()
            if is_stopped():
                return
            if is_over(association):
                yield Sent(each, None, "the association ended", lost=True)
                return
            try:
                rendition = ready.take()
            except (StaticwadoError, OSError, MemoryError) as why:
                yield Sent(each, None, _reason(why))
                continue
            context_id = takes[each.sop_class][rendition.transfer_syntax]
            sent = _sent(association, context_id, each, rendition, number % _LAST_MESSAGE_ID + 1, originator)
            yield sent
            if sent.lost:
                return


def _sent(
    association: Association,
    context_id: int,
    chosen: Chosen,
    rendition: Rendition,
    message_id: int,
    originator: tuple[str, int] | None,
) -> Sent:
    request = StoreRequest(message_id, chosen.sop_class, chosen.identity.instance, originator)
    answered = store(association, context_id, request, rendition.data_set)
    if answered is None:
        return Sent(chosen, None, "the association ended before there was an answer", lost=True)
    reason = "" if answered.status == SUCCESS else words(answered.status, answered.comment)
    return Sent(chosen, answered.status, reason, rendition.transfer_syntax, len(rendition.data_set))


def _reason(why: Exception) -> str:
    if isinstance(why, OSError):
        return why.strerror or "it can't be read"
    return "there is too little memory" if isinstance(why, MemoryError) else str(why)


class _Ahead:
    """Renditions in the order in which they are needed, a few of them made before they are.

    Args:
        chosen: of what.
        make: makes one, and gives up when what it is given says so; called from several threads.
    """

    _all: ClassVar[set["_Ahead"]] = set()

    def __init__(self, chosen: Iterable[Chosen], make: Callable[[Chosen, Callable[[], bool]], Rendition]) -> None:
        self._left = iter(chosen)
        self._make = make
        self._pool = ThreadPoolExecutor(_WORKERS, "rendition")
        self._begun: deque[Future[Rendition]] = deque()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._all.add(self)
        self._begin_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._all.discard(self)
        self._begun.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def has(self, seconds: float) -> bool:
        """Whether the next one is made within this time."""
        try:
            self._begun[0].exception(seconds)
        except NotYet:
            return False
        return True

    def take(self) -> Rendition:
        """The next one, or what kept it from being made."""
        future = self._begun.popleft()
        self._begin_more()
        return future.result()

    def _begin_more(self) -> None:
        share = min(_AHEAD_BYTES, _ALL_AHEAD_BYTES // len(self._all))
        while not self._begun or (len(self._begun) < _AHEAD and self._held() < share):
            following = next(self._left, None)
            if following is None:
                return
            self._begun.append(self._pool.submit(self._make, following, self._ended.is_set))

    def _held(self) -> int:
        """Bytes of memory that the made ones take; those being made will take as much as others did."""
        made = [each.result().held for each in self._begun if each.done() and not each.exception()]
        return sum(made) + (len(self._begun) - len(made)) * max(made, default=HELD_BYTES)
