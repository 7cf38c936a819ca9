"""Inbound folders together: a file system that hangs costs its own folder, and nobody else."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from staticwado_daemon.inbound.folder import Folder, InboundDir
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.lookout import Mode
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.settle import Timing
from staticwado_daemon.inbound.source import NO_PERMISSION, Source, Stamp
from staticwado_daemon.inbound.watch import Watcher
from tests.interleaving import at_every_step
from tests.system.inboxes import until

QUICK = Timing(settle=0.1, reconcile=0.2, quiet=0.01)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "hanging", tmp_path / "good"
    for folder in found:
        folder.mkdir()
    return found


@pytest.fixture
def inbound(folders: tuple[Path, Path]) -> Iterator[Inbound]:
    inbound = Inbound([InboundDir(each) for each in folders], lambda _path, _stamp: None, QUICK, lambda: None)
    inbound.start()
    yield inbound
    inbound.stop()


def take_one(inbound: Inbound) -> Source:
    taken: list[Source] = []
    until(lambda: bool(taken.extend(inbound.take(1)) or taken))
    return taken[0]


def refuse(inbound: Inbound, source: Source) -> None:
    inbound.done(Receipt(source.path, source.stamp, "rejected", NO_PERMISSION))


def test_who_asks_for_permission_holds_up_nobody(
    folders: tuple[Path, Path], inbound: Inbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, good = folders
    asked, answered = threading.Event(), threading.Event()
    real = os.access

    def access(path: str, *rest: Any) -> bool:
        if path == str(hanging / "refused.dcm"):
            assert threading.current_thread().name == f"inbound {hanging}", "not the main loop"
            asked.set()
            answered.wait(60)
        return real(path, *rest)

    monkeypatch.setattr(os, "access", access)
    try:
        (hanging / "refused.dcm").write_bytes(b"x")
        refuse(inbound, take_one(inbound))
        assert asked.wait(20)
        (good / "a.dcm").write_bytes(b"x")
        main = threading.Thread(target=lambda: taken.append(take_one(inbound)), daemon=True)
        taken: list[Source] = []
        main.start()
        main.join(20)
        assert [source.path for source in taken] == [good / "a.dcm"]
        assert inbound.degraded == []
    finally:
        answered.set()


def test_what_may_not_be_read_is_taken_once_it_may(
    folders: tuple[Path, Path], inbound: Inbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = folders[0] / "refused.dcm"
    may, asked = threading.Event(), threading.Semaphore(0)
    real = os.access

    def access(path: str, *rest: Any) -> bool:
        if path != str(refused):
            return real(path, *rest)
        asked.release()
        return may.is_set()

    monkeypatch.setattr(os, "access", access)  # the tests may run as root, whom nobody refuses
    refused.write_bytes(b"x")
    refuse(inbound, take_one(inbound))
    for _ in range(3):
        assert asked.acquire(timeout=20)
    assert inbound.take(1) == []
    may.set()
    assert take_one(inbound).path == refused


def by_hand(folder: InboundDir, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder whose thread doesn't run, and which scans one entry at a time."""
    monkeypatch.setattr("staticwado_daemon.inbound.folder._SLICE", 0.0)
    timing = Timing(settle=0.0, reconcile=0.0, quiet=0.0)
    return Inbound([folder], lambda _path, _stamp: None, timing, lambda: None)._folders[0]


def test_a_file_on_its_way_is_never_seen_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dcm").write_bytes(b"x")
    made: list[Folder] = []

    def first_scan() -> tuple[Callable[[], bool], Callable[[], object]]:
        made.append(folder := by_hand(InboundDir(tmp_path), monkeypatch))
        return lambda: folder.idle, lambda: [folder._scan() for _ in range(3)]

    def hint() -> tuple[Callable[[], bool], Callable[[], object]]:
        made.append(folder := by_hand(InboundDir(tmp_path), monkeypatch))
        while not folder.surveyed:
            folder._scan()
        folder.tracker.drop(str(tmp_path / "a.dcm"))
        folder.hear("directory", str(tmp_path / "new"))
        return lambda: folder.idle, folder._read_notes

    try:
        for begin in (first_scan, hint):
            seen = list(at_every_step(begin))
            assert len(seen) > 5
            assert not any(seen)
    finally:
        for folder in made:
            folder.lookout.stop()


def test_a_folder_whose_state_changes_while_somebody_asks_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[tuple[Mode, str | None]] = [("inotify", None), ("polling", "it says so")]
    for before, after in (states, states[::-1]):

        def begin(
            before: tuple[Mode, str | None] = before, after: tuple[Mode, str | None] = after
        ) -> tuple[Callable[[], str | None], Callable[[], object]]:
            folder = by_hand(InboundDir(tmp_path), monkeypatch)
            folder.lookout._turn(*before)
            return lambda: folder.complaint, lambda: folder.lookout._turn(*after)

        assert set(at_every_step(begin)) == {None, f"{tmp_path} is polled: it says so"}


