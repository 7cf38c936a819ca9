"""The connection of an association: waited for, and read into the reader's own memory.

A part of `provider`, which says what is changed of pynetdicom and why.
"""

import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final, cast

from pynetdicom.association import Association
from pynetdicom.transport import T_CONNECT, AssociationSocket

if TYPE_CHECKING:
    from staticwado_daemon.dimse.association.upper_layer import UpperLayer

_DISCARDED: Final = 131_072


class Connection(AssociationSocket):
    """A connection that is waited for, and read into the reader's own memory."""

    def __init__(self, association: Association, connection: socket.socket, seconds: float) -> None:
        super().__init__(association, client_socket=connection)
        self._upper_layer = cast("UpperLayer", association.dul)
        self._seconds = seconds
        self._deadline = 0.0
        self._returned = b""
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._poll.register(self._upper_layer.bell, select.POLLIN)
        if association.is_requestor:
            self.event_queue.get_nowait()  # "somebody has called us", which the base class takes for granted

    def connect(self, primitive: T_CONNECT) -> None:
        """Confirm the connection, which stands already, so that why it doesn't can be told (PS3.8 9.1.2)."""
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)

    @property
    def ready(self) -> bool:
        """Wait until there is something to read (True) or to do (False)."""
        connection, upper_layer = self.socket, self._upper_layer
        if connection is None or not self._is_connected or upper_layer.is_crowded:
            upper_layer.listen(upper_layer.patience)
            return False
        if self._returned or (isinstance(connection, ssl.SSLSocket) and connection.pending()):
            return True
        try:
            events = dict(self._poll.poll(1000 * upper_layer.patience))
        except OSError:
            events = {connection.fileno(): select.POLLNVAL}
        if upper_layer.bell in events:
            upper_layer.listen(0)
        has_come = connection.fileno() in events
        return self._is_for_us(connection) if has_come and isinstance(connection, ssl.SSLSocket) else has_come

    def _is_for_us(self, connection: ssl.SSLSocket) -> bool:
        """Whether what has come is more than TLS's own, such as tickets: a read would wait for more."""
        seconds = connection.gettimeout()
        connection.settimeout(0)
        try:
            self._returned = connection.recv(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True  # whoever reads will meet it
        finally:
            connection.settimeout(seconds)
        return True

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

    def discard(self) -> int:
        """Read what is there, which is for nobody, and say how much it was."""
        returned, self._returned = self._returned, b""
        return len(returned or self.socket.recv(_DISCARDED)) if self.socket else 0

    def _fill(self, view: memoryview) -> int:
        connection = self.socket
        if connection is None:
            raise ConnectionResetError
        done, wanted = min(len(self._returned), len(view)), len(view)
        view[:done], self._returned = self._returned[:done], self._returned[done:]
        while done < wanted:
            read = connection.recv_into(view[done:])
            if not read:
                break
            done += read
            if done < wanted and time.monotonic() > self._deadline:
                raise TimeoutError("the PDU takes too long")
        return done
