"""The upper layer (PS3.8): PDUs and their state machine, in a thread that waits instead of asking.

A part of `provider`, which says what is changed of pynetdicom and why.
"""

import os
import queue
import select
import struct
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, Final, cast

import structlog
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.timer import Timer

from staticwado_daemon.dimse.association import negotiation, pdata
from staticwado_daemon.dimse.association.limits import ASSOCIATE, Limits
from staticwado_daemon.dimse.association.messages import Messages
from staticwado_daemon.dimse.association.transport import Connection

_PDU_HEADER: Final = struct.Struct(">BxI")
_PDV_HEADER: Final = struct.Struct(">IBB")
_LONGEST_WAIT: Final = 1.0
"""Seconds; nothing depends on it, but a wait without end can't be told from a hang."""

_SHORT_REQUEST: Final = 32_768
"""Bytes of an A-ASSOCIATE PDU that takes no time worth speaking of, which is what most programs send."""
_LONG_REQUEST = threading.Lock()
"""Who is being read that says more: however many come at once, all others have their turn meanwhile."""

_IDLE: Final = "Sta1"
_ESTABLISHED: Final = "Sta6"
_RELEASING: Final = "Sta7"
_CLOSING: Final = "Sta13"
_CONNECTION_CLOSED: Final = "Evt17"
_INVALID_PDU: Final = "Evt19"

_log = structlog.get_logger(__name__)


class Parcel:
    """PDUs as they go over the wire, many at once: an object of a megabyte is dozens of them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.gone = threading.Event()


class _Told(queue.Queue[Any]):
    """A queue whose reader waits for something else, which is told of what comes."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._tell()


class _Timer(Timer):
    """A timer of pynetdicom that doesn't mind when somebody sets the clock."""

    @property
    def remaining(self) -> float:
        """Seconds that are left; what never expires has one."""
        if self.timeout is None or self._start_time is None:
            return 1.0 if self.timeout is None else self.timeout
        return self.timeout - ((self._end_time or time.monotonic()) - self._start_time)

    def start(self) -> None:
        """Begin anew."""
        self._start_time, self._end_time = time.monotonic(), None

    def stop(self) -> None:
        """Let no more time pass."""
        self._end_time = time.monotonic()


