"""Each of the doctor's looks, with the trouble that it is there to find."""

import errno
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from staticwado_daemon.archive import gzipped, layout
from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.archive.lock import take
from staticwado_daemon.dicom import codecs
from staticwado_daemon.errors import Corrupt, Transient
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.mounts import Mount
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Stamp
from staticwado_daemon.operate.doctor import daemon, disk, folders, machine, serving
from staticwado_daemon.operate.doctor.finding import Finding, attention, examine, fine
from staticwado_daemon.operate.doctor.folders import Account
from staticwado_daemon.operate.status import Status
from staticwado_daemon.pipeline import confine
from staticwado_daemon.pipeline.report import Report, ReportFile

STRANGER = Account("stranger", 54321, frozenset({54321}))


def test_a_look_that_fails_keeps_none_of_the_others_from_happening() -> None:
    def broken() -> Finding:
        raise ZeroDivisionError("oh")

    def unreadable() -> Finding:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret")

    def said() -> Finding:
        raise Transient("nothing answers")

    found = dict(examine({"a": broken, "b": unreadable, "c": said, "d": lambda: fine("good")}))
    assert found["a"] == attention("can't be looked at, which is a fault of this program: ZeroDivisionError('oh')")
    assert found["b"] == attention("can't be looked at: /secret: Permission denied")
    assert found["c"] == attention("nothing answers")
    assert found["d"] == fine("good")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that strangers reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "folder"
        folder.mkdir()
        folder.chmod(0o777)
        yield folder


def test_a_folder_that_may_be_used_is_fine(open_folder: Path) -> None:
    assert folders.folder(open_folder, STRANGER, write=True).ok
    open_folder.chmod(0o755)
    assert folders.folder(open_folder, STRANGER, write=False).ok
    assert folders.folder(open_folder, folders.account(0), write=True).ok


def test_missing_rights_are_named_with_their_remedy(open_folder: Path) -> None:
    open_folder.chmod(0o755)
    found = folders.folder(open_folder, STRANGER, write=True)
    assert found == attention(f"stranger may not write to {open_folder}: setfacl -m u:stranger:rwx {open_folder}")
    open_folder.chmod(0o700)
    assert "may not list" in folders.folder(open_folder, STRANGER, write=False).sentence


def test_a_directory_on_the_way_may_be_closed(open_folder: Path) -> None:
    (open_folder / "below").mkdir()
    (open_folder / "below").chmod(0o777)
    open_folder.chmod(0o700)
    found = folders.folder(open_folder / "below", STRANGER, write=True)
    assert not found.ok
    assert f"can't pass {open_folder}" in found.sentence


def test_groups_count(open_folder: Path) -> None:
    open_folder.chmod(0o750)
    mine = open_folder.stat().st_gid
    assert folders.folder(open_folder, Account("member", 54321, frozenset({mine})), write=False).ok
    assert not folders.folder(open_folder, Account("member", 54321, frozenset({mine})), write=True).ok


def test_an_access_control_list_is_believed(open_folder: Path) -> None:
    open_folder.chmod(0o700)
    undefined = 0xFFFFFFFF
    entries = [(1, 7, undefined), (2, 7, STRANGER.uid), (4, 0, undefined), (16, 7, undefined), (32, 0, undefined)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)
    os.setxattr(open_folder, "system.posix_acl_access", access)
    assert folders.folder(open_folder, STRANGER, write=True).ok


