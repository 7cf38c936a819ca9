"""Our DICOM node as others call it: it listens, turns connections into associations, and ends in time.

pynetdicom's server makes a TLS handshake in the thread that accepts, and lets connections stand for as long as they
like. Here each has a thread of its own from the first moment, which waits without asking, and a term.
"""

import errno
import select
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ABORT
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationServer

from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.association.messages import Storage
from staticwado_daemon.dimse.association.provider import Handler, request_handler
from staticwado_daemon.dimse.implementation import CLASS_UID, VERSION_NAME
from staticwado_daemon.dimse.node.acceptance import Refusal, Request, Rules, address_of, decide
from staticwado_daemon.dimse.node.connections import Connection, Connections
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.errors import ConfigError
from staticwado_daemon.operate.network import Outcome

_BACKLOG = 128
_POLL_SECONDS = 0.2
_LEAST_PENDING = 32
"""Connections of one address that may pend; where more associations are allowed, as many: all may begin at once."""
_NO_LIMIT = 1_000_000
"""For pynetdicom's own limits: ours are elsewhere."""
_FINISH_SECONDS = 5.0
_ABORT_SECONDS = 0.5
_END_SECONDS = 1.0
_REMEDIES = {
    errno.EADDRINUSE: "; see with `ss -ltnp` who has the port, or take another one",
    errno.EADDRNOTAVAIL: "; name an address of this machine, or 0.0.0.0 for all of them",
    errno.EACCES: "; a port below 1024 takes root or the right that our systemd unit has, 11112 takes none",
}

_log = structlog.get_logger(__name__)


class Service(Protocol):
    """What others may ask of us."""

    @property
    def contexts(self) -> Sequence[PresentationContext]:
        """What is accepted for it."""

    @property
    def handlers(self) -> Sequence[Handler]:
        """What of pynetdicom's events it answers or wants to hear of."""


@dataclass(frozen=True, slots=True)
class Node:
    """Where and how we listen.

    Attributes:
        title: our AE title.
        host: an address, or a name of this machine.
        port: of TCP; 0 is any free one.
        rules: who may associate.
        limits: on each association.
        artim: seconds that a connection may take until its association is accepted.
        tls: how TLS is spoken; None if it isn't.
    """

    title: str
    host: str
    port: int
    rules: Rules
    limits: Limits
    artim: float
    tls: ssl.SSLContext | None = None


@contextmanager
def serve(node: Node, services: Sequence[Service], observed: Observed, storage: Storage | None = None) -> Iterator[int]:
    """Listen for as long as the block lasts, then end: what is just being received is finished, if that is soon.

    Args:
        node: how.
        services: everything that is answered.
        observed: is told of everything.
        storage: where objects go; None if there is no service for them.

    Yields:
        the port.

    Raises:
        ConfigError: if the address can't be had.
    """
    server = _open(node, services, observed, storage)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="listener", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.end()
        thread.join()


def _open(node: Node, services: Sequence[Service], observed: Observed, storage: Storage | None) -> "_Server":
    entity = AE(node.title)
    entity.implementation_class_uid, entity.implementation_version_name = UID(CLASS_UID), VERSION_NAME
    entity.maximum_associations = _NO_LIMIT
    entity.maximum_pdu_size = node.limits.maximum_pdu_length
    entity.acse_timeout = node.artim
    entity.network_timeout = node.limits.idle_seconds
    entity.dimse_timeout = node.limits.idle_seconds
    try:
        address = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4]
        return _Server(entity, (str(address[0]), int(address[1])), services, node, observed, storage)
    except OSError as error:
        why, remedy = error.strerror or "no such address", _REMEDIES.get(error.errno or 0, "")
        raise ConfigError(f"can't listen for DICOM on {node.host}:{node.port}: {why}{remedy}") from error


