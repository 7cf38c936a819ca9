"""Reading for verify: no faster than allowed, and a file whose bytes are lost is told from one that isn't there."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from staticwado_daemon.operate.verify.reading import Reader, Unreadable


def test_the_rate_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    told: list[int] = []
    reader = Reader(tmp_path, 10_000_000, told.append)
    started = time.monotonic()
    assert reader.digest("a") == hashlib.sha256(bytes(3_000_000)).hexdigest()
    assert time.monotonic() - started >= 0.28
    assert (reader.bytes, reader.files, sum(told)) == (3_000_000, 1, 3_000_000)


def test_a_pause_is_not_made_up_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1_000_000))
    reader = Reader(tmp_path, 10_000_000)
    time.sleep(0.15)
    started = time.monotonic()
    reader.read("a")
    assert time.monotonic() - started >= 0.09


def test_missing_and_lost(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    reader = Reader(tmp_path)
    for path in ("nothing", "file/below"):
        with pytest.raises(FileNotFoundError):
            reader.read(path)
        assert reader.length(path) is None
    with pytest.raises(Unreadable):
        reader.digest("directory")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Unreadable):
        reader.length("loop")


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for path in ("fifo", "endless", "loop"):
        with pytest.raises(Unreadable):
            Reader(tmp_path).read(path)


def test_no_more_is_read_than_can_be_right(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 1 << 30)
    reader = Reader(tmp_path)
    with pytest.raises(Unreadable, match="longer than 1,000 bytes"):
        reader.read("a", 1000)
    assert reader.bytes < 4 << 20
