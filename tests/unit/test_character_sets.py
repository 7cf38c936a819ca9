"""Specific Character Set (0008,0005): the text comes out right, and JSON says UTF-8."""

from typing import Any

import orjson
import pytest

from staticwado_daemon.dicom.character_sets import MULTI_VALUE_RESETS, NAME_RESETS, TEXT_RESETS, character_sets
from staticwado_daemon.dicom.data_set import Limits, Rules
from staticwado_daemon.dicom.json_model import convert
from staticwado_daemon.dicom.part10 import read
from tests.unit.dicom_bytes import IMPLICIT_LITTLE, element, file, implicit, item, meta
from tests.unit.dicom_bytes import sequence as stored_sequence

PATIENT_ID = 0x00100020
URI = "bulkdata/{}".format


def values(vr: str, stored: bytes, declared: bytes) -> list[Any]:
    """The values of an attribute stored in the declared character set."""
    fragment = convert(0x00104000, vr, stored, character_sets(declared), Rules(Limits(), URI)).fragment
    decoded: list[Any] = orjson.loads(fragment)["Value"]
    return decoded


def metadata(*elements: bytes) -> dict[str, Any]:
    """The JSON of a whole file with these elements."""
    attributes: dict[str, Any] = orjson.loads(read(file(*elements), Limits(), URI).attributes.to_json())
    return attributes


