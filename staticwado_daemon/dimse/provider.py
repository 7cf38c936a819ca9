"""The upper layer (PS3.8) as pynetdicom has it, with caps, deadlines and threads that wait instead of asking.

Here, and nowhere else, pynetdicom's parts are extended by what they don't document; hence its narrow version range.
What is changed, and why:

* A PDU's length is looked at before anything of it is read: what is too long ends the association after six bytes.
  Commands and identifiers, which are held in memory, have their limits as well, and each PDU a deadline.
* Data sets of C-STORE requests go from the socket to the storage service through one small buffer, and are answered by
  the thread that reads: no PDU is ever held, and no thread has to be woken for an object.
* pynetdicom's two threads of an association look every millisecond whether there is something to do, which five hundred
  idle connections can't afford and a request waits for; ours sleep until there is.
"""

import os
import queue
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler

from staticwado_daemon.dimse import command
from staticwado_daemon.dimse.command import StoreRequest

_config.LOG_HANDLER_LEVEL = "none"  # its default handlers decode and format every PDU, for a log that nobody keeps

_PDU_HEADER: Final = struct.Struct(">BxI")
_PDV_HEADER: Final = struct.Struct(">IBB")
_P_DATA: Final = 0x04
_ASSOCIATE_RQ, _ASSOCIATE_AC = 0x01, 0x02
_COMMAND, _LAST = 1, 2  # bits of the message control header (PS3.8 E.2)
_SLACK: Final = 1024
"""Some senders count a PDU's maximum length without the headers of what is in it."""
_SHORT_PDU: Final = 64
"""A-ASSOCIATE-RJ, A-RELEASE and A-ABORT have four bytes."""
_BUFFER: Final = 131_072
_LONGEST_WAIT: Final = 1.0
"""Seconds; nothing depends on it, but a wait without end can't be told from a hang."""

_ESTABLISHED: Final = "Sta6"
_CLOSING: Final = "Sta13"
_CONNECTION_CLOSED: Final = "Evt17"
_INVALID_PDU: Final = "Evt19"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one association may ask of us.

    Attributes:
        maximum_pdu_length: bytes of a P-DATA-TF PDU, as told to the peer; more than this ends the association.
        maximum_associate_length: bytes of an A-ASSOCIATE PDU; 128 contexts of 50 transfer syntaxes each are 150 kB.
        maximum_command_length: bytes of a command set.
        maximum_identifier_length: bytes of a data set that isn't stored.
        idle_seconds: for which a connection may be silent, and within which each PDU has to be there as a whole.
    """

    maximum_pdu_length: int = 131_072
    maximum_associate_length: int = 1 << 20
    maximum_command_length: int = 1 << 16
    maximum_identifier_length: int = 1 << 20
    idle_seconds: float = 60.0

    def allows(self, kind: int, length: int) -> bool:
        """Whether a PDU of this type may have this length."""
        if kind == _P_DATA:
            return length <= self.maximum_pdu_length + _SLACK
        return length <= (self.maximum_associate_length if kind in {_ASSOCIATE_RQ, _ASSOCIATE_AC} else _SHORT_PDU)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a C-STORE request: the status, and for a failure a comment of at most 64 characters."""

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


def request_handler(limits: Limits, storage: Storage | None = None) -> type[RequestHandler]:
    """The class by which a server of pynetdicom turns connections into associations.

    Args:
        limits: on each of them.
        storage: what serves C-STORE; None leaves it to pynetdicom's events, which hold objects in memory.
    """

    class Handler(RequestHandler):  # type: ignore[misc]  # pynetdicom's types aren't followed
        def _create_association(self) -> Association:
            association = super()._create_association()
            association.acceptor.maximum_length = limits.maximum_pdu_length
            return fit(association, self.request, limits, storage)

    return Handler


