"""Clients that are slow, silent or greedy cost the embedded server little, and other clients nothing."""

import http.client
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from staticwado_daemon.web import connection
from tests.system.programs import REPOSITORY
from tests.system.servers import Server, free_port, start_embedded
from tests.system.tiny_tree import build, instance, put

FRAME = f"/dicomweb/{instance(1)}/frames/1"
LARGE = f"/dicomweb/{instance(7)}/frames/1"
LARGE_BYTES = 16 << 20
PROMPT_SECONDS = 1.0
MAXIMUM_GROWTH = 300 << 20  # bytes
SHORT_SECONDS = 2.0
MANY = 1200
"""Connections; more than the server's process may have open files."""


BEGINNING = f"GET {FRAME} HTTP/1.1\r\nHost: x\r\n".encode()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site") / "tree"
    build(root)
    put(root / f"{instance(7)}/frames/1.mht", bytes(LARGE_BYTES))
    return root


@dataclass(frozen=True, slots=True)
class Process:
    """The embedded server as a program of its own, and how it treats a client that means it."""

    server: Server
    pid: int

    @property
    def memory(self) -> int:
        """Bytes that it has in memory, at most so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10

    def is_prompt(self) -> None:
        """Ask as a newcomer, three times; the answers must be right, and mostly come soon on a busy machine too."""
        seconds = []
        for _ in range(3):
            started = time.monotonic()
            assert self.server.ask(FRAME).status == 200
            seconds.append(time.monotonic() - started)
        assert sorted(seconds)[1] < PROMPT_SECONDS, seconds


@pytest.fixture
def process(tree: Path) -> Iterator[Process]:
    port = free_port()
    command = "from staticwado_daemon.cli import dicomwebserver; dicomwebserver()"
    limited = ("sh", "-c", 'ulimit -n 1024 && exec "$@"', "sh")
    program = subprocess.Popen([*limited, sys.executable, "-c", command, "-o", tree, "-p", str(port)], cwd=REPOSITORY)
    try:
        found = Process(Server("127.0.0.1", port), program.pid)
        deadline = time.monotonic() + 20
        while True:
            with suppress(ConnectionError):
                found.server.ask(FRAME)
                break
            assert time.monotonic() < deadline, "it didn't listen in time"
            time.sleep(0.05)
        yield found
        assert program.poll() is None
    finally:
        program.terminate()
        program.wait(10)


@pytest.fixture
def crowd() -> Iterator[Callable[[Server], socket.socket]]:
    """Makes connections, as many as wanted, which are closed at the end."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    with ExitStack() as stack:

        def connect(server: Server) -> socket.socket:
            client = stack.enter_context(socket.socket())
            client.settimeout(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # what waits shall wait in the server
            client.connect((server.host, server.port))
            return client

        yield connect
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def hasty(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server with little patience."""
    monkeypatch.setattr(connection, "ASKING_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(connection, "TAKING_SECONDS", SHORT_SECONDS)
    with start_embedded(tree) as server:
        yield server


def send(client: socket.socket, data: bytes) -> bool:
    """Send; says whether the server still listens."""
    try:
        client.sendall(data)
    except OSError:
        return False
    return True


def ended_after(client: socket.socket) -> float:
    """The seconds until the server has closed the connection."""
    started = time.monotonic()
    with suppress(ConnectionError):
        while client.recv(1 << 16):
            pass
    return time.monotonic() - started


@pytest.mark.parametrize("beginning", [BEGINNING, b"", b"GET"], ids=["headers", "nothing", "method"])
def test_requests_that_never_end(process: Process, crowd: Callable[[Server], socket.socket], beginning: bytes) -> None:
    clients = [crowd(process.server) for _ in range(MANY)]
    for number in range(5):
        for client in clients:
            send(client, beginning if number == 0 else b"X-Header: x\r\n")
        process.is_prompt()
        time.sleep(0.2)
    assert process.memory < MAXIMUM_GROWTH


def test_thousands_of_idle_connections(process: Process, crowd: Callable[[Server], socket.socket]) -> None:
    for number in range(2 * MANY):
        client = crowd(process.server)
        client.sendall(b"HEAD /dicomweb/studies HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200"), "a newcomer was refused"
        if number % 200 == 0:
            process.is_prompt()
    assert process.memory < MAXIMUM_GROWTH


def test_readers_of_large_frames_that_do_not_read(process: Process, crowd: Callable[[Server], socket.socket]) -> None:
    before = process.memory
    request = f"GET {LARGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 10
    for number in range(MANY // 2):
        crowd(process.server).sendall(request)
        if number % 100 == 0:
            process.is_prompt()
    process.is_prompt()
    assert process.memory - before < MAXIMUM_GROWTH


def test_a_request_sent_byte_by_byte_is_broken_off(hasty: Server, crowd: Callable[[Server], socket.socket]) -> None:
    client = crowd(hasty)
    started = time.monotonic()
    while send(client, b"G"):
        time.sleep(0.05)
        assert time.monotonic() - started < 5 * SHORT_SECONDS
    assert time.monotonic() - started > SHORT_SECONDS / 2


@pytest.mark.parametrize("said", [b"", BEGINNING, BEGINNING + b"\r\n", BEGINNING + b"Content-Length: 9\r\n\r\n1"])
def test_silence_is_broken_off(hasty: Server, crowd: Callable[[Server], socket.socket], said: bytes) -> None:
    client = crowd(hasty)
    client.sendall(said)
    assert SHORT_SECONDS / 2 < ended_after(client) < 5 * SHORT_SECONDS


def test_a_body_sent_byte_by_byte_is_broken_off(hasty: Server, crowd: Callable[[Server], socket.socket]) -> None:
    client = crowd(hasty)
    client.sendall(BEGINNING + b"Content-Length: 1000000\r\n\r\n")
    assert client.recv(100).startswith(b"HTTP/1.1 200")
    started = time.monotonic()
    while send(client, b"x"):
        time.sleep(0.05)
        assert time.monotonic() - started < 5 * SHORT_SECONDS


def test_an_answer_that_nobody_takes_is_broken_off(hasty: Server, crowd: Callable[[Server], socket.socket]) -> None:
    client = crowd(hasty)
    client.sendall(f"GET {LARGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    time.sleep(2 * SHORT_SECONDS)
    taken = 0
    with suppress(ConnectionError):
        while piece := client.recv(1 << 20):
            taken += len(piece)
    assert taken < LARGE_BYTES


def test_a_slow_but_steady_reader_gets_everything(hasty: Server) -> None:
    connected = http.client.HTTPConnection(hasty.host, hasty.port, timeout=10)
    connected.request("GET", LARGE)
    answer = connected.getresponse()
    taken = 0
    started = time.monotonic()
    while piece := answer.read(LARGE_BYTES // 16):
        taken += len(piece)
        time.sleep(0.3)
    assert taken == LARGE_BYTES
    assert time.monotonic() - started > 2 * SHORT_SECONDS
    connected.close()


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 1000000\r\n\r\n" + bytes(1_000_000), b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"],
    ids=["length", "chunks"],
)
def test_a_body_is_read_over(hasty: Server, crowd: Callable[[Server], socket.socket], body: bytes) -> None:
    client = crowd(hasty)
    client.sendall(BEGINNING + body + BEGINNING + b"Connection: close\r\n\r\n")
    answers = everything(client)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_requests_sent_at_once_are_answered_in_turn(hasty: Server, crowd: Callable[[Server], socket.socket]) -> None:
    client = crowd(hasty)
    targets: Sequence[str] = [FRAME, "/dicomweb/nothing", "/dicomweb/studies"] * 50
    client.sendall("".join(f"HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n" for target in targets).encode())
    client.sendall(f"GET {FRAME} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answers = everything(client)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404", b"200"] * 50 + [b"200"]


@pytest.mark.parametrize("targets", [[FRAME] * 3, [LARGE]], ids=["several", "large"])
def test_who_says_no_more_is_still_answered(
    hasty: Server, crowd: Callable[[Server], socket.socket], targets: Sequence[str]
) -> None:
    client = crowd(hasty)
    client.sendall("".join(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n" for target in targets).encode())
    client.shutdown(socket.SHUT_WR)
    answers = everything(client)
    assert answers.count(b"HTTP/1.1 200 OK") == len(targets)
    assert targets != [LARGE] or len(answers) > LARGE_BYTES


def test_who_says_no_more_is_not_waited_for(process: Process, crowd: Callable[[Server], socket.socket]) -> None:
    client = crowd(process.server)
    client.sendall(BEGINNING + b"\r\n")
    client.shutdown(socket.SHUT_WR)
    assert ended_after(client) < connection.ASKING_SECONDS / 2


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Header: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Header: x\r\n" * 20_000 + b"\r\n",
        b"GET /dicomweb/studies/" + b"1" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"x" * 200_000,
        b"GET /dicomweb/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["a header", "headers", "a path", "no request", "a control character"],
)
def test_what_is_too_large_or_no_request_is_refused_at_once(
    hasty: Server, crowd: Callable[[Server], socket.socket], request_: bytes
) -> None:
    client = crowd(hasty)
    send(client, request_)
    started = time.monotonic()
    answer = everything(client)
    assert time.monotonic() - started < SHORT_SECONDS
    assert not answer or answer.startswith(b"HTTP/1.1 400")


def everything(client: socket.socket) -> bytes:
    """What the server says until it closes the connection, or breaks it off."""
    said = b""
    with suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            said += piece
    return said
