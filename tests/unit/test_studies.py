"""The studies that the writer remembers: those last used, and what asking for one costs, however many there are."""

from pathlib import Path

import pytest

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline import studies as module
from staticwado_daemon.pipeline.studies import Studies, Study
from tests.records import make_record

NUMBERS = [UID(f"1.{number}") for number in range(1, 9)]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[UID]:
    """The studies whose records were read, in that order; each has one."""
    found: list[UID] = []

    def held(_root: Path, uid: UID) -> list[object]:
        found.append(uid)
        return [make_record(uid, f"{uid}.2", f"{uid}.2.3")]

    monkeypatch.setattr(holdings, "held", held)
    return found


def test_those_longest_unused_are_forgotten(tmp_path: Path, read: list[UID]) -> None:
    size = Study(NUMBERS[0], [make_record(NUMBERS[0], "1.2", "1.2.3")]).size
    studies = Studies(tmp_path, 3 * size + size // 2)
    for uid in NUMBERS[:3]:
        studies.get(uid)
    kept = studies.get(NUMBERS[0])
    studies.get(NUMBERS[3])
    assert read == NUMBERS[:4]
    assert studies.get(NUMBERS[0]) is kept
    studies.get(NUMBERS[1])
    assert read == [*NUMBERS[:4], NUMBERS[1]]
    studies.forget(NUMBERS[0])
    assert studies.get(NUMBERS[0]) is not kept


def test_one_that_grows_leaves_less_room_for_others(tmp_path: Path, read: list[UID]) -> None:
    studies = Studies(tmp_path, 20_000)
    for uid in NUMBERS[:2]:
        studies.get(uid)
    large = studies.get(NUMBERS[2])
    for number in range(30):
        large.add(make_record(NUMBERS[2], f"{NUMBERS[2]}.2", f"{NUMBERS[2]}.9.{number}"))
    assert large.size > 20_000
    assert studies.get(NUMBERS[2]) is large, "the one just asked for stays"
    studies.get(NUMBERS[0])
    assert read == [*NUMBERS[:3], NUMBERS[0]]


@pytest.mark.usefixtures("read")
def test_asking_for_one_looks_at_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[UID] = []

    class Watched(Study):
        def __getattribute__(self, name: str) -> object:
            if name == "size":
                asked.append(object.__getattribute__(self, "uid"))
            return object.__getattribute__(self, name)

    monkeypatch.setattr(module, "Study", Watched)
    studies = Studies(tmp_path, 1 << 20)
    for uid in NUMBERS:
        studies.get(uid)
    asked.clear()
    studies.get(NUMBERS[2])
    assert set(asked) == {NUMBERS[2]}


def test_a_file_in_place_of_a_directory_of_records_is_no_record(tmp_path: Path) -> None:
    place = tmp_path / layout.records_dir(NUMBERS[0])
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    assert holdings.held(tmp_path, NUMBERS[0]) == []
