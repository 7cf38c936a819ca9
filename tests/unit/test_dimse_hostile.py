"""What a hostile peer may say in a few bytes, and what it may cost: an association of its own, and no more."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from staticwado_daemon.dicom.character_sets import character_sets
from staticwado_daemon.dimse.association import negotiation
from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.contexts import STUDY_ROOT_FIND
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.query import identifier
from staticwado_daemon.dimse.query.service import Query
from staticwado_daemon.errors import Rejected, Transient
from tests.unit.dimse_peer import ABORT, CT, EXPLICIT, IMPLICIT, Peer, Told, associated, receiving, request
from tests.unit.test_dimse_receive import data_set

VERIFICATION = "1.2.840.10008.1.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
C_GET, C_FIND, C_ECHO, C_CANCEL = 0x0010, 0x0020, 0x0030, 0x0FFF


@pytest.fixture(autouse=True)
def _no_thread_stumbles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a peer says is no fault of this program, whose log would have its stack trace."""
    uncaught: list[object] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)
    yield
    assert not uncaught


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


def _context(number: int, *items: bytes) -> bytes:
    return _item(0x20, bytes((number, 0, 0, 0)) + b"".join(items))


def _proposal(contexts: int, syntaxes: int) -> bytes:
    """The body of an A-ASSOCIATE-RQ."""
    proposed = [_item(0x40, b"1.2.%d" % number) for number in range(syntaxes)]
    context = [_context(1, _item(0x30, CT.encode()), *proposed)]
    return request([(CT, EXPLICIT)])[:68] + b"".join(context * contexts)


@pytest.mark.parametrize(("contexts", "syntaxes", "excessive"), [(128, 128, False), (129, 1, True), (1, 129, True)])
def test_who_proposes_more_than_there_is(contexts: int, syntaxes: int, excessive: bool) -> None:
    assert negotiation.is_excessive(_proposal(contexts, syntaxes)) == excessive


def test_lengths_that_do_not_add_up_are_for_others_to_refuse() -> None:
    assert not negotiation.is_excessive(_proposal(129, 1)[:-1])
    assert not negotiation.is_excessive(b"")


@pytest.mark.parametrize(
    "context",
    [
        _context(1),
        _context(1, _item(0x30, CT.encode())),
        _context(1, _item(0x40, EXPLICIT.encode())),
        _context(2, _item(0x30, CT.encode()), _item(0x40, EXPLICIT.encode())),
    ],
    ids=["nothing", "no transfer syntax", "no class", "an even number"],
)
def test_a_context_that_is_none(tmp_path: Path, context: bytes) -> None:
    with receiving(tmp_path) as port, associated(port) as other:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            peer = Peer(connection)
            peer.pdu(1, request([(CT, EXPLICIT)]) + context)
            assert peer.answer()[0] in {0, ABORT}
        assert other.store(CT, "1.2.3", data_set()) == Told(0)


def _command(field: int, sop_class: str, number: int, tag: int = 0x0110) -> bytes:
    uid = sop_class.encode() + bytes(len(sop_class) % 2)
    values = [(0x0002, uid), (0x0100, struct.pack("<H", field)), (tag, struct.pack("<H", number)), (0x0800, b"\1\1")]
    return b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in values)


def _echo(peer: Peer, sop_class: str = VERIFICATION) -> None:
    peer.fragment(1, 3, _command(C_ECHO, sop_class, 7))


def test_more_cancellations_than_are_kept(tmp_path: Path) -> None:
    with receiving(tmp_path) as port, associated(port, [(VERIFICATION, EXPLICIT)]) as peer:
        for number in range(30):
            peer.fragment(1, 3, _command(C_CANCEL, VERIFICATION, number, 0x0120))
        _echo(peer)
        assert peer.told() == Told(0)


_MISPLACED = {
    "of another class": (VERIFICATION, _command(C_ECHO, WORKLIST, 7)),
    "of no class": (VERIFICATION, _command(C_ECHO, "", 7)),
    "without a message ID": (VERIFICATION, _command(C_ECHO, VERIFICATION, 7, 0x0120)),
    "which is a response": (VERIFICATION, _command(0x8000 | C_ECHO, VERIFICATION, 7, 0x0120)),
    "for another service": (VERIFICATION, _command(C_FIND, VERIFICATION, 7)),
    "for an operation that its class hasn't": (STUDY_ROOT_FIND, _command(C_GET, STUDY_ROOT_FIND, 7)),
    "for an echo of a storage class": (CT, _command(C_ECHO, CT, 7)),
    "for what nobody knows": (VERIFICATION, _command(0x7777, VERIFICATION, 7)),
}


@pytest.mark.parametrize("kind", _MISPLACED)
def test_a_request_that_its_context_is_not_for(tmp_path: Path, kind: str) -> None:
    """It isn't left without an answer, and nobody serves it who serves something else."""
    sop_class, command = _MISPLACED[kind]
    queries = Query(tmp_path, no_index, "STATICWADO", Observed("STATICWADO", "", tls=False))
    with receiving(tmp_path, services=[queries]) as port, associated(port, [(sop_class, EXPLICIT)]) as peer:
        peer.fragment(1, 3, command)
        assert peer.answer()[0] == ABORT


def no_index() -> NoReturn:
    raise Transient("there is none")


def test_an_object_in_a_context_that_is_not_for_storage(tmp_path: Path) -> None:
    with receiving(tmp_path) as port, associated(port, [(VERIFICATION, EXPLICIT)]) as peer:
        peer.request(1, CT, "1.2.3")
        assert peer.answer()[0] == ABORT


@pytest.mark.parametrize("seconds", [86_400.0, -86_400.0])
def test_who_sets_the_clock_ends_no_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    with receiving(tmp_path, limits=Limits(idle_seconds=2)) as port, associated(port) as peer:
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + seconds)
        time.sleep(1.2)
        assert peer.store(CT, "1.2.3", data_set()) == Told(0)
        began = time.monotonic()
        assert peer.answer()[0] == ABORT, "whoever is silent is ended as ever"
        assert 1 < time.monotonic() - began < 10


def test_character_sets_without_end() -> None:
    """What is looked up is kept: it must not be of any size."""
    found = character_sets(b"\\".join(b"ISO 2022 IR %d" % number for number in range(100_000)))
    assert len(found.codecs) + len(found.unknown) < 200
    value = b"\\".join([b"ISO 2022 IR 87"] * 1000)
    with pytest.raises(Rejected, match="Character Set is too long"):
        identifier.read(struct.pack("<HHI", 0x0008, 0x0005, len(value)) + value, IMPLICIT)