def test_directories_that_have_no_watch_since_a_moment_have_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = by_hand(InboundDir(tmp_path), monkeypatch)
    folder.lookout._turn("inotify", None)
    folder.lookout._watcher = cast("Watcher", SimpleNamespace(unwatched=frozenset({"/in/a"})))
    assert folder.complaint
    assert "polled in part (1 directories): no inotify watches left" in folder.complaint


def test_an_overflow_during_a_full_scan_is_made_up_for_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.dcm").write_bytes(b"x")
    folder = by_hand(InboundDir(tmp_path), monkeypatch)
    try:
        folder._scan()
        assert (folder.scans.begun, folder.scans.completed) == (1, 0)
        folder.hear("lost", str(tmp_path))
        folder._read_notes()
        while folder.scans.completed < 2:
            assert not folder.surveyed
            folder._scan()
        assert folder.surveyed
    finally:
        folder.lookout.stop()


def test_a_scan_that_takes_longer_than_the_time_between_two_is_followed_by_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (tmp_path / f"{number}.dcm").write_bytes(b"x")
    folder = by_hand(InboundDir(tmp_path), monkeypatch)
    try:
        while not folder.scans.completed:
            folder._scan()  # each time it would be time for the next scan
        assert folder.scans.next_due is None
        folder._scan()
        assert folder.scans.begun == 2
    finally:
        folder.lookout.stop()


def test_a_folder_that_is_back_is_surveyed_once_it_was_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    inbox.mkdir()
    (inbox / "a.dcm").write_bytes(b"x")
    folder = by_hand(InboundDir(inbox), monkeypatch)
    try:
        while not folder.surveyed:
            folder._scan()
        inbox.rename(elsewhere)
        folder._scan()
        assert (folder.lookout.mode, folder.surveyed) == ("unavailable", True)
        elsewhere.rename(inbox)
        folder._scan()
        assert (folder.lookout.mode, folder.surveyed) == ("inotify", False)
        while not folder.surveyed:
            folder._scan()
    finally:
        folder.lookout.stop()


def test_no_folder_waits_for_the_end_of_another(folders: tuple[Path, Path]) -> None:
    inbound = Inbound([InboundDir(each) for each in folders], lambda _path, _stamp: None, QUICK, lambda: None)
    for folder, count in zip(inbound._folders, (3, 100), strict=True):
        for number in range(count):
            path = Path(folder.root, f"{number:03}.dcm")
            inbound.accept(Source(path, Stamp(1, number, 1, 1)), folder)
    hanging, good = folders
    assert [source.path for source in inbound.take(4)] == [
        *(good / f"00{number}.dcm" for number in (0, 1)),
        *(hanging / f"00{number}.dcm" for number in (0, 1)),
    ]
    assert [source.path for source in inbound.take(4)] == [
        *(good / f"00{number}.dcm" for number in (2, 3, 4)),
        hanging / "002.dcm",
    ]
    assert len(inbound.take(1000)) == 95
    assert inbound.take(1) == []


def test_a_flood_of_hints_is_remembered_no_longer_than_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("staticwado_daemon.inbound.inbox._MOST_READY", 5)
    monkeypatch.setattr("staticwado_daemon.inbound.folder._PORTION", 1)
    monkeypatch.setattr("staticwado_daemon.inbound.folder._AGAIN", 0.1)
    received: set[tuple[str, Stamp]] = set()
    timing = Timing(settle=0.1, reconcile=60.0, quiet=0.0)
    known = lambda path, stamp: "published" if (path, stamp) in received else None  # noqa: E731
    inbound = Inbound([InboundDir(tmp_path)], known, timing, lambda: None)
    inbound.start()
    try:
        until(lambda: inbound.idle)
        for number in range(100):
            (tmp_path / f"{number}.dcm").write_bytes(b"x")
        until(lambda: not inbound._folders[0]._notes.unfinished_tasks and len(inbound._ready) >= 5)
        time.sleep(0.3)
        assert inbound.backlog < 20
        assert not inbound.idle
        until(lambda: all(answer(inbound, source, received) for source in inbound.take(3)) and inbound.idle)
        assert len(received) == 100
    finally:
        inbound.stop()


def test_files_that_come_back_again_and_again_are_no_endless_burden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("staticwado_daemon.inbound.inbox._MOST_KNOWN", 10)
    monkeypatch.setattr("staticwado_daemon.inbound.folder._SLICE", 0.0)  # a scan stops after each file
    for number in range(100):
        (tmp_path / f"{number}.dcm").write_bytes(b"x")
    inbound = Inbound([InboundDir(tmp_path)], lambda _path, _stamp: None, QUICK, lambda: None)
    inbound.start()
    try:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            for source in inbound.take(100):
                inbound.retry(source, incomplete=False)
            assert inbound.backlog <= 40
        assert inbound.backlog >= 10
        assert not inbound.idle
    finally:
        inbound.stop()


def answer(inbound: Inbound, source: Source, received: set[tuple[str, Stamp]]) -> bool:
    assert (str(source.path), source.stamp) not in received
    received.add((str(source.path), source.stamp))
    inbound.done(Receipt(source.path, source.stamp, "published"))
    return True
