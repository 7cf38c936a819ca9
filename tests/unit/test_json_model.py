"""Value bytes to DICOM JSON: every place where PS3.18 F, pydicom or habit has a pitfall."""

import struct
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson
import pytest

from staticwado_daemon.dicom.character_sets import DEFAULT_REPERTOIRE, CharacterSets, character_sets
from staticwado_daemon.dicom.data_set import Limits, Rules
from staticwado_daemon.dicom.json_model import Converted, convert, json_object, sequence
from staticwado_daemon.dicom.part10 import read
from staticwado_daemon.errors import Rejected
from tests.unit.dicom_bytes import EXPLICIT_BIG, element, file, item, meta
from tests.unit.dicom_bytes import sequence as stored_sequence

PATIENT_ID = 0x00100020
URI = "bulkdata/{}".format
RULES = Rules(Limits(), URI)
UTF8 = character_sets(b"ISO_IR 192")


def converted(vr: str, value: bytes, *, tag: int = 0x00186000, sets: CharacterSets = DEFAULT_REPERTOIRE) -> Converted:
    return convert(tag, vr, value, sets, RULES)


def attribute(vr: str, value: bytes, *, tag: int = 0x00186000, sets: CharacterSets = DEFAULT_REPERTOIRE) -> Any:
    return orjson.loads(converted(vr, value, tag=tag, sets=sets).fragment)


def metadata(*elements: bytes) -> dict[str, Any]:
    """The JSON of a whole file with these elements."""
    attributes: dict[str, Any] = orjson.loads(read(file(*elements), Limits(), URI).attributes.to_json())
    return attributes


VALUES = {
    "DS padded, with exponent": ("DS", b" 0.9765625 \\1.50E+01", [0.9765625, 15.0]),
    "DS of 16 digits": ("DS", b"0.1234567890123456", [0.1234567890123456]),
    "DS of more digits than a double has": ("DS", b"0.12345678901234567890", [0.12345678901234568]),
    "DS with an empty component": ("DS", b"1.0\\ ", [1.0, None]),
    "DS with a comma": ("DS", b"1,5 ", ["1,5"]),
    "DS padded with NUL": ("DS", b"1.5\0", [1.5]),
    "DS that is not a number": ("DS", b"NaN ", ["NaN"]),
    "DS that is infinite": ("DS", b"inf\\1e400 ", ["inf", "1e400"]),
    "DS as Python, not DICOM, writes numbers": ("DS", b"1_0 ", ["1_0"]),
    "IS": ("IS", b"12\\-7 ", [12, -7]),
    "IS that means an integer": ("IS", b"1.0 ", [1]),
    "IS with a fraction": ("IS", b"1.5 ", ["1.5"]),
    "IS with a letter": ("IS", b"A1", ["A1"]),
    "IS beyond 32 bits": ("IS", b"9999999999", [9999999999]),
    "IS beyond 64 bits": ("IS", b"123456789012345678901234567890", ["123456789012345678901234567890"]),
    "IS with an empty component": ("IS", b"1\\\\3 ", [1, None, 3]),
    "PN with an empty name between others": (
        "PN",
        b"A^B\\\\C^D ",
        [{"Alphabetic": "A^B"}, None, {"Alphabetic": "C^D"}],
    ),
    "CS with an empty component": ("CS", b"ORIGINAL\\\\AXIAL ", ["ORIGINAL", None, "AXIAL"]),
    "CS with spaces around components": ("CS", b"DERIVED \\ PRIMARY", ["DERIVED", "PRIMARY"]),
    "LO with an empty component": ("LO", b"a\\ \\b ", ["a", None, "b"]),
    "UI padded with NUL, and with a space": ("UI", b"1.2.3\0\\1.2.4 ", ["1.2.3", "1.2.4"]),
    "UI, DA and TM that break the rules": ("UI", b"1.2.03.a", ["1.2.03.a"]),
    "LT is one value and keeps its leading spaces": ("LT", b"  a\\b  ", ["  a\\b"]),
    "LT with control characters": ("LT", b"a\0b\x07c\r\n", ["a\0b\x07c\r\n"]),
    "UR is one value": ("UR", b"http://a/b\\c ", ["http://a/b\\c"]),
    "UC keeps leading spaces": ("UC", b" a\\b ", [" a", "b"]),
    "AT": ("AT", struct.pack("<4H", 0x18, 0x1063, 0x7FE0, 0x10), ["00181063", "7FE00010"]),
    "US, several": ("US", struct.pack("<3H", 0, 65535, 16), [0, 65535, 16]),
    "FL is the float it is": ("FL", struct.pack("<f", 0.1), [0.10000000149011612]),
    "FD": ("FD", struct.pack("<d", 0.1), [0.1]),
    "FD that is not a number, or infinite": (
        "FD",
        struct.pack("<3d", float("nan"), float("-inf"), 1),
        [None, None, 1.0],
    ),
    "FL that is not a number": ("FL", struct.pack("<f", float("nan")), [None]),
    "UV that JavaScript would round": ("UV", struct.pack("<2Q", 1 << 63, (1 << 53) - 1), [str(1 << 63), (1 << 53) - 1]),
    "SV that JavaScript would round": ("SV", struct.pack("<2q", -(1 << 63), -1), [str(-(1 << 63)), -1]),
    "SS, but the number of entries is unsigned": ("US", struct.pack("<3H", 40000, 0, 16), [40000, 0, 16]),
}


