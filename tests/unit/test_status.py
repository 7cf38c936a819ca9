"""Status: a living daemon is believed, a dead one only as far as files can't tell better."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.cli import execute, staticwado
from staticwado_daemon.inbound.journal import Journal, Reason
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Stamp
from staticwado_daemon.operate.status import Status, read, rejections

NOTHING = Status(running=False, backlog=0, published=0, instances=0, studies=0, rejected=0, idle=True)
TOLD = {"backlog": 7, "published": 5, "instances": 4, "studies": 2, "rejected": 1, "idle": False}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / layout.DIRTY).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def locked(root: Path) -> Iterator[None]:
    """A daemon holds the tree."""
    with _held(root, "daemon"):
        yield


@contextmanager
def _held(root: Path, role: str) -> Iterator[None]:
    with (root / layout.LOCK).open("w") as lock:
        lock.write(role)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(root: Path) -> Status:
    return read(root, root / layout.PRIVATE, root / layout.PRIVATE / "journal.sqlite")


def _say(root: Path, **changes: Any) -> None:
    (root / layout.PRIVATE / "status.json").write_text(json.dumps({**TOLD, "running": True, "pid": 0, **changes}))


def _run(root: Path, *arguments: str) -> int:
    return execute(staticwado, "staticwado", ["status", "--root", str(root), *arguments])


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
    _say(root, pid=os.getpid(), waiting=3, degraded=["/in is polled: nfs4"], receipts={"published": 1})
    assert _read(root) == Status(running=True, waiting=3, degraded=("/in is polled: nfs4",), **TOLD)


@pytest.mark.usefixtures("locked")
def test_what_an_earlier_daemon_said_is_not_believed_of_the_next_one(root: Path) -> None:
    unknown = Status(running=None, backlog=0, published=0, instances=0, studies=0, rejected=0, idle=False)
    _say(root, pid=_ended_process(), idle=True, backlog=0)
    assert _read(root) == unknown
    _say(root, running=False, pid=os.getpid(), idle=True, backlog=0)
    assert _read(root) == unknown


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b'{"running": true, "pi',
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"running": true, "pid": 1}',
        json.dumps({**TOLD, "running": True, "pid": "1"}).encode(),
        json.dumps({**TOLD, "running": True, "pid": 1, "backlog": None}).encode(),
    ],
)
def test_what_cannot_be_made_out_is_unknown(root: Path, said: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (root / layout.PRIVATE / "status.json").write_bytes(said)
    assert _read(root).running is None
    assert not _read(root).idle
    assert _run(root) == 0
    assert "its state is unknown" in capsys.readouterr().out
    assert _run(root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["running"] is None


def test_another_command_that_writes_is_no_daemon(root: Path) -> None:
    with _held(root, "create"):
        now = _read(root)
    assert (now.running, now.idle) == (False, False)


def test_without_a_daemon_journal_and_files_say_it(root: Path) -> None:
    journal = Journal(root / layout.PRIVATE / "journal.sqlite")
    stamp = Stamp(1, 2, 3, 4)
    journal.write([Receipt(Path("/in/1"), stamp, "rejected", "why"), Receipt(Path("/in/2"), stamp, "published")])
    journal.write([Receipt(Path("/in/3"), stamp, "duplicate"), Receipt(Path("/in/4"), stamp, "ignored", "why")])
    journal.close()
    assert _read(root) == Status(running=False, backlog=0, published=2, instances=0, studies=0, rejected=1, idle=True)
    _say(root, pid=_ended_process(), backlog=7)
    assert (_read(root).backlog, _read(root).idle) == (7, False)


def test_a_configured_tree_may_be_yet_to_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json5"
    file.write_text("{staticWadoConfig: {rootDir: 'tree'}}")
    assert execute(staticwado, "staticwado", ["status", "-c", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert _run(tmp_path / "tree") == 2
    assert capsys.readouterr().err == f"staticwado: there is no tree in {tmp_path}/tree\n"


def test_one_study_is_no_studies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _held(root, "daemon"):
        _say(root, pid=os.getpid(), studies=1)
        assert _run(root) == 0
    printed = capsys.readouterr().out
    assert "visible, in 1 study\n" in printed
    assert "waiting" not in printed


def test_a_study_whose_files_are_not_all_written_is_not_idle(root: Path) -> None:
    (root / layout.DIRTY / "1.2.3").touch()
    assert not _read(root).idle


@pytest.mark.usefixtures("locked")
def test_the_object_has_what_others_rely_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _say(root, pid=os.getpid(), waiting=2, degraded=["/in is polled: nfs4"])
    assert _run(root, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {**TOLD, "running": True, "waiting": 2, "degraded": ["/in is polled: nfs4"]}


def test_people_see_what_is_degraded_what_waits_and_why_files_were_rejected(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(root / layout.PRIVATE / "journal.sqlite")
    for number in range(28):
        # 1 + 2 + ... + 7 files for seven reasons
        reason = f"reason {next(each for each in range(1, 8) if number < each * (each + 1) // 2)}"
        path = Path(f"/in/\x1b{number:02}.dcm")
        journal.write([Receipt(path, Stamp(1, number, 3, 4), "rejected", reason)])
    journal.removed([Path(f"/in/\x1b{number:02}.dcm") for number in range(21, 28)])
    journal.close()
    assert rejections(root / layout.PRIVATE / "journal.sqlite", 2) == [
        Reason("reason 7", 7, None),
        Reason("reason 6", 6, Path("/in/\x1b15.dcm")),
    ]
    with _held(root, "daemon"):
        _say(root, pid=os.getpid(), waiting=2, rejected=28, degraded=["/in is polled: \x1b[2J"])
        assert _run(root) == 0
    printed = capsys.readouterr().out
    assert "backlog     5  without a receipt" in printed
    assert "waiting     2  ended too early" in printed
    assert "degraded   /in is polled: \\x1b[2J" in printed
    assert printed.endswith(
        """
rejected because
  7  reason 7
  6  reason 6, for example /in/\\x1b15.dcm
  5  reason 5, for example /in/\\x1b10.dcm
  4  reason 4, for example /in/\\x1b06.dcm
  3  reason 3, for example /in/\\x1b03.dcm
  3  other reasons
"""
    )


def test_a_journal_of_another_version_is_no_traceback(root: Path) -> None:
    journal = Journal(root / layout.PRIVATE / "journal.sqlite")
    journal._database.execute("PRAGMA user_version = 1")
    journal._database.execute("DROP TABLE pruned")
    journal.close()
    assert _read(root) == NOTHING
    assert rejections(root / layout.PRIVATE / "journal.sqlite", 5) == []
