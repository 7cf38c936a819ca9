"""What a process says of itself: whatever happens to the file, the process goes on and says it again."""

import os
import shutil
from pathlib import Path

import msgspec
import pytest
import structlog

from staticwado_daemon.pipeline import struct_file
from staticwado_daemon.pipeline.struct_file import StructFile, read_struct


class Told(msgspec.Struct, frozen=True):
    number: int


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "told.json"


def test_what_did_not_change_is_touched_and_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(struct_file, "_TOUCH_SECONDS", -1.0)
    file = StructFile[Told](path)
    file.write(Told(1))
    before = path.stat()
    os.utime(path, (1, 1))
    file.write(Told(1))
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime > 1


def test_a_file_that_somebody_removed_is_written_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(struct_file, "_TOUCH_SECONDS", -1.0)
    file = StructFile[Told](path)
    file.write(Told(1))
    path.unlink()
    file.write(Told(1))
    assert read_struct(path, Told) == Told(1)


def test_what_can_not_be_told_is_logged_once_and_told_later(path: Path) -> None:
    file = StructFile[Told](path)
    with structlog.testing.capture_logs() as logs:
        file.tell(Told(1))
        shutil.rmtree(path.parent)
        file.tell(Told(2))
        file.tell(Told(3))
        path.parent.mkdir()
        file.tell(Told(3))
        assert read_struct(path, Told) == Told(3)
        shutil.rmtree(path.parent)
        file.tell(Told(4))
    assert [each["event"] for each in logs] == ["report_not_written"] * 2