@pytest.mark.parametrize(("vr", "value", "expected"), VALUES.values(), ids=VALUES.keys())
def test_values(vr: str, value: bytes, expected: list[Any]) -> None:
    assert attribute(vr, value) == {"vr": vr, "Value": expected}


def test_numbers_are_numbers_and_integers_integers() -> None:
    assert converted("DS", b"1").fragment == b'{"vr":"DS","Value":[1.0]}'
    assert converted("IS", b"1").fragment == b'{"vr":"IS","Value":[1]}'


@pytest.mark.parametrize("vr", ["AE", "CS", "DS", "IS", "LO", "LT", "PN", "SH", "UI", "UR", "UT"])
@pytest.mark.parametrize("value", [b"", b"  ", b"\0\0"])
def test_an_empty_value_has_no_value_member(vr: str, value: bytes) -> None:
    assert attribute(vr, value) == {"vr": vr}


@pytest.mark.parametrize("vr", ["AT", "FD", "OB", "OW", "UN", "US", "UV"])
def test_an_empty_binary_value_has_no_value_member(vr: str) -> None:
    assert attribute(vr, b"") == {"vr": vr}


def test_an_empty_sequence_has_no_value_member_and_an_empty_item_is_an_object() -> None:
    assert sequence([]) == b'{"vr":"SQ"}'
    assert sequence([b"{}"]) == b'{"vr":"SQ","Value":[{}]}'
    attributes = metadata(stored_sequence(0x00081140), stored_sequence(0x00081115, item()))
    assert attributes["00081140"] == {"vr": "SQ"}
    assert attributes["00081115"] == {"vr": "SQ", "Value": [{}]}


def test_binary_values_are_base64() -> None:
    assert attribute("OB", b"\0\1\2") == {"vr": "OB", "InlineBinary": "AAEC"}


@pytest.mark.parametrize(
    ("vr", "value"), [("US", b"\1\0\0"), ("FD", b"\0" * 7), ("AT", b"\0\0"), ("ZZ", b"AB"), ("SQ", b"AB")]
)
def test_what_does_not_fit_its_vr_is_kept_as_un_and_noted(vr: str, value: bytes) -> None:
    result = converted(vr, value)
    assert orjson.loads(result.fragment)["vr"] == "UN"
    assert "InlineBinary" in orjson.loads(result.fragment)
    assert vr in result.note


