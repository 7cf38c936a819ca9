import os
import socket
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from staticwado_daemon.errors import Incomplete, Rejected, Transient
from staticwado_daemon.inbound import source as module
from staticwado_daemon.inbound.source import NO_PERMISSION, Source, Stamp, being_written, opened, remove


def source_of(path: Path) -> Source:
    return Source(path, Stamp.of(os.lstat(path)))


@pytest.fixture(params=["held", "sliced"], autouse=True)
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are held in memory, large ones read slice by slice: the same is true of both."""
    if request.param == "sliced":
        monkeypatch.setattr(module, "WHOLE_BYTES", 0)


def read(source: Source, look: Callable[[bytes, int], None] | None = None) -> bytes:
    with opened(source, look) as content:
        return bytes(content[:])


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_reads_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    data = os.urandom(300_001)
    path.write_bytes(data)
    assert read(source_of(path)) == data


def test_reads_on_where_one_call_returns_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dcm"
    data = os.urandom(10_000)
    path.write_bytes(data)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: real(fd, min(length, 1999), offset))
    assert read(source_of(path)) == data


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.dcm"))
    path.write_bytes(b"x")
    assert read(source_of(path)) == b"x"


def test_a_file_that_changed_since_its_stamp_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"half")
    source = source_of(path)
    path.write_bytes(b"half and half")
    with pytest.raises(Transient, match="changed before"):
        read(source)


def test_a_file_that_was_replaced_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"one")
    source = source_of(path)
    other = tmp_path / "b.dcm"
    other.write_bytes(b"two")
    os.utime(other, ns=(source.stamp.mtime_ns, source.stamp.mtime_ns))
    other.rename(path)
    with pytest.raises(Transient):
        read(source)


@pytest.mark.parametrize("change", [b"longer than it was", b"cut"])
def test_a_file_that_changes_while_it_is_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"as it was")
    real = os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        path.write_bytes(change)
        return real(descriptor, length, offset)

    source = source_of(path)
    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(Transient, match="while it was read"):
        read(source)


def test_slices_are_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    data = os.urandom(100_000)
    path.write_bytes(data)
    with opened(source_of(path)) as content:
        assert len(content) == len(data)
        for start, stop in [(0, 8), (4, 12), (0, 0), (99_990, 100_020), (40_000, 90_000), (39_999, 40_003), (7, 3)]:
            assert content[start:stop] == data[start:stop]
        assert all(content[start : start + 700] == data[start : start + 700] for start in range(0, 100_000, 777))


def _work_on(source: Source, outcome: Exception | None) -> None:
    with opened(source) as content:
        assert content[:5] == b"as it"
        source.path.write_bytes(b"as it was in the end")
        if outcome:
            raise outcome


def test_what_is_made_of_a_large_file_that_changed_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 10)
    path = tmp_path / "a.dcm"
    for outcome in (None, Incomplete("the file ends"), Rejected("nonsense"), OSError(28, "No space left on device")):
        path.write_bytes(b"as it was at first")
        with pytest.raises(Transient, match="while it was read"):
            _work_on(source_of(path), outcome)


def test_a_large_file_that_is_cut_while_it_is_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 10)
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(1 << 20))
    context = opened(source_of(path))
    content = context.__enter__()
    os.truncate(path, 1 << 19)
    assert content[(1 << 19) - 2000 : 1 << 19] == bytes(2000)
    with pytest.raises(Transient, match="while it was read"):
        content[1 << 19 : 1 << 20]
    with pytest.raises(Transient, match="while it was read"):
        context.__exit__(None, None, None)


def test_a_large_file_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 1 << 20)
    path = tmp_path / "a.dcm"
    with path.open("wb") as file:
        file.truncate(1 << 33)
    before = open_descriptors()
    tracemalloc.start()
    with opened(source_of(path)) as content:
        assert not any(any(content[at : at + 100_000]) for at in range(0, 1 << 33, 1 << 27))
        assert open_descriptors() == before + 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert open_descriptors() == before


def test_a_vanished_file_is_transient(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"x")
    source = source_of(path)
    path.unlink()
    with pytest.raises(Transient, match="gone"):
        read(source)


def test_a_fifo_is_rejected_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(Rejected, match="a FIFO"):
        read(source_of(path))


def test_a_socket_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(Rejected, match="socket"):
            read(source_of(path))


def test_a_directory_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="a directory"):
        read(source_of(tmp_path))


def test_a_link_is_rejected_even_if_it_leads_to_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with pytest.raises(Rejected, match="a symbolic link"):
        read(source_of(link))


def test_a_file_without_permission_is_rejected_by_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"x")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    source = source_of(path)
    monkeypatch.setattr(module.os, "open", refuse)  # the tests may run as root, whom nobody refuses
    with pytest.raises(Rejected) as caught:
        read(source)
    assert caught.value.reason == NO_PERMISSION


def test_a_failing_disk_is_transient_and_names_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "DOE^JANE.dcm"
    path.write_bytes(b"x")

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(module.os, "pread", fail)
    with pytest.raises(Transient) as caught:
        read(source_of(path))
    assert "DOE" not in str(caught.value)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    regular = tmp_path / "a"
    regular.write_bytes(b"x")
    before = open_descriptors()
    for _ in range(20):
        read(source_of(regular))
        being_written(str(regular))
        with pytest.raises(Rejected):
            read(source_of(path))
    assert open_descriptors() == before


def test_knows_whether_somebody_is_still_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    with path.open("wb") as file:
        file.write(b"half")
        file.flush()
        assert being_written(str(path))
    assert not being_written(str(path))
    with path.open("rb"):
        assert not being_written(str(path))
    assert not being_written(str(tmp_path / "none"))


def test_asking_who_writes_disturbs_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"")
    for _ in range(300):
        being_written(str(path))
        with path.open("ab") as file:
            file.write(b"x")
            being_written(str(path))
    assert path.stat().st_size == 300


def test_removes_only_what_is_still_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"one")
    source = source_of(path)
    path.write_bytes(b"another")
    assert not remove(source)
    assert path.exists()
    assert remove(source_of(path))
    assert not path.exists()
    assert remove(source)  # gone is gone


def test_a_change_after_which_the_time_was_set_back_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"one")
    status = path.lstat()
    careful, careless = Source(path, Stamp.of(status, ctime=True)), Source(path, Stamp.of(status))
    assert read(careful) == b"one"
    time.sleep(0.02)  # the file system's clock ticks
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert careful == careless == source_of(path)  # no part of what is known
    with pytest.raises(Transient, match="changed before"):
        read(careful)
    assert not remove(careful)
    assert read(careless) == b"two"
    assert remove(careless)


def test_what_stays_of_a_file_after_a_reboot_and_after_a_copy() -> None:
    stamp = Stamp(device=1, inode=2, size=3, mtime_ns=4)
    rebooted = replace(stamp, device=9, ctime_ns=5)
    copied = replace(rebooted, inode=9)
    assert stamp.same_content(rebooted)
    assert not stamp.same_content(copied)
    assert stamp.is_like(copied)
    for change in ({"size": 9}, {"mtime_ns": 9}):
        other = replace(stamp, **change)
        assert not stamp.same_content(other)
        assert not stamp.is_like(other)


def test_what_comes_into_the_place_of_its_folder_meanwhile_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns a folder may put a link to another one there between the look and the removal."""
    (tmp_path / "inbound/theirs").mkdir(parents=True)
    (tmp_path / "tree").mkdir()
    path = tmp_path / "inbound/theirs/a"
    path.write_bytes(b"input")
    (tmp_path / "tree/a").write_bytes(b"ours")
    source = source_of(path)
    is_untouched = Stamp.is_untouched

    def swapping(stamp: Stamp, status: os.stat_result) -> bool:
        path.parent.rename(tmp_path / "aside")
        path.parent.symlink_to(tmp_path / "tree")
        return is_untouched(stamp, status)

    monkeypatch.setattr(Stamp, "is_untouched", swapping)
    assert remove(source)
    assert (tmp_path / "tree/a").read_bytes() == b"ours"
    assert not (tmp_path / "aside/a").exists()
