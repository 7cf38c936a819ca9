"""Commands that write take turns, and ask the daemon where one is running."""

import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

import staticwado_daemon
from staticwado_daemon.archive import layout
from staticwado_daemon.cli import assembly, execute, outcomes, staticwado
from staticwado_daemon.config import Storage, load
from staticwado_daemon.errors import ConfigError, Transient
from staticwado_daemon.inbound import reconcile
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.pipeline import requests

Holding = Callable[[bytes], FileIO]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root" / layout.REQUESTS).mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def held(root: Path) -> Holding:
    """Somebody else has the tree's lock."""

    def hold(role: bytes) -> FileIO:
        lock = FileIO(root / layout.LOCK, "w")
        lock.write(role)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock

    return hold


@pytest.fixture
def storage(root: Path) -> Storage:
    return load(None, {"rootDir": str(root)}).storage()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The roles of the lines that are opened; none really is."""
    roles: list[str] = []

    @contextmanager
    def open_line(_storage: Storage, _level: str, *, role: str) -> Iterator[tuple[str, str]]:
        roles.append(role)
        yield "line", "journal"

    monkeypatch.setattr(assembly, "open_line", open_line)
    return roles


def test_a_daemon_is_asked(storage: Storage, held: Holding, opened: list[str]) -> None:
    with held(b"daemon"), assembly.line_or_daemon(storage, "warning") as line:
        assert line is None
    assert opened == []


def test_another_command_is_waited_for_in_so_many_words(
    storage: Storage, held: Holding, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    threading.Timer(0.5, held(b"create").close).start()
    began = time.monotonic()
    with assembly.line_or_daemon(storage, "warning") as line:
        assert line is not None
    assert time.monotonic() - began >= 0.5
    assert opened == ["create"]
    printed = capsys.readouterr()
    assert printed.err == f"waiting for another command that is writing to {storage.root}\n"
    assert printed.out == ""


def test_who_comes_second_waits_for_the_next_turn(
    storage: Storage, held: Holding, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = assembly.open_line

    def too_late(*_: Any, **__: Any) -> AbstractContextManager[Any]:
        monkeypatch.setattr(assembly, "open_line", quick)
        other = held(b"create")
        threading.Timer(0.3, other.close).start()
        raise Transient("another staticwado is writing there")

    monkeypatch.setattr(assembly, "open_line", too_late)
    with assembly.line_or_daemon(storage, "warning") as line:
        assert line == ("line", "journal")
    assert opened == ["create"]


def test_a_tree_that_cannot_be_written_is_an_error_not_a_wait(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> AbstractContextManager[Any]:
        raise ConfigError("cannot write there")

    monkeypatch.setattr(assembly, "open_line", refuse)
    with pytest.raises(ConfigError, match="cannot write there"), assembly.line_or_daemon(storage, "warning"):
        pytest.fail("there is no line")


def test_create_beside_a_daemon_names_also_what_only_this_side_knows(
    root: Path, tmp_path: Path, held: Holding, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/a.dcm", "in/b.dcm.part", "in/closed/c.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(reconcile.os, "scandir", scandir)
    shown: list[dict[str, int]] = []
    monkeypatch.setattr(outcomes.Progress, "add_others", lambda _, counts: shown.append(counts))

    def serve() -> None:
        while not (found := requests.pending(root)):
            time.sleep(0.01)
        requests.report(root, found[0].id, {"ignored": 1})
        time.sleep(0.4)
        requests.answer(root, found[0].id, [Receipt(path, None, "ignored", "why") for path in found[0].paths])

    server = threading.Thread(target=serve)
    server.start()
    with held(b"daemon"):
        code = execute(staticwado, "staticwado", ["create", str(tmp_path / "in"), "--root", str(root), "--json"])
        server.join()
    assert code == 3
    receipts = json.loads(capsys.readouterr().out)["receipts"]
    assert [(each["path"], each["outcome"]) for each in receipts] == [
        (str(tmp_path / "in/a.dcm"), "ignored"),
        (str(tmp_path / "in/closed"), "rejected"),
    ]
    assert shown == [{"ignored": 1}]


@pytest.mark.parametrize("options", [["-t", "jls"], ["-j", "2"], []])
def test_create_beside_a_daemon_says_whose_settings_hold(
    root: Path,
    held: Holding,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "ask", lambda *_, **__: [])
    (root.parent / "a.dcm").touch()
    with held(b"daemon"):
        assert execute(staticwado, "staticwado", ["create", "a.dcm", "--root", str(root), *options]) == 0
    assert ("a daemon is running and does the work" in capsys.readouterr().err) is bool(options)


def test_an_interrupted_create_says_how_far_it_came(
    root: Path, held: Holding, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(
        _root: Path,
        _command: str,
        _paths: list[Path],
        on_progress: Callable[[dict[str, int]], None],
        *_: object,
        **_options: object,
    ) -> None:
        on_progress({"published": 1})
        raise KeyboardInterrupt

    monkeypatch.setattr(requests, "ask", ask)
    for name in ("a.dcm", "b.dcm"):
        (root.parent / name).touch()
    with held(b"daemon"):
        assert execute(staticwado, "staticwado", ["create", "a.dcm", "b.dcm", "--root", str(root)]) == 130
    printed = capsys.readouterr()
    assert printed.err == "interrupted after 1 of 2; run it again to go on\n"
    assert printed.out == ""


@pytest.mark.parametrize("below", ["studies", "studies/1.2.3/deep"])
def test_no_tree_begins_inside_another_one(root: Path, below: str, capsys: pytest.CaptureFixture[str]) -> None:
    (root.parent / "a.dcm").touch()
    assert execute(staticwado, "staticwado", ["create", "a.dcm", "--root", str(root / below)]) == 2
    assert f"{root}/{below} is inside the tree in {root}: " in capsys.readouterr().err
    assert not (root / "studies").exists()


def test_the_bar_counts_what_is_done_here_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, object]] = []
    with outcomes.Progress(10) as progress:
        monkeypatch.setattr(progress, "_update", lambda **now: shown.append(now))
        progress.add("rejected")
        progress.add_others({"published": 3, "rejected": 1})
        progress.add_others({"published": 5, "rejected": 1})
    assert shown[-1] == {"completed": 7, "description": "published 5 · rejected 2"}


_MAKES_FILES = re.compile(r"O_CREAT|O_WRONLY|O_RDWR|\.write_(bytes|text)\(|\.open\(\"[wax]|mkstemp|\.touch\(")
WRITERS = {
    "archive/disk.py": "the one writer's calls",
    "archive/lock.py": "the lock that makes it the only one",
    "archive/audit.py": "who exports changes nothing of the tree, and leaves a line without waiting for its lock",
    "archive/durably.py": "small files beside the tree, such as the reasons in the drop folder",
    "pipeline/limits.py": "a process's own limits below /proc",
    "inbound/parts.py": "in the drop folder: what receivers write until it is whole",
    "pipeline/requests.py": "what others ask of the writer",
    "pipeline/struct_file.py": "a process's report of itself in the state directory, also when the disk is full",
}
"""The modules below the tools that make or change files, and why."""


def test_nobody_else_writes() -> None:
    package = Path(staticwado_daemon.__file__).parent
    modules = [path for room in ("dicom", "archive", "inbound", "pipeline") for path in (package / room).rglob("*.py")]
    writing = {str(path.relative_to(package)) for path in modules if _MAKES_FILES.search(path.read_text("utf-8"))}
    assert writing == WRITERS.keys()
