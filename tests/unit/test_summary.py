import orjson

from staticwado_daemon.archive import layout, summary
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.record import Blob
from staticwado_daemon.archive.summary import Series
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline.removal import SERIES_FILES, STUDY_FILES
from tests.records import make_dataset, make_record


def entry(instance="1.2.3.4", series="1.2.3", blobs=(), **values):
    dataset = make_dataset("1.2", series, instance, **values)
    return summary.entry(make_record(series=series, instance=instance, dataset=dataset, blobs=blobs))


def series(*entries):
    return Series.of(entries[0].identity.series, entries)


def test_instances_stand_by_number_then_uid_and_those_without_a_number_last() -> None:
    listed = series(
        entry("1.9"), entry("1.5", t00200013=10), entry("1.4", t00200013=2), entry("1.3", t00200013=10), entry("1.1")
    )
    assert [each.identity.instance for each in listed.entries] == ["1.4", "1.3", "1.5", "1.1", "1.9"]
    metadata = orjson.loads(listed.metadata())
    assert [each["00080018"]["Value"][0] for each in metadata] == ["1.4", "1.3", "1.5", "1.1", "1.9"]


def test_a_series_counts_its_instances_with_a_number() -> None:
    query = orjson.loads(series(entry("1.1"), entry("1.2")).query())
    assert query["00201209"] == {"vr": "IS", "Value": [2]}


def test_the_study_takes_each_attribute_from_the_first_instance_that_has_it() -> None:
    one = series(entry("1.1", t00200013=1, t00100010="A"), entry("1.2", t00200013=2, t00081030="Chest", t00100010="B"))
    query = orjson.loads(summary.study_query([one]))
    assert query["00100010"]["Value"] == ["A"]
    assert query["00081030"]["Value"] == ["Chest"]


def test_the_study_lists_modalities_in_the_order_of_its_series_and_each_once() -> None:
    listed = summary.in_order(
        [
            series(entry("1.1", "9.1", t00200011=2, t00080060="MR")),
            series(entry("1.2", "9.2", t00200011=1, t00080060="CT")),
            series(entry("1.3", "9.3", t00200011=3, t00080060="CT")),
        ]
    )
    query = orjson.loads(summary.study_query(listed))
    assert query["00080061"] == {"vr": "CS", "Value": ["CT", "MR"]}
    assert query["00201206"]["Value"] == [3]
    assert query["00201208"]["Value"] == [3]


def test_attributes_without_a_value_are_left_out_of_answers_because_viewers_read_the_first_value_unguarded() -> None:
    query = orjson.loads(summary.study_query([series(entry(t00080020=None))]))
    assert "00080020" not in query


def test_the_thumbnail_of_a_series_is_the_middle_one_of_those_that_exist() -> None:
    picture = (Blob("thumbnail", 1, "x"),)
    listed = series(
        entry("1.1", t00200013=1),
        entry("1.2", t00200013=2, blobs=picture),
        entry("1.3", t00200013=3, blobs=picture),
        entry("1.4", t00200013=4, blobs=picture),
    )
    assert listed.thumbnail().instance == "1.3"
    assert series(entry("1.1")).thumbnail() is None
    assert summary.study_thumbnail([series(entry("1.1")), listed]).instance == "1.3"


def test_what_is_published_is_what_goes_with_the_last_instance() -> None:
    listed = [series(entry("1.1"))]
    assert {*SERIES_FILES} == {*listed[0].files(), layout.THUMBNAIL}
    assert {*STUDY_FILES} == {*summary.hot_files(listed), *summary.cold_files(listed), layout.THUMBNAIL}


def test_the_studies_index_lists_the_newest_first_and_survives_its_file() -> None:
    index = StudiesIndex()
    for uid, date in (("1.1", "20200101"), ("1.2", "20240101"), ("1.3", "20220101")):
        dataset = make_dataset(uid, "1.2.3", "1.2.3.4", t00080020=date)
        one = Series.of(UID("1.2.3"), [summary.entry(make_record(study=uid, dataset=dataset))])
        index.put(UID(uid), summary.study_query([one]))
    data = index.to_file()
    again = StudiesIndex.from_file(data)
    assert again.to_file() == data
    assert again.instances == 3
    again.remove(UID("1.2"))
    assert len(again) == 2
    assert UID("1.2") not in again
    assert StudiesIndex.from_file(StudiesIndex().to_file()).instances == 0
