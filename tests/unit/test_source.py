import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from staticwado_daemon.errors import Rejected, Transient
from staticwado_daemon.inbound import source as module
from staticwado_daemon.inbound.source import NO_PERMISSION, Source, Stamp, being_written, read, remove


def source_of(path: Path) -> Source:
    return Source(path, Stamp.of(os.lstat(path)))


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
