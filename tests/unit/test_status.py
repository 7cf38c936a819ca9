"""Status: a living daemon is believed, a dead one only as far as files can't tell better."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec import structs

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.cli import execute, staticwado
from staticwado_daemon.cli.status import line, page, summary
from staticwado_daemon.cli.words import duration, moment, wrapped
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import OUTCOMES, Receipt
from staticwado_daemon.inbound.source import Stamp
from staticwado_daemon.operate.network import NetworkReport
from staticwado_daemon.operate.status import Status, Why, read

NONE = dict.fromkeys(OUTCOMES, 0)
NOTHING = Status(
    running=False, state="stopped", backlog=0, published=0, instances=0, studies=0, receipts=NONE, rejected=0, idle=True
)
TOLD = {"backlog": 7, "published": 5, "instances": 4, "studies": 2, "rejected": 1, "idle": False}
BUSY = Status(running=True, state="busy", receipts=NONE, **TOLD)


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
    assert _read(root) == BUSY
    more = {"folders": {"/in": "polling"}, "rate": 2.5, "published_at": 1e9}
    _say(root, pid=os.getpid(), waiting=3, degraded=["/in is polled: nfs4"], receipts={"published": 1}, **more)
    assert _read(root) == Status(
        running=True,
        state="degraded",
        waiting=3,
        eta=2,  # seconds for the four that don't wait
        degraded=("/in is polled: nfs4",),
        receipts={**NONE, "published": 1},
        **more,
        **TOLD,
    )


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize(
    ("said", "state", "eta", "words"),
    [
        ({"backlog": 0, "idle": True}, "ok", None, "nothing is waiting"),
        ({"backlog": 0}, "busy", None, "the last files of the tree are being written"),
        ({"backlog": 7, "rate": 0.0}, "busy", None, "7 files to go"),
        ({"backlog": 1200, "rate": 3.0}, "busy", 400, "1,200 files to go, done in about 7 minutes"),
        ({"backlog": 2, "waiting": 2, "rate": 3.0}, "busy", None, "2 files ended too early and may get the rest"),
        ({"backlog": 0, "idle": True, "degraded": ["no space"]}, "degraded", None, "nothing is waiting"),
    ],
)
def test_the_state_is_one_word_and_a_few_more(
    root: Path, said: dict[str, Any], state: str, eta: int | None, words: str
) -> None:
    _say(root, pid=os.getpid(), **said)
    now = _read(root)
    assert (now.state, now.eta, summary(now)) == (state, eta, words)


@pytest.mark.usefixtures("locked")
def test_what_an_earlier_daemon_said_is_not_believed_of_the_next_one(root: Path) -> None:
    unknown = structs.replace(NOTHING, running=None, state="unknown", idle=False)
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
    assert capsys.readouterr().out.startswith("UNKNOWN  a daemon holds the tree and says nothing")
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
    reasons = (
        Why(outcome="rejected", reason="why", count=1, example="/in/1"),
        Why(outcome="ignored", reason="why", count=1, example="/in/4"),
    )
    counts = {"published": 1, "duplicate": 1, "superseded": 0, "rejected": 1, "ignored": 1}
    assert _read(root) == structs.replace(NOTHING, published=2, rejected=1, receipts=counts, reasons=reasons)
    _say(root, pid=_ended_process(), backlog=7)
    assert (_read(root).backlog, _read(root).idle) == (7, False)
    assert summary(_read(root)).endswith("; 7 files without a receipt when the daemon ended")


def test_a_configured_tree_may_be_yet_to_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json5"
    file.write_text("{staticWadoConfig: {rootDir: 'tree'}}")
    assert execute(staticwado, "staticwado", ["status", "-c", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert _run(tmp_path / "tree") == 2
    assert capsys.readouterr().err.startswith(f"staticwado: there is no tree in {tmp_path}/tree: name it with --root")


def test_one_study_is_no_studies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _held(root, "daemon"):
        _say(root, pid=os.getpid(), studies=1)
        assert _run(root) == 0
    printed = capsys.readouterr().out
    assert "  instances     4 in 1 study\n" in printed
    assert "  backlog       7\n" in printed


def test_a_study_whose_files_are_not_all_written_is_not_idle(root: Path) -> None:
    (root / layout.DIRTY / "1.2.3").touch()
    assert not _read(root).idle


@pytest.mark.usefixtures("locked")
def test_the_object_has_what_others_rely_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hidden = {"conflicts": 3, "rejected": 2, "deleted": 1}
    degraded, folders = ["/in is polled: nfs4"], {"/in": "polling"}
    _say(root, pid=os.getpid(), waiting=2, degraded=degraded, published_at=1e9, folders=folders, hidden=hidden)
    assert _run(root, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert datetime.fromisoformat(told.pop("publishedAt")).timestamp() == 1e9
    assert told == {
        **TOLD,
        "running": True,
        "state": "degraded",
        "waiting": 2,
        "rate": 0.0,
        "eta": None,
        "receipts": NONE,
        "degraded": ["/in is polled: nfs4"],
        "folders": {"/in": "polling"},
        "reasons": [],
        "conflicts": 3,
        "rejectedInstances": 2,
        "deletedInstances": 1,
        "dicom": None,
    }


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
    with _held(root, "daemon"):
        receipts = {"rejected": 28}
        _say(root, pid=os.getpid(), waiting=2, rejected=28, receipts=receipts, degraded=["/in is polled: \x1b[2J"])
        assert _run(root) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("DEGRADED  5 files to go\n  ! /in is polled: \\x1b[2J\n")
    assert "  backlog       7, 2 of them waiting for the rest\n" in printed
    assert "  rejected      28  could not be stored\n" in printed
    assert "\x1b" not in printed
    assert printed.endswith(
        """
