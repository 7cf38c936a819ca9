"""The report: read as it was written, also on a disk that takes no new file."""

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from staticwado_daemon.pipeline import struct_file as module
from staticwado_daemon.pipeline.report import REPORT, Rate, Report, ReportFile, read_report

FIRST = Report(running=True, pid=1, backlog=0, published=5, instances=4, studies=2, rejected=1, idle=True)


@contextmanager
def _no_new_files(state: Path) -> Iterator[None]:
    """A directory stands where the new file would."""
    obstacle = state / "status.part"
    obstacle.mkdir()
    try:
        yield
    finally:
        obstacle.rmdir()


@pytest.fixture
def no_unlink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    told = msgspec.structs.replace(FIRST, receipts={"published": 5}, folders={"/in": "polling"}, published_at=12.5)
    ReportFile(tmp_path).write(told)
    assert read_report(tmp_path / REPORT) == told
    assert json.loads((tmp_path / REPORT).read_bytes())["receipts"] == {"published": 5}


@pytest.mark.usefixtures("no_unlink")
def test_a_disk_that_takes_no_new_file_still_takes_the_report(tmp_path: Path) -> None:
    file = ReportFile(tmp_path)
    file.write(FIRST)
    before = (tmp_path / REPORT).stat()
    degraded = msgspec.structs.replace(FIRST, idle=False, degraded=("the disk is full",))
    with _no_new_files(tmp_path):
        file.write(degraded)
    after = (tmp_path / REPORT).stat()
    assert read_report(tmp_path / REPORT) == degraded
    assert (after.st_ino, after.st_size, after.st_blocks) == (before.st_ino, before.st_size, before.st_blocks)
    file.write(FIRST)
    assert read_report(tmp_path / REPORT) == FIRST


@pytest.mark.usefixtures("no_unlink")
def test_a_report_that_is_overwritten_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    file = ReportFile(tmp_path)
    file.write(FIRST)
    folders = {f"/{number:03}/{'long' * 30}": "polling" for number in range(100)}
    with _no_new_files(tmp_path):
        for told in (msgspec.structs.replace(FIRST, folders=folders), FIRST):
            file.write(told)
            assert read_report(tmp_path / REPORT) == told


@pytest.mark.usefixtures("no_unlink")
def test_a_report_that_does_not_fit_leaves_the_last_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = ReportFile(tmp_path)
    file.write(FIRST)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with _no_new_files(tmp_path), pytest.raises(OSError, match="No space"):
        file.write(msgspec.structs.replace(FIRST, folders={str(number) * 50: "polling" for number in range(100, 200)}))
    assert read_report(tmp_path / REPORT) == FIRST


@pytest.mark.usefixtures("no_unlink")
def test_the_first_report_on_a_full_disk_is_an_error(tmp_path: Path) -> None:
    with _no_new_files(tmp_path), pytest.raises(OSError, match="status"):
        ReportFile(tmp_path).write(FIRST)


def test_every_report_has_room_where_another_stood(tmp_path: Path) -> None:
    file = ReportFile(tmp_path)
    file.write(FIRST)
    size = (tmp_path / REPORT).stat().st_size
    file.write(msgspec.structs.replace(FIRST, degraded=tuple(f"folder {number} is missing" for number in range(1000))))
    assert (tmp_path / REPORT).stat().st_size == size
    told = read_report(tmp_path / REPORT)
    assert told
    assert told.degraded[0] == "folder 0 is missing"


def test_what_has_not_changed_gets_a_new_time_only_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ReportFile(tmp_path)
    file.write(FIRST)
    os.utime(tmp_path / REPORT, (1, 1))
    file.write(FIRST)
    assert (tmp_path / REPORT).stat().st_mtime == 1
    monkeypatch.setattr(module, "_TOUCH_SECONDS", 0.0)
    file.write(FIRST)
    assert time.time() - (tmp_path / REPORT).stat().st_mtime < 10


def test_names_that_are_no_text_are_told_readably(tmp_path: Path) -> None:
    name = os.fsdecode(b"/in/\xff")
    ReportFile(tmp_path).write(
        msgspec.structs.replace(FIRST, degraded=(f"{name} is polled",), folders={name: "polling"})
    )
    told = read_report(tmp_path / REPORT)
    assert told
    assert told.degraded == ("/in/\\udcff is polled",)
    assert list(told.folders) == ["/in/\\udcff"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"{}"])
def test_what_is_no_report_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / REPORT).write_bytes(data)
    assert read_report(tmp_path / REPORT) is None


def test_without_a_file_there_is_no_report(tmp_path: Path) -> None:
    assert read_report(tmp_path / REPORT) is None
    assert read_report(tmp_path / "no/such" / REPORT) is None


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = Rate()
    assert rate.note(100.0, 1000) == 0.0
    assert rate.note(110.0, 1050) == 5.0
    assert rate.note(160.0, 1300) == 5.0
    assert rate.note(175.0, 1300) == 0.0
    assert rate.note(180.0, 1301) == 0.1


def test_the_rate_is_not_negative_where_receipts_are_withdrawn() -> None:
    rate = Rate()
    rate.note(100.0, 1000)
    assert rate.note(110.0, 900) == 0.0
    assert rate.note(120.0, 1100) == 5.0
