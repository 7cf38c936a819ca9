"""What is told from bytes and spellings alone: wrappers, transfer syntaxes, values."""

import gzip
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from staticwado_daemon.dicom.transfer_syntaxes import PRIVATE_HTJ2K
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.adopt import deduplicated, elements, spellings, syntaxes
from staticwado_daemon.operate.adopt import root as adopting
from tests.foreign import parts

GREY = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
PREFIX = "1.2.840.10008.1.2.4."
CODESTREAMS = {
    "jls": imagecodecs.jpegls_encode(GREY),
    "jls near": imagecodecs.jpegls_encode(GREY, level=3),
    "jpeg": imagecodecs.jpeg8_encode(GREY.astype(np.uint8)),
    "lossless": imagecodecs.ljpeg_encode(GREY),
    "j2k": imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", reversible=True),
    "j2k lossy": imagecodecs.jpeg2k_encode(GREY, level=30, codecformat="j2k", reversible=False),
    "htj2k": imagecodecs.htj2k_encode(GREY),
}


@pytest.mark.parametrize(
    ("kind", "label", "is_"),
    [
        ("jls", "", "80"),
        ("jls", "80", "80"),
        ("jls", "81", "81"),  # lossless is what near-lossless may be
        ("jls near", "80", "81"),
        ("jls", "70", "80"),
        ("jpeg", "", "50"),
        ("jpeg", "51", "51"),
        ("lossless", "", "57"),
        ("lossless", "70", "57"),  # another predictor than the label says
        ("j2k", "", "90"),
        ("j2k", "91", "91"),
        ("j2k lossy", "90", "91"),
        ("htj2k", "", "201"),
        ("htj2k", "202", "202"),
        ("htj2k", "90", "201"),
    ],
)
def test_a_codestream_says_what_it_is(kind: str, label: str, is_: str) -> None:
    said = PREFIX + label if label else ""
    assert syntaxes.actual(said, memoryview(CODESTREAMS[kind]), GREY.nbytes) == PREFIX + is_


def test_a_private_label_is_no_lie() -> None:
    assert syntaxes.actual(PRIVATE_HTJ2K, memoryview(CODESTREAMS["htj2k"]), None) == PRIVATE_HTJ2K


@pytest.mark.parametrize(
    ("label", "is_"),
    [
        ("", "1.2.840.10008.1.2.1"),
        ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"),
        ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.2"),
    ],
)
def test_native_frames_are_known_by_their_length(label: str, is_: str) -> None:
    payload = memoryview(b"\xff\xd8\xff" + bytes(GREY.nbytes - 3))
    assert syntaxes.actual(label, payload, GREY.nbytes) == is_


def test_what_nobody_knows_is_refused() -> None:
    with pytest.raises(Corrupt, match="nothing says"):
        syntaxes.actual("", memoryview(b"whatever"), 99)


@pytest.mark.parametrize("location", [None, "1.mht"])
def test_both_framings_are_undone(location: str | None) -> None:
    payload = b"--BOUNDARY_ \r\n\r\n and so on\r\n--"
    part = spellings.unwrap(parts.part("image/jls;transfer-syntax=1.2.3", payload, location))
    assert (bytes(part.payload), part.transfer_syntax) == (payload, "1.2.3")


def test_half_a_wrapper_is_damage() -> None:
    with pytest.raises(Corrupt, match="cut off"):
        spellings.unwrap(parts.part("image/jls", b"payload")[:-5])
    assert bytes(spellings.unwrap(b"--not multipart").payload) == b"--not multipart"