rejected because
   7  reason 7
   6  reason 6
      for example /in/\\x1b15.dcm
   5  reason 5
      for example /in/\\x1b10.dcm
   4  reason 4
      for example /in/\\x1b06.dcm
   3  reason 3
      for example /in/\\x1b03.dcm
   3  for other reasons
"""
    )


def test_a_journal_of_another_version_is_no_traceback(root: Path) -> None:
    journal = Journal(root / layout.PRIVATE / "journal.sqlite")
    journal._database.execute("PRAGMA user_version = 1")
    journal._database.execute("DROP TABLE pruned")
    journal.close()
    assert _read(root) == NOTHING


@pytest.mark.usefixtures("locked")
def test_a_journal_that_cannot_be_read_is_a_degraded_state_and_no_failure(root: Path) -> None:
    (root / layout.PRIVATE / "journal.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 99)
    _say(root, pid=os.getpid(), idle=True, backlog=0)
    now = _read(root)
    assert (now.state, now.published, len(now.degraded)) == ("degraded", 5, 1)
    assert "the journal can't be read" in now.degraded[0]
    (root / layout.PRIVATE / "status.json").unlink()
    assert (_read(root).state, _read(root).degraded) == ("unknown", now.degraded)


def test_reasons_are_asked_for_again_only_when_there_may_be_others(root: Path) -> None:
    path = root / layout.PRIVATE / "journal.sqlite"
    journal = Journal(path)
    journal.write([Receipt(Path("/in/1"), Stamp(1, 2, 3, 4), "rejected", "why")])
    first = _read(root)
    marked = structs.replace(first, reasons=(Why(outcome="rejected", reason="as before", count=1, example=None),))
    assert read(root, path.parent, path, marked).reasons == marked.reasons
    journal.write([Receipt(Path("/in/2"), Stamp(1, 2, 3, 4), "ignored", "what")])
    journal.close()
    assert [each.reason for each in read(root, path.parent, path, marked).reasons] == ["why", "what"]


def test_before_its_first_one_a_daemon_is_told_when_the_last_was_published(root: Path) -> None:
    index = root / layout.STUDIES_INDEX
    index.parent.mkdir()
    index.write_bytes(StudiesIndex().to_file())
    assert _read(root).published_at is None
    studies = StudiesIndex()
    studies.put(UID("1.2"), b'{"0020000D": {"vr": "UI", "Value": ["1.2"]}}')
    index.write_bytes(studies.to_file())
    os.utime(index, (1e9, 1e9))
    assert _read(root).published_at == 1e9


# Watching


def test_who_watches_by_a_pipe_gets_a_line_for_each_change(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def next_second(_seconds: float) -> None:
        if not changes:
            raise KeyboardInterrupt
        _say(root, pid=os.getpid(), **changes.pop())

    changes = [{"idle": True, "backlog": 0}, {"backlog": 3, "rate": 1.5}, {"backlog": 3, "rate": 1.5}]
    monkeypatch.setattr(time, "sleep", next_second)
    with _held(root, "daemon"):
        _say(root, pid=os.getpid(), receipts={"published": 5})
        assert _run(root, "--watch") == 0
        assert capsys.readouterr().out == (
            "BUSY: 7 files to go · instances 4 · published 5\n"
            "BUSY: 3 files to go, done in about 2 s · instances 4\n"
            "OK: nothing is waiting · instances 4\n"
        )
        changes = [{"idle": True, "backlog": 0}]
        _say(root, pid=os.getpid())
        assert _run(root, "--watch", "--json") == 0
    assert [json.loads(each)["state"] for each in capsys.readouterr().out.splitlines()] == ["busy", "ok"]


def test_a_line_is_one_line_whatever_a_folder_is_called() -> None:
    now = structs.replace(BUSY, degraded=("/in\n\x1b[2J is unavailable",))
    assert line(now).endswith("· /in\\n\\x1b[2J is unavailable")


def test_a_line_says_what_the_dicom_node_did() -> None:
    node = NetworkReport(
        running=True,
        pid=1,
        title="ARCHIVE",
        host="127.0.0.1",
        port=104,
        tls=False,
        open=1,
        associations={"rejected": 2},
        operations={"C-STORE": {"success": 3}},
    )
    now = structs.replace(BUSY, dicom=node)
    assert line(now).endswith("· DICOM 1 association open, 2 rejected, 3 received")
    assert line(now) == line(now), "a line that changes by itself would be printed every second"


def test_a_page_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    sentence = "/mnt/pacs is polled in part (12,345 directories): the limit of watches is reached; raise it as root"
    reasons = tuple(
        Why(outcome=outcome, reason="a reason of many words that needs " * 4, count=9, example="/in/1.dcm")
        for outcome in ("rejected", "ignored")
    )
    counts = dict.fromkeys(OUTCOMES, 123_456_789)
    folders = {"/srv/dicom": "inotify", "/mnt/pacs": "polling"}
    now = structs.replace(
        BUSY, state="degraded", degraded=(sentence,), reasons=reasons, receipts=counts, folders=folders, rate=99.9
    )
    shown = click.unstyle(page(now, "/var/lib/staticwado")).splitlines()
    assert max(map(len, shown)) <= 80
    assert not [each for each in shown if each != each.rstrip()]
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert f"  ! {sentence}\n" in page(now, "/var/lib/staticwado"), "whole lines for who searches"


def test_numbers_are_said_as_people_say_them() -> None:
    seconds = (0.2, 59, 60, 90, 3599, 3600, 86_400 * 2.6)
    assert [duration(each) for each in seconds] == "0 s|59 s|1 minute|2 minutes|60 minutes|1 hour|3 days".split("|")
    now = time.mktime((2026, 3, 4, 20, 3, 11, 0, 0, -1))
    assert moment(now, now) == "20:03:11 (just now)"
    assert moment(now - 12, now) == "20:02:59 (12 s ago)"
    assert moment(now - 172_800, now) == "2026-03-02 20:03:11 (2 days ago)"
    assert wrapped("/" + "x" * 99 + " and more", "- ", "  ", 50) == "- /" + "x" * 99 + "\n  and more"


def test_a_damaged_list_of_studies_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / layout.STUDIES_INDEX).write_bytes(b"no gzip")
    with pytest.raises(Corrupt, match=r"studies/index\.json\.gz is damaged \(.*\): `staticwado index` makes it anew"):
        read(tmp_path, tmp_path, tmp_path / "journal.sqlite")