def test_a_file_system_without_access_control_lists_is_told_by_the_mode(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> list[str]:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(folders.os, "listxattr", refuse)
    assert folders.folder(open_folder, STRANGER, write=True).ok
    open_folder.chmod(0o700)
    assert "may not list" in folders.folder(open_folder, STRANGER, write=False).sentence


def test_a_folder_that_is_missing_or_a_file_is_said_so(tmp_path: Path) -> None:
    root = folders.account(0)
    assert "isn't there" in folders.folder(tmp_path / "none", root, write=False).sentence
    (tmp_path / "file").touch()
    assert "isn't a folder" in folders.folder(tmp_path / "file", root, write=False).sentence


def test_the_web_server_must_be_able_to_read(open_folder: Path) -> None:
    (open_folder / "studies").mkdir(mode=0o750)
    (open_folder / "studies").chmod(0o750)
    (open_folder / "studies/index.json.gz").touch(0o640)
    reader = Account("www-data", 54321, frozenset({(open_folder / "studies").stat().st_gid}))
    assert folders.readers(open_folder, reader).ok
    assert "may not read" in folders.readers(open_folder, STRANGER).sentence
    (open_folder / "studies/index.json.gz").chmod(0o600)
    assert "index.json.gz" in folders.readers(open_folder, reader).sentence


def test_a_group_that_has_no_name_is_named_by_its_number(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    (open_folder / "studies").mkdir(mode=0o750)
    monkeypatch.setattr(folders.grp, "getgrgid", unknown)
    group = (open_folder / "studies").stat().st_gid
    assert f"be in the group {group}, " in folders.readers(open_folder, STRANGER).sentence


def test_a_folder_that_is_read_only_to_the_service_is_found() -> None:
    mounts = "1 0 8:1 / / ro,relatime shared:1 - ext4 /dev/a rw\n2 1 8:1 /var/lib/x /var/lib/x rw - ext4 /dev/a rw\n"
    assert folders.writable_within(mounts, [Path("/var/lib/x/drop")]).ok
    found = folders.writable_within(mounts, [Path("/var/lib/x"), Path("/srv/drop")])
    assert not found.ok
    assert "/srv/drop: add it to ReadWritePaths=" in found.sentence


def _tree(root: Path, instances: int = 2) -> Path:
    (root / ".staticwado").mkdir(parents=True)
    for number in range(instances):
        frames = root / f"studies/1.2/series/1.2.3/instances/1.2.3.{number}/frames"
        frames.mkdir(parents=True)
        (frames / "1.mht").write_bytes(os.urandom(40_000))
    return root


def test_a_local_file_system_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    root = _tree(tmp_path / "root")
    assert disk.file_system(root).ok
    assert list((root / ".staticwado").iterdir()) == []


def test_a_network_file_system_is_advised_against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "mount_of", lambda _: Mount("/", "nfs4"))
    assert "nfs4" in disk.file_system(_tree(tmp_path / "root")).sentence


@pytest.mark.parametrize("call", ["write", "rename", "exchange", "syncfs"])
def test_a_file_system_that_refuses_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Disk, call, refuse)
    found = disk.file_system(_tree(tmp_path / "root"))
    assert "Input/output error" in found.sentence
    assert not found.ok


def _space(
    monkeypatch: pytest.MonkeyPatch, free: float, inodes: float, size: int = 1_000_000_000_000, files: int = 1_000_000
) -> None:
    state = SimpleNamespace(
        f_bavail=int(free * size) // 4096,
        f_frsize=4096,
        f_blocks=size // 4096,
        f_files=files,
        f_favail=int(inodes * files),
    )
    monkeypatch.setattr(disk.os, "statvfs", lambda _: state)


def _journal(path: Path, receipts: int) -> Path:
    journal = Journal(path)
    journal.write(
        [Receipt(Path(f"/dicom/{number}.dcm"), Stamp(1, number, 5, 6), "published") for number in range(receipts)]
    )
    journal.close()
    return path


def test_the_forecast_says_what_an_instance_costs_and_how_long_the_disk_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, journal = _tree(tmp_path / "root"), _journal(tmp_path / "journal.sqlite", 20)
    _space(monkeypatch, 0.5, 0.5)
    found = disk.room(root, journal, 0, 0)
    assert found.ok
    assert "20 instances a day" in found.sentence
    cost = disk.cost_of_an_instance(root)
    assert 40_000 <= cost.bytes <= 60_000
    assert 3 <= cost.inodes <= 5


