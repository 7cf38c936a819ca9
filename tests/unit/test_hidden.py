"""The notes on what is stored but not shown."""

from pathlib import Path

from staticwado_daemon.archive import hidden, layout
from staticwado_daemon.archive.hidden import Hidden
from staticwado_daemon.dicom.uids import UID


def test_a_note_that_cannot_be_read_counts_for_nothing(tmp_path: Path) -> None:
    directory = tmp_path / layout.HIDDEN
    assert hidden.read(tmp_path) == {}
    directory.mkdir(parents=True)
    note = Hidden(rejected=2, deleted=1, oldest="2026-03-01T10:15:00Z")
    (directory / "1.2").write_bytes(note.to_file())
    (directory / "1.3").write_bytes(b'{"rejected":')
    (directory / "1.4").mkdir()
    for name in ("1..5", "1.5~", "notes.txt", "1" * 65):
        (directory / name).write_bytes(note.to_file())
    assert hidden.read(tmp_path) == {UID("1.2"): note}


def test_notes_are_summed_up() -> None:
    first, second = Hidden(conflicts=1, deleted=2, oldest="2026-02"), Hidden(rejected=3, deleted=1, oldest="2026-01")
    assert hidden.total([first, second, hidden.NOTHING]) == Hidden(conflicts=1, rejected=3, deleted=3, oldest="2026-01")
    assert hidden.total([]) == hidden.NOTHING
