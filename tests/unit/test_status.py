"""Status: a living daemon is believed, a dead one only as far as files can't tell better."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Stamp
from staticwado_daemon.operate.status import Status, read

NOTHING = Status(running=False, backlog=0, published=0, instances=0, studies=0, rejected=0, idle=True)
TOLD = {"backlog": 7, "published": 5, "instances": 4, "studies": 2, "rejected": 1, "idle": False}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / layout.DIRTY).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def locked(root: Path) -> Iterator[None]:
    with (root / layout.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(root: Path) -> Status:
    return read(root, root / layout.PRIVATE, root / layout.PRIVATE / "journal.sqlite")


def _say(root: Path, **changes: Any) -> None:
    (root / layout.PRIVATE / "status.json").write_text(json.dumps({**TOLD, "running": True, "pid": 0, **changes}))


def _ended_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_root_that_is_not_there_is_empty_and_idle(tmp_path: Path) -> None:
    assert _read(tmp_path / "absent") == NOTHING


@pytest.mark.usefixtures("locked")
def test_a_living_daemon_is_believed(root: Path) -> None:
    _say(root, pid=os.getpid())
    assert _read(root) == Status(running=True, **TOLD)


@pytest.mark.usefixtures("locked")
def test_what_an_earlier_daemon_said_is_not_believed_of_the_next_one(root: Path) -> None:
    _say(root, pid=_ended_process(), idle=True, backlog=0)
    assert _read(root) == Status(running=False, backlog=0, published=0, instances=0, studies=0, rejected=0, idle=False)
    _say(root, running=False, pid=os.getpid(), idle=True, backlog=0)
    assert not _read(root).idle


def test_without_a_daemon_journal_and_files_say_it(root: Path) -> None:
    journal = Journal(root / layout.PRIVATE / "journal.sqlite")
    stamp = Stamp(1, 2, 3, 4)
    journal.write([Receipt(Path("/in/1"), stamp, "rejected", "why"), Receipt(Path("/in/2"), stamp, "published")])
    journal.write([Receipt(Path("/in/3"), stamp, "duplicate"), Receipt(Path("/in/4"), stamp, "ignored", "why")])
    journal.close()
    assert _read(root) == Status(running=False, backlog=0, published=2, instances=0, studies=0, rejected=1, idle=True)
    _say(root, pid=_ended_process(), backlog=7)
    assert (_read(root).backlog, _read(root).idle) == (7, False)


def test_a_study_whose_files_are_not_all_written_is_not_idle(root: Path) -> None:
    (root / layout.DIRTY / "1.2.3").touch()
    assert not _read(root).idle
