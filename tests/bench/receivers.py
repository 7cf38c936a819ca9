"""Receivers and senders of CT slices on this machine, and how long it takes from the first to the last of them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import bare
from tests.bench.processes import REPOSITORY
from tests.system import dcmtk
from tests.system.listening import until_listening
from tests.system.servers import free_port

PDU = 131_072
"""Bytes; what senders ask for, and the most that dcmtk can do."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is sent to."""

    title: str
    port: int


@contextmanager
def bare_pynetdicom(directory: Path) -> Iterator[Receiver]:
    """pynetdicom with nothing around it."""
    directory.mkdir(parents=True)
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare", str(port), str(directory)], env=environment)
    try:
        until_listening(port, process)
        yield Receiver(bare.TITLE, port)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def storescp(directory: Path) -> Iterator[Receiver]:
    """dcmtk's receiver, with a process for each association."""
    with dcmtk.storescp(directory, "--fork", "--max-pdu", str(PDU)) as receiver:
        yield Receiver("WITNESS", receiver.port)


def send(files: Sequence[Path], receiver: Receiver, associations: int = 1) -> float:
    """Send files by as many storescu at once; the seconds until the last of them ends, their start-up included.

    Raises:
        SystemExit: if a file wasn't taken.
    """
    os.sync()
    started = time.perf_counter()
    senders = [_storescu(files[number::associations], receiver) for number in range(associations)]
    said = [sender.communicate()[0].decode(errors="replace") for sender in senders]
    seconds = time.perf_counter() - started
    for sender, text in zip(senders, said, strict=True):
        if sender.returncode:
            raise SystemExit(f"storescu to {receiver.title} returned {sender.returncode}:\n{text[-2000:]}")
    return seconds


def _storescu(files: Sequence[Path], receiver: Receiver) -> "subprocess.Popen[bytes]":
    command = [dcmtk.program("storescu"), "-R", "--max-pdu", PDU, "-aec", receiver.title, "127.0.0.1", receiver.port]
    return subprocess.Popen(
        [*map(str, command), *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dcmtk.environment(),
    )


def sync_seconds(data: bytes, times: int, directory: Path) -> float:
    """What it takes to make one received file durable: its data, its name, and the directory that has it."""
    directory.mkdir(parents=True)
    (directory / "part").mkdir()
    os.sync()
    spent = 0.0
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in range(times):
            part = directory / "part" / str(number)
            part.write_bytes(data)
            with part.open("rb") as file:
                started = time.perf_counter()
                os.fdatasync(file)
                part.rename(directory / str(number))
                os.fsync(folder)
                spent += time.perf_counter() - started
    finally:
        os.close(folder)
    return spent / times
