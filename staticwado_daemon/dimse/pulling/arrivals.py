"""Objects that a peer sends because we asked: passed on to the storage service, and noted by their instances."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.association.messages import Answer, Reception, Storage
from staticwado_daemon.dimse.statuses import SUCCESS, is_passing


@dataclass(slots=True)
class Arrivals:
    """The storage service, and which objects have got through it.

    Attributes:
        storage: where objects go.
        told: is told of each that is stored.
        is_given_up: asked now and then whether nobody wants the rest.
        stored: SOP Instance UIDs of what was answered with success.
        refused: our own answers to those that were not, by SOP Instance UID.
        moved_at: when something came last, by the monotonic clock.
    """

    storage: Storage
    told: Callable[[], None] = lambda: None
    is_given_up: Callable[[], bool] = lambda: False
    stored: set[str] = field(default_factory=set)
    refused: dict[str, Answer] = field(default_factory=dict)
    moved_at: float = field(default_factory=time.monotonic)

    def begin(self, association: Association, context: PresentationContext, request: StoreRequest) -> Reception:
        """Be ready for an object."""
        return _Arriving(self, request.sop_instance_uid, self.storage.begin(association, context, request))

    @property
    def settled(self) -> set[str]:
        """SOP Instance UIDs of what needn't come again: it is stored, or would be refused again."""
        return self.stored | {uid for uid, answer in self.refused.items() if not is_passing(answer.status)}


@dataclass(slots=True)
class _Arriving:
    arrivals: Arrivals
    instance: str
    reception: Reception

    def write(self, data: memoryview) -> None:
        self.arrivals.moved_at = time.monotonic()
        self.reception.write(data)

    def finish(self) -> Answer:
        answer = self.reception.finish()
        self.arrivals.moved_at = time.monotonic()
        if answer.status == SUCCESS:
            self.arrivals.stored.add(self.instance)
            self.arrivals.refused.pop(self.instance, None)
            self.arrivals.told()
        else:
            self.arrivals.refused[self.instance] = answer
        return answer

    def abandon(self) -> None:
        self.reception.abandon()


class Expected:
    """The storage service of our node, which can say what has come of that which a peer is to send it.

    Args:
        storage: where objects go, whoever sends them.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._wanted: dict[str, Arrivals] = {}

    def begin(self, association: Association, context: PresentationContext, request: StoreRequest) -> Reception:
        """Be ready for an object."""
        return self._wanted.get(request.sop_instance_uid, self._storage).begin(association, context, request)

    @contextmanager
    def expecting(self, instances: Iterable[UID]) -> Iterator[Arrivals]:
        """What comes of these instances while the block lasts, on whichever association."""
        arrivals = Arrivals(self._storage)
        mine = dict.fromkeys(map(str, instances), arrivals)
        self._wanted.update(mine)
        try:
            yield arrivals
        finally:
            for each in mine:
                self._wanted.pop(each, None)
