"""The list of all studies."""

import orjson
import pytest

from staticwado_daemon.archive import gzipped, summary
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt


def query(study: str, date: str = "", instances: int | None = None) -> bytes:
    values = {"0020000D": study, "00080020": date, summary.STUDY_RELATED_INSTANCES: instances}
    return orjson.dumps({tag: {"vr": "UN", "Value": [value]} for tag, value in values.items() if value})


def listed(index: StudiesIndex) -> list[str]:
    return [study["0020000D"]["Value"][0] for study in orjson.loads(gzipped.unpack(index.to_file()))]


def test_the_newest_study_stands_first_and_one_without_a_date_last() -> None:
    index = StudiesIndex()
    index.put_all([query("1.1"), query("1.2", "20240101"), query("1.4", "20250101"), query("1.3", "20250101")])
    assert listed(index) == ["1.4", "1.3", "1.2", "1.1"]


def test_a_study_is_listed_and_counted_once() -> None:
    index = StudiesIndex()
    index.put(UID("1.1"), query("1.1", "20240101", 5))
    index.put(UID("1.2"), query("1.2", "20240102", 7))
    index.put(UID("1.1"), query("1.1", "20240103", 6))
    assert (len(index), index.instances, listed(index)) == (2, 13, ["1.1", "1.2"])
    index.remove(UID("1.1"))
    index.remove(UID("1.1"))
    assert (len(index), index.instances, UID("1.1") in index) == (1, 7, False)


def test_it_is_read_back_as_it_was_written() -> None:
    index = StudiesIndex()
    index.put_all(query(f"1.{number}", f"2024010{number}", number) for number in range(1, 6))
    again = StudiesIndex.from_file(index.to_file())
    assert (again.to_file(), again.instances) == (index.to_file(), 15)


@pytest.mark.parametrize("answer", [b"{}", query("1..2"), b'{"0020000D":', b"5", b"[]"])
def test_an_answer_without_its_study_is_no_part_of_a_list(answer) -> None:
    with pytest.raises(Corrupt):
        StudiesIndex.from_file(gzipped.pack(summary.array([answer])))
