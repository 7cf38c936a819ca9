"""Attributes: reading values tolerantly, changing them without touching the original."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from staticwado_daemon.dicom.attributes import Attributes, first_text

ATTRIBUTES = Attributes(
    {
        "00080008": b'{"vr":"CS","Value":["ORIGINAL",null,"AXIAL"]}',
        "00080018": b'{"vr":"UI","Value":["1.2.3"]}',
        "00080020": b'{"vr":"DA"}',
        "00081115": b'{"vr":"SQ","Value":[{"0020000E":{"vr":"UI","Value":["1.2"]}},{}]}',
        "00081140": b'{"vr":"SQ"}',
        "00100010": '{"vr":"PN","Value":[{"Alphabetic":"A^B","Phonetic":"a"},{"Ideographic":"太郎"},null]}'.encode(),
        "00180050": b'{"vr":"DS","Value":[2.5]}',
        "00200013": b'{"vr":"IS","Value":["12 "]}',
        "00200032": b'{"vr":"DS","Value":[-1.5,null,"x","3"]}',
        "00280010": b'{"vr":"US","Value":[512]}',
        "00281050": b'{"vr":"DS","Value":[40.0]}',
        "00281201": b'{"vr":"OW","InlineBinary":"AAEC"}',
        "00420011": b'{"vr":"OB","BulkDataURI":"bulkdata/x"}',
        "00720078": b'{"vr":"US","Value":[null]}',
        "00720079": b'{"vr":"UN","Value":"not a list"}',
    }
)


def test_it_is_a_mapping_of_tags_in_order() -> None:
    assert isinstance(ATTRIBUTES, Mapping)
    assert list(ATTRIBUTES) == sorted(ATTRIBUTES.fragments)
    assert len(ATTRIBUTES) == len(ATTRIBUTES.fragments)
    assert ATTRIBUTES["00080018"] == b'{"vr":"UI","Value":["1.2.3"]}'
    assert "00080018" in ATTRIBUTES
    assert "00080019" not in ATTRIBUTES
    assert Attributes({"00080020": b'{"vr":"DA"}'}) == {"00080020": b'{"vr":"DA"}'}


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("00080018", "1.2.3"),
        ("00080008", "ORIGINAL"),
        ("00100010", "A^B"),
        ("00200013", "12"),
        ("00280010", "512"),
        ("00180050", "2.5"),
        ("00281050", "40"),
        ("00080020", ""),
        ("00080021", ""),
        ("00281201", ""),
        ("00420011", ""),
        ("00720078", ""),
        ("00720079", ""),
    ],
)
def test_text(tag: str, text: str) -> None:
    assert ATTRIBUTES.text(tag) == text
    assert ATTRIBUTES.text(tag, "default") == (text or "default")


@pytest.mark.parametrize(
    ("tag", "number"),
    [
        ("00280010", 512),
        ("00200013", 12),
        ("00281050", 40),
        ("00180050", None),
        ("00080018", None),
        ("00080020", None),
        ("00100010", None),
        ("00280011", None),
        ("00720078", None),
    ],
)
def test_integer(tag: str, number: int | None) -> None:
    assert ATTRIBUTES.integer(tag) == number
    assert ATTRIBUTES.integer(tag, 7) == (7 if number is None else number)


def test_numbers_leave_out_what_is_none() -> None:
    assert ATTRIBUTES.numbers("00200032") == [-1.5, 3.0]
    assert ATTRIBUTES.numbers("00280010") == [512.0]
    assert ATTRIBUTES.numbers("00080018") == []
    assert ATTRIBUTES.numbers("00280011") == []


def test_value_is_the_json_attribute() -> None:
    assert ATTRIBUTES.value("00281201") == {"vr": "OW", "InlineBinary": "AAEC"}
    assert ATTRIBUTES.value("00280011") is None


def test_sequence() -> None:
    assert ATTRIBUTES.sequence("00081115") == [{"0020000E": {"vr": "UI", "Value": ["1.2"]}}, {}]
    assert ATTRIBUTES.sequence("00081140") == []
    assert ATTRIBUTES.sequence("00280010") == []
    assert ATTRIBUTES.sequence("00280011") == []


def test_changes_leave_the_original_alone_and_the_order_intact() -> None:
    before = dict(ATTRIBUTES.fragments)
    changed = ATTRIBUTES.with_changes(
        {
            "00280004": b'{"vr":"CS","Value":["YBR_RCT"]}',
            "00280010": b'{"vr":"US","Value":[1]}',
            "00080020": None,
            "00080021": None,
        }
    )
    assert dict(ATTRIBUTES.fragments) == before
    assert list(changed) == sorted(changed)
    assert changed.text("00280004") == "YBR_RCT"
    assert changed.integer("00280010") == 1
    assert "00080020" not in changed
    assert len(changed) == len(before)


def test_to_json_is_the_compact_object() -> None:
    json = ATTRIBUTES.to_json()
    assert list(orjson.loads(json)) == list(ATTRIBUTES)
    assert orjson.dumps(orjson.loads(json)) == json
    assert Attributes({}).to_json() == b"{}"


@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        ({"00080060": {"vr": "CS", "Value": ["CT", "MR"]}}, "CT"),
        ({"00080060": {"vr": "IS", "Value": [7]}}, "7"),
        ({"00080060": {"vr": "CS", "Value": [None, "MR"]}}, ""),
        ({"00080060": {"vr": "CS", "Value": []}}, ""),
        ({"00080060": {"vr": "CS"}}, ""),
        ({}, ""),
    ],
)
def test_first_text_of_decoded_json(attribute: dict[str, Any], text: str) -> None:
    assert first_text(attribute, "00080060") == text
