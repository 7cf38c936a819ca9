"""A hostile machine costs nobody else anything: each attack goes on while a good peer is served as if it were alone.

And it leaves nothing: memory is bounded, threads and descriptors return to their former number.
"""

import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system import by_hand, nodes
from tests.system.nodes import Node

QUICK_SECONDS = 5.0
"""In which a good peer has associated, stored or asked, and released: a loaded machine included."""
MEMORY_BYTES = 64 << 20
"""By which the process may grow under attack; each association may hold a PDU or two."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running node and what it had before anybody attacked it."""

    node: Node
    process: int
    memory: int
    descriptors: int
    threads: int

    @property
    def port(self) -> int:
        return self.node.port

    def recovers(self, seconds: float = 20.0) -> None:
        """Wait until what it had for the attack is given back."""
        deadline = time.monotonic() + seconds
        while (now := (by_hand.descriptors(self.process), by_hand.threads(self.process))) > (
            self.descriptors,
            self.threads,
        ):
            assert time.monotonic() < deadline, f"{now} descriptors and threads, not {self.descriptors, self.threads}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    node = nodes.prepare(tmp_path_factory.mktemp("scp") / "node", artimSeconds=3, idleSeconds=4)
    with nodes.receiving(node) as process:
        _serve_well(node.port)  # what is loaded once is loaded
        time.sleep(0.5)
        yield Target(
            node,
            process.pid,
            by_hand.resident(process.pid),
            by_hand.descriptors(process.pid),
            by_hand.threads(process.pid),
        )


@pytest.fixture(autouse=True)
def _nothing_is_left(target: Target) -> Iterator[None]:
    yield
    target.recovers()
    _serve_well(target.port)
    log = target.node.scp_log.read_text()
    assert '"exception"' not in log, "what a peer says is no fault of this program"


def _serve_well(port: int) -> float:
    """Associate, store and release as a good peer does; seconds that it took."""
    began = time.monotonic()
    connection = by_hand.established(port, "127.0.0.1")
    assert by_hand.store(connection) == 0x0000
    by_hand.release(connection)
    return time.monotonic() - began


@contextmanager
def _good_peer(target: Target) -> Iterator[list[float]]:
    """A good peer that goes on as long as the block lasts, with the seconds of each of its turns."""
    ended, seconds = threading.Event(), list[float]()

    def work() -> None:
        while not ended.is_set():
            seconds.append(_serve_well(target.port))

    with ThreadPoolExecutor(1) as pool:
        work_done = pool.submit(work)
        try:
            yield seconds
        finally:
            ended.set()
        work_done.result()
    assert seconds
    assert max(seconds) < QUICK_SECONDS


def _until_closed(connection: socket.socket) -> bytes:
    """What comes until the other side closes, which it must."""
    heard = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(4096):
            heard += data
    return heard


def test_five_hundred_idle_connections(target: Target) -> None:
    with ExitStack() as idle:
        with _good_peer(target):
            for _ in range(500):
                idle.enter_context(by_hand.connect(target.port))
            time.sleep(0.5)
            grown = by_hand.resident(target.process) - target.memory
        assert grown < MEMORY_BYTES
        assert by_hand.threads(target.process) < target.threads + 100


def test_five_hundred_idle_connections_of_ones_own_address(target: Target) -> None:
    """Who comes later isn't kept out by those that came before."""
    with ExitStack() as idle:
        for _ in range(500):
            idle.enter_context(by_hand.connect(target.port, "127.0.0.1"))
        assert max(_serve_well(target.port) for _ in range(5)) < QUICK_SECONDS


def test_requests_that_come_byte_by_byte(target: Target) -> None:
    request = by_hand.associate_request()
    with ExitStack() as slow, _good_peer(target):
        began = time.monotonic()
        crowd = [slow.enter_context(by_hand.connect(target.port)) for _ in range(40)]
        ended: set[socket.socket] = set()
        for byte in request:
            for each in crowd:
                try:
                    each.send(bytes((byte,)))
                except OSError:
                    ended.add(each)
            if len(ended) == len(crowd):
                break
            time.sleep(0.1)
        assert len(ended) == len(crowd), "somebody has been waited for without end"
        assert time.monotonic() - began < 10


def test_objects_that_come_byte_by_byte(target: Target) -> None:
    """As many as one address may have at a time; more are rejected at once. Each PDU has its term."""
    with ExitStack() as slow, _good_peer(target):
        crowd = [slow.enter_context(by_hand.established(target.port)) for _ in range(30)]
        with by_hand.connect(target.port) as more:
            more.sendall(by_hand.associate_request())
            assert more.recv(16)[:1] == b"\x03"
        for number, each in enumerate(crowd):
            each.sendall(by_hand.store_begun(b"1.2.3.%d" % number, b"\x08\0\x05\0"))
            each.sendall(by_hand.fragment_begun(1000))
        began = time.monotonic()
        deadline = time.monotonic() + 15
        alive = crowd
        while alive:
            assert time.monotonic() < deadline, "somebody has been waited for without end"
            time.sleep(0.3)
            alive = [each for each in alive if _takes(each, b"\0")]
        assert time.monotonic() - began > 3, "they ended by something else than their term"
    assert not [*target.node.drop.joinpath(".part").glob("*/*")]


