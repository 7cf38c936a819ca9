"""Every test file there is, read by everyone we know.

The fast reader against the thorough one: equal byte for byte, or declined. The thorough one against
pydicom's own JSON, and against dcmtk's `dcm2json`: equal after undoing what is policy and no fact. What
is policy is written in the two `_as_...` functions; whatever remains is listed by file and tag.
"""

import math
import shutil
import struct
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest

from staticwado_daemon.dicom import explicit_le, part10, with_pydicom
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import EXPLICIT_LITTLE, Buffer, DataSet, Encoding, Limits, Rules
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.errors import Ignored, Incomplete, Rejected
from tests import corpus

FILES = corpus.test_files()
RULES = Rules(Limits(), "bulkdata/{}".format)
INLINE = Rules(Limits(maximum_inline_public_length=1 << 40, maximum_inline_private_length=1 << 40), str)

DECLINED = {
    "pydicom-data/bad_sequence.dcm": "public elements as UN",
    "pydicom-data/explicit_VR-UN.dcm": "public elements as UN",
    "pydicom/palettes/winter.dcm": "an element twice",
    "pydicom/test_files/rtdose_rle.dcm": "public elements as UN",
    "pydicom/test_files/rtdose_rle_1frame.dcm": "public elements as UN",
    "pydicom/test_files/UN_sequence.dcm": "public elements as UN",
}
"""Explicit little-endian files that the fast reader leaves to pydicom; directories (group 0004) besides."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A test file as far as part10 opens it before a reader sees it."""

    buffer: Buffer
    offset: int
    encoding: Encoding


@lru_cache(maxsize=1)
def opened(name: str) -> Opened | None:
    """The data set of a test file, identified or not; None if it is no DICOM file."""
    data = FILES[name].read_bytes()
    prefixed = data[128:132] == b"DICM"
    try:
        if not prefixed:
            part10.look(data, len(data))
        meta = part10._file_meta(data, 132 if prefixed else 0)
        if transfer_syntax(meta.transfer_syntax_uid).deflated:
            data = part10._inflated(data, meta.dataset_offset, Limits())
        encoding, _ = part10._encoding(data, meta)
        return Opened(data, meta.dataset_offset, encoding)
    except Ignored:
        return None


def whole(name: str) -> bool:
    try:
        file = opened(name)
        return file is not None and bool(with_pydicom.read(file.buffer, file.offset, file.encoding, RULES))
    except Incomplete:
        return False


DATA_SETS = [name for name in FILES if whole(name)]
EXPLICIT = [name for name in DATA_SETS if (file := opened(name)) and file.encoding == EXPLICIT_LITTLE]


def thoroughly(name: str, rules: Rules) -> DataSet:
    file = opened(name)
    assert file is not None
    return with_pydicom.read(file.buffer, file.offset, file.encoding, rules)


def test_the_corpus_is_what_it_was() -> None:
    """Otherwise the tests below might pass for want of files."""
    assert len(DATA_SETS) >= 250
    assert len(EXPLICIT) >= 200


@pytest.mark.parametrize("name", EXPLICIT)
def test_the_fast_reader_agrees_or_declines(name: str) -> None:
    file = opened(name)
    assert file is not None
    for rules in (RULES, INLINE):
        answer = explicit_le.read(file.buffer, file.offset, rules)
        if name in DECLINED or "DICOMDIR" in name:
            assert answer is None
        else:
            assert answer == thoroughly(name, rules)