class UpperLayer(DULServiceProvider):
    """The upper layer's state machine, in a thread that sleeps while it has nothing to do."""

    def __init__(self, association: Association, limits: Limits, messages: Messages) -> None:
        super().__init__(association)
        self._messages = messages
        self._limits = limits
        self._run_loop_delay = 0  # `Connection.ready` waits
        self._idle_timer, self.artim_timer = _Timer(self._idle_timer.timeout), _Timer(self.artim_timer.timeout)
        self.daemon = True  # a peer that hangs keeps no process from ending
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._bell_lock = threading.Lock()
        self._ended = False
        self._reads = False
        self._listens = False
        # Both ways pynetdicom only puts; whoever takes sleeps meanwhile.
        self.to_user_queue = _Told(messages.news.set)
        self.to_provider_queue = _Told(self._be_busy)

    @property
    def patience(self) -> float:
        """For how many seconds there is nothing to do unless the bell rings or the peer sends something."""
        if self.state_machine.current_state == _CLOSING or self._kill_thread:
            return 0.0
        if self.event_queue.qsize() or self.to_provider_queue.qsize():
            return 0.0
        return min(_LONGEST_WAIT, max(0.0, self.artim_timer.remaining))

    @property
    def time_left(self) -> float:
        """For how many seconds the peer may yet be silent, as far as that is to be waited for in one go."""
        return min(_LONGEST_WAIT, max(0.0, self._idle_timer.remaining))

    @property
    def is_crowded(self) -> bool:
        """Whether the peer has sent more than we have dealt with, and has to wait."""
        return self._messages.is_crowded

    @property
    def _connection(self) -> Connection:
        return cast("Connection", self.socket)

    def ring(self) -> None:
        """Wake the thread; any other may call this at any time."""
        with self._bell_lock:
            if not self._ended:
                os.eventfd_write(self.bell, 1)

    def _be_busy(self) -> None:
        """Something is to be sent: the peer was silent because it waited for that."""
        self._idle_timer.restart()
        self.ring()

    def send(self, pdus: bytes) -> None:
        """Send PDUs from this thread; should that fail, the state machine will know."""
        self._connection.send(pdus)

    def listen(self, seconds: float) -> None:
        """Wait for the bell, which is silent afterwards."""
        poll = select.poll()  # `select` knows only the first 1024 descriptors
        poll.register(self.bell, select.POLLIN)
        poll.poll(1000 * seconds)
        with suppress(BlockingIOError):
            os.eventfd_read(self.bell)

    def kill_dul(self) -> None:
        """Let the thread end."""
        super().kill_dul()
        self.ring()

    def stop_dul(self) -> bool:
        """Let the thread end if the connection has, and wait for it."""
        if self.state_machine.current_state != _IDLE:
            return False
        self.kill_dul()
        if self.is_alive():
            self.join()
        return True

    def _process_recv_primitive(self) -> bool:
        """Send what is ready to be sent as it is; pynetdicom does the rest."""
        waiting = self.to_provider_queue.queue
        if waiting and self.state_machine.current_state == _CLOSING and not isinstance(waiting[0], Parcel):
            self.to_provider_queue.get_nowait()  # as the answer to a request whose sender didn't wait for it
            return True
        if not waiting or not isinstance(waiting[0], Parcel):
            return bool(super()._process_recv_primitive())
        if self._listens:
            self._listens = False
            return False
        parcel = cast("Parcel", self.to_provider_queue.get_nowait())
        if self.state_machine.current_state == _ESTABLISHED:
            self._connection.send(parcel.data)
        parcel.gone.set()
        # Whoever is sent parcel after parcel is heard in between: it may want no more.
        self._listens = True
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
        self._messages.abandon()
        if self.socket is not None:
            self.socket.close()
        # Whoever waits for an association request would wait for as long as one may take.
        self.to_user_queue.put(None)

    def idle_timer_expired(self) -> bool:
        """Whether the peer has been silent for too long; not while what it said is still dealt with."""
        return not self._reads and super().idle_timer_expired()

    def _is_transport_event(self) -> bool:
        """Read what has come, once it is settled in which state: what has happened already has its effect before."""
        return not self.event_queue.qsize() and bool(super()._is_transport_event())

    def _read_pdu_data(self) -> None:
        """Read one PDU; what it means for the state machine is in the event queue afterwards."""
        self._reads = True
        try:
            self._read_pdu()
        finally:
            # A large object may have taken its time on its way to the disk: the peer was waiting, not silent.
            self._idle_timer.restart()
            self._reads = False

    def _read_pdu(self) -> None:
        connection = self._connection
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
                # Whom we called is told in a sentence to who wanted it.
                tell = _log.warning if self.assoc.is_acceptor else _log.debug
                tell("pdu_too_long", peer=self.assoc.remote["address"], type=kind, length=length)
                self.event_queue.put(_INVALID_PDU)
            elif kind == pdata.TYPE and self.state_machine.current_state == _ESTABLISHED:
                self._read_p_data(length)
            elif kind == pdata.TYPE and self.state_machine.current_state == _RELEASING:
                connection.recv(length)  # for nobody any more: what it was asked for has been answered, or isn't wanted
            elif kind in ASSOCIATE:
                self._read_associate(kind, length)
            else:
                connection.give_back(header)
                super()._read_pdu_data()
        except OSError:
            self.event_queue.put(_CONNECTION_CLOSED)

    def _discard(self) -> None:
        """Read what comes after the end, for the peer to see our last PDU before it sees the connection reset."""
        if not self._connection.discard():
            self.event_queue.put(_CONNECTION_CLOSED)

    def _read_associate(self, kind: int, length: int) -> None:
        """Let pynetdicom read an A-ASSOCIATE-RQ or -AC, without what others get wrong."""
        body = bytes(self._connection.recv(length))
        if self.state_machine.current_state == _ESTABLISHED or negotiation.is_excessive(body):
            self.event_queue.put(_INVALID_PDU)
        else:
            with _LONG_REQUEST if length > _SHORT_REQUEST else nullcontext():
                if self.artim_timer.expired:
                    return  # nobody waits for it any more
                if len(body) == length:
                    body = negotiation.mended(body)
                    length = len(body)
                self._connection.give_back(_PDU_HEADER.pack(kind, length) + body)
                super()._read_pdu_data()
        if _INVALID_PDU in self.event_queue.queue:
            _log.warning("association_not_understood", peer=self.assoc.remote["address"])

    def _read_p_data(self, length: int) -> None:
        """Read the fragments of a P-DATA-TF PDU (PS3.8 9.3.5), each straight to where it belongs."""
        connection, header = self._connection, memoryview(bytearray(_PDV_HEADER.size))
        while length:
            if length < _PDV_HEADER.size:
                break
            connection.read_into(header)
            item_length, context_id, control = _PDV_HEADER.unpack(header)
            length -= 4 + item_length
            if item_length < 2 or length < 0:
                break
            if not self._messages.receive(context_id, control, item_length - 2, connection.read_into):
                break
        else:
            return
        self.event_queue.put(_INVALID_PDU)
