"""What a peer may make us hold, and for how long."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pynetdicom import evt

from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.contexts import STUDY_ROOT_FIND, messages
from staticwado_daemon.dimse.node.acceptance import Rules
from tests.unit.dimse_peer import (
    ABORT,
    ASSOCIATE_AC,
    CT,
    EXPLICIT,
    P_DATA,
    Peer,
    Told,
    associated,
    parts,
    receiving,
    request,
    whole,
)
from tests.unit.test_dimse_receive import data_set, until


@pytest.mark.parametrize("kind", range(1, 8))
def test_a_pdu_of_four_gigabytes_is_refused_after_six_bytes(tmp_path: Path, kind: int) -> None:
    with receiving(tmp_path) as port:
        with associated(port) as peer:
            peer.connection.sendall(struct.pack(">BxI", kind, 0xFFFFFFFF))
            assert peer.answer()[0] == ABORT
            assert peer.answer()[0] == 0
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(struct.pack(">BxI", kind, 0xFFFFFFFF))
            assert connection.recv(1) == bytes((ABORT,))
        with associated(port) as peer:
            assert peer.store(CT, "1.2.3", data_set()) == Told(0)


def test_a_pdu_of_the_length_that_we_have_told_is_taken(tmp_path: Path) -> None:
    limits = Limits(maximum_pdu_length=20_000)
    with receiving(tmp_path, limits=limits) as port:
        with associated(port) as peer:
            assert peer.store(CT, "1.2.3", data_set(size=100_000), piece=20_000 - 6) == Told(0)
        with associated(port) as peer:
            peer.request(1, CT, "1.2.3")
            peer.connection.sendall(struct.pack(">BxI", P_DATA, 25_000))
            assert peer.answer()[0] == ABORT
    assert len(whole(tmp_path)) == 1


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">IBB", 0, 1, 0),  # an item without its header
        struct.pack(">IBB", 1, 1, 0),
        struct.pack(">IBB", 100, 1, 0) + bytes(10),  # longer than its PDU
        struct.pack(">IBB", 0xFFFFFFFF, 1, 0) + bytes(10),
        struct.pack(">IBB", 12, 1, 0) + bytes(10),  # data that nothing has announced
        struct.pack(">IBB", 12, 99, 3) + bytes(10),
        struct.pack(">IBB", 12, 1, 3) + bytes(10),  # no command set
        bytes(3),
    ],
)
def test_what_is_no_fragment_ends_the_association(tmp_path: Path, body: bytes) -> None:
    with receiving(tmp_path) as port:
        with associated(port) as peer:
            peer.pdu(P_DATA, body)
            assert peer.answer()[0] == ABORT
        with associated(port) as peer:
            assert peer.store(CT, "1.2.3", data_set()) == Told(0)


def test_a_fragment_of_another_context_ends_the_association(tmp_path: Path) -> None:
    contexts = [(CT, "1.2.840.10008.1.2.1"), (CT, "1.2.840.10008.1.2")]
    with receiving(tmp_path) as port, associated(port, contexts) as peer:
        peer.request(1, CT, "1.2.3")
        peer.fragment(3, 0, bytes(10))
        assert peer.answer()[0] == ABORT
        until(lambda: not parts(tmp_path))


def test_an_object_in_a_context_that_was_not_accepted_ends_the_association(tmp_path: Path) -> None:
    with receiving(tmp_path) as port, associated(port) as peer:
        peer.request(77, CT, "1.2.3")
        assert peer.answer()[0] == ABORT


@pytest.mark.parametrize(("control", "room"), [(1, 1 << 16), (0, 1 << 20)])
def test_command_sets_and_identifiers_have_their_limits(tmp_path: Path, control: int, room: int) -> None:
    limits = Limits(maximum_identifier_length=1 << 20)
    with receiving(tmp_path, limits=limits) as port, associated(port) as peer:
        if not control:
            peer.request(1, CT, "1.2.3", field=0x0020)  # C-FIND-RQ: what follows is an identifier
        sent, refused = 0, False
        try:
            while sent <= 2 * room and not refused:
                peer.fragment(1, control, bytes(16_000))
                sent += 16_000
                peer.connection.settimeout(0.05 if sent > room else 0.001)
                try:
                    refused = peer.answer()[0] in {0, ABORT}
                except TimeoutError:
                    continue
        except ConnectionError:
            refused = True
        assert refused
        assert sent <= room + 64_000


def test_who_begins_a_pdu_and_does_not_end_it_is_cut_off(tmp_path: Path) -> None:
    limits = Limits(idle_seconds=0.5)
    with receiving(tmp_path, limits=limits) as port, associated(port) as peer:
        peer.request(1, CT, "1.2.3")
        peer.connection.sendall(struct.pack(">BxI", P_DATA, 10_000))
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            drip(peer.connection)
        assert time.monotonic() - began < 3
        until(lambda: not parts(tmp_path))


def drip(connection: socket.socket) -> None:
    for _ in range(100):
        time.sleep(0.05)
        connection.sendall(b"\0")


def test_who_says_nothing_is_cut_off(tmp_path: Path) -> None:
    with receiving(tmp_path, limits=Limits(idle_seconds=0.5)) as port, associated(port) as peer:
        assert peer.answer()[0] in {0, ABORT}


def test_as_many_as_may_associate_may_begin_at_the_same_time(tmp_path: Path) -> None:
    """As where a router hands on what came while we were away, by TLS, whose handshakes take their time."""
    with receiving(tmp_path) as port, ExitStack() as stack:
        count = Rules().maximum_of_peer
        begun = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(count)]
        for each in begun:
            Peer(each).pdu(1, request([(CT, EXPLICIT)]))
        assert [Peer(each).answer()[0] for each in begun] == [ASSOCIATE_AC] * count


def test_idle_associations_cost_threads_that_sleep(tmp_path: Path) -> None:
    """pynetdicom's own would need a processor for this."""
    with receiving(tmp_path) as port:
        with associated(port), associated(port), associated(port), associated(port), associated(port):
            before, began = time.process_time(), time.monotonic()
            time.sleep(1.0)
            share = (time.process_time() - before) / (time.monotonic() - began)
        assert share < 0.05


