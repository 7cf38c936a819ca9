"""The audit log: every line whole, whoever else writes, and none ever lost to a neighbour's misfortune."""

import errno
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from staticwado_daemon.archive import audit
from staticwado_daemon.archive.audit import Entry

WRITERS, LINES = 4, 50


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / audit.PATH).parent.mkdir()
    return tmp_path


def _write(root: Path, writer: int) -> None:
    for number in range(LINES):
        audit.append(root, Entry("export", [f"1.2.{writer}.{number}"] * 200))


def test_what_is_appended_is_read_in_order(root: Path) -> None:
    assert [*audit.read(root)] == []
    entries = [
        Entry("export", ("1.2.3",), {"instances": 3, "bytes": 12}),
        Entry("delete", ("studies/1.2/series/3.4",), {"instances": 1}, reason="wrong patient", by="anna"),
    ]
    for entry in entries:
        audit.append(root, entry)
    assert [*audit.read(root)] == entries
    assert stat.S_IMODE((root / audit.PATH).stat().st_mode) == audit.MODE


def test_an_entry_says_who_and_when_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("export", ())
    assert entry.at.endswith("Z")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "anna")
    assert Entry("export", ()).by == "anna (sudo)"
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_123)
    assert Entry("export", ()).by == "4000000123"


def test_writers_at_the_same_time_lose_no_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # two hundred would only take time
    writers = [
        multiprocessing.get_context("fork").Process(target=_write, args=(root, number)) for number in range(WRITERS)
    ]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    named = [entry.targets[0] for entry in audit.read(root)]
    assert len(named) == WRITERS * LINES
    for writer in range(WRITERS):
        assert [each for each in named if each.startswith(f"1.2.{writer}.")] == [
            f"1.2.{writer}.{number}" for number in range(LINES)
        ]


@pytest.mark.parametrize("cut", [1, 30])
def test_a_line_cut_short_costs_only_itself(root: Path, cut: int) -> None:
    for uid in ("1.1", "1.2"):
        audit.append(root, Entry("export", (uid,)))
    path = root / audit.PATH
    os.truncate(path, path.stat().st_size - cut)
    expected = ["1.1", "1.2"] if cut == 1 else ["1.1"]
    assert [entry.targets[0] for entry in audit.read(root)] == expected
    audit.append(root, Entry("export", ("1.3",)))
    assert [entry.targets[0] for entry in audit.read(root)] == [*expected, "1.3"]


def test_a_full_disk_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.write, []

    def write(descriptor: int, data: memoryview) -> int:
        if calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        calls.append(len(data))
        return real(descriptor, data[:10])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        audit.append(root, Entry("export", ("1.1",)))


def test_a_link_in_its_place_is_not_followed(root: Path, tmp_path: Path) -> None:
    (root / audit.PATH).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        audit.append(root, Entry("export", ("1.1",)))
    assert not (tmp_path / "elsewhere").exists()


def test_lines_that_nobody_of_us_wrote_are_passed_over(root: Path) -> None:
    audit.append(root, Entry("export", ("1.2.3",)))
    forged = (
        b'{"action":5,"targets":"x","counts":[],"by":{},"at":null}',
        b'{"action":"delete","targets":[1],"counts":{}}',
        b'{"action":"delete","targets":["1"],"counts":{"instances":"many"}}',
        b"[]",
        b"null",
        b"[" * 100_000,
        b'"\xff"',
    )
    with (root / audit.PATH).open("ab") as log:
        log.write(b"\n".join(forged))
    audit.append(root, Entry("export", ("1.2.4",)))
    assert [entry.targets for entry in audit.read(root)] == [("1.2.3",), ("1.2.4",)]


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_what_is_no_log_is_not_waited_for(root: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(root / audit.PATH)
    else:
        (root / audit.PATH).symlink_to("/dev/zero")
    with pytest.raises(OSError, match=r"audit\.jsonl"):
        [*audit.read(root)]
