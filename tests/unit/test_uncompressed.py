"""Uncompressed data sets: the same values in another encoding, and pixels as a decoder gives them."""

import io
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from staticwado_daemon.dicom import part10, raw_elements, uncompressed
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.errors import Corrupt
from tests import corpus, storing
from tests.slices import Slices
from tests.synthetic import image, items
from tests.system import large
from tests.unit import dicom_bytes

FILES = corpus.test_files()
DESCRIBES_PIXELS = frozenset({0x00280004, 0x00280006, 0x00282110, 0x00282112, 0x00282114})


def _data_set(file: bytes, uid: str) -> bytes:
    return b"".join(uncompressed.data_set(file, uid))


def _file(data_set: bytes, uid: str) -> bytes:
    padded = uid.encode() + bytes(len(uid) % 2)
    return bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", len(padded)) + padded + data_set


def _read(data: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd on purpose
        return pydicom.dcmread(io.BytesIO(data), force=True)


def _converted(name: str, uid: str) -> tuple[Dataset, Dataset]:
    data = FILES[name].read_bytes()
    return _read(data), _read(_file(_data_set(data, uid), uid))


def _values(data_set: Dataset) -> dict[int, object]:
    """The raw values of the elements, without what a conversion may or must change; items likewise."""
    found: dict[int, object] = {}
    for element in (*data_set.values(),):
        tag = int(element.tag)
        if tag & 0xFFFF == 0 or tag in DESCRIBES_PIXELS or tag >> 16 == 0x7FE0:
            continue
        if isinstance(element, RawDataElement) and element.VR not in {"SQ", None}:
            found[tag] = element.value or b""
        else:
            value = data_set[tag].value
            found[tag] = [_values(item) for item in value] if isinstance(value, Sequence) else str(value)
    return found


@pytest.mark.parametrize(
    "name",
    [
        "pydicom/test_files/CT_small.dcm",
        "pydicom/test_files/reportsi.dcm",
        "pydicom/test_files/JPEG2000.dcm",
        "pydicom/test_files/SC_rgb_rle.dcm",
        "pydicom/test_files/image_dfl.dcm",
        "pydicom/charset_files/chrX2.dcm",
    ],
)
def test_every_value_of_explicit_vr_stays_byte_for_byte(name: str) -> None:
    source, copy = _converted(name, EXPLICIT_VR_LITTLE_ENDIAN)
    assert _values(copy) == _values(source)
    private = [tag for tag in (*source.keys(),) if tag.is_private]
    assert [tag for tag in (*copy.keys(),) if tag.is_private] == [tag for tag in private if tag.element]


def test_there_and_back_is_the_same() -> None:
    """What goes to implicit VR and back has lost nothing but the VR of what no dictionary knows."""
    data = FILES["pydicom/test_files/rtplan.dcm"].read_bytes()
    explicit = _data_set(data, EXPLICIT_VR_LITTLE_ENDIAN)
    implicit = _data_set(data, IMPLICIT_VR_LITTLE_ENDIAN)
    assert implicit != explicit
    again = _data_set(_file(explicit, EXPLICIT_VR_LITTLE_ENDIAN), IMPLICIT_VR_LITTLE_ENDIAN)
    assert again == implicit
    assert _data_set(_file(implicit, IMPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN) == explicit


@pytest.mark.parametrize("uid", uncompressed.SYNTAXES)
@pytest.mark.parametrize(
    ("big", "little"),
    [
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("SC_rgb_expb_32bit.dcm", "SC_rgb_32bit.dcm"),
        ("liver_expb_1frame.dcm", "liver_1frame.dcm"),
        ("OBXXXX1A_expb.dcm", "OBXXXX1A.dcm"),
    ],
)
def test_big_endian_becomes_what_its_little_endian_twin_is(big: str, little: str, uid: str) -> None:
    copies = []
    for each in (big, little):
        (name,) = [name for name in FILES if name.endswith(f"/{each}")][:1]
        copies.append(_converted(name, uid)[1])
    first, second = copies
    if "PixelData" in first:
        assert first.PixelData == second.PixelData
    for tag in (*(first.keys() & second.keys()),):
        if not tag.is_private and tag >> 16 in {0x0028, 0x0020} and tag not in {0x00280106, 0x00280107}:
            assert first[tag].value == second[tag].value


@pytest.mark.parametrize("uid", uncompressed.SYNTAXES)
@pytest.mark.parametrize(
    "name",
    [
        "pydicom/test_files/MR_small_RLE.dcm",
        "pydicom/test_files/emri_small_jpeg_2k_lossless.dcm",
        "pydicom/test_files/JPEG-LL.dcm",
        "pydicom/test_files/SC_rgb_gdcm_KY.dcm",
        "pydicom/test_files/examples_ybr_color.dcm",
        "pydicom/test_files/SC_rgb_rle_2frame.dcm",
        "pydicom/test_files/image_dfl.dcm",
    ],
)
def test_pixels_are_what_another_decoder_gives(name: str, uid: str) -> None:
    if name not in FILES:
        name = next(each for each in FILES if each.endswith(name.rpartition("/")[2]))
    source, copy = _converted(name, uid)
    expected = source.pixel_array
    difference = np.abs(copy.pixel_array.astype(int) - expected.astype(int)).max()
    assert difference <= (1 if source.PhotometricInterpretation.startswith("YBR_FULL") else 0)
    assert copy.PhotometricInterpretation in {"MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL"}
    assert len(copy.PixelData) % 2 == 0


def test_jpeg_colours_become_rgb_and_say_what_they_lost() -> None:
    data = FILES["pydicom/test_files/examples_ybr_color.dcm"].read_bytes()
    source = _read(data)
    del source.LossyImageCompression
    target = io.BytesIO()
    source.save_as(target)
    copy = _read(_file(_data_set(target.getvalue(), EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN))
    assert (copy.PhotometricInterpretation, copy.PlanarConfiguration) == ("RGB", 0)
    assert (copy.LossyImageCompression, copy.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(copy.LossyImageCompressionRatio) > 1


def test_colours_of_twelve_bits_become_rgb() -> None:
    colours = np.tile(np.array([4000, 1000, 200], "<u2"), (16, 16, 1))
    coded = imagecodecs.jpeg8_encode(colours, 95, bitspersample=12, colorspace="RGB", outcolorspace="YCBCR")
    described = {"Rows": 16, "Columns": 16, "SamplesPerPixel": 3, "BitsStored": 12, "HighBit": 11}
    kinds = {"PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0}
    value = items(bytes(coded) + bytes(len(coded) % 2))
    source = image(value, vr="OB", transfer_syntax=JPEGExtended12Bit, **described, **kinds)
    copy = _read(_file(_data_set(bytes(source.buffer), EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN))
    assert copy.PhotometricInterpretation == "RGB"
    assert np.abs(copy.pixel_array.astype(int) - colours).max() <= 2


def test_decoded_colours_without_a_name_are_refused() -> None:
    """What is decoded has all its samples, and YBR_PARTIAL_422 has two of three: nobody could find the frames."""
    coded = imagecodecs.jpeg8_encode(np.full((16, 16, 3), 90, np.uint8), colorspace="YCBCR", outcolorspace="YCBCR")
    bare = bytes(coded[:2] + coded[20:])  # without the JFIF header, which would speak of YBR_FULL
    described = {"Rows": 16, "Columns": 16, "SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    kinds = {"PhotometricInterpretation": "YBR_PARTIAL_422", "PlanarConfiguration": 0}
    value = items(bare + bytes(len(bare) % 2))
    source = image(value, vr="OB", transfer_syntax=JPEGBaseline8Bit, **described, **kinds)
    with pytest.raises(Corrupt, match="YBR_PARTIAL_422"):
        next(uncompressed.data_set(bytes(source.buffer), EXPLICIT_VR_LITTLE_ENDIAN))
    stored = storing.store(source, Choices("lei", recompress_color=("true",)))
    assert stored.transfer_syntax_uid == JPEGBaseline8Bit
    assert "YBR_PARTIAL_422" in stored.kept_because


def test_an_image_is_decoded_frame_by_frame() -> None:
    """Nothing is decoded before it is asked for, but one frame that shows that it can be."""
    name = next(each for each in FILES if each.endswith("/examples_ybr_color.dcm"))
    pieces = uncompressed.data_set(FILES[name].read_bytes(), EXPLICIT_VR_LITTLE_ENDIAN)
    longest = max(len(piece) for piece in pieces)
    source = _read(FILES[name].read_bytes())
    assert longest == source.Rows * source.Columns * 3
    assert source.NumberOfFrames > 10


def test_encapsulated_native_frames_lose_their_capsules(tmp_path: Path) -> None:
    made = large.encapsulated_slide(tmp_path / "slide.dcm", 2)
    copy = _read(_file(_data_set(made.path.read_bytes(), IMPLICIT_VR_LITTLE_ENDIAN), IMPLICIT_VR_LITTLE_ENDIAN))
    assert len(copy.PixelData) == 2 * large.FRAME
    assert 0x7FE00001 not in copy


def test_a_video_is_refused_by_name(tmp_path: Path) -> None:
    made = large.video(tmp_path / "video.dcm", 1000)
    with pytest.raises(Corrupt, match="it is a video"):
        _data_set(made.path.read_bytes(), EXPLICIT_VR_LITTLE_ENDIAN)


def test_pixels_that_are_damaged_are_refused_before_anything_is_written() -> None:
    name = next(each for each in FILES if each.endswith("/MR_small_RLE.dcm"))
    data = FILES[name].read_bytes()
    pixels = part10.read(data, part10.Limits(), str).pixel_data
    assert pixels
    broken = data[: pixels.offset + 16] + bytes(64) + data[pixels.offset + 80 :]
    with pytest.raises(Corrupt):
        next(uncompressed.data_set(broken, EXPLICIT_VR_LITTLE_ENDIAN))


@pytest.mark.parametrize("uid", uncompressed.SYNTAXES)
def test_what_is_too_long_to_be_held_is_not_lost(uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [dicom_bytes.item(dicom_bytes.element(0x00080100, "SH", b"%04d" % number)) for number in range(100)]
    document = dicom_bytes.element(0x00420011, "OB", bytes(range(256)) * 8)
    data = dicom_bytes.file(dicom_bytes.sequence(0x00081140, *codes), document)
    whole = _data_set(data, uid)
    monkeypatch.setattr(raw_elements, "MOST_HELD", 1000)
    assert b"".join(uncompressed.data_set(Slices(data), uid)) == whole


def test_sequences_of_all_kinds_keep_their_items() -> None:
    """With lengths and without, private and not, in implicit VR inside UN."""
    inner = dicom_bytes.element(0x00080100, "SH", b"A ")
    private = dicom_bytes.implicit(0x00091001, b"1234")
    items = [dicom_bytes.item(inner), dicom_bytes.item(inner)]
    elements: Iterable[bytes] = (
        dicom_bytes.element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
        dicom_bytes.element(0x00080018, "UI", b"1.2.3.4\0"),
        dicom_bytes.sequence(0x00081140, *items),
        dicom_bytes.element(0x00090010, "LO", b"SOMEBODY"),
        dicom_bytes.element(0x00091001, "UN", dicom_bytes.implicit(dicom_bytes.ITEM, private)),
        dicom_bytes.element(0x0020000D, "UI", b"1.2\0"),
        dicom_bytes.element(0x0020000E, "UI", b"1.2.3\0"),
    )
    file = _file(b"".join(elements), EXPLICIT_VR_LITTLE_ENDIAN)
    for uid in uncompressed.SYNTAXES:
        copy = _read(_file(_data_set(file, uid), uid))
        assert [str(each.CodeValue) for each in copy.ReferencedImageSequence] == ["A", "A"]
        raw = copy.get_item(0x00091001)
        assert raw.value == dicom_bytes.implicit(dicom_bytes.ITEM, private)