def test_threads_and_descriptors_are_given_back(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with receiving(tmp_path) as port:
        threads, files = threading.active_count(), descriptors()
        for number in range(30):
            with associated(port) as peer:
                if number % 3 == 0:
                    assert peer.store(CT, "1.2.3", data_set()) == Told(0)
                    peer.release()
                elif number % 3 == 1:
                    peer.request(1, CT, "1.2.3")
                    peer.fragment(1, 0, bytes(100))
            with socket.create_connection(("127.0.0.1", port)):
                pass
        until(lambda: threading.active_count() <= threads and descriptors() <= files)


class Slow:
    """A service that takes its time."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.contexts = messages([STUDY_ROOT_FIND])
        self.handlers = ((evt.EVT_C_FIND, self._answer),)

    def _answer(self, _: evt.Event) -> None:
        self.may_end.wait(20)


def test_requests_that_wait_are_not_read_by_the_thousand(tmp_path: Path) -> None:
    slow = Slow()
    contexts = [(STUDY_ROOT_FIND, EXPLICIT)]
    with receiving(tmp_path, services=[slow]) as port, associated(port, contexts) as peer:
        peer.connection.settimeout(0.5)
        taken = 0
        with pytest.raises(TimeoutError):
            for taken in ask_again_and_again(peer):  # noqa: B007 - looked at below
                pass
        assert taken < 30 << 20
        slow.may_end.set()


def ask_again_and_again(peer: Peer) -> Iterator[int]:
    """Send a gigabyte of queries; how much of it was taken."""
    for number in range(1 << 14):
        if number % 16 == 0:
            peer.request(1, STUDY_ROOT_FIND, "1.2.3", field=0x0020)
        peer.fragment(1, 2 if number % 16 == 15 else 0, bytes(1 << 16))
        yield number << 16


def test_an_event_report_that_nobody_asked_for_ends_the_association(tmp_path: Path) -> None:
    with receiving(tmp_path) as port, associated(port) as peer:
        peer.request(1, CT, "1.2.3", field=0x0100)
        assert peer.answer()[0] == ABORT


@pytest.mark.parametrize("rest", range(1, 12))
def test_a_connection_that_ends_inside_a_header_takes_its_object_with_it(tmp_path: Path, rest: int) -> None:
    with receiving(tmp_path) as port:
        with associated(port) as peer:
            peer.request(1, CT, "1.2.3")
            peer.connection.sendall(struct.pack(">BxIIBB", P_DATA, 100, 96, 1, 0)[:rest])
            peer.connection.shutdown(socket.SHUT_WR)
            assert peer.answer()[0] in {0, ABORT}
        until(lambda: not parts(tmp_path))
        with associated(port) as peer:
            assert peer.store(CT, "1.2.3", data_set()) == Told(0)