@pytest.mark.parametrize(
    ("tag", "attribute", "value"),
    [
        ("00080008", {"vr": "CS", "Value": ["ORIGINAL\\PRIMARY"]}, b"ORIGINAL\\PRIMARY"),
        ("00080008", {"vr": "CS", "Value": [""]}, b""),
        ("00280103", {"vr": "US", "Value": ["1"]}, b"\x01\x00"),
        ("00281101", {"vr": "US|SS", "InlineBinary": "AAEAAA=="}, b"\x00\x01\x00\x00"),
        ("00280106", {"vr": "US|SS", "Value": [-3]}, b"\xfd\xff"),
        ("00280009", {"vr": "AT", "Value": [1577059]}, b"\x18\x00\x63\x10"),
        ("00280009", {"vr": "AT", "Value": "00181063"}, b"\x18\x00\x63\x10"),
        ("0020000D", {"Value": ["1.2.3"]}, b"1.2.3\0"),
        ("00186020", {"vr": "SL", "Value": [""]}, b""),
        ("00189087", {"vr": "FD", "Value": [0.5, None]}, struct.pack("<d", 0.5)),
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "A^B=C^D"}]}, b"A^B=C^D "),
        ("00100010", {"vr": "PN", "Value": [{"Ideographic": "C"}, None]}, b"=C\\"),
        ("00201041", {"vr": "DS", "Value": [1.25]}, b"1.25"),
    ],
)
def test_values_become_the_bytes_that_they_were(tag: str, attribute: dict[str, Any], value: bytes) -> None:
    found, notes = elements.encode({tag: attribute}, lambda _: None, "characters")
    assert notes == []
    assert found[int(tag, 16)][8 : 8 + len(value)] == value


def test_a_bad_value_costs_only_itself() -> None:
    data_set = {
        "00280010": {"vr": "US", "Value": ["many"]},
        "00280011": {"vr": "US", "Value": [4]},
        "00420011": {"vr": "OB", "BulkDataURI": "bulkdata/of/nobody"},
    }
    found, notes = elements.encode(data_set, lambda _: None, "characters")
    assert list(found) == [0x00280011]
    assert notes == ["(0028,0010) has a value that can't be US", "(0042,0011) lacks its bulk data"]


@pytest.mark.parametrize(
    ("attribute", "vr"),
    [
        ({"InlineBinary": "abc"}, "US"),
        ({"vr": "UN", "Value": [{}, 1]}, "US"),
        ({"vr": ["AT", "US"], "Value": [{}]}, "US"),
        ({"vr": "AT", "Value": [{"a": 1}]}, "AT"),
    ],
)
def test_an_attribute_that_makes_no_sense_costs_only_itself(attribute: dict[str, Any], vr: str) -> None:
    data_set = {"00280010": attribute, "00280011": {"vr": ["US", "SS"], "Value": [4]}}
    found, notes = elements.encode(data_set, lambda _: None, "characters")
    assert list(found) == [0x00280011]
    assert notes == [f"(0028,0010) has a value that can't be {vr}"]


def test_text_is_bytes_or_characters() -> None:
    arabic = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 127"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "âÈ"}]},
    }
    assert elements.encode(arabic, lambda _: None, "bytes")[0][0x00100010].endswith(b"\xe2\xc8")
    assert elements.encode(arabic, lambda _: None, "characters")[0][0x00100010].endswith("âÈ".encode())
    utf8 = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "ç\x8e\x8b"}]},
    }
    assert elements.encode(utf8, lambda _: None, "bytes")[0][0x00100010].endswith("王 ".encode())


def test_marks_of_deduplication_are_taken_away() -> None:
    marked = {
        "00090010": {"vr": "LO", "Value": ["VENDOR"]},
        "00091011": {"vr": "LO", "Value": ["a" * 64]},
        "00091012": {"vr": "LO", "Value": ["series"]},
        "00090011": {"vr": "CS", "Value": ["dedupped"]},
        "00091110": {"Value": ["b"]},
        "00091111": {"Value": ["c"]},
        "00091112": {"Value": ["instance"]},
        "00100020": {"vr": "LO", "Value": ["1"]},
    }
    assert deduplicated.is_marked(marked)
    assert list(deduplicated.without_marks(marked)) == ["00090010", "00100020"]


@pytest.mark.parametrize("depth", [90, 300])
def test_what_is_nested_too_deeply_is_left_and_named(tmp_path: Path, depth: int) -> None:
    instance = tmp_path / "studies/1.2/series/1.2.3/instances/1.2.3.4"
    instance.mkdir(parents=True)
    nested = '"00081115":{"vr":"SQ","Value":[{' * depth + "}]}" * depth
    metadata = f'[{{"00080018":{{"Value":["1.2.3.4"]}},{nested}}}]'
    for place in (instance, instance.parents[1]):
        (place / "metadata.gz").write_bytes(gzip.compress(metadata.encode()))
    (told,) = adopting.look(tmp_path, adopting.candidates(tmp_path)).studies
    assert told.left == "studies/1.2: the metadata of an instance are nested too deeply"