def _takes(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.send(data)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", [1, 2, 4, 5, 7, 0x99])
def test_a_pdu_that_claims_four_gigabytes(target: Target, kind: int) -> None:
    lie = struct.pack(">BxI", kind, 0xFFFFFFFF)
    with _good_peer(target):
        for begin in (by_hand.connect, by_hand.established):
            with begin(target.port) as connection:
                began = time.monotonic()
                with suppress(OSError):
                    connection.sendall(lie)
                    for _ in range(64):
                        connection.sendall(bytes(1 << 16))
                _until_closed(connection)
                assert time.monotonic() - began < QUICK_SECONDS
        assert by_hand.resident(target.process) - target.memory < MEMORY_BYTES


def test_an_object_without_end_in_length(target: Target) -> None:
    """A fragment may not be longer than its PDU, and a PDU not longer than was agreed on."""
    with _good_peer(target), by_hand.established(target.port) as connection:
        connection.sendall(struct.pack(">BxIIBB", 4, 100, 0xFFFFFFF0, 3, 3))
        assert _until_closed(connection)[:1] == b"\x07"


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_association_requests(target: Target, count: int) -> None:
    def attack(seed: int) -> bytes:
        with by_hand.connect(target.port) as connection:
            connection.settimeout(30)
            with suppress(OSError):
                connection.sendall(by_hand.mutated_request(seed))
                select.select([connection], [], [], 0.1)  # where more was announced nothing comes until we hang up
                connection.shutdown(socket.SHUT_WR)
            return _until_closed(connection)[:1]

    with _good_peer(target), ThreadPoolExecutor(12) as pool:
        answers = [*pool.map(attack, range(count))]
        assert by_hand.resident(target.process) - target.memory < MEMORY_BYTES
    # Some are still good requests, and some are refused; whatever it is, it is of the protocol or nothing.
    assert {b"\x02", b"\x07", b""} <= set(answers) <= {b"\x02", b"\x03", b"\x07", b""}


def test_requests_that_propose_more_than_there_is(target: Target) -> None:
    """A megabyte of transfer syntaxes, each of which is compared with all others, takes nobody else's time."""
    request, began = by_hand.excessive_request(), time.monotonic()

    def attack(_number: int) -> bytes:
        with by_hand.connect(target.port) as connection, suppress(OSError):
            connection.sendall(request)
            return _until_closed(connection)[:1]
        return b""

    with _good_peer(target), ThreadPoolExecutor(16) as pool:
        assert {*pool.map(attack, range(64))} <= {b"\x07", b""}
    assert time.monotonic() - began < 2 * QUICK_SECONDS


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_sessions(target: Target, count: int) -> None:
    """Some are sent at once, some wait for what is answered; whatever it is, it ends with the connection."""

    def attack(seed: int) -> None:
        with by_hand.connect(target.port) as connection, suppress(OSError):
            for pdu in by_hand.mutated_session(seed):
                connection.sendall(pdu)
                if seed % 2:
                    select.select([connection], [], [], 0.02)
            connection.settimeout(0.1)
            while connection.recv(1 << 16):
                pass

    with _good_peer(target), ThreadPoolExecutor(12) as pool:
        [*pool.map(attack, range(count))]
        assert by_hand.resident(target.process) - target.memory < MEMORY_BYTES
    target.recovers()
    assert not [*target.node.drop.joinpath(".part").glob("*/*")]


_PADDING = struct.pack("<HH2sxxI", 0xFFFC, 0xFFFC, b"OB", 40_000) + bytes(40_000)


@contextmanager
def _small_disk(directory: Path, size: str) -> Iterator[Path]:
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def _on_small_disk(directory: Path) -> Iterator[tuple[Node, Path, Callable[[], int]]]:
    """A node whose drop folder is on a disk of 2 MB; and what stores an object there, and returns the status."""
    with _small_disk(directory / "disk", "2m") as disk:
        node = nodes.prepare(directory / "node", daemon={"dropDir": str(disk / "drop")})
        node.config.write_text(node.config.read_text().replace('"rootDir"', '"minFreeBytes": 0, "rootDir"'))
        with nodes.receiving(node):
            sender = by_hand.established(node.port)
            yield node, disk, lambda: by_hand.store(sender, by_hand.OBJECT + _PADDING)
            by_hand.release(sender)


def test_a_full_disk_is_told_and_passes(tmp_path: Path) -> None:
    with _on_small_disk(tmp_path) as (node, disk, store):
        assert store() == 0x0000
        ballast = disk / "ballast"
        ballast.write_bytes(b"")
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert {store() for _ in range(20)} == {0xA700}
        by_hand.release(by_hand.established(node.port))
        assert not [*disk.glob("drop/.part/*/*")]
        ballast.unlink()
        assert store() == 0x0000
        assert len([*disk.glob("drop/*.dcm")]) == 2


def test_a_drop_folder_that_takes_nothing_is_told_and_passes(tmp_path: Path) -> None:
    with _on_small_disk(tmp_path) as (node, disk, store):
        assert store() == 0x0000
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert store() == 0xA700
        by_hand.release(by_hand.established(node.port))
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert store() == 0x0000