CHARACTER_SETS = {
    "UTF-8": (b"ISO_IR 192", "é^à".encode(), "é^à"),
    "Latin-1": (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    "Cyrillic": (b"ISO_IR 144", "Люк".encode("iso8859-5"), "Люк"),
    "Greek": (b"ISO_IR 126", "Διονυσιος".encode("iso8859-7"), "Διονυσιος"),
    "Thai": (b"ISO_IR 166", "นามสกุล".encode("tis-620"), "นามสกุล"),
    "Katakana": (b"ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"), "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "GB18030": (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
    "GBK with a backslash as second byte": (b"GBK", "乗乗".encode("gbk"), "乗乗"),
    "Kanji": (b"\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
    "Kanji with an equals sign and a backslash inside": (
        b"\\ISO 2022 IR 87",
        b"\x1b$B=U\\n\x1b(B",
        b"\x1b$B=U\\n\x1b(B".decode("iso2022_jp"),
    ),
    "Hangul": (b"\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8^\x1b$)C\xc8\xf1\xc1\xdf", "김^희중"),
    "Katakana after Kanji": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde \x1b$B;3ED\x1b(B \xc0\xdb\xb3",
        "ﾔﾏﾀﾞ 山田 ﾀﾛｳ",
    ),
    "a misspelt set": (b"ISO-IR 100", b"\xe9", "é"),
    "another misspelt set": (b"ISO2022-IR 87\\ISO_2022_IR_87", b"\x1b$B;3ED\x1b(B", "山田"),
    "Latin-1 without any declaration": (b"", b"J\xe9r\xf4me", "Jérôme"),
    "UTF-8 without any declaration": (b"", "Jérôme".encode(), "Jérôme"),
    "an unknown set": (b"ISO_IR 999", b"ab", "ab"),
    "invalid UTF-8": (b"ISO_IR 192", b"a\xff\xfeb", "a��b"),
    "an escape sequence nobody knows": (b"ISO 2022 IR 100\\ISO 2022 IR 87", b"a\x1b%Gb", "a\x1b%Gb"),
    "UTF-8 allows no code extensions": (b"ISO_IR 192\\ISO 2022 IR 87", b"\x1b$B;3ED", "\x1b$B;3ED"),
    "nor is it one": (b"ISO 2022 IR 100\\ISO_IR 192", b"\xe9", "é"),
}


@pytest.mark.parametrize(("declared", "stored", "text"), CHARACTER_SETS.values(), ids=CHARACTER_SETS.keys())
def test_character_sets(declared: bytes, stored: bytes, text: str) -> None:
    assert values("PN", stored, declared) == [{"Alphabetic": text}]
    assert values("ST", stored, declared) == [text]


def test_an_escape_sequence_does_not_outlast_the_delimiter() -> None:
    declared = b"ISO 2022 IR 100\\ISO 2022 IR 149"
    assert values("PN", b"\x1b$)C\xb1\xe8^\xe9", declared) == [{"Alphabetic": "김^é"}]
    assert values("LO", b"\x1b$)C\xb1\xe8\\\xe9", declared) == ["김", "é"]
    assert values("LT", b"\x1b$)C\xb1\xe8\n\xe9", declared) == ["김\né"]


def test_multiple_values_are_split_after_decoding() -> None:
    assert values("LO", "乗ab\\c".encode("gbk"), b"GBK ") == ["乗ab", "c"]


def test_unknown_character_sets_are_named_once_each() -> None:
    instance = read(
        file(
            element(0x00080005, "CS", b"ISO_IR 999"),
            stored_sequence(0x00081115, *2 * [item(element(0x00080005, "CS", b"ISO_IR 998"))]),
        ),
        Limits(),
        URI,
    )
    assert instance.warnings == ("unknown character set 'ISO_IR 999'", "unknown character set 'ISO_IR 998'")


@pytest.mark.parametrize("declared", [b"\0\\ISO 2022 IR 87", b"ISO 2022 IR 100\\\0ISO 2022 IR 87"])
def test_zeros_among_the_terms_are_padding_in_every_encoding(declared: bytes) -> None:
    kanji = b"\x1b$B;3ED\x1b(B"
    explicit = file(element(0x00080005, "CS", declared), element(PATIENT_ID, "LO", kanji))
    uids = ((0x00080018, b"1.2.3.4\0"), (0x0020000D, b"1.2\0"), (0x0020000E, b"1.2.3\0"))
    values = sorted(((0x00080005, declared), (PATIENT_ID, kanji), *uids))
    without_vr = meta(IMPLICIT_LITTLE) + b"".join(implicit(tag, value) for tag, value in values)
    for data in (explicit, without_vr):
        assert read(data, Limits(), URI).attributes.text("00100020") == "山田"


@pytest.mark.parametrize("declared", [b"ISO_IR 100", b"\\ISO 2022 IR 87", b"ISO_IR 6 ", b""])
def test_the_character_set_of_json_is_utf8(declared: bytes) -> None:
    attributes = metadata(
        element(0x00080005, "CS", declared), stored_sequence(0x00081115, item(element(0x00080005, "CS", declared)))
    )
    assert attributes["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert attributes["00081115"]["Value"] == [{"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}]


def test_the_character_set_is_added_when_text_needs_it() -> None:
    assert "00080005" not in metadata(element(PATIENT_ID, "LO", b"ascii "))
    instance = read(file(element(PATIENT_ID, "LO", b"J\xe9r\xf4me")), Limits(), URI)
    assert instance.attributes.text("00080005") == "ISO_IR 192"
    assert instance.attributes.text("00100020") == "Jérôme"
    assert list(instance.attributes) == sorted(instance.attributes)
    assert instance.warnings == ("text beyond ASCII without Specific Character Set (0008,0005)",)


def test_an_item_inherits_and_overrides_the_character_set() -> None:
    attributes = metadata(
        element(0x00080005, "CS", b"ISO_IR 100"),
        stored_sequence(
            0x00081115,
            item(element(PATIENT_ID, "LO", b"\xe9 ")),
            item(element(0x00080005, "CS", b"ISO_IR 192"), element(PATIENT_ID, "LO", "é".encode())),
            item(element(PATIENT_ID, "LO", b"\xe9 ")),
        ),
    )
    texts = [one["00100020"]["Value"] for one in attributes["00081115"]["Value"]]
    assert texts == [["é"], ["é"], ["é"]]


def test_undecodable_text_is_noted() -> None:
    instance = read(
        file(element(0x00080005, "CS", b"ISO_IR 192"), element(PATIENT_ID, "LO", b"a\xff")),
        Limits(),
        URI,
    )
    assert instance.attributes.text("00100020") == "a�"
    assert instance.warnings == ("undecodable text",)


def test_no_codec_yields_lone_surrogates() -> None:
    doubles = b"".join(bytes((first, second)) for first in range(256) for second in range(256))
    # The four-byte codes of GB18030 around those of the surrogates.
    quadruples = b"".join(
        bytes((0x83, second, third, fourth))
        for second in (0x36, 0x37)
        for third in range(0x81, 0xFF)
        for fourth in range(0x30, 0x3A)
    )
    for term in (
        "ISO_IR 192",
        "GB18030",
        "GBK",
        "ISO_IR 13",
        "\\ISO 2022 IR 149",
        "\\ISO 2022 IR 58",
        "\\ISO 2022 IR 159",
    ):
        sets = character_sets(term.encode())
        for resets in (TEXT_RESETS, MULTI_VALUE_RESETS, NAME_RESETS):
            sets.decode(doubles + quadruples, resets).encode()