def test_one_bad_value_does_not_cost_its_neighbours() -> None:
    instance = read(
        file(
            element(0x00280010, "US", b"\1\0\0"),
            element(0x00280011, "US", b"\2\0"),
            element(0x00280030, "DS", b"1,5\\1 "),
        ),
        Limits(),
        URI,
    )
    assert instance.attributes.value("00280010") == {"vr": "UN", "InlineBinary": "AQAA"}
    assert instance.attributes.integer("00280011") == 2
    assert instance.attributes.value("00280030") == {"vr": "DS", "Value": ["1,5", 1.0]}
    assert instance.warnings == ("(0028,0010): 3 bytes can't be US",)


def test_floats_without_a_json_number_are_noted() -> None:
    assert converted("FD", struct.pack("<d", float("nan"))).note
    assert not converted("FD", struct.pack("<d", 1.0)).note


def test_the_number_of_lut_entries_is_unsigned() -> None:
    descriptor = struct.pack("<3h", -25536, -1024, 16)
    assert attribute("SS", descriptor, tag=0x00283002)["Value"] == [40000, -1024, 16]
    assert attribute("SS", descriptor, tag=0x00280106)["Value"] == [-25536, -1024, 16]


NAMES = {
    "three groups": ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["Yamada^Tarou", "山田^太郎", "やまだ^たろう"]),
    "no alphabetic group": ("=山田^太郎", [None, "山田^太郎", None]),
    "phonetic only": ("==やまだ", [None, None, "やまだ"]),
    "spaces around": (" Doe^John =山 ", ["Doe^John", "山", None]),
}


@pytest.mark.parametrize(("name", "groups"), NAMES.values(), ids=NAMES.keys())
def test_names_in_groups(name: str, groups: list[str | None]) -> None:
    members = zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=True)
    expected = {member: text for member, text in members if text}
    assert attribute("PN", name.encode(), sets=UTF8) == {"vr": "PN", "Value": [expected]}


def test_a_name_of_nothing_but_delimiters_is_empty() -> None:
    assert attribute("PN", b"== ") == {"vr": "PN"}


def test_group_lengths_are_left_out() -> None:
    attributes = metadata(
        element(0x00080000, "UL", b"\0\0\0\0"),
        stored_sequence(0x00081115, item(element(0x00080000, "UL", b"\0\0\0\0"), element(PATIENT_ID, "LO", b"1 "))),
    )
    assert "00080000" not in attributes
    assert attributes["00081115"]["Value"] == [{"00100020": {"vr": "LO", "Value": ["1"]}}]


@pytest.mark.parametrize(
    ("vr", "stored", "published"),
    [
        ("OW", struct.pack(">2H", 1, 2), "AQACAA=="),
        ("OL", struct.pack(">I", 1), "AQAAAA=="),
        ("OF", struct.pack(">f", 1), "AACAPw=="),
        ("OD", struct.pack(">d", 1), "AAAAAAAA8D8="),
        ("OV", struct.pack(">Q", 1), "AQAAAAAAAAA="),
        ("OB", b"\1\2", "AQI="),
        ("UN", b"\1\2", "AQI="),
    ],
)
def test_big_endian_values_become_little_endian(vr: str, stored: bytes, published: str) -> None:
    elements = (
        element(0x00080018, "UI", b"1.2.3.4\0", big=True),
        element(0x0020000D, "UI", b"1.2\0", big=True),
        element(0x0020000E, "UI", b"1.2.3\0", big=True),
        element(0x00280010, "US", struct.pack(">H", 512), big=True),
        element(0x00291099, vr, stored, big=True),
    )
    instance = read(meta(EXPLICIT_BIG) + b"".join(elements), Limits(), URI)
    assert instance.attributes.value("00291099") == {"vr": vr, "InlineBinary": published}
    assert instance.attributes.integer("00280010") == 512


PUBLIC, PRIVATE = 131_074, 64

