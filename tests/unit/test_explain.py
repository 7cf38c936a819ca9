"""What is said of a file that nobody has looked at, by where it lies."""

from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.store import Store
from staticwado_daemon.inbound import drop
from staticwado_daemon.operate.explain import SearchPlaces, explain_file


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
