"""The real inotify, the real copying programs: every file is taken exactly once, and none before it is whole."""

import os
import random
import shutil
import statistics
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from staticwado_daemon.inbound import folder
from staticwado_daemon.inbound.folder import InboundDir
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.settle import Timing
from staticwado_daemon.inbound.source import NO_PERMISSION, Source, Stamp
from tests.system.inboxes import MAGIC, TIMING, Line, content, running, until


def rsync() -> str:
    found = shutil.which("rsync")
    assert found, "rsync is missing: install the package rsync"
    return found


def files_below(top: Path) -> set[Path]:
    return {path for path in top.rglob("*") if path.is_file()}


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbound"
    path.mkdir()
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """600 files in 30 nested directories."""
    top = tmp_path / "tree"
    for number in range(600):
        path = (
            top / f"patient{number // 200}" / f"study{number // 100}" / f"series{number // 20}" / f"IM{number:04d}.dcm"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content())
    return top


def expect_each_once(line: Line, inbound: Inbound, top: Path, count: int) -> None:
    until(lambda: len(line.receipts) >= count)
    until(lambda: inbound.idle)
    assert line.published() == files_below(top)
    assert len(line.receipts) == count
    assert set(line.answered.values()) == {1}


def test_cp_of_nested_trees_in_parallel(inbox: Path, tree: Path) -> None:
    with running(inbox) as (inbound, line):
        copies = [subprocess.Popen(["cp", "-r", tree, inbox / f"copy{number}"]) for number in range(3)]
        assert [copy.wait() for copy in copies] == [0, 0, 0]
        expect_each_once(line, inbound, inbox, 1800)


def test_a_whole_tree_is_moved_in(inbox: Path, tree: Path) -> None:
    with running(inbox) as (inbound, line):
        tree.rename(inbox / "tree")
        expect_each_once(line, inbound, inbox, 600)


def test_rsync(inbox: Path, tree: Path) -> None:
    with running(inbox) as (inbound, line):
        subprocess.run([rsync(), "-a", f"{tree}/", inbox / "tree"], check=True)
        expect_each_once(line, inbound, inbox, 600)
        assert not any(path.name.startswith(".") for path in line.tries)
        assert set(line.tries.values()) == {1}
        subprocess.run([rsync(), "-a", "--delay-updates", f"{tree}/", inbox / "again"], check=True)
        expect_each_once(line, inbound, inbox, 1200)
        assert not any(".~tmp~" in path.parts for path in line.tries)


def test_rsync_in_place_shows_no_half_file(inbox: Path, tmp_path: Path) -> None:
    source = tmp_path / "big.dcm"
    source.write_bytes(content(3_000_000))
    with running(inbox) as (inbound, line):
        subprocess.run([rsync(), "--inplace", "--whole-file", "--bwlimit=1500", source, inbox / "big.dcm"], check=True)
        expect_each_once(line, inbound, inbox, 1)
        assert line.tries[inbox / "big.dcm"] == 1


def test_temporary_names_are_not_taken_until_they_are_final(inbox: Path) -> None:
    with running(inbox) as (inbound, line):
        for number in range(300):
            temporary = inbox / f"IM{number}.dcm.part"
            temporary.write_bytes(content())
            temporary.rename(inbox / f"IM{number}.dcm")
        expect_each_once(line, inbound, inbox, 300)
        assert set(line.tries.values()) == {1}


def test_a_writer_that_dribbles_and_pauses_longer_than_the_settle_time(inbox: Path) -> None:
    data = content(20_000)
    path = inbox / "slow.dcm"
    with running(inbox) as (inbound, line):
        with path.open("wb") as file:
            for start in range(0, len(data), 7000):
                file.write(data[start : start + 7000])
                file.flush()
                time.sleep(0.9)
            assert not line.tries  # the kernel tells that it is still open for writing
            closing = time.monotonic()
        until(lambda: path in line.receipts)
        assert line.published() == {path}
        assert line.taken_at[path] - closing < 0.5
        until(lambda: inbound.idle)
        assert set(line.answered.values()) == {1}


def test_what_is_being_written_into_a_folder_that_sets_aside_is_not_given_up(inbox: Path) -> None:
    data = content(20_000)
    path = inbox / "slow.dcm"
    with running(InboundDir(inbox, "delete", sets_aside=True)) as (inbound, line):
        with path.open("wb") as file:
            file.write(data[:7000])
            file.flush()
            time.sleep(3 * TIMING.settle)
            file.write(data[7000:])
            assert not line.tries  # it would be rejected, and moved away from under its writer
        until(lambda: path in line.receipts)
        assert line.published() == {path}
        until(lambda: inbound.idle)