class _Server(AssociationServer):
    """Accepts connections, each into a thread of its own."""

    request_queue_size = _BACKLOG

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        services: Sequence[Service],
        node: Node,
        observed: Observed,
        storage: Storage | None,
    ) -> None:
        self._node = node
        self._observed = observed
        self._connections = Connections(node.artim, max(_LEAST_PENDING, node.rules.maximum_of_peer))
        self._here = threading.local()
        own: list[Handler] = [
            (evt.EVT_CONN_OPEN, self._begin),
            (evt.EVT_REQUESTED, self._judge),
            (evt.EVT_ACSE_SENT, self._notice),
        ]
        super().__init__(
            entity,
            address,
            node.title,
            [each for service in services for each in service.contexts],
            # Ours are first: one that raises, as a hostile request may have it do, keeps the others from being called.
            evt_handlers=[*own, *(each for service in services for each in service.handlers)],
            request_handler=request_handler(node.limits, storage),
        )

    def get_request(self) -> Any:
        """Accept a connection; where there are no more descriptors, not at once again and again."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_POLL_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a new connection."""
        connection = self._connections.add(request, str(address_of(client_address[0])))
        try:
            threading.Thread(
                target=self._attend, args=(connection, client_address), name="connection", daemon=True
            ).start()
        except RuntimeError:  # the system has no more threads
            self._connections.remove(connection)
            raise

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Log what kept a connection from being taken."""
        _log.warning("connection_not_taken", exc_info=True)

    def service_actions(self) -> None:
        """Look after connections, a few times a second."""
        self._connections.cut_overdue()

    def end(self) -> None:
        """Listen no more; let what is being received be finished, if that is soon, and end the rest."""
        socketserver.BaseServer.shutdown(self)  # pynetdicom's would look for it where it isn't listed
        self.server_close()
        self._connections.cut_pending()
        deadline = time.monotonic() + _FINISH_SECONDS
        while (left := self._connections.associations()) and time.monotonic() < deadline:
            self._abort(each for each in left if not self._observed.is_busy(each))
            time.sleep(_POLL_SECONDS / 4)
        self._abort(iter(left))
        self._wait(_ABORT_SECONDS if left else 0)
        self._connections.cut_all()
        self._wait(_END_SECONDS)

    def _abort(self, associations: Iterator[Association]) -> None:
        for each in associations:
            each.abort(block=False)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while len(self._connections) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 4)

    def _attend(self, connection: Connection, address: Any) -> None:
        """Be there for one connection until it has ended."""
        self._here.connection = connection
        reason = ""
        try:
            self._secure(connection)
            if self._is_spoken_on(connection):
                self.finish_request(connection.socket, address)
            if connection.association:
                connection.association.join()
        except ssl.SSLError as error:
            reason = f"TLS: {(error.reason or 'no handshake').lower().replace('_', ' ')}"
        except OSError as error:
            reason = error.strerror or "the connection was closed"
        except Exception:  # noqa: BLE001 - one connection's trouble is no other's
            _log.exception("connection_broken")
            reason = "a fault of this program"
        finally:
            self._connections.remove(connection)
            self._sum_up(connection, reason)

    def _secure(self, connection: Connection) -> None:
        if self._node.tls is None:
            return
        # Known before the handshake, which would otherwise go on in a socket that nobody can cut.
        secure = self._node.tls.wrap_socket(connection.socket, server_side=True, do_handshake_on_connect=False)
        connection.socket = secure
        secure.settimeout(self._node.artim)
        secure.do_handshake()

    def _is_spoken_on(self, connection: Connection) -> bool:
        """Wait for the first bytes; most that never come cost a waiting thread, and no association."""
        pending = isinstance(connection.socket, ssl.SSLSocket) and connection.socket.pending()
        poll = select.poll()
        poll.register(connection.socket, select.POLLIN)
        return bool(pending or poll.poll(1000 * self._node.artim)) and not connection.cut

    def _begin(self, event: evt.Event) -> None:
        """Learn which association a connection becomes: this runs in the connection's own thread."""
        self._here.connection.association = event.assoc

    def _judge(self, event: evt.Event) -> None:
        """Accept an association request, or reject it on the wire; whatever happens, never let it pass unjudged."""
        try:
            self._decide(event.assoc)
        except Exception:  # noqa: BLE001 - pynetdicom would go on as if nothing had happened
            _log.exception("association_not_judged")
            event.assoc.abort(block=False)

    def _decide(self, association: Association) -> None:
        connection = self._connections.of(association)
        asked = association.requestor.primitive
        if connection is None or asked is None:
            association.abort(block=False)
            return
        called, calling = asked.called_ae_title, asked.calling_ae_title

        def judged(count: int, count_of_peer: int) -> Refusal | None:
            return decide(Request(called, calling, connection.peer, count, count_of_peer), self._node.rules)

        if refusal := self._connections.admit(connection, judged):
            association.acse.send_reject(refusal.result, refusal.source, refusal.reason)
            association.kill()  # returns when the rejection has been sent
            self._observed.refused(association, connection.peer, refusal)
        else:
            self._observed.opened(association)

    def _notice(self, event: evt.Event) -> None:
        """Learn that an association is aborted because nothing is said on it, while that can be told."""
        connection = self._connections.of(event.assoc)
        sent = event.primitive  # type: ignore[attr-defined]  # each event has its own, which no type knows
        if connection and isinstance(sent, A_ABORT) and event.assoc.dul.idle_timer_expired():
            connection.cut = "idle"

    def _sum_up(self, connection: Connection, reason: str) -> None:
        association = connection.association
        if association is not None and not connection.pending:
            self._observed.closed(association, connection.peer, _outcome(connection, association))
        elif association is None or not association.is_rejected:
            words = {"artim": "nothing was requested in time", "crowd": "too many of this address wait"}
            self._observed.broken(connection.peer, words.get(connection.cut or "", reason))


def _outcome(connection: Connection, association: Association) -> Outcome:
    if association.is_released:
        return "released"
    return "timeout" if connection.cut == "idle" else "aborted"