def fit(
    association: Association, connection: socket.socket, limits: Limits, storage: Storage | None = None
) -> Association:
    """Give an association that hasn't begun our providers and a connection that stands, in place of what it has.

    Args:
        association: of either mode, not started.
        connection: with TLS or without.
        limits: on it.
        storage: what serves C-STORE requests, which a requestor gets as well (C-GET).
    """
    connection.settimeout(limits.idle_seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    association.dul = _UpperLayer(association, limits)
    association.dimse = _Messages(association, limits, storage)
    # Setting them tells the timers of the new provider.
    association.acse_timeout = association.acse_timeout
    association.network_timeout = association.network_timeout
    association.set_socket(_Connection(association, connection, limits.idle_seconds))
    return association


class _Connection(AssociationSocket):  # type: ignore[misc]
    """A connection that is waited for, and read into the reader's own memory."""

    def __init__(self, association: Association, connection: socket.socket, seconds: float) -> None:
        super().__init__(association, client_socket=connection)
        self._seconds = seconds
        self._deadline = 0.0
        self._returned = b""
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._poll.register(association.dul.bell, select.POLLIN)

    @property
    def ready(self) -> bool:
        """Wait until there is something to read (True) or to do (False)."""
        connection, upper_layer = self.socket, self.assoc.dul
        if connection is None or not self._is_connected:
            upper_layer.listen(upper_layer.patience)
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        try:
            events = dict(self._poll.poll(1000 * upper_layer.patience))
        except OSError:
            events = {connection.fileno(): select.POLLNVAL}
        if upper_layer.bell in events:
            upper_layer.listen(0)
        return connection.fileno() in events

    def begin(self) -> None:
        """Set the deadline of the PDU that is read next."""
        self._deadline = time.monotonic() + self._seconds

    def give_back(self, data: bytes) -> None:
        """Let `recv` return these bytes first."""
        self._returned = data

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, or what there is of them until the connection ends.

        Raises:
            OSError: if it fails, or isn't quick enough.
        """
        if self._returned:
            data, self._returned = bytearray(self._returned), b""
            return data
        data = bytearray(nr_bytes)
        del data[self._fill(memoryview(data)) :]
        return data

    def read_into(self, view: memoryview) -> None:
        """Fill this with what is read next.

        Raises:
            OSError: if that fails, isn't quick enough, or the connection ends before.
        """
        if self._fill(view) < len(view):
            raise ConnectionResetError

    def _fill(self, view: memoryview) -> int:
        connection = self.socket
        if connection is None:
            raise ConnectionResetError
        done, wanted = 0, len(view)
        while done < wanted:
            read = connection.recv_into(view[done:])
            if not read:
                break
            done += read
            if done < wanted and time.monotonic() > self._deadline:
                raise TimeoutError("the PDU takes too long")
        return done


class _Told(queue.Queue[Any]):
    """A queue whose reader waits for something else, which is told of what comes."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._tell()


class _UpperLayer(DULServiceProvider):  # type: ignore[misc]
    """The upper layer's state machine, in a thread that sleeps while it has nothing to do."""

    def __init__(self, association: Association, limits: Limits) -> None:
        super().__init__(association)
        self._limits = limits
        self._run_loop_delay = 0  # `_Connection.ready` waits
        self.daemon = True  # a peer that hangs keeps no process from ending
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._bell_lock = threading.Lock()
        self._ended = False
        # Both ways pynetdicom only puts; whoever takes sleeps meanwhile.
        self.to_user_queue = _Told(lambda: self.assoc.dimse.news.set())
        self.to_provider_queue = _Told(self.ring)

    @property
    def patience(self) -> float:
        """For how many seconds there is nothing to do unless the bell rings or the peer sends something."""
        if self.state_machine.current_state == _CLOSING or self._kill_thread:
            return 0.0
        if self.event_queue.qsize() or self.to_provider_queue.qsize():
            return 0.0
        return min(_LONGEST_WAIT, max(0.0, self.artim_timer.remaining))

    def ring(self) -> None:
        """Wake the thread; any other may call this at any time."""
        with self._bell_lock:
            if not self._ended:
                os.eventfd_write(self.bell, 1)

    def listen(self, seconds: float) -> None:
        """Wait for the bell, which is silent afterwards."""
        select.select([self.bell], [], [], seconds)
        with suppress(BlockingIOError):
            os.eventfd_read(self.bell)

    def kill_dul(self) -> None:
        """Let the thread end."""
        super().kill_dul()
        self.ring()

    def stop_dul(self) -> bool:
        """Let the thread end if the connection has, and wait for it."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        if self.is_alive():
            self.join()
        return True

    def run_reactor(self) -> None:
        """Work until the connection ends, whatever it ends by."""
        try:
            super().run_reactor()
        except Exception as error:  # noqa: BLE001 - an association's end must not be a stack trace of its thread
            _log.warning("association_broken", error=type(error).__name__)
        finally:
            self._end()

    def _end(self) -> None:
        with self._bell_lock:
            self._ended = True
            os.close(self.bell)
        self._kill_thread = True
        self.assoc.dimse.abandon()
        if self.socket is not None:
            self.socket.close()
        # Whoever waits for an association request would wait for as long as one may take.
        self.to_user_queue.put(None)

    def _read_pdu_data(self) -> None:
        """Read one PDU; what it means for the state machine is in the event queue afterwards."""
        connection = self.socket
        connection.begin()
        try:
            if self.state_machine.current_state == _CLOSING:
                self._discard()
                return
            header = bytes(connection.recv(_PDU_HEADER.size))
            if len(header) < _PDU_HEADER.size:
                self.event_queue.put(_CONNECTION_CLOSED)
                return
            kind, length = _PDU_HEADER.unpack(header)
            if not self._limits.allows(kind, length):
                _log.warning("pdu_too_long", type=kind, length=length)
                self.event_queue.put(_INVALID_PDU)
            elif kind == _P_DATA and self.state_machine.current_state == _ESTABLISHED:
                self._read_p_data(length)
            else:
                connection.give_back(header)
                super()._read_pdu_data()
        except OSError:
            self.event_queue.put(_CONNECTION_CLOSED)

    def _discard(self) -> None:
        """Read what comes after the end, for the peer to see our last PDU before it sees the connection reset."""
        if not self.socket.recv_some(_BUFFER):
            self.event_queue.put(_CONNECTION_CLOSED)

    def _read_p_data(self, length: int) -> None:
        """Read the fragments of a P-DATA-TF PDU (PS3.8 9.3.5), each straight to where it belongs."""
        connection, messages = self.socket, self.assoc.dimse
        while length:
            if length < _PDV_HEADER.size:
                break
            item_length, context_id, control = _PDV_HEADER.unpack(connection.recv(_PDV_HEADER.size))
            length -= 4 + item_length
            if item_length < 2 or length < 0:
                break
            if not messages.receive(context_id, control, item_length - 2, connection.read_into):
                break
        else:
            return
        self.event_queue.put(_INVALID_PDU)


class _Messages(DIMSEServiceProvider):  # type: ignore[misc]
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
        self._buffer = memoryview(b"")

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message; what asks without waiting is pynetdicom's loop, which has the time."""
        if not block and self.dul.is_alive():
            self.news.wait(min(_LONGEST_WAIT, max(0.0, self.dul._idle_timer.remaining)))  # noqa: SLF001 - no public name
            self.news.clear()
        return super().get_msg(block)

    def receive(self, context_id: int, control: int, length: int, read_into: Callable[[memoryview], None]) -> bool:
        """Take one fragment of so many bytes; False if it has no place here, and the association has to end.

        Raises:
            OSError: if it can't be read.
        """
        if control & _COMMAND:
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
        if control & _LAST:
            self._answer(request, reception.finish())
        return True

    def abandon(self) -> None:
        """The association has ended: what is half received is forgotten."""
        if self._under_way is not None:
            self._under_way[1].abandon()
            self._under_way = None
        self.news.set()

    def _receive_command(
        self, context_id: int, control: int, length: int, read_into: Callable[[memoryview], None]
    ) -> bool:
        if self._under_way is not None or len(self._command) + length > self._limits.maximum_command_length:
            return False
        self._command += _read(length, read_into)
        if not control & _LAST:
            return True
        whole, self._command, self._context_id = bytes(self._command), bytearray(), context_id
        found = command.elements(whole)
        request = command.store_request(found) if found is not None and self._storage is not None else None
        if request is None or self._storage is None:
            self._pass_on(context_id, control, whole)
            return True
        context = next((each for each in self.assoc.accepted_contexts if each.context_id == context_id), None)
        if context is None:
            return False
        self._under_way = request, self._storage.begin(self.assoc, context, request)
        return True

    def _receive_identifier(self, control: int, length: int, read_into: Callable[[memoryview], None]) -> bool:
        if self.message is None or len(self._identifier) + length > self._limits.maximum_identifier_length:
            return False
        self._identifier += _read(length, read_into)
        if control & _LAST:
            whole, self._identifier = bytes(self._identifier), bytearray()
            self._pass_on(self._context_id, control, whole)
        return True

    def _pass_on(self, context_id: int, control: int, data: bytes) -> None:
        """Give pynetdicom a whole command set or identifier."""
        primitive = P_DATA()
        primitive.presentation_data_value_list = [(context_id, bytes((control,)) + data)]
        self.receive_primitive(primitive)
        self.news.set()

    def _answer(self, request: StoreRequest, answer: Answer) -> None:
        self._under_way = None
        response = command.store_response(request, answer.status, answer.comment)
        for pdu in command.pdus(self._context_id, response, self.maximum_pdu_size):
            self.dul.socket.send(pdu)


def _read(length: int, read_into: Callable[[memoryview], None]) -> bytearray:
    data = bytearray(length)
    read_into(memoryview(data))
    return data
