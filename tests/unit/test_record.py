import orjson
import pytest

from staticwado_daemon.archive import gzipped, record
from staticwado_daemon.archive.record import Blob, Record
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from tests.records import make_record


def test_a_record_survives_its_line() -> None:
    original = make_record(blobs=(Blob("frames/1.mht", 5, "ab"), Blob("bulkdata/a/b/c", 6, "cd")))
    assert record.parse(original.to_line()) == original


def test_the_data_set_is_cut_out_where_it_begins_even_if_a_value_looks_like_its_key() -> None:
    tricky = orjson.dumps({"00081030": {"vr": "LO", "Value": [',"dataset":{']}})
    original = make_record(source_attributes=tricky)
    assert record.parse(original.to_line()).dataset == original.dataset


def test_a_record_file_is_named_by_its_content_and_not_by_the_records_order() -> None:
    records = [make_record(instance=f"1.2.{number}") for number in range(5)]
    assert record.to_file(records) == record.to_file(reversed(records))
    _, data = record.to_file(records)
    assert set(record.from_file(data)) == set(records)


def test_the_sources_own_attributes_are_told_apart_from_the_published_ones() -> None:
    dataset = orjson.dumps({"00080060": {"vr": "CS", "Value": ["CT"]}, "00083002": {"vr": "UI", "Value": ["1.2"]}})
    source = orjson.dumps({"00083002": None, "00280004": {"vr": "CS", "Value": ["RGB"]}})
    decoded = make_record(dataset=dataset, source_attributes=source).source_dataset()
    assert list(decoded) == ["00080060", "00280004"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-5],
        lambda _: b"",
        lambda _: gzipped.pack(b"{}"),
        lambda data: gzipped.pack(gzipped.unpack(data).replace(b'"revision":1', b'"revizion":1')),
        lambda data: gzipped.pack(gzipped.unpack(data).replace(b'"format":1', b'"format":99')),
        lambda data: gzipped.pack(gzipped.unpack(data).replace(b'"study":"1.2"', b'"study":"../"')),
        lambda data: gzipped.pack(gzipped.unpack(data).replace(b'"revision":1', b'"revision":"1"')),
        lambda data: gzipped.pack(gzipped.unpack(data).replace(b'"blobs":[]', b'"blobs":[["a","b","c"]]')),
        lambda data: gzipped.pack(gzipped.unpack(data).replace(b'"content":"c0"', b'"content":0')),
        lambda data: gzipped.pack(gzipped.unpack(data).replace(b',"dataset":', b',"datazet":')),
        lambda _: gzipped.pack(b"[\n[]\n]"),
    ],
)
def test_a_damaged_record_file_is_reported(damage) -> None:
    _, data = record.to_file([make_record()])
    with pytest.raises(Corrupt):
        list(record.from_file(damage(data)))


def test_the_identity_is_the_three_uids() -> None:
    assert make_record().identity == Identity(UID("1.2"), UID("1.2.3"), UID("1.2.3.4"))
    assert isinstance(make_record(), Record)