def test_what_a_daemon_takes_away_meanwhile_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.cost_of_an_instance(tmp_path) == disk.Cost(0.0, 0.0)
    root = _tree(tmp_path / "root")
    pack = root / "restore/1.2/a.pack.gz"
    pack.parent.mkdir(parents=True)
    pack.touch()
    real = os.scandir

    def scandir(directory: str) -> Any:
        entries = real(directory)
        if directory == str(pack.parent):
            pack.unlink()
            pack.parent.rmdir()
        return entries

    monkeypatch.setattr(disk.os, "scandir", scandir)
    assert disk.cost_of_an_instance(root).inodes > 3
    assert not pack.exists()


def test_a_disk_that_is_full_soon_is_told_before_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, journal = _tree(tmp_path / "root"), _journal(tmp_path / "journal.sqlite", 100)
    _space(monkeypatch, 0.5, 0.5, size=100_000_000)
    found = disk.room(root, journal, 0, 0)
    assert not found.ok
    assert "full soon" in found.sentence


@pytest.mark.parametrize(("free", "inodes", "word"), [(0.1, 0.9, "90% of the bytes"), (0.9, 0.1, "90% of the inodes")])
def test_four_fifths_are_enough_to_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, inodes: float, word: str
) -> None:
    _space(monkeypatch, free, inodes)
    found = disk.room(_tree(tmp_path / "root"), tmp_path / "none", 0, 0)
    assert not found.ok
    assert word in found.sentence


def test_inodes_that_nobody_counts_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, journal = _tree(tmp_path / "root"), _journal(tmp_path / "journal.sqlite", 20)
    monkeypatch.setattr(disk, "cost_of_an_instance", lambda _: disk.Cost(bytes=1000.0, inodes=10_000.0))
    _space(monkeypatch, 0.5, 0.5, size=10_000_000, files=0)
    found = disk.room(root, journal, 0, 10_000)
    assert found.ok, "bytes are no inodes"
    assert found.sentence.startswith("5 MB (50%) free; ")
    assert found.sentence.endswith(" fill it in 250 days")


def test_less_than_intake_needs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _space(monkeypatch, 0.5, 0.5)
    root = _tree(tmp_path / "root")
    assert "bytes are free than intake needs" in disk.room(root, tmp_path / "none", 10**12, 0).sentence
    assert "inodes are free than intake needs" in disk.room(root, tmp_path / "none", 0, 10**6).sentence


def test_too_few_watches_are_told_with_the_number_to_set(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"dicom/{number}").mkdir(parents=True)
    limit = tmp_path / "max_user_watches"
    limit.write_text("100\n")
    assert machine.inotify([tmp_path / "dicom"], limit) == fine("10 directories to watch, 100 watches")
    limit.write_text("5\n")
    found = machine.inotify([tmp_path / "dicom"], limit)
    assert not found.ok
    assert "fs.inotify.max_user_watches=12" in found.sentence


def test_a_clock_from_another_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.time, "gmtime", lambda: time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0)))
    assert "the clock says 1970" in machine.clock().sentence


@pytest.mark.parametrize(("state", "ok"), [(0, True), (5, False)])
def test_a_clock_that_nobody_keeps_is_told(monkeypatch: pytest.MonkeyPatch, state: int, *, ok: bool) -> None:
    monkeypatch.setattr(machine.libc, "call", lambda *_: state)
    assert machine.clock().ok is ok


def test_a_port_is_free_or_somebodys() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        found = machine.port(number, None)
        assert not found.ok
        assert f"(process {os.getpid()})" in found.sentence
        assert machine.port(number, os.getpid()).ok
        assert machine.port(number, os.getppid()).ok, "a child of the daemon is the daemon"
    assert machine.port(number, None) == fine(f"{number} is free")
    assert not machine.port(number, os.getpid()).ok


def test_the_codecs_work_and_a_broken_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.codecs_work().ok
    real = codecs.decode

    def decode(payload: Any, syntax: str, description: Any) -> Any:
        if syntax.endswith(".80"):
            raise RuntimeError("no such symbol")
        return real(payload, syntax, description)

    monkeypatch.setattr(machine.codecs, "decode", decode)
    found = machine.codecs_work()
    assert not found.ok
    assert found.sentence.startswith("JPEG-LS can't")