def test_a_writer_that_opens_and_closes_for_every_piece(inbox: Path) -> None:
    data = content(20_000)
    path = inbox / "slow.dcm"
    with running(inbox) as (inbound, line):
        for start in range(0, len(data), 5000):
            with path.open("ab") as file:
                file.write(data[start : start + 5000])
            time.sleep(0.7)
        until(lambda: path in line.receipts)
        assert line.published() == {path}
        until(lambda: inbound.idle)
        assert line.answered == {path: 1}


def test_a_preallocated_file_is_not_taken_before_it_is_filled(inbox: Path) -> None:
    data = content(1_000_000)
    path = inbox / "sparse.dcm"
    with running(inbox) as (_, line):
        with path.open("wb") as file:
            file.truncate(len(data))
            time.sleep(1.2)
            file.write(data)
            file.flush()
            time.sleep(1.2)
            assert not line.tries
        until(lambda: path in line.receipts)
        assert line.published() == {path}


def test_an_incomplete_file_is_given_up_and_taken_again_when_it_changes(inbox: Path) -> None:
    data = content(9000)
    path = inbox / "cut.dcm"
    with running(inbox) as (inbound, line):
        path.write_bytes(data[:5000])
        began = time.monotonic()
        until(lambda: line.tries[path] == 1 and inbound.waiting == 1)
        assert not inbound.idle
        until(lambda: path in line.receipts)
        assert line.receipts[path].outcome == "rejected"
        assert 2.5 < time.monotonic() - began < 5.0
        until(lambda: inbound.idle)
        path.write_bytes(data)
        until(lambda: line.published() == {path})


