import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from staticwado_daemon.inbound import reconcile
from staticwado_daemon.inbound.reconcile import Scans, outermost, walk
from tests.interleaving import at_every_step


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def found(top: Path, *exclude: Path) -> set[str]:
    return {os.path.relpath(path, top) for path, _ in walk(str(top), [str(each) for each in exclude])}


def test_finds_every_file_at_every_depth(tmp_path: Path) -> None:
    wanted = {"a", "b/c", "b/d/e/f/g/h"}
    for name in wanted:
        touch(tmp_path / name)
    assert found(tmp_path) == wanted


def test_depth_is_no_danger(tmp_path: Path) -> None:
    deep = tmp_path / "top"
    deep.mkdir()
    for _ in range(1500):
        deep /= "d"
        deep.mkdir()
    touch(deep / "x")
    try:
        assert found(tmp_path / "top") == {"d/" * 1500 + "x"}
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "top"], check=True)  # Python's own removal is recursive


def test_passes_over_temporary_names_litter_and_what_is_excluded(tmp_path: Path) -> None:
    for name in ("a", ".a.XyZ123", "a.part", ".~tmp~/b", "@eaDir/c", "rejected/d", "x/rejected/e", "x/Thumbs.db"):
        touch(tmp_path / name)
    assert found(tmp_path, tmp_path / "rejected") == {"a", "x/rejected/e"}


def test_yields_what_is_no_file_as_it_is_and_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    touch(outside / "secret")
    top = tmp_path / "in"
    touch(top / "file")
    (top / "link").symlink_to(outside / "secret")
    (top / "directory-link").symlink_to(outside)
    (top / "loop").symlink_to(top)
    (top / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "socket"))
        kinds = {Path(path).name: stat.S_IFMT(status.st_mode) for path, status in walk(str(top))}
    assert kinds == {
        "file": stat.S_IFREG,
        "link": stat.S_IFLNK,
        "directory-link": stat.S_IFLNK,
        "loop": stat.S_IFLNK,
        "dangling": stat.S_IFLNK,
        "fifo": stat.S_IFIFO,
        "socket": stat.S_IFSOCK,
    }


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = b"\xff\xfe-caf\xe9"
    touch(tmp_path / os.fsdecode(name) / os.fsdecode(name))
    ((path, status),) = walk(str(tmp_path))
    assert os.fsencode(path).endswith(name + b"/" + name)
    assert status.st_size == 1


def test_an_unreadable_directory_is_reported_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/x", "closed/y", "z/z"):
        touch(tmp_path / name)
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(reconcile.os, "scandir", scandir)  # the tests may run as root, whom nobody refuses
    unreadable: dict[str, OSError] = {}
    found = walk(str(tmp_path), unreadable=unreadable.__setitem__)
    assert {os.path.relpath(path, tmp_path) for path, _ in found} == {"a/x", "z/z"}
    told = {path: error.strerror for path, error in unreadable.items()}
    assert told == {str(tmp_path / "closed"): "Permission denied"}


def test_a_missing_top_yields_nothing(tmp_path: Path) -> None:
    assert list(walk(str(tmp_path / "none"))) == []


def test_only_the_outermost_directories_are_scanned() -> None:
    assert sorted(outermost(["/in/a/b", "/in/a", "/in/a-b", "/in/ab/c", "/in/a/b/c", "/in/a"])) == [
        "/in/a",
        "/in/a-b",
        "/in/ab/c",
    ]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_scan_is_done_in_portions_and_completed_once(tmp_path: Path) -> None:
    for number in range(40):
        touch(tmp_path / f"{number % 4}" / f"{number}")
    clock = Clock()
    scans = Scans(str(tmp_path), clock=clock)
    assert scans.next_due is None
    scans.want(str(tmp_path))
    seen: list[str] = []
    portions = 0
    while scans.next_due is not None:
        portions += 1
        for path, _ in scans.portion(5.0):
            seen.append(path)
            clock.now += 1.0
            assert scans.completed == 0
    assert portions >= 8
    assert len(seen) == len(set(seen)) == 40
    assert scans.completed == 1
    assert scans.seconds == pytest.approx(40.0)


def test_a_tree_without_files_does_not_hold_up_the_driver(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / str(number)).mkdir()
    clock = Clock()
    scans = Scans(str(tmp_path), clock=clock)
    scans.want(str(tmp_path))
    portions = 0
    while scans.completed == 0:
        portions += 1
        assert list(scans.portion(0.0)) == []
    assert portions > 30


def test_a_directory_waits_for_its_neighbours_and_is_scanned_once(tmp_path: Path) -> None:
    touch(tmp_path / "s" / "a")
    touch(tmp_path / "s" / "t" / "b")
    clock = Clock()
    scans = Scans(str(tmp_path), clock=clock)
    scans.want(str(tmp_path / "s" / "t"), 0.2)
    scans.want(str(tmp_path / "s"), 0.2)
    assert scans.pending
    assert list(scans.portion(1.0)) == []
    assert scans.next_due == 0.2
    clock.now = 0.2
    assert sorted(path for path, _ in scans.portion(1.0)) == [
        str(tmp_path / "s" / "a"),
        str(tmp_path / "s" / "t" / "b"),
    ]
    assert scans.next_due is None
    assert not scans.pending
    assert scans.completed == 0  # that is said of the whole folder only


def test_a_scan_that_begins_while_somebody_asks_is_not_overlooked(tmp_path: Path) -> None:
    touch(tmp_path / "s" / "a")

    def begin() -> tuple[Callable[[], bool], Callable[[], object]]:
        scans = Scans(str(tmp_path))
        scans.want(str(tmp_path / "s"))
        return lambda: scans.pending, lambda: next(scans.portion(1.0))

    seen = list(at_every_step(begin))
    assert len(seen) > 3
    assert all(seen)


def test_an_unreadable_directory_is_remembered_until_the_next_full_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "closed" / "x")
    scans = Scans(str(tmp_path))
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(reconcile.os, "scandir", scandir)
        scans.want(str(tmp_path))
        assert list(scans.portion(9.0)) == []
    assert scans.unreadable == {str(tmp_path / "closed")}
    scans.want(str(tmp_path))
    assert len(list(scans.portion(9.0))) == 1
    assert not scans.unreadable


def test_a_warm_scan_costs_a_few_microseconds_a_file(tmp_path: Path) -> None:
    for directory in range(20):
        (tmp_path / str(directory)).mkdir()
        for number in range(500):
            (tmp_path / str(directory) / f"IM{number:05d}").touch()
    assert len(list(walk(str(tmp_path)))) == 10_000
    began = time.process_time()
    assert sum(1 for _ in walk(str(tmp_path))) == 10_000
    assert time.process_time() - began < 0.1


def test_a_link_to_a_directory_is_no_way_even_if_it_is_heard_of(tmp_path: Path) -> None:
    touch(tmp_path / "outside/secret")
    (tmp_path / "in").mkdir()
    link = tmp_path / "in/link"
    link.symlink_to(tmp_path / "outside")
    scans = Scans(str(tmp_path / "in"), ())
    scans.want(str(link))
    assert list(scans.portion(60)) == []