def test_missing_locks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "shortcomings", lambda: ("this kernel has no Landlock",))
    assert machine.locks() == attention("this kernel has no Landlock")


def _status(**changes: Any) -> Status:
    counts = {"backlog": 0, "published": 5, "instances": 5, "studies": 1, "rejected": 0, "receipts": {}}
    usual = {"running": True, "state": "ok", "idle": True, **counts}
    return Status(**{**usual, **changes})


def test_a_daemon_that_is_away_silent_or_discontent_is_told() -> None:
    assert daemon.running(_status()).ok
    assert "not running" in daemon.running(_status(running=False)).sentence
    assert "says nothing" in daemon.running(_status(running=None)).sentence
    assert daemon.running(_status(degraded=("/a is polled", "/b is gone"))) == attention("/a is polled; /b is gone")


def test_a_daemon_is_looked_at_by_its_process(tmp_path: Path) -> None:
    traces = daemon.Traces(tmp_path, tmp_path, tmp_path / "journal.sqlite")
    assert "not running" in daemon.works(traces, [tmp_path]).sentence
    (tmp_path / layout.PRIVATE).mkdir()
    lock = take(tmp_path, "daemon", 0.0)
    counts = {"backlog": 0, "published": 5, "instances": 5, "studies": 1, "rejected": 0}
    ReportFile(tmp_path).write(Report(running=True, pid=os.getpid(), idle=True, **counts))
    proc = tmp_path / "proc"
    (proc / str(os.getpid())).mkdir(parents=True)
    mountinfo = proc / str(os.getpid()) / "mountinfo"
    mountinfo.write_text("1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/a rw\n")
    assert daemon.works(traces, [tmp_path], proc) == fine("running, 5 published, 0 rejected, 0 waiting")
    mountinfo.write_text("1 0 8:1 / / ro,relatime shared:1 - ext4 /dev/a rw\n")
    assert f"can't write to {tmp_path}" in daemon.works(traces, [tmp_path], proc).sentence
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        assert daemon.port(number, traces) == fine(f"{number} is the daemon's")
        os.close(lock)
        assert "is held by" in daemon.port(number, traces).sentence
    assert "not running" in daemon.works(traces, [tmp_path], proc).sentence


def test_a_journal_of_another_version_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal._database.execute("PRAGMA user_version = 1")
    journal.close()
    assert "is another version's" in daemon.journal(tmp_path / "journal.sqlite").sentence


def test_a_damaged_journal_is_found(tmp_path: Path) -> None:
    assert daemon.journal(tmp_path / "none").ok
    path = _journal(tmp_path / "journal.sqlite", 300)
    assert daemon.journal(path).ok
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(data)
    assert "is damaged: stop the daemon" in daemon.journal(path).sentence
    path.write_bytes(b"not a database at all" * 500)
    assert "is damaged" in daemon.journal(path).sentence


asked: list[Message] = []


@pytest.fixture
def site() -> Iterator[serving.Address]:
    """A web server that answers everything with nothing; `asked` has the headers of each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    asked.clear()
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield serving.Address(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_the_web_server_is_asked_as_a_page_asks_it(site: serving.Address, tmp_path: Path) -> None:
    assert serving.studies(site, tmp_path) == fine("there is no study yet")
    assert serving.images(site, tmp_path) == fine("there is no image yet")
    assert asked[0]["Sec-Fetch-Site"] == "same-origin"
    assert asked[0]["Accept-Encoding"] == "gzip, deflate, br"


def test_a_list_that_is_damaged_on_the_disk_is_named(site: serving.Address, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    for data in (b"no gzip", gzipped.pack(b"[]")[:-9]):
        (tmp_path / layout.STUDIES_INDEX).write_bytes(data)
        with pytest.raises(Corrupt, match=r"index\.json\.gz is damaged: run `staticwado verify --repair`"):
            serving.studies(site, tmp_path)
