"""C-GET and C-MOVE: instances are given back, on the association that asks or to a destination (PS3.4 C.4.2, C.4.3)."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog
from pynetdicom import evt
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.dicom.matching import Unmatchable
from staticwado_daemon.dimse import contexts, statuses
from staticwado_daemon.dimse.association.provider import Handler
from staticwado_daemon.dimse.association.requestor import Local
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.patience import Patience
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.query import identifier
from staticwado_daemon.dimse.query.hierarchy import OpenIndex
from staticwado_daemon.dimse.retrieve import selection
from staticwado_daemon.dimse.retrieve.suboperations import SubOperations
from staticwado_daemon.dimse.sending import operations as sending
from staticwado_daemon.dimse.sending.delivery import Delivery
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.dimse.sending.operations import Sent
from staticwado_daemon.dimse.sending.renditions import Renditions
from staticwado_daemon.errors import Rejected, StaticwadoError
from staticwado_daemon.operate.network import Operation

MOST: Final = 0xFFFF
"""Sub-operations of one request: more can't be counted in an answer, whose numbers have 16 bits."""

_TRIES: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.5
"""With a destination that is lost: who has asked for the C-MOVE waits meanwhile."""

_PATIENT_ROOT: Final = frozenset((contexts.PATIENT_ROOT_GET, contexts.PATIENT_ROOT_MOVE))

_Perform: TypeAlias = Callable[[SubOperations, list[Chosen], Renditions], Generator[Sent, None, None]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Archive:
    """Where instances are.

    Attributes:
        root: of the tree, which is only read.
        open_index: opens its query index.
        directory: for what is too long to be held in memory while it is sent.
        minimum_free: bytes that are left free on the disk of that.
    """

    root: Path
    open_index: OpenIndex
    directory: Path
    minimum_free: int


class _Refused(StaticwadoError):
    """A request isn't carried out: the status of the answer, the text its comment, `tag` what it is about if any."""

    def __init__(self, status: int, comment: str, tag: int | None = None) -> None:
        super().__init__(comment)
        self.status = status
        self.tag = tag


class Retrieve:
    """The service.

    Args:
        archive: that is given back from.
        local: we, for associations with destinations.
        peers: the destinations that we know, by AE title.
        observed: is told of what is done.
    """

    def __init__(self, archive: Archive, local: Local, peers: Mapping[str, Peer], observed: Observed) -> None:
        self._archive = archive
        self._local = local
        self._peers = peers
        self._observed = observed

    @property
    def contexts(self) -> Sequence[PresentationContext]:
        """Both operations in both information models; C-GET needs those of storage as well."""
        return contexts.messages(
            (
                contexts.PATIENT_ROOT_GET,
                contexts.PATIENT_ROOT_MOVE,
                contexts.STUDY_ROOT_GET,
                contexts.STUDY_ROOT_MOVE,
            )
        )

    @property
    def handlers(self) -> Sequence[Handler]:
        """They send every answer themselves."""
        return [(evt.EVT_C_GET, self._get), (evt.EVT_C_MOVE, self._move)]

    def _get(self, event: Event) -> None:
        def perform(work: SubOperations, chosen: list[Chosen], renditions: Renditions) -> Generator[Sent, None, None]:
            return sending.send(event.assoc, chosen, renditions, is_stopped=work.is_stopped, waiting=work.keep_alive)

        self._serve(event, "C-GET", perform)

    def _move(self, event: Event) -> None:
        request: Any = event.request
        title = str(request.MoveDestination or "").strip()
        originator = (str(event.assoc.requestor.ae_title).strip(), request.MessageID)

        def perform(work: SubOperations, chosen: list[Chosen], renditions: Renditions) -> Generator[Sent, None, None]:
            delivery = Delivery(
                self._local,
                self._peers[title],
                renditions,
                Patience(_TRIES, _FIRST_PAUSE_SECONDS, wait=work.rest),
                retries_refusals=False,
                originator=originator,
                is_stopped=work.is_stopped,
                waiting=work.keep_alive,
            )
            return _brought(delivery, chosen)

        self._serve(event, "C-MOVE", perform, is_known=title in self._peers)

    def _serve(self, event: Event, operation: Operation, perform: _Perform, *, is_known: bool = True) -> None:
        """Find what is asked for, have it sent, and give the final answer."""
        began = time.monotonic()
        work = SubOperations(event)
        status = statuses.UNABLE_TO_PROCESS
        self._observed.began(event.assoc)
        try:
            chosen = self._selected(event, is_known=is_known)
            work.begin(len(chosen))
            renditions = Renditions(self._archive.root, self._archive.directory, self._archive.minimum_free)
            with closing(perform(work, chosen, renditions)) as results:
                for sent in results:
                    self._observed.note(
                        event.assoc,
                        "sent",
                        statuses.UNABLE_TO_PROCESS if sent.status is None else sent.status,
                        sent.length,
                    )
                    work.note(sent)
            status = work.finish()
        except _Refused as why:
            status = why.status
            work.refuse(status, str(why), why.tag)
        finally:
            self._observed.note(event.assoc, operation, status)
            seconds = round(time.monotonic() - began, 2)
            _log.info("retrieved", operation=operation, status=f"{status:04X}", seconds=seconds, **work.summary())

    def _selected(self, event: Event, *, is_known: bool) -> list[Chosen]:
        if not is_known:
            raise _Refused(statuses.UNKNOWN_DESTINATION, "the move destination isn't in our aeConfig")
        message: Any = event.request
        encoded = message.Identifier.getvalue() if message.Identifier else b""
        try:
            asked = identifier.read(encoded, str(event.context.transfer_syntax))
            request = selection.requested(asked, patient_root=event.context.abstract_syntax in _PATIENT_ROOT)
        except Unmatchable as why:
            raise _Refused(statuses.MISMATCH, why.reason, int(why.tag, 16)) from why
        except Rejected as why:
            raise _Refused(statuses.MISMATCH, why.reason) from why
        try:
            chosen = selection.select(self._archive.root, self._archive.open_index, request)
        except StaticwadoError as why:
            raise _Refused(statuses.CANNOT_COUNT, str(why)) from why
        except OSError as error:
            raise _Refused(statuses.CANNOT_COUNT, f"the archive can't be read: {error.strerror}") from error
        if len(chosen) > MOST:
            raise _Refused(statuses.CANNOT_COUNT, f"more than {MOST:,} instances: ask for fewer at once")
        return chosen


def _brought(delivery: Delivery, chosen: Sequence[Chosen]) -> Generator[Sent, None, None]:
    """Bring instances to a destination; if there is no association with it, that is what became of each."""
    try:
        yield from delivery.send(chosen)
    except StaticwadoError as why:
        _log.warning("destination_refused", reason=str(why))
        yield from (Sent(each, None, "there is no association with the destination") for each in chosen)
