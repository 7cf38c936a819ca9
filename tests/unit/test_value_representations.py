"""VRs that the file doesn't say, or says badly: implicit VR, UN, ambiguous ones."""

import struct
from typing import Any

import pytest

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import Limits
from staticwado_daemon.dicom.part10 import read
from tests.unit.dicom_bytes import IMPLICIT_LITTLE, UNDEFINED, element, file, implicit, item, meta, sequence
from tests.unit.dicom_bytes import SEQUENCE_DELIMITER as END

UIDS = {0x00080018: b"1.2.3.4\0", 0x0020000D: b"1.2\0", 0x0020000E: b"1.2.3\0"}
NEGATIVE = struct.pack("<h", -1000)


def of_implicit(*elements: bytes) -> Attributes:
    uids = [implicit(tag, value) for tag, value in UIDS.items()]
    ordered = sorted((*uids, *elements), key=lambda raw: struct.unpack_from("<HH", raw))
    return read(meta(IMPLICIT_LITTLE) + b"".join(ordered), Limits(), str).attributes


def of_explicit(*elements: bytes) -> Attributes:
    return read(file(*elements), Limits(), str).attributes


@pytest.mark.parametrize(
    ("representation", "vr", "number"),
    [(b"\1\0", "SS", -1000), (b"\0\0", "US", 64536), (b"", "US", 64536), (None, "US", 64536)],
)
def test_us_or_ss_follows_the_pixel_representation(representation: bytes | None, vr: str, number: int) -> None:
    signed = [] if representation is None else [implicit(0x00280103, representation)]
    assert of_implicit(*signed, implicit(0x00280106, NEGATIVE)).value("00280106") == {"vr": vr, "Value": [number]}


def test_items_inherit_the_pixel_representation_wherever_it_stands() -> None:
    own = item(implicit(0x00280103, b"\0\0"), implicit(0x00280106, NEGATIVE))
    nested = implicit(0x00081140, item(implicit(0x00280106, NEGATIVE)) + own + item(implicit(0x00280106, NEGATIVE)))
    items = of_implicit(implicit(0x00280103, b"\1\0"), nested).sequence("00081140")
    assert [one["00280106"]["vr"] for one in items] == ["SS", "US", "SS"]


def test_lookup_tables() -> None:
    attributes = of_implicit(
        implicit(0x00283002, struct.pack("<3H", 40000, 0, 16)), implicit(0x00283006, struct.pack("<4H", 1, 2, 3, 4))
    )
    assert attributes.value("00283002") == {"vr": "US", "Value": [40000, 0, 16]}
    assert attributes.value("00283006") == {"vr": "OW", "InlineBinary": "AQACAAMABAA="}
    assert of_implicit(implicit(0x00283006, b"\7\0")).value("00283006") == {"vr": "US", "Value": [7]}


def test_overlay_and_waveform_data_are_words() -> None:
    attributes = of_implicit(implicit(0x60003000, b"\1\0"), implicit(0x54001010, b"\1\0"))
    assert attributes.value("60003000") == {"vr": "OW", "InlineBinary": "AQA="}
    assert attributes.value("54001010") == {"vr": "OW", "InlineBinary": "AQA="}


PRIVATE: dict[str, tuple[bytes, bytes, Any]] = {
    "known": (b"GEMS_ACQU_01", struct.pack("<i", 912), {"vr": "SL", "Value": [912]}),
    "unknown creator": (b"ACME", b"abcd", {"vr": "UN", "InlineBinary": "YWJjZA=="}),
    "known, but not like this": (b"GEMS_ACQU_01", b"abc", {"vr": "UN", "InlineBinary": "YWJj"}),
    "padded creator": (b"GEMS_ACQU_01  ", struct.pack("<i", 912), {"vr": "SL", "Value": [912]}),
}