BULK = {
    "public, at the limit": (0x00420010, "OB", PUBLIC, False),
    "public, above it": (0x00420010, "OB", PUBLIC + 2, True),
    "a palette": (0x00281201, "OW", 131_072, False),
    "text": (0x00080119, "UC", PUBLIC + 2, True),
    "numbers": (0x00189810, "FL", PUBLIC + 2, True),
    "private, at the limit": (0x00291001, "OB", PRIVATE, False),
    "private, above it": (0x00291001, "OB", PRIVATE + 2, True),
    "private text": (0x00291001, "LT", PRIVATE + 2, True),
    "private numbers": (0x00291001, "US", PRIVATE + 2, True),
    "an encapsulated document": (0x00420011, "OB", 6, True),
    "a tiny encapsulated document": (0x00420011, "OB", 4, False),
    "contours": (0x30060050, "DS", PUBLIC + 2, False),
    "private decimal strings": (0x00291001, "DS", PRIVATE + 2, False),
    "a VR that may not have a URI": (0x00291001, "LO", PRIVATE + 2, False),
    "a private creator": (0x00290010, "LO", PRIVATE + 2, False),
}


@pytest.mark.parametrize(("tag", "vr", "length", "outside"), BULK.values(), ids=BULK.keys())
def test_large_values_are_kept_outside(tag: int, vr: str, length: int, outside: bool) -> None:
    value = (b"12345\\" * length)[:length]
    if vr == "FL":
        value = value.ljust(-(-length // 4) * 4)
    result = converted(vr, value, tag=tag)
    if outside:
        digest = sha256(value).hexdigest()
        assert orjson.loads(result.fragment) == {"vr": vr, "BulkDataURI": f"bulkdata/{digest}"}
        assert [(bulk.sha256, bulk.data) for bulk in result.bulk_values] == [(digest, value)]
    else:
        assert b"BulkDataURI" not in result.fragment
        assert not result.bulk_values


def test_text_outside_is_utf8_as_the_character_set_says() -> None:
    stored = b"\xe9" * 100
    (bulk,) = converted("LT", stored, tag=0x00291001, sets=character_sets(b"ISO_IR 100")).bulk_values
    assert bulk.data == ("é" * 100).encode()
    assert bulk.sha256 == sha256(bulk.data).hexdigest()


def test_large_values_inside_sequences_are_kept_outside() -> None:
    value = bytes(range(100))
    private = item(element(0x00290010, "LO", b"ACME"), element(0x00291001, "OB", value))
    instance = read(file(stored_sequence(0x00081115, private, private)), Limits(), URI)
    digest = sha256(value).hexdigest()
    uris = [one["00291001"]["BulkDataURI"] for one in instance.attributes.sequence("00081115")]
    assert uris == [f"bulkdata/{digest}"] * 2
    assert [(bulk.sha256, bulk.data) for bulk in instance.bulk_values] == [(digest, value)]


def test_a_value_beyond_the_cap_is_rejected() -> None:
    with pytest.raises(Rejected, match=r"\(0018,6000\) is 11 bytes long"):
        convert(0x00186000, "OB", bytes(11), DEFAULT_REPERTOIRE, Rules(Limits(maximum_element_length=10), str))


def test_an_object_is_compact_and_in_order() -> None:
    assert json_object({}) == b"{}"
    assert json_object({"00080018": b'{"vr":"UI"}', "00100010": b'{"vr":"PN"}'}) == (
        b'{"00080018":{"vr":"UI"},"00100010":{"vr":"PN"}}'
    )


JSON_PITFALLS: dict[str, Callable[[], bytes]] = {
    "quotes": lambda: converted("LO", b'a"b\x1f').fragment,
    "every byte as Latin-1": lambda: converted("LT", bytes(range(256)), sets=character_sets(b"ISO_IR 100")).fragment,
    "every byte as UTF-8": lambda: converted("LT", bytes(range(256)), sets=UTF8).fragment,
    "a VR with a quote": lambda: converted('"}', b"ab").fragment,
}


@pytest.mark.parametrize("fragment", JSON_PITFALLS.values(), ids=JSON_PITFALLS.keys())
def test_fragments_are_always_valid_json(fragment: Callable[[], bytes]) -> None:
    assert isinstance(orjson.loads(fragment()), dict)
