"""What is said of a file that nobody has looked at, by where it lies."""

from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.store import Store
from staticwado_daemon.inbound import drop
from staticwado_daemon.operate import sender
from staticwado_daemon.operate.explain.files import explain_file
from staticwado_daemon.operate.explain.places import SearchPlaces
from tests.records import make_record


@pytest.mark.parametrize(
    ("path", "note"),
    [
        ("drop/waits.dcm", "it has not been taken, because no daemon is running"),
        (f"drop/{drop.REJECTED}/left.dcm", "it was set aside, but its receipt is no longer known"),
        (f"drop/{drop.PART}/receiver-01234567/1", "it is passed over because of its name"),
        ("audit.jsonl", "it is a file of the tree itself"),
    ],
)
def test_the_drop_folder_may_stand_in_the_tree(tmp_path: Path, path: str, note: str) -> None:
    with Store(tmp_path):
        pass
    private = tmp_path / layout.PRIVATE
    file = private / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    places = SearchPlaces(tmp_path, private, private / "journal.sqlite", drop_dir=private / "drop")
    assert (explain_file(places, file).note or "").startswith(note)


@pytest.mark.parametrize(
    ("title", "told"),
    [(b"AE\x04\0CT1 ", "CT1"), (b"FD\x04\0CT1 ", None), (b"XX\x04\0CT1 ", None), (b"AE\x04\0    ", None)],
)
def test_a_title_that_makes_no_sense_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: bytes, told: str | None
) -> None:
    head = bytes(128) + b"DICM\x02\0\0\0UL\x04\0\x0c\0\0\0" + b"\x02\0\x17\0" + title
    monkeypatch.setattr(sender.Originals, "pieces", lambda *_: (each for each in (head,)))
    assert sender.sender(tmp_path, make_record("1.2", "1.2.3", "1.2.3.4"), published=True) == told
