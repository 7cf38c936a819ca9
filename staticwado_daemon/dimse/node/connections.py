"""Connections before and while they are associations: none is without a term, and no address crowds out the others.

A connection *pends* until it has requested an association that was accepted. For that it has the time of ARTIM (PS3.8
9.1.5), TLS included. A few may pend, and of one address fewer. What is too much costs the address that has most of
them its oldest: so neither the many connections of a hostile machine, nor their age, nor new ones again and again keep
another one out; and a good peer behind the same address still has its turn, if it is as quick as peers are.
"""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pynetdicom.association import Association

from staticwado_daemon.dimse.node.acceptance import Refusal

_CROWDS = 4
"""Addresses of which as many may pend as of one may."""


@dataclass(slots=True, eq=False)
class Connection:
    """One connection.

    Attributes:
        peer: the other's address.
        socket: as it was accepted; with TLS another one takes its place.
        began: when it was accepted (monotonic seconds).
        association: what it becomes; none before the peer has said something.
        pending: the association isn't accepted as yet.
        cut: it was we who ended it, and why; None if we didn't.
    """

    peer: str
    socket: socket.socket
    began: float = field(default_factory=time.monotonic)
    association: Association | None = None
    pending: bool = True
    cut: str | None = None


class Connections:
    """All connections. Every method may be called from any thread.

    Args:
        artim: seconds that a connection may pend.
        of_peer: connections of one address that may pend.
        clock: monotonic seconds.
    """

    def __init__(self, artim: float, of_peer: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._artim = artim
        self._of_peer = of_peer
        self._clock = clock
        self._lock = threading.Lock()
        # With a descriptor of our own: the number of one that a library has closed may be another file's by now.
        self._open: dict[Connection, int] = {}

    def add(self, accepted: socket.socket, peer: str) -> Connection:
        """Take a new connection, if need be by cutting a pending one.

        Raises:
            OSError: if there are no more descriptors.
        """
        connection = Connection(peer, accepted, self._clock())
        descriptor = os.dup(accepted.fileno())
        with self._lock:
            self._make_room(peer)
            self._open[connection] = descriptor
        return connection

    def remove(self, connection: Connection) -> None:
        """Forget a connection, which ends with this if it hasn't before."""
        with self._lock:
            descriptor = self._open.pop(connection)
        _shutdown(descriptor)
        os.close(descriptor)
        with suppress(OSError):
            connection.socket.close()

    def of(self, association: Association) -> Connection | None:
        """The connection of an association."""
        with self._lock:
            return next((each for each in self._open if each.association is association), None)

    def admit(self, connection: Connection, decide: Callable[[int, int], Refusal | None]) -> Refusal | None:
        """Let a pending connection be an association, or say why not.

        Args:
            connection: the one that asks.
            decide: takes how many associations are open, and how many of them are this peer's.
        """
        with self._lock:
            peers = [each.peer for each in self._open if not each.pending]
            refusal = decide(len(peers), peers.count(connection.peer))
            connection.pending = refusal is not None
        return refusal

    def associations(self) -> list[Association]:
        """Those that were accepted and haven't ended."""
        with self._lock:
            return [each.association for each in self._open if not each.pending and each.association is not None]

    def cut_overdue(self) -> None:
        """Cut what has pended for too long."""
        with self._lock:
            for connection in self._pending():
                if self._clock() - connection.began > self._artim:
                    self._cut(connection, "artim")

    def cut_pending(self) -> None:
        """Cut all that pend."""
        with self._lock:
            for connection in self._pending():
                self._cut(connection, "shutdown")

    def cut_all(self) -> None:
        """Cut everything."""
        with self._lock:
            for connection in self._open:
                self._cut(connection, "shutdown")

    def __len__(self) -> int:
        with self._lock:
            return len(self._open)

    def _make_room(self, peer: str) -> None:
        pending = self._pending()
        count = Counter(each.peer for each in pending)
        if count[peer] >= self._of_peer:
            crowd = peer
        elif len(pending) >= _CROWDS * self._of_peer:
            crowd = count.most_common(1)[0][0]
        else:
            return
        self._cut(next(each for each in pending if each.peer == crowd), "crowd")

    def _pending(self) -> list[Connection]:
        """The oldest first."""
        return [each for each in self._open if each.pending and not each.cut]

    def _cut(self, connection: Connection, why: str) -> None:
        connection.cut = connection.cut or why
        _shutdown(self._open[connection])


def _shutdown(descriptor: int) -> None:
    """End a connection both ways; whoever reads from it meanwhile finds the end."""
    with socket.socket(fileno=os.dup(descriptor)) as same, suppress(OSError):
        same.shutdown(socket.SHUT_RDWR)
