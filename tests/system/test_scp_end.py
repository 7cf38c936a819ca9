"""The end of `staticwado scp`: in time, with what it is just receiving, and with a word in its report."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.system.by_hand import OBJECT, UID, connect, data_end, established, read_pdu, release, store, store_begun
from tests.system.listening import until_listening
from tests.system.nodes import Node, prepare
from tests.system.programs import PATIENCE, REPOSITORY, STATICWADO, told

STOP_SECONDS = 7.5


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return prepare(tmp_path / "node")


@contextmanager
def _started(node: Node, *command: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    with node.scp_log.open("ab") as output:
        process = subprocess.Popen(
            [*(command or (*STATICWADO, "scp")), "-c", str(node.config)],
            stdout=output,
            stderr=output,
            env={**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY), **environment},
        )
    try:
        until_listening(node.port, process)
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def _seconds_to_end(process: "subprocess.Popen[bytes]", since: float) -> float:
    assert process.wait(PATIENCE) == 0
    return time.monotonic() - since


def _pdus(connection: socket.socket) -> list[int]:
    """The types of the PDUs that come until the connection is closed."""
    return [*iter(lambda: read_pdu(connection)[0], 0)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_node_ends_at_once(node: Node, number: signal.Signals) -> None:
    with _started(node) as process, established(node.port) as idle, connect(node.port):
        began = time.monotonic()
        process.send_signal(number)
        assert _pdus(idle) == [7]
        assert _seconds_to_end(process, began) < 4
    report = json.loads((node.state / "scp.json").read_bytes())
    assert not report["running"]
    assert report["associations"]["aborted"] == 1
    assert not [*node.drop.glob(".part/*")]


def test_an_object_that_is_being_received_is_finished_and_answered(node: Node) -> None:
    with _started(node) as process, established(node.port) as sender, established(node.port) as idle:
        sender.sendall(store_begun(UID, OBJECT[:30]))
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert _pdus(idle) == [7]
        sender.sendall(data_end(OBJECT[30:]))
        assert _pdus(sender) == [4, 7]
        assert _seconds_to_end(process, began) < STOP_SECONDS
    assert len([*node.drop.glob("*.dcm")]) == 1
    assert json.loads((node.state / "scp.json").read_bytes())["operations"] == {"C-STORE": {"success": 1}}


def test_an_object_that_never_ends_is_not_waited_for(node: Node) -> None:
    with _started(node) as process, established(node.port) as sender:
        sender.sendall(store_begun(UID, OBJECT[:30]))
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert _pdus(sender) == [7]
        assert 3 < _seconds_to_end(process, began) < STOP_SECONDS
    assert not [*node.drop.glob("*.dcm"), *node.drop.glob(".part/*")]


def test_the_manager_hears_that_it_is_ready_and_that_it_ends(node: Node, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        with _started(node, NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            assert manager.recv(1000).decode().splitlines() == [
                "READY=1",
                f"STATUS=STATICWADO@127.0.0.1:{node.port}",
            ]
            process.send_signal(signal.SIGTERM)
            assert manager.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize("words", [(), ("scp",)], ids=["alone", "scp"])
def test_static_wados_name_for_it(node: Node, words: tuple[str, ...]) -> None:
    start = (sys.executable, "-c", "from staticwado_daemon.cli import dicomwebscp; dicomwebscp()")
    with _started(node, *start, *words, "-p", str(node.port)):
        release(established(node.port))


def test_it_works_without_memory_that_is_writable_and_executable(node: Node) -> None:
    """MemoryDenyWriteExecute= of the unit: the kernel's own form of it (PR_SET_MDWE, Linux 6.3)."""
    forbid = "import ctypes, os, sys\nassert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0\n"
    start = f"{forbid}os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    with _started(node, sys.executable, "-c", start, *STATICWADO[1:], "scp"):
        sender = established(node.port)
        assert store(sender) == 0x0000
        release(sender)


def test_a_tree_has_one_node(node: Node) -> None:
    with _started(node) as process:
        deadline = time.monotonic() + 10
        while node.status()["dicom"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        line = [*STATICWADO, "-c", node.config, "scp", "--port", "0"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=REPOSITORY)
        assert done.returncode == 1
        (sentence,) = done.stderr.splitlines()
        assert f"STATICWADO@127.0.0.1:{node.port} is this tree's node, and runs as process {process.pid}:" in sentence
        process.kill()
        process.wait(PATIENCE)
    with _started(node):
        pass


def test_the_status_speaks_of_a_node_for_as_long_as_it_runs(node: Node) -> None:
    with _started(node) as process, established(node.port) as sender:
        assert store(sender) == 0x0000
        deadline = time.monotonic() + 10
        while "1 received" not in (page := told("-c", node.config, "status")):
            assert time.monotonic() < deadline, page
            time.sleep(0.2)
        assert f"STATICWADO@127.0.0.1:{node.port}" in page
        assert "1 association open" in page
        assert node.status()["dicom"]["operations"] == {"C-STORE": {"success": 1}}
        assert f"STATICWADO@127.0.0.1:{node.port} runs, 1 open" in told("-c", node.config, "doctor", expect=3)
        process.kill()
        process.wait(PATIENCE)
        assert node.status()["dicom"] is None, "a report that outlives its process isn't believed"
    assert "systemctl start staticwado-scp" in " ".join(told("-c", node.config, "doctor", expect=3).split())
