"""Notes of what a receiver refused: each becomes one receipt, whoever wrote it and however often it is read."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound import drop, refused
from staticwado_daemon.inbound.journal import Journal

WHOLE = {"reason": "why", "stamp": [1, 2, 3, 4], "identity": None, "at": 1.0}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        yield journal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drop.prepare(tmp_path / "drop")
    (tmp_path / "drop" / refused.NOTES).mkdir()
    return tmp_path / "drop"


def keep(folder: Path, name: str) -> None:
    part = folder / drop.PART / name
    part.write_bytes(b"x")
    refused.keep(folder, part, name, "why")


def test_what_is_read_again_is_counted_once(folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(folder, "1.dcm")

    def unlink(_path: Path, **_: bool) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        for _ in range(3):
            with pytest.raises(Transient, match="can't be removed: Permission denied"):
                refused.take(folder, journal)
            assert journal.counts()["rejected"] == 1
    keep(folder, "2.dcm")
    assert [each.path.name for each in refused.take(folder, journal)] == ["2.dcm"]
    assert journal.counts()["rejected"] == 2
    assert len(journal.having("rejected")) == 2
    assert list((folder / refused.NOTES).iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"stamp": [0, 0, 1 << 63, 0]},
        {"stamp": [0, 1 << 64, 0, 0]},
        {"stamp": [0, 0, 0, -1]},
        {"stamp": [0, 0, 0.5, 0]},
        {"stamp": [0, 0, float("inf"), 0]},
        {"at": 10**400},
        {"reason": "\ud800"},
        {"identity": ["1.2", "1.3"]},
    ],
    ids=("long size", "long inode", "early", "half", "endless", "late", "no text", "short identity"),
)
def test_a_note_that_nobody_could_have_written_is_thrown_away(
    folder: Path, journal: Journal, change: dict[str, Any]
) -> None:
    (folder / refused.NOTES / "1.json").write_text(json.dumps(WHOLE | change))
    keep(folder, "2.dcm")
    assert [each.path.name for each in refused.take(folder, journal)] == ["2.dcm"]
    assert list((folder / refused.NOTES).iterdir()) == []


def test_a_note_that_is_nested_without_end_is_thrown_away(folder: Path, journal: Journal) -> None:
    (folder / refused.NOTES / "1.json").write_text("[" * 16_000)
    assert refused.take(folder, journal) == []
    assert list((folder / refused.NOTES).iterdir()) == []


def test_inodes_have_64_bits(folder: Path, journal: Journal) -> None:
    (folder / refused.NOTES / "1.json").write_text(json.dumps(WHOLE | {"stamp": [1, (1 << 64) - 1, 3, 4]}))
    (receipt,) = refused.take(folder, journal)
    assert receipt.stamp
    assert receipt.stamp.inode == (1 << 64) - 1
    assert journal.find(receipt.path) == [journal.having("rejected")[0]]


def test_what_is_no_file_is_no_note(folder: Path, journal: Journal, tmp_path: Path) -> None:
    notes = folder / refused.NOTES
    os.mkfifo(notes / "1.json")
    (notes / "2.json").mkdir()
    (tmp_path / "elsewhere").write_text(json.dumps(WHOLE))
    (notes / "3.json").symlink_to(tmp_path / "elsewhere")
    keep(folder, "4.dcm")
    assert [each.path.name for each in refused.take(folder, journal)] == ["4.dcm"]