@pytest.mark.parametrize(("creator", "value", "expected"), PRIVATE.values(), ids=PRIVATE.keys())
def test_private_elements(creator: bytes, value: bytes, expected: Any) -> None:
    attributes = of_implicit(implicit(0x00190010, creator), implicit(0x00191002, value))
    assert attributes.value("00191002") == expected
    assert attributes.value("00190010") == {"vr": "LO", "Value": [creator.decode().strip()]}
    explicit = of_explicit(element(0x00190010, "LO", creator), element(0x00191002, "UN", value))
    assert explicit.value("00191002") == expected
    creator_as_un = of_explicit(element(0x00190010, "UN", creator), element(0x00191002, "UN", value))
    assert creator_as_un.value("00191002") == expected


def test_a_private_element_belongs_to_its_own_block_only() -> None:
    attributes = of_explicit(
        element(0x00190010, "LO", b"ACME"),
        element(0x00190011, "LO", b"GEMS_ACQU_01"),
        element(0x00191002, "UN", struct.pack("<i", 912)),
        element(0x00191102, "UN", struct.pack("<i", 912)),
        element(0x00191202, "UN", struct.pack("<i", 912)),
    )
    vrs = [attributes.value(tag)["vr"] for tag in ("00191002", "00191102", "00191202")]
    assert vrs == ["UN", "SL", "UN"]


def test_public_un_is_what_the_dictionary_says() -> None:
    assert of_explicit(element(0x00200013, "UN", b"12")).value("00200013") == {"vr": "IS", "Value": [12]}
    long = b"1\\" * 40000 + b"1 "
    assert of_explicit(element(0x30060050, "UN", long)).value("30060050") == {"vr": "DS", "Value": [1.0] * 40001}
    assert of_explicit(element(0x00200FFF, "UN", b"12")).value("00200FFF")["vr"] == "UN"


UN_SEQUENCES = {
    "implicit items": element(0x00081140, "UN", item(implicit(0x00081150, b"1\0"))),
    "explicit items": element(0x00081140, "UN", item(element(0x00081150, "UI", b"1\0"))),
    "undefined length": element(0x00081140, "UN", item(implicit(0x00081150, b"1\0")), length=UNDEFINED) + implicit(END),
    "implicit items in an SQ": element(0x00081140, "SQ", item(implicit(0x00081150, b"1\0"))),
}


@pytest.mark.parametrize("stored", UN_SEQUENCES.values(), ids=UN_SEQUENCES.keys())
def test_sequences_in_disguise(stored: bytes) -> None:
    assert of_explicit(stored).value("00081140") == {
        "vr": "SQ",
        "Value": [{"00081150": {"vr": "UI", "Value": ["1"]}}],
    }


def test_an_unknown_sequence_of_undefined_length_is_recognised() -> None:
    content = item(implicit(0x00081150, b"1\0")) + implicit(END)
    assert of_implicit(implicit(0x00191002, content, length=UNDEFINED)).value("00191002")["vr"] == "SQ"


def test_a_sequence_that_is_none_is_kept_as_un() -> None:
    instance = read(file(element(0x00081140, "SQ", b"no items")), Limits(), str)
    assert instance.attributes.value("00081140") == {"vr": "UN", "InlineBinary": "bm8gaXRlbXM="}
    assert instance.warnings == ("(0008,1140): not a sequence of items",)


def test_a_damaged_item_costs_only_itself() -> None:
    damaged = item(element(0x00081150, "UI", b"1\0", length=200), element(0x00081155, "UI", b"2\0"))
    attributes = of_explicit(sequence(0x00081140, damaged), element(0x00280010, "US", b"\2\0"))
    assert attributes.integer("00280010") == 2
    assert attributes.value("00081140")["vr"] in ("SQ", "UN")


def test_an_unknown_explicit_vr_is_kept_as_un() -> None:
    attributes = of_explicit(element(0x00100020, "ZZ", b"AB"), element(0x00280010, "US", b"\2\0"))
    assert attributes.value("00100020") == {"vr": "UN", "InlineBinary": "QUI="}
    assert attributes.integer("00280010") == 2