def test_everything_that_arrived_while_nobody_watched(inbox: Path) -> None:
    line = Line()
    with running(inbox, line=line):
        (inbox / "before.dcm").write_bytes(content())
        until(lambda: len(line.receipts) == 1)
    for number in range(3000):
        path = inbox / str(number // 100) / f"IM{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content(100))
    line.stopping = False
    with running(inbox, line=line) as (inbound, _):
        expect_each_once(line, inbound, inbox, 3001)


def test_an_overflowing_queue_loses_nothing(inbox: Path) -> None:
    with running(inbox) as (inbound, line):
        watcher = inbound._folders[0].lookout._watcher
        assert watcher is not None
        queue_length = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        count = queue_length // 2 + 500  # two events each
        (inbox / "deep").mkdir()
        time.sleep(0.5)
        with watcher._inotify._lock:  # as if the process were stopped: nobody reads the queue
            for number in range(count):
                (inbox / ("deep" if number % 2 else ".") / f"F{number}").write_bytes(b"\0\0\0\x0c123" + MAGIC)
        until(lambda: len(line.receipts) == count, 60.0)
        until(lambda: inbound.idle)
        assert set(line.answered.values()) == {1}


def test_a_burst_is_not_reread_by_the_scans_that_follow_it(inbox: Path, tree: Path) -> None:
    timing = Timing(settle=0.3, reconcile=0.2, incomplete=3.0)
    with running(inbox, timing=timing) as (inbound, line):
        subprocess.run(["cp", "-r", tree, inbox / "copy"], check=True)
        expect_each_once(line, inbound, inbox, 600)
        time.sleep(1.0)
        assert set(line.answered.values()) == {1}


def test_a_closed_file_is_taken_at_once(inbox: Path) -> None:
    waits = []
    with running(inbox) as (_, line):
        for number in range(40):
            path = inbox / f"IM{number}.dcm"
            path.write_bytes(content(500_000))
            closed = time.monotonic()
            until(partial(line.receipts.__contains__, path))
            waits.append(line.taken_at[path] - closed)
            time.sleep(random.uniform(0, 0.05))
    assert statistics.median(waits) < 0.3, waits


def test_a_file_renamed_into_place_is_taken_at_once(inbox: Path) -> None:
    waits = []
    with running(inbox) as (_, line):
        for number in range(20):
            path = inbox / f"IM{number}.dcm"
            temporary = path.with_name(f".{path.name}.aXbYcZ")
            temporary.write_bytes(content())
            temporary.rename(path)
            renamed = time.monotonic()
            until(partial(line.receipts.__contains__, path))
            waits.append(line.taken_at[path] - renamed)
    assert statistics.median(waits) < 0.3, waits


def test_a_file_that_changes_in_flight_is_taken_again_afterwards(inbox: Path) -> None:
    line = Line()
    inbound = Inbound([InboundDir(inbox)], line.known, TIMING, line.awake.set)
    inbound.start()
    try:
        path = inbox / "a.dcm"
        path.write_bytes(content(1000))
        until(lambda: inbound.backlog == 1 and inbound.idle is False)
        taken: list[Source] = []
        until(lambda: bool(taken.extend(inbound.take(5)) or taken))
        path.write_bytes(content(2000))
        time.sleep(0.6)
        assert inbound.take(5) == []  # never twice at a time
        line.answer(inbound, taken[0])  # what it was is no more: it is given back
        until(lambda: bool(taken.extend(inbound.take(5)) or len(taken) == 2))
        line.answer(inbound, taken[1])
        until(lambda: inbound.idle)
        assert line.published() == {path}
        assert line.answered == {path: 1}
    finally:
        inbound.stop()


def test_what_is_no_file_is_handed_over_for_its_receipt(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(content())
    with running(inbox) as (inbound, line):
        os.mkfifo(inbox / "fifo")
        (inbox / "link").symlink_to(tmp_path / "target")
        (inbox / os.fsdecode(b"caf\xe9.dcm")).write_bytes(content())
        until(lambda: len(line.receipts) == 3)
        until(lambda: inbound.idle)
        reasons = {path.name: receipt.reason for path, receipt in line.receipts.items()}
        assert reasons == {
            "fifo": "not a regular file but a FIFO",
            "link": "not a regular file but a symbolic link",
            os.fsdecode(b"caf\xe9.dcm"): None,
        }


def test_a_file_without_permission_is_taken_when_it_has_it(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = inbox / "a.dcm"
    granted = threading.Event()
    real_open, real_access = os.open, os.access

    def guarded(path: object, *rest: object, **named: object) -> int:
        if path == refused and not granted.is_set():
            raise PermissionError(13, "Permission denied")
        return real_open(path, *rest, **named)  # type: ignore[arg-type]

    # The tests may run as root, whom nobody refuses.
    monkeypatch.setattr("staticwado_daemon.inbound.source.os.open", guarded)
    monkeypatch.setattr(os, "access", lambda p, *m: (p != str(refused) or granted.is_set()) and real_access(p, *m))
    refused.write_bytes(content())
    with running(inbox, timing=Timing(settle=0.2, reconcile=0.3)) as (_, line):
        until(lambda: refused in line.receipts)
        time.sleep(0.8)
        assert line.tries[refused] == 1
        line.known_states.clear()  # as the journal has it: such a receipt is not remembered
        granted.set()
        until(lambda: line.published() == {refused})


def test_a_folder_that_goes_and_comes_back(inbox: Path, tmp_path: Path) -> None:
    with running(inbox, timing=Timing(settle=0.2, reconcile=0.3)) as (inbound, line):
        (inbox / "a.dcm").write_bytes(content())
        until(lambda: len(line.receipts) == 1)
        inbox.rename(tmp_path / "elsewhere")
        until(lambda: inbound.modes[str(inbox)] == "unavailable")
        assert "unavailable" in inbound.degraded[0]
        assert line.answered == {inbox / "a.dcm": 1}
        (tmp_path / "elsewhere" / "b.dcm").write_bytes(content())
        (tmp_path / "elsewhere").rename(inbox)
        until(lambda: len(line.receipts) == 2)
        until(lambda: inbound.modes[str(inbox)] == "inotify")
        assert inbound.degraded == []
        shutil.rmtree(inbox)
        inbox.mkdir()  # quite possibly with the inode of the old one
        (inbox / "c.dcm").write_bytes(content())
        until(lambda: len(line.receipts) == 3)
        assert set(line.answered.values()) == {1}


def test_a_folder_that_is_emptied_after_ingest(inbox: Path) -> None:
    with running(InboundDir(inbox, "delete")) as (inbound, line):
        for number in range(50):
            (inbox / "same-name.dcm").write_bytes(content(1000 + number))
            until(lambda: not (inbox / "same-name.dcm").exists())
        until(lambda: inbound.idle)
        assert line.answered == {inbox / "same-name.dcm": 50}


def test_what_cannot_be_removed_is_said_and_tried_ever_more_rarely(inbox: Path) -> None:
    path = inbox / "a.dcm"
    path.write_bytes(content())
    line = Line()
    line.known_states[str(path), Stamp.of(path.stat())] = "published"  # the removal was interrupted
    timing = Timing(settle=0.2, reconcile=0.3)
    inbound = Inbound([InboundDir(inbox, "delete")], line.known, timing, line.awake.set)
    tries = 0
    inbound.start()
    try:
        end = time.monotonic() + 3.0  # pauses of 0.3, 0.6, 1.2 and 2.4 seconds, each until the scan that follows
        while time.monotonic() < end:
            for source in inbound.take(5):
                tries += 1
                inbound.done(Receipt(path, source.stamp, "duplicate"))
            time.sleep(0.02)
        assert 3 <= tries <= 4
        (said,) = inbound.degraded
        assert "can't be emptied, files left over: 1;" in said
        path.unlink()
        until(lambda: inbound.degraded == [])
    finally:
        inbound.stop()


def test_an_interrupted_setting_aside_is_made_up_for(inbox: Path) -> None:
    path = inbox / "a.dcm"
    path.write_bytes(content())
    for dir_, offered in ((InboundDir(inbox, "delete"), 0), (InboundDir(inbox, "delete", sets_aside=True), 1)):
        line = Line()
        line.known_states[str(path), Stamp.of(path.stat())] = "rejected"
        inbound = Inbound([dir_], line.known, Timing(settle=0.2, reconcile=0.3), line.awake.set)
        inbound.start()
        try:
            time.sleep(1.0)
            assert len(inbound.take(5)) == offered
        finally:
            inbound.stop()


def test_what_is_gone_is_forgotten_with_the_next_full_scan(inbox: Path) -> None:
    line = Line()
    (inbox / "kept").mkdir()
    dirs = [InboundDir(inbox, "delete"), InboundDir(inbox / "kept")]
    inbound = Inbound(dirs, line.known, Timing(settle=0.1, reconcile=0.3), line.awake.set)
    paths = [inbox / "left.dcm", inbox / "gone.dcm", inbox / "kept/denied.dcm"]
    for path in paths:
        path.write_bytes(content())
    inbound.start()
    try:
        taken: list[Source] = []
        until(lambda: bool(taken.extend(inbound.take(5)) or len(taken) == 3))
        for source in taken:
            denied = source.path.name == "denied.dcm"
            reason, outcome = (NO_PERMISSION, "rejected") if denied else (None, "published")
            inbound.done(Receipt(source.path, source.stamp, outcome, reason))  # type: ignore[arg-type]
        assert set(inbound._left_over) == {str(path) for path in paths[:2]}
        paths[1].unlink()
        paths[2].unlink()
        until(lambda: not inbound._denied and set(inbound._left_over) == {str(paths[0])})
    finally:
        inbound.stop()


def test_what_cannot_be_stored_is_tried_ever_more_rarely(inbox: Path) -> None:
    line = Line()
    inbound = Inbound([InboundDir(inbox)], line.known, Timing(settle=0.1, reconcile=0.3), line.awake.set)
    path = inbox / "refused.dcm"
    path.write_bytes(content())
    tries: list[int] = []

    def refuse_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for source in inbound.take(5):
                tries.append(source.tries)
                inbound.retry(source, incomplete=False)
            time.sleep(0.02)

    inbound.start()
    try:
        refuse_for(4.2)  # rests of 0.5, 1 and 2 seconds
        assert tries == [0, 1, 2, 3]
        path.write_bytes(content(5000))
        refuse_for(1.0)
        assert tries[4:] in ([0], [0, 1])  # changed: tried at once, with all patience restored
    finally:
        inbound.stop()


def test_folders_in_each_other_take_each_file_once(inbox: Path) -> None:
    inner = inbox / "inner"
    inner.mkdir()
    with running(inbox, InboundDir(inner, "delete")) as (inbound, line):
        (inbox / "a.dcm").write_bytes(content())
        (inner / "b.dcm").write_bytes(content())
        until(lambda: len(line.receipts) == 2)
        until(lambda: inbound.idle)
        assert files_below(inbox) == {inbox / "a.dcm"}
        assert set(line.answered.values()) == {1}


def test_a_file_whose_receipt_was_withdrawn_is_taken_again(inbox: Path, tmp_path: Path) -> None:
    path = inbox / "a.dcm"
    with running(inbox) as (inbound, line):
        path.write_bytes(content())
        until(lambda: line.answered[path] == 1 and inbound.idle)
        assert inbound.look_again(path)
        until(lambda: inbound.idle)
        assert line.answered[path] == 1  # it still has its receipt
        line.known_states.clear()
        assert inbound.look_again(path)
        until(lambda: line.answered[path] == 2)
        assert not inbound.look_again(tmp_path / "elsewhere.dcm")


def test_no_directory_stays_open_when_it_ends_in_the_middle_of_a_scan(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_SLICE", 0.0)  # one file at a time
    for number in range(2000):
        (inbox / f"{number}.dcm").touch()
    line = Line()
    inbound = Inbound([InboundDir(inbox)], line.known, Timing(settle=0.1, reconcile=3600), line.awake.set)
    inbound.start()
    until(lambda: inbound.backlog > 10)
    inbound.stop()
    assert not inbound.idle
    opened = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert [each for each in opened if each.startswith(str(inbox))] == []