@pytest.mark.parametrize("name", EXPLICIT)
def test_the_fast_reader_never_answers_for_a_file_that_was_cut(name: str) -> None:
    """Where it does answer for a beginning of a file, pydicom finds that beginning whole, too."""
    file = opened(name)
    assert file is not None
    length = len(file.buffer) - file.offset
    for twentieth in range(20):
        beginning = file.buffer[: file.offset + length * twentieth // 20]
        answer = explicit_le.read(beginning, file.offset, RULES)
        if answer is not None:
            assert answer == with_pydicom.read(beginning, file.offset, EXPLICIT_LITTLE, RULES)


def plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """Without what readers may leave out or name differently, at any depth."""
    result: dict[str, Any] = {}
    for tag, attribute in attributes.items():
        if tag.endswith("0000") or tag in ("7FE00008", "7FE00009", "7FE00010", "FFFCFFFC"):
            continue
        if tag == "00080005":
            result[tag] = "whatever it was, it is UTF-8 now"
        elif attribute["vr"] == "SQ":
            result[tag] = [plain(item) for item in attribute.get("Value", [])]
        else:
            result[tag] = attribute
    return result


def differences(one: dict[str, Any], other: dict[str, Any], path: str = "") -> Iterator[str]:
    """The paths of all attributes in which two plain data sets differ."""
    for tag in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(tag), other.get(tag)
        if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
            for my_item, their_item in zip(mine, theirs, strict=True):
                yield from differences(my_item, their_item, f"{path}{tag}/")
        elif mine != theirs:
            yield f"{path}{tag}"


def published(name: str) -> dict[str, Any]:
    """The JSON of a test file with everything inline."""
    attributes: dict[str, Any] = orjson.loads(Attributes(thoroughly(name, INLINE).fragments).to_json())
    return attributes


def _as_pydicom(attributes: dict[str, Any]) -> dict[str, Any]:
    """Undo what pydicom does not do: trim components, make empty ones null and empty attributes bare."""
    result: dict[str, Any] = {}
    for tag, attribute in attributes.items():
        if isinstance(attribute, list):
            result[tag] = [_as_pydicom(item) for item in attribute]
            continue
        if not isinstance(attribute, dict):
            result[tag] = attribute
            continue
        values = [_trimmed(value) for value in attribute.get("Value", [])]
        result[tag] = {
            "vr": attribute["vr"],
            "Value": [] if values == [None] else values,
            "InlineBinary": attribute.get("InlineBinary", ""),
        }
    return result


def _trimmed(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip(" \0") or None
    if isinstance(value, dict):
        return {group: text for group, text in value.items() if text} or None
    return value


BIG_ENDIAN_WORDS = "pydicom leaves the words of big-endian palettes as they are"
PYDICOM_DIFFERS = {
    **{
        (f"pydicom-data/{name}", f"0028{element}"): BIG_ENDIAN_WORDS
        for name in ("OBXXXX1A_expb.dcm", "OBXXXX1A_expb_2frame.dcm")
        for element in ("1201", "1202", "1203")
    },
    **{
        ("pydicom-data/gdcm-US-ALOKA-16_big.dcm", f"0028{element}"): BIG_ENDIAN_WORDS
        for element in ("1221", "1222", "1223")
    },
}
PYDICOM_FAILS = {"pydicom/test_files/badVR.dcm": "raises for an IS of letters"}


@pytest.mark.parametrize("name", DATA_SETS)
def test_pydicom_agrees(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = pydicom.dcmread(FILES[name], force=True).to_json_dict(bulk_data_threshold=1 << 40)
        except ValueError:
            assert name in PYDICOM_FAILS
            return
    assert name not in PYDICOM_FAILS
    found = differences(_as_pydicom(plain(published(name))), _as_pydicom(plain(theirs)))
    assert set(found) == {tag for file, tag in PYDICOM_DIFFERS if file == name}


def dcm2json() -> str:
    program = shutil.which("dcm2json")
    assert program, "dcm2json is missing: apt-get install dcmtk"
    return program


def test_dcm2json_is_installed() -> None:
    dcm2json()


def _without_pixels(name: str, directory: Path) -> Path:
    """A copy that ends before its pixel data, which dcm2json would refuse (compressed) or dwell on (native)."""
    file = opened(name)
    assert file is not None
    path = FILES[name]
    pixel_data = thoroughly(name, RULES).pixel_data
    if pixel_data is None or file.buffer[:132] + file.buffer[-8:] != (data := path.read_bytes())[:132] + data[-8:]:
        return path
    copy = directory / "without_pixels"
    copy.write_bytes(file.buffer[: pixel_data.offset - (8 if file.encoding.implicit else 12)])
    return copy


def _as_dcmtk(attributes: dict[str, Any]) -> dict[str, Any]:
    """Do what dcmtk does: names lose trailing carets; floats have nine digits, doubles may be an ulp off."""
    result: dict[str, Any] = {}
    for tag, attribute in attributes.items():
        if isinstance(attribute, list):
            result[tag] = [_as_dcmtk(item) for item in attribute]
        elif isinstance(attribute, dict) and "Value" in attribute:
            values = [_as_dcmtk_value(attribute["vr"], value) for value in attribute["Value"]]
            result[tag] = {"vr": attribute["vr"]} if values == [None] else {**attribute, "Value": values}
        else:
            result[tag] = attribute
    return result


def _as_dcmtk_value(vr: str, value: Any) -> Any:
    if vr == "PN" and isinstance(value, dict):
        return {group: short for group, text in value.items() if (short := text.rstrip("^"))} or None
    if vr == "FL" and isinstance(value, float) and math.isfinite(value):
        return struct.unpack("<f", struct.pack("<f", value))[0]
    if vr == "FD" and isinstance(value, float):
        return float(f"{value:.14g}")
    return value


DCMTK_LEAVES_UN = {
    "pydicom/charset_files/chrKoreanMulti.dcm": "private elements that only pydicom's dictionary knows",
    "pydicom/test_files/rtdose_rle.dcm": "public elements as UN",
    "pydicom/test_files/rtdose_rle_1frame.dcm": "public elements as UN",
    "pydicom-data/bad_sequence.dcm": "public elements as UN",
}
DCMTK_DIFFERS = {
    ("pydicom/charset_files/chrSQEncoding.dcm", "00321064/00100010"): "dcmtk overlooks an item's own character set",
    ("pydicom/test_files/meta_missing_tsyntax.dcm", "00010001/00010002"): "dcmtk makes the length even",
    ("pydicom/test_files/nested_priv_SQ.dcm", "00010001/00010002"): "dcmtk makes the length even",
}
NO_CONVERSION = "Debian's dcmtk can't convert this character set"
DCMTK_FAILS = {
    "pydicom/charset_files/chrH31.dcm": NO_CONVERSION,
    "pydicom/charset_files/chrH32.dcm": NO_CONVERSION,
    "pydicom/charset_files/chrSQEncoding1.dcm": NO_CONVERSION,
    "pydicom/charset_files/chrJapMulti.dcm": NO_CONVERSION,
    "pydicom/charset_files/chrJapMultiExplicitIR6.dcm": NO_CONVERSION,
    "pydicom/test_files/J2K_pixelrep_mismatch.dcm": NO_CONVERSION,
    "pydicom-data/explicit_VR-UN.dcm": "(0008,0005) as UN",
    "pydicom/test_files/SC_rgb_jpeg.dcm": "implicit VR, declared JPEG",
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_dcmtk_agrees(name: str, tmp_path: Path) -> None:
    command = [dcm2json(), "--quiet", "--compact-code", str(_without_pixels(name, tmp_path))]
    answer = subprocess.run(command, capture_output=True, check=False)
    if name in DCMTK_FAILS:
        assert answer.returncode, "dcmtk has learned something"
        return
    assert answer.returncode == 0, answer.stderr.decode(errors="replace")
    output = orjson.loads(answer.stdout.decode(errors="replace"))
    mine = {tag: attribute for tag, attribute in plain(published(name)).items() if tag < "7FE00010"}
    theirs = {tag: attribute for tag, attribute in plain(output).items() if tag < "7FE00010"}
    found = set(differences(_as_dcmtk(mine), _as_dcmtk(theirs)))
    left = {tag for tag in found if output.get(tag, {}).get("vr") == "UN"}
    assert bool(left) == (name in DCMTK_LEAVES_UN)
    assert found - left == {tag for file, tag in DCMTK_DIFFERS if file == name}


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_or_refused_with_a_reason(name: str) -> None:
    try:
        instance = part10.read(FILES[name].read_bytes(), Limits(), str)
    except (Ignored, Rejected):
        return
    assert list(instance.attributes) == sorted(instance.attributes)
    assert orjson.loads(instance.attributes.to_json())
