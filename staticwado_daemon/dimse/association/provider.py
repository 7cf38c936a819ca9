"""Associations as pynetdicom has them, with caps, deadlines and threads that wait instead of asking.

Here, in `transport`, `upper_layer` and `messages`, and nowhere else, pynetdicom's parts are extended by what they don't
document; hence its narrow version range.
What is changed, and why:

* A PDU's length is looked at before anything of it is read: what is too long ends the association after six bytes.
  Commands and identifiers, which are held in memory, have their limits as well, and each PDU a deadline.
* Data sets of C-STORE requests go from the socket to the storage service through one small buffer, and are answered by
  the thread that reads: no PDU is ever held, and no thread has to be woken for an object.
* Responses to C-FIND are encoded as bytes, and many leave together: pynetdicom makes a data set of each command and
  each identifier, and wakes a thread for each of their fragments.
* pynetdicom's two threads of an association look every millisecond whether there is something to do, which five hundred
  idle connections can't afford and a request waits for; ours sleep until there is.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeAlias, cast

import structlog
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE, N_ACTION
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import RequestHandler

from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.association.messages import Messages, Storage
from staticwado_daemon.dimse.association.transport import Connection
from staticwado_daemon.dimse.association.upper_layer import Parcel, UpperLayer

_config.LOG_HANDLER_LEVEL = "none"  # its default handlers decode and format every PDU, for a log that nobody keeps
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False  # so does this with every identifier

Handler: TypeAlias = tuple[evt.EventType, Callable[..., Any]]
"""One of pynetdicom's events, and what answers it or hears of it."""

_QUERIES: Final = {C_FIND: evt.EVT_C_FIND, C_GET: evt.EVT_C_GET, C_MOVE: evt.EVT_C_MOVE}

_OPERATIONS: Final = {
    contexts.VERIFICATION: C_ECHO,
    contexts.PATIENT_ROOT_FIND: C_FIND,
    contexts.PATIENT_ROOT_GET: C_GET,
    contexts.PATIENT_ROOT_MOVE: C_MOVE,
    contexts.STUDY_ROOT_FIND: C_FIND,
    contexts.STUDY_ROOT_GET: C_GET,
    contexts.STUDY_ROOT_MOVE: C_MOVE,
    contexts.COMMITMENT: N_ACTION,
}
"""What is asked for by SOP class; of all others it is C-STORE."""

_log = structlog.get_logger(__name__)


def send_parcel(association: Association, data: bytes) -> Parcel:
    """Have PDUs sent after what is to be sent already; `gone` says when they are, or won't be any more."""
    parcel = Parcel(data)
    upper_layer: Any = association.dul
    upper_layer.to_provider_queue.put(parcel)
    return parcel


def request_handler(limits: Limits, storage: Storage | None = None) -> type[RequestHandler]:
    """The class by which a server of pynetdicom turns connections into associations.

    Args:
        limits: on each of them.
        storage: what serves C-STORE; None leaves it to pynetdicom's events, which hold objects in memory.
    """

    class Handler(RequestHandler):
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
    association.dimse = messages = Messages(association, limits, storage)
    association.dul = UpperLayer(association, limits, messages)
    # Setting them tells the timers of the new provider.
    association.acse_timeout = association.acse_timeout
    association.network_timeout = association.network_timeout
    association.set_socket(Connection(association, connection, limits.idle_seconds))
    # Methods of pynetdicom's that there is no other way to change.
    association._serve_request = partial(_serve_request, association, association._serve_request)  # type: ignore[method-assign]  # noqa: SLF001 - no public name
    association.acse.negotiate_association = partial(_negotiate, association, association.acse.negotiate_association)  # type: ignore[method-assign]
    association._handle_no_response = partial(_unanswered, association, association._handle_no_response)  # type: ignore[method-assign]  # noqa: SLF001 - no public name
    return association


def _unanswered(association: Association, give_up: Callable[[], None]) -> None:
    """What was asked isn't answered; a peer that only wants to release the association is to have that."""
    if association.dul.peek_next_pdu() is None:
        give_up()


def _negotiate(association: Association, negotiate: Callable[[], None]) -> None:
    """Negotiate; what pynetdicom stumbles over, as a context without a class, is no association."""
    try:
        negotiate()
    except Exception as error:  # noqa: BLE001 - whatever it is, a peer's request is no fault of this program
        _log.warning("association_not_negotiated", peer=association.remote["address"], error=type(error).__name__)
        association.abort(block=False)


def _serve_request(association: Association, others: Callable[[Any, int], None], message: Any, context_id: int) -> None:
    """Let the handlers of C-FIND, C-GET and C-MOVE answer by themselves; pynetdicom does the rest.

    Of these it would take data sets to be encoded anew, which gives back nothing as it came, and takes its time.
    """
    if isinstance(message, C_CANCEL):
        return  # it is one too many: those that count are kept elsewhere
    context = next((each for each in association.accepted_contexts if each.context_id == context_id), None)
    is_asked = context is not None and _is_asked_in(message, context)
    if association.is_acceptor and not is_asked:
        # pynetdicom would ask whoever serves that class, who would find another's request; or leave it unanswered.
        _log.warning("request_not_understood", peer=association.remote["address"])
        association.abort()
        return
    event = _QUERIES.get(type(message)) if is_asked else None
    if event is None or context is None:
        others(message, context_id)
        return
    cancelled = association.dimse.cancel_req
    association._is_paused = True  # noqa: SLF001 - as pynetdicom does for its own services
    try:
        attributes = {"request": message, "context": context.as_tuple, "_is_cancelled": cancelled.__contains__}
        evt.trigger(association, event, attributes)
    except Exception:  # noqa: BLE001 - whatever it is, the peer must not wait for an answer
        _log.exception("request_broken")
        association.abort()
    finally:
        association._is_paused = False  # noqa: SLF001 - see above


def _is_asked_in(message: Any, context: PresentationContext) -> bool:
    """Whether a message is a complete request, by its SOP class and its operation one of its presentation context."""
    named = getattr(message, "AffectedSOPClassUID", None) or getattr(message, "RequestedSOPClassUID", None)
    operation = _OPERATIONS.get(str(context.abstract_syntax), C_STORE)
    return bool(message.is_valid_request) and type(message) is operation and named == context.abstract_syntax


@contextmanager
def undisturbed(association: Association) -> Iterator[None]:
    """Keep an association's own thread from taking the answers to what is asked in the block.

    In a handler nothing has to be kept from anything.
    """
    if threading.current_thread() is association:
        yield
        return
    association._reactor_checkpoint.clear()  # noqa: SLF001 - no public name
    try:
        while not association._is_paused and association.is_alive():  # noqa: SLF001 - no public name
            _news(association).set()
            time.sleep(0.0005)
        yield
    finally:
        association._reactor_checkpoint.set()  # noqa: SLF001 - no public name


def respond(association: Association, response: Any, context_id: int) -> None:
    """Send a DIMSE response that is complete."""
    association.dimse.send_msg(response, context_id)


def give_up(association: Association) -> None:
    """Abort an association, and wake whoever waits on it for an answer."""
    association.abort()
    association.dimse.msg_queue.put((None, None))


def is_over(association: Association) -> bool:
    """Whether an association has ended, or its peer has asked for that."""
    return (
        not association.is_established or not association.dul.is_alive() or association.dul.peek_next_pdu() is not None
    )


def _news(association: Association) -> threading.Event:
    """What an association's own thread waits for."""
    return cast("Messages", association.dimse).news
