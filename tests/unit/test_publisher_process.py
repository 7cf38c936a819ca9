"""The publisher's process: one that hangs is told of, and holds up nobody."""

import queue
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.pipeline import publisher_process as module
from staticwado_daemon.pipeline.messages import Progress, Sweep
from staticwado_daemon.pipeline.publisher_process import PublisherProcess

PATIENCE = 20.0
LONG = Sweep(Path("x" * 1_000_000))  # more than a pipe takes


def _hang(connection: Connection) -> None:
    connection.send(Progress(0, 0, 0))
    time.sleep(600)


def _obey(connection: Connection) -> None:
    connection.send(Progress(0, 0, 0))
    taken = 0
    while connection.recv() is not None:
        taken += 1
        connection.send(Progress(0, 0, 0, None, taken))


def _refuse(connection: Connection) -> None:
    connection.send(Transient("another staticwado is writing"))


def test_one_that_hangs_is_told_without_waiting_known_by_its_silence_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENDING_SECONDS", 0.2)
    heard: queue.Queue[object] = queue.Queue()
    process = PublisherProcess(_hang, heard.put)
    process.start()
    assert process.silence == 0
    started = time.monotonic()
    for _ in range(3):
        process.tell(LONG)
    assert time.monotonic() - started < 1
    time.sleep(0.1)
    assert process.silence >= 0.1
    process.end()
    assert process._process.exitcode is not None
    assert heard.get() == Progress(0, 0, 0)
    assert isinstance(heard.get(), StaticwadoError)


def test_one_that_answers_is_not_silent_and_ends_by_itself() -> None:
    heard: queue.Queue[object] = queue.Queue()
    process = PublisherProcess(_obey, heard.put)
    process.start()
    process.tell(LONG)
    while heard.get(timeout=PATIENCE) != Progress(0, 0, 0, None, 1):
        pass
    assert (process.told, process.silence) == (1, 0)
    process.end()
    assert process._process.exitcode == 0


def test_what_keeps_it_from_starting_is_raised() -> None:
    with pytest.raises(Transient, match="another staticwado"):
        PublisherProcess(_refuse, lambda _: None).start()
