"""DIMSE messages (PS3.7) out of their fragments: C-STORE requests are served as they come, others are kept whole.

A part of `provider`, which says what is changed of pynetdicom and why.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.dimse.association import command, pdata
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.contexts import is_storage

if TYPE_CHECKING:
    from staticwado_daemon.dimse.association.upper_layer import UpperLayer

_BUFFER: Final = 131_072
_MOST_REQUESTS, _MOST_ANSWERS = 2, 64
"""Messages that may wait for us. A requestor has one request under way at a time, whose answers may come in a hurry."""

ReadInto = Callable[[memoryview], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a C-STORE request: a status (PS3.4 table B.2-1), and for people a comment, which is cut."""

    status: int
    comment: str = ""


class Reception(Protocol):
    """One object on its way in. All is called from one thread, in this order: `write`…, then `finish` or `abandon`."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the data set, which the caller will overwrite. What goes wrong is for `finish`."""

    def finish(self) -> Answer:
        """Take the end of the data set, and say what became of it. May take as long as a disk needs."""

    def abandon(self) -> None:
        """Forget the object: the rest of it won't come."""


class Storage(Protocol):
    """Where objects go."""

    def begin(self, association: Association, context: PresentationContext, request: StoreRequest) -> Reception:
        """Be ready for an object that this accepted presentation context carries. Never raises."""


class Messages(DIMSEServiceProvider):
    """Fragments become messages; C-STORE requests are served as they come."""

    def __init__(self, association: Association, limits: Limits, storage: Storage | None) -> None:
        super().__init__(association)
        self.news = threading.Event()
        self._limits = limits
        self._storage = storage
        self._command = bytearray()
        self._identifier = bytearray()
        self._context_id = 0
        self._under_way: tuple[StoreRequest, Reception] | None = None
        self._ended = False
        self._buffer = memoryview(b"")

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message; who asks without waiting is pynetdicom's loop, which has the time."""
        if not block:
            upper_layer = cast("UpperLayer", self.dul)
            if not self.msg_queue.qsize() and not upper_layer.to_user_queue.qsize() and upper_layer.is_alive():
                self.news.wait(upper_layer.time_left)
            self.news.clear()
            if not self.assoc._reactor_checkpoint.is_set():  # noqa: SLF001 - no public name
                return None, None  # told to rest, the loop may yet come here once, and what waits is another's answer
        else:
            self._await_news()
        message = super().get_msg(block=False)
        cast("UpperLayer", self.dul).ring()  # there may be room for more again
        return message

    def _await_news(self) -> None:
        """Wait for an answer, for as long as one may take; who releases the association won't send it any more."""
        end = time.monotonic() + (self.dimse_timeout or threading.TIMEOUT_MAX)
        while True:
            self.news.clear()
            if self._ended or self.msg_queue.qsize() or self.dul.to_user_queue.qsize():
                return
            left = end - time.monotonic()
            if left <= 0:
                return
            self.news.wait(left)

    @property
    def is_crowded(self) -> bool:
        """Whether so many messages wait that no more should be read: what waits is in memory."""
        return self.msg_queue.qsize() >= (_MOST_ANSWERS if self.assoc.is_requestor else _MOST_REQUESTS)

    def receive(self, context_id: int, control: int, length: int, read_into: ReadInto) -> bool:
        """Take one fragment of so many bytes; False if it has no place here, and the association has to end.

        Raises:
            OSError: if it can't be read.
        """
        if control & pdata.COMMAND:
            return self._receive_command(context_id, control, length, read_into)
        if context_id != self._context_id:
            return False
        if self._under_way is None:
            return self._receive_identifier(control, length, read_into)
        request, reception = self._under_way
        if not self._buffer:
            self._buffer = memoryview(bytearray(_BUFFER))
        while length:
            part = self._buffer[: min(length, _BUFFER)]
            read_into(part)
            reception.write(part)
            length -= len(part)
        if control & pdata.LAST:
            self._answer(request, reception.finish())
        return True

    def abandon(self) -> None:
        """The association has ended: what is half received is forgotten."""
        if self._under_way is not None:
            self._under_way[1].abandon()
            self._under_way = None
        self.news.set()
        # Whoever waits for an answer would wait for as long as one may take.
        self._ended = True
        self.msg_queue.put((None, None))

    def _receive_command(self, context_id: int, control: int, length: int, read_into: ReadInto) -> bool:
        if self._under_way is not None or self.message is not None:
            return False
        if len(self._command) + length > self._limits.maximum_command_length:
            return False
        self._command += _read(length, read_into)
        if not control & pdata.LAST:
            return True
        whole, self._command, self._context_id = bytes(self._command), bytearray(), context_id
        found = command.elements(whole)
        field = command.command_field(found) if found else None
        # For each event report pynetdicom starts a thread; we ask for none.
        if found is None or field in {None, command.N_EVENT_REPORT_RQ}:
            return False
        if field in command.CANCELLABLE:
            self.cancel_req.clear()  # what was cancelled before was another one, though its number may be the same
        request = command.store_request(found)
        if request is None or self._storage is None:
            self._pass_on(context_id, control, command.mended(whole, found))
            return True
        context = next((each for each in self.assoc.accepted_contexts if each.context_id == context_id), None)
        if context is None or not is_storage(str(context.abstract_syntax)):
            return False
        self._under_way = request, self._storage.begin(self.assoc, context, request)
        return True

    def _receive_identifier(self, control: int, length: int, read_into: ReadInto) -> bool:
        if self.message is None or len(self._identifier) + length > self._limits.maximum_identifier_length:
            return False
        self._identifier += _read(length, read_into)
        if control & pdata.LAST:
            whole, self._identifier = bytes(self._identifier), bytearray()
            self._pass_on(self._context_id, control, whole)
        return True

    def _pass_on(self, context_id: int, control: int, data: bytes) -> None:
        """Give pynetdicom a whole command set or identifier."""
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, bytes((control,)) + data))
        self.receive_primitive(primitive)
        self.news.set()

    def _answer(self, request: StoreRequest, answer: Answer) -> None:
        self._under_way = None
        response = command.store_response(request, answer.status, answer.comment)
        pdus = pdata.pdus(self._context_id, response, self.maximum_pdu_size, kind=pdata.COMMAND)
        cast("UpperLayer", self.dul).send(b"".join(pdus))


def _read(length: int, read_into: ReadInto) -> bytearray:
    data = bytearray(length)
    read_into(memoryview(data))
    return data
