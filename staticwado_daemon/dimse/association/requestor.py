"""Associations that we request: with whom, as whom, and in words why there is none."""

import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field

from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.association.messages import Storage
from staticwado_daemon.dimse.association.provider import fit, is_over, undisturbed
from staticwado_daemon.dimse.contexts import MAXIMUM
from staticwado_daemon.dimse.implementation import CLASS_UID, VERSION_NAME
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.errors import StaticwadoError, Transient

_ACCEPTED, _PERMANENT, _TRANSIENT = 0, 1, 2
_USER, _ACSE, _PRESENTATION = 1, 2, 3
_NO_TLS = {"WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "HTTP_REQUEST"}
"""What OpenSSL makes of an answer that isn't TLS, or of none."""


@dataclass(frozen=True, slots=True)
class Local:
    """We, when we ask others.

    Attributes:
        title: our AE title.
        tls: how we speak with a peer that wants TLS; None if nothing is configured for it.
        connect_seconds: for the connection, with TLS's handshake.
        associate_seconds: for the answer to the association request, and to its release.
        answer_seconds: for each answer to what we ask for; None if somebody else looks after that.
        limits: on what the peer may send us in turn.
    """

    title: str
    tls: ssl.SSLContext | None = None
    connect_seconds: float = 10.0
    associate_seconds: float = 30.0
    answer_seconds: float | None = 60.0
    limits: Limits = field(default_factory=Limits)


@contextmanager
def associated(
    local: Local,
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    provides: Iterable[str] = (),
    storage: Storage | None = None,
) -> Iterator[Association]:
    """An established association; released at the end, or aborted where the block raises.

    Args:
        local: we.
        peer: the other.
        contexts: what is proposed, at most 128.
        provides: SOP Class UIDs of which we propose to be the SCP, though we ask (PS3.7 D.3.3.4): C-GET's storage.
        storage: where the objects go that the peer sends in turn.

    Raises:
        Transient: if the peer can't be reached or doesn't want us now.
        StaticwadoError: if it doesn't want us, or nothing of what was proposed. Each says what the peer answered.
    """
    heard: list[object] = []
    association = _prepared(local, peer, contexts, provides)
    connection = _connected(local, peer)
    try:
        association.acceptor.address_info = AddressInformation.from_tuple(connection.getpeername())
        association.requestor.address_info = AddressInformation.from_tuple(connection.getsockname())
    except OSError:  # it is closed already, as by who doesn't like our certificate
        raise _closed(peer) from None
    association.bind(evt.EVT_ACSE_RECV, lambda event: heard.append(event.primitive))
    fit(association, connection, local.limits, storage)
    began = time.monotonic()
    association.request()
    if not association.is_established:
        raise _unwelcome(local, peer, heard, time.monotonic() - began)
    association.start()
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    with undisturbed(association):
        association.release()


def _prepared(
    local: Local, peer: Peer, contexts: Sequence[PresentationContext], provides: Iterable[str]
) -> Association:
    """Everything that the request will say."""
    entity = AE(local.title)
    entity.acse_timeout = local.associate_seconds
    entity.dimse_timeout = local.answer_seconds
    # We end it: between two objects that are sent, or two answers of a C-MOVE, nothing may come for long.
    entity.network_timeout = None
    association = Association(entity, "requestor")
    association.acceptor.ae_title = peer.title
    association.requestor.ae_title = local.title
    association.requestor.maximum_length = local.limits.maximum_pdu_length
    association.requestor.implementation_class_uid = UID(CLASS_UID)
    association.requestor.implementation_version_name = VERSION_NAME
    for uid in provides:
        association.requestor.add_negotiation_item(build_role(uid, scp_role=True))
    association.requestor.requested_contexts = _numbered(contexts)
    return association


def _numbered(contexts: Sequence[PresentationContext]) -> list[PresentationContext]:
    """Copies with the odd numbers that PS3.8 7.1.1.13 wants."""
    if not contexts:
        raise StaticwadoError("nothing can be proposed: no object that is to be sent has a SOP Class UID")
    if len(contexts) > MAXIMUM:
        raise ValueError(f"{len(contexts)} presentation contexts can't be proposed")
    numbered = [*map(copy, contexts)]
    for number, context in enumerate(numbered):
        context.context_id = 2 * number + 1
    return numbered


def _connected(local: Local, peer: Peer) -> socket.socket:
    """A TCP connection to the peer, with TLS if it speaks that.

    Raises:
        Transient: if the peer can't be reached.
        StaticwadoError: if TLS can't be agreed on, or nothing is configured for it.
    """
    if peer.tls and local.tls is None:
        raise StaticwadoError(f"{peer} speaks TLS, and dicomWebScpConfig.tls isn't configured: add authorities there")
    try:
        connection = socket.create_connection((peer.host, peer.port), local.connect_seconds)
    except OSError as error:
        raise Transient(f"{peer} can't be reached: {_reason(error, local)}") from error
    try:
        # A request is answered before the next one comes: what is withheld to fill a segment only costs time.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if peer.tls and local.tls is not None:
            connection = local.tls.wrap_socket(connection, server_hostname=peer.host)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise StaticwadoError(f"{peer} shows a certificate that isn't trusted: {error.verify_message}") from error
    except OSError as error:
        connection.close()
        told = getattr(error, "reason", "") in _NO_TLS or isinstance(error, ConnectionResetError)
        hint = "; does it speak TLS on this port?" if told else ""
        raise StaticwadoError(f"TLS with {peer} failed: {_reason(error, local)}{hint}") from error
    return connection


def _reason(error: OSError, local: Local) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {local.connect_seconds:g} s; is the address right, and the firewall open?"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; does it run, and on this port?"
    if isinstance(error, socket.gaierror):
        return "there is no host of this name"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the connection was closed").lower().replace("_", " ")
    return error.strerror or "the connection was closed"


def _unwelcome(local: Local, peer: Peer, heard: Sequence[object], seconds: float) -> StaticwadoError:
    """Why there is no association, from what came back."""
    answer = next((each for each in heard if isinstance(each, A_ASSOCIATE | A_ABORT | A_P_ABORT)), None)
    if isinstance(answer, A_ASSOCIATE):
        if answer.result == _ACCEPTED:
            return StaticwadoError(f"{peer} accepts nothing of what we proposed: it doesn't offer this service")
        return _rejected(local, peer, answer)
    if isinstance(answer, A_ABORT):
        return Transient(f"{peer} aborted the association while it was negotiated; its log says why")
    if isinstance(answer, A_P_ABORT) or seconds < local.associate_seconds:
        return _closed(peer)
    return Transient(f"{peer} didn't answer our association request within {local.associate_seconds:g} s")


def _closed(peer: Peer) -> Transient:
    hint = "does it accept our certificate?" if peer.tls else "does it expect TLS? Is it a port for DICOM?"
    return Transient(f"{peer} closed the connection instead of answering: {hint}")


_REASONS = {
    (_USER, 1): "it gives no reason",
    (_USER, 2): "it doesn't know the application context name",
    (_USER, 3): "it does not know us as {calling} (calling AE title not recognised)",
    (_USER, 7): "it isn't called {called} (called AE title not recognised)",
    (_ACSE, 1): "it gives no reason",
    (_ACSE, 2): "it doesn't support our version of the protocol",
    (_PRESENTATION, 1): "it is too busy now (temporary congestion)",
    (_PRESENTATION, 2): "it has as many associations as it allows (local limit exceeded)",
}
"""By source and reason, PS3.8 9.3.4."""


def _rejected(local: Local, peer: Peer, answer: A_ASSOCIATE) -> StaticwadoError:
    source, reason = answer.result_source, answer.diagnostic
    words = _REASONS.get((source or 0, reason or 0), f"reason {reason} of source {source}, which PS3.8 doesn't know")
    sentence = f"{peer} rejected the association: {words.format(calling=local.title, called=peer.title)}"
    # "Rejected permanently" is also what a busy peer may say, but then with a reason that passes.
    passing = answer.result == _TRANSIENT or source == _PRESENTATION
    return Transient(sentence) if passing else StaticwadoError(sentence)


@contextmanager
def asking(association: Association, peer: Peer) -> Iterator[None]:
    """Put a question to the peer, and read the answers, in the block.

    Raises:
        Transient: if the association has ended since the last question.
    """
    with undisturbed(association):
        if is_over(association):
            raise ended(association, peer)
        yield


def ended(association: Association, peer: Peer) -> Transient:
    """Why an association ended in the middle of an operation, for which pynetdicom answers without a status."""
    # Its own thread, which would note it, rests meanwhile.
    if association.is_aborted or association.acse.is_aborted("a-abort"):
        return Transient(f"{peer} aborted the association")
    if association.acse.is_aborted("a-p-abort"):
        return Transient(f"the connection with {peer} was lost")
    if association.is_released or isinstance(association.dul.peek_next_pdu(), A_RELEASE):
        return Transient(f"{peer} released the association")
    return Transient(f"{peer} didn't answer in time")
