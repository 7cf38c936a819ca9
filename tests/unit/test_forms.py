"""Frames that viewers show wrong as they came: what is published instead, and how the source comes back from it."""

import struct
import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import orjson
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SegmentationStorage,
)

from staticwado_daemon.dicom import transcode
from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.content_types import ContentType
from staticwado_daemon.dicom.frames import PixelDescription, big_endian_word, describe, frame_segments
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transcode import StoredFrames, native_value
from tests.corpus import PYDICOM
from tests.synthetic import described, image, image_of, items, read

Array = NDArray[Any]
CODINGS: tuple[ContentType, ...] = ("htj2k", "jls", "none")
RAMP = np.add.outer(np.arange(40), np.arange(64))
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def stored(instance: Instance, content_type: ContentType = "none") -> StoredFrames:
    description = describe(instance)
    return transcode.store(instance, description, frame_segments(instance, description), content_type)


def published(instance: Instance, frames: StoredFrames) -> dict[str, Any]:
    """The published attributes, as first values by tag; None for what is absent."""
    attributes = instance.attributes.with_changes(frames.changes)
    return {tag: (attributes.value(tag).get("Value") or [None])[0] for tag in attributes}


def shown(instance: Instance, frames: StoredFrames, index: int = 0) -> Array:
    """A frame as a viewer gets it, which knows nothing but what is published."""
    told = PixelDescription.of(instance.attributes.with_changes(frames.changes))
    return decode(frames.frames[index], frames.transfer_syntax_uid, told)


def source_value(instance: Instance, frames: StoredFrames) -> bytes:
    """Pixel Data, rebuilt from the stored frames."""
    description = describe(instance)
    word = big_endian_word(instance, description)
    return b"".join(native_value(frames.frames, frames.transfer_syntax_uid, description, word=word))


def own_value(instance: Instance) -> bytes:
    """Pixel Data as it came."""
    assert instance.pixel_data is not None
    assert instance.pixel_data.length is not None
    start = instance.pixel_data.offset
    return bytes(instance.buffer[start : start + instance.pixel_data.length])


class TestSharedColours:
    @staticmethod
    def subsampled(kind: str = "YBR_FULL_422", **attributes: Any) -> tuple[Instance, Array]:
        """An image of pairs of pixels, and the samples of each pixel."""
        luma, blue, red = (np.random.default_rng(4).integers(0, 256, size, np.uint8) for size in (2560, 1280, 1280))
        pairs = np.stack([luma[::2], luma[1::2], blue, red], axis=-1)
        whole = np.stack([luma, np.repeat(blue, 2), np.repeat(red, 2)], axis=-1).reshape(40, 64, 3)
        described = {"Rows": 40, "Columns": 64, "SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
        kinds = {"PhotometricInterpretation": kind, "PlanarConfiguration": 0}
        return image(pairs.tobytes(), vr="OB", **{**described, **kinds, **attributes}), whole

    def test_packed_bits_that_share_colours_can_be_decoded(self) -> None:
        instance, whole = self.subsampled("YBR_PARTIAL_422", BitsAllocated=1, BitsStored=1, HighBit=0)
        assert shown(instance, stored(instance)).shape == whole.shape

    @pytest.mark.parametrize("content_type", CODINGS)
    def test_each_pixel_gets_its_colours_and_the_source_comes_back(self, content_type: ContentType) -> None:
        instance, whole = self.subsampled()
        frames = stored(instance, content_type)
        attributes = published(instance, frames)
        assert (attributes["00280004"], attributes["00280006"]) == ("YBR_FULL", 0)
        assert np.array_equal(shown(instance, frames), whole)
        assert frames.invertible
        assert source_value(instance, frames) == own_value(instance)

    def test_the_words_of_a_big_endian_source_come_back(self) -> None:
        little, whole = self.subsampled()
        swapped = np.frombuffer(own_value(little), np.uint16).byteswap().tobytes()
        described = {"Rows": 40, "Columns": 64, "SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
        kinds = {"PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
        instance = image(swapped, vr="OW", transfer_syntax=ExplicitVRBigEndian, **described, **kinds)
        frames = stored(instance)
        assert np.array_equal(shown(instance, frames), whole)
        assert source_value(instance, frames) == own_value(instance)

    def test_frames_stored_as_they_came_by_an_older_version_come_back_too(self) -> None:
        instance, _ = self.subsampled()
        value = own_value(instance)
        assert b"".join(native_value([value], ExplicitVRLittleEndian, describe(instance))) == value

    def test_the_test_file_looks_as_pydicom_shows_it(self) -> None:
        path = PYDICOM / "test_files/SC_ybr_full_422_uncompressed.dcm"
        instance = read(path)
        frames = stored(instance)
        rgb = convert_color_space(shown(instance, frames), "YBR_FULL", "RGB")
        assert np.abs(rgb.astype(int) - pydicom.dcmread(path).pixel_array).max() <= 1
        assert source_value(instance, frames) == own_value(instance)

    def test_rows_of_odd_length_stay_as_they_came(self) -> None:
        instance, _ = self.subsampled(Rows=64, Columns=39)
        assert published(instance, stored(instance))["00280004"] == "YBR_FULL_422"

    def test_the_partial_range_becomes_rgb(self) -> None:
        instance, _ = self.subsampled("YBR_PARTIAL_422")
        black, white, red = (16, 16, 128, 128), (235, 235, 128, 128), (81, 81, 90, 240)
        value = bytes(own_value(instance))
        instance = image(
            bytes((*black, *white, *red)) + value[12:],
            **{tag: getattr_of(instance, tag) for tag in ("Rows", "Columns")},
            vr="OB",
            SamplesPerPixel=3,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PhotometricInterpretation="YBR_PARTIAL_422",
            PlanarConfiguration=0,
        )
        frames = stored(instance)
        first = shown(instance, frames)[0, ::2][:3].astype(int)
        assert np.abs(first - [(0, 0, 0), (255, 255, 255), (255, 0, 0)]).max() <= 2
        attributes = published(instance, frames)
        assert (attributes["00280004"], attributes["00080008"]) == ("RGB", "DERIVED")
        assert "YBR_PARTIAL_422" in attributes["00082111"]
        assert not frames.invertible


def getattr_of(instance: Instance, name: str) -> int:
    description = describe(instance)
    return {"Rows": description.rows, "Columns": description.columns}[name]


class TestDeepColours:
    @pytest.mark.parametrize(("stored_bits", "allocated"), [(16, 16), (12, 16), (8, 16), (7, 16), (32, 32)])
    def test_eight_bits_are_published_and_said_so(self, stored_bits: int, allocated: int) -> None:
        highest = (1 << stored_bits) - 1
        samples = (COLOURS.astype(float) / 102 * highest).astype(f"<u{allocated // 8}")
        more = {"ImageType": ["ORIGINAL", "PRIMARY", "X"], "DerivationDescription": "Stitched"}
        instance = image_of(samples, BitsStored=stored_bits, HighBit=stored_bits - 1, **more)
        frames = stored(instance)
        assert np.array_equal(shown(instance, frames), np.rint(samples / highest * 255 + 1e-9).astype(np.uint8))
        attributes = published(instance, frames)
        assert [attributes[f"0028010{last}"] for last in "0123"] == [8, 8, 7, 0]
        assert attributes["00082111"] == f"Stitched; Colours reduced from {stored_bits} to 8 bits"
        image_type = instance.attributes.with_changes(frames.changes).value("00080008")
        assert image_type["Value"] == ["DERIVED", "PRIMARY", "X"]
        assert attributes["00080018"] == "1.2.3.4", "it means the same, so it is the same instance"
        assert not frames.invertible

    def test_what_was_done_is_said_even_where_much_was_done_before(self) -> None:
        samples = (COLOURS * 640).astype("<u2")
        instance = image_of(samples, ImageType="ORIGINAL", DerivationDescription="x" * 1024)
        frames = stored(instance)
        described = published(instance, frames)["00082111"]
        assert described.endswith("xx; Colours reduced from 16 to 8 bits")
        assert len(described) == 1024
        image_type = instance.attributes.with_changes(frames.changes).value("00080008")
        assert image_type["Value"] == ["DERIVED", "PRIMARY"], "there are always two values"

    def test_planes_and_the_wanted_coding(self) -> None:
        samples = (COLOURS * 640).astype("<u2")
        plane, pixel = image_of(samples, planar=True), image_of(samples)
        assert np.array_equal(shown(plane, stored(plane)), shown(pixel, stored(pixel)))
        coded = stored(plane, "htj2k")
        assert coded.transfer_syntax_uid == "1.2.840.10008.1.2.4.202"
        assert np.array_equal(shown(plane, coded), shown(pixel, stored(pixel)))
        assert not coded.invertible

    def test_smallest_and_largest_values_would_be_wrong(self) -> None:
        instance = image_of((COLOURS * 640).astype("<u2"), SmallestImagePixelValue=0, LargestImagePixelValue=65280)
        assert {"00280106", "00280107"}.isdisjoint(published(instance, stored(instance)))

    def test_compressed_ones_are_decoded(self) -> None:
        samples = (COLOURS * 640).astype("<u2")
        encoded = bytes(imagecodecs.jpeg2k_encode(samples, level=0, codecformat="j2k", mct=True, reversible=True))
        instance = encapsulated(encoded, JPEG2000Lossless, samples, PhotometricInterpretation="YBR_RCT")
        frames = stored(instance)
        assert frames.transfer_syntax_uid == ExplicitVRLittleEndian
        assert published(instance, frames)["00280004"] == "RGB"
        assert np.array_equal(shown(instance, frames), np.rint(samples / 65535 * 255).astype(np.uint8))

    def test_what_cannot_be_decoded_passes_untouched(self) -> None:
        instance = encapsulated(b"\xff\x4f\xff\x51nothing.", JPEG2000Lossless, (COLOURS * 640).astype("<u2"))
        frames = stored(instance)
        assert (frames.transfer_syntax_uid, bytes(frames.frames[0])) == (JPEG2000Lossless, b"\xff\x4f\xff\x51nothing.")
        assert frames.invertible


def encapsulated(payload: bytes, syntax: str, samples: Array, **attributes: Any) -> Instance:
    value = items(payload + bytes(len(payload) % 2))
    return image(value, transfer_syntax=syntax, vr="OB", **described(samples, **attributes))


class TestGrey:
    @pytest.mark.parametrize("content_type", CODINGS)
    def test_signed_bytes_become_words(self, content_type: ContentType) -> None:
        samples = (RAMP - 60).astype("i1")
        instance = image_of(samples)
        frames = stored(instance, content_type)
        attributes = published(instance, frames)
        assert [attributes[f"0028010{last}"] for last in "0123"] == [16, 8, 7, 1]
        assert np.array_equal(shown(instance, frames), samples)
        assert frames.invertible
        assert source_value(instance, frames) == own_value(instance)

    @pytest.mark.parametrize("content_type", CODINGS)
    @pytest.mark.parametrize("size", [(40, 64), (7, 9)])
    def test_bits_become_bytes(self, content_type: ContentType, size: tuple[int, int]) -> None:
        bits = (np.random.default_rng(1).random((3, *size)) < 0.5).astype(np.uint8)
        packed = np.packbits(bits, bitorder="little").tobytes()
        instance = image(
            packed + bytes(len(packed) % 2),
            Rows=size[0],
            Columns=size[1],
            NumberOfFrames=3,
            BitsAllocated=1,
            BitsStored=1,
            HighBit=0,
        )
        frames = stored(instance, content_type)
        attributes = published(instance, frames)
        assert [attributes[f"0028010{last}"] for last in "0123"] == [8, 1, 0, 0]
        assert all(np.array_equal(shown(instance, frames, index), bits[index]) for index in range(3))
        assert frames.invertible
        assert source_value(instance, frames) == packed

    def test_segmentations_stay_packed(self) -> None:
        path = Path(pydicom.data.get_testdata_file("liver_1frame.dcm"))
        instance = read(path)
        assert instance.attributes.text("00080016") == SegmentationStorage
        frames = stored(instance)
        assert published(instance, frames)["00280100"] == 1
        assert len(frames.frames[0]) == 512 * 512 // 8
        assert source_value(instance, frames) == own_value(instance)

    def test_rle_of_32_bits_is_decoded(self) -> None:
        samples = (RAMP * 40_000_000).astype("<u4")
        instance = encapsulated(rle(samples), RLELossless, samples)
        frames = stored(instance)
        assert frames.transfer_syntax_uid == ExplicitVRLittleEndian
        assert np.array_equal(shown(instance, frames), samples)
        assert not frames.invertible
        narrow = (RAMP * 600).astype("<u2")
        assert stored(encapsulated(rle(narrow), RLELossless, narrow)).transfer_syntax_uid == RLELossless


def rle(samples: Array) -> bytes:
    """RLE without a single run: PS3.5 annex G."""
    width = samples.itemsize
    planes = [samples.tobytes()[width - 1 - byte :: width] for byte in range(width)]
    segments = [
        b"".join(bytes((127,)) + plane[start : start + 128] for start in range(0, len(plane), 128)) for plane in planes
    ]
    offsets = np.cumsum([64, *(len(segment) for segment in segments[:-1])])
    return struct.pack("<16I", width, *offsets, *([0] * (15 - width))) + b"".join(segments)


class TestHTJ2K:
    @pytest.mark.parametrize("transformed", [False, True])
    def test_colour_without_transform_is_decoded(self, transformed: bool) -> None:
        samples = COLOURS.astype(np.uint8)
        payload = bytes(imagecodecs.htj2k_encode(samples, reversible=True, rgb=transformed, planar=False))
        instance = encapsulated(payload, HTJ2KLossless, samples)
        frames = stored(instance)
        assert (frames.transfer_syntax_uid == HTJ2KLossless) is transformed
        assert np.array_equal(shown(instance, frames), samples)


class TestCorrections:
    @pytest.mark.parametrize(("keyword", "tag"), [("PixelSpacing", "00280030"), ("ImagerPixelSpacing", "00181164")])
    def test_a_spacing_of_zero_is_not_published(self, keyword: str, tag: str) -> None:
        for value, kept in (([0, 0], False), ([0.5, 0], False), ([0.5, 0.5], True)):
            instance = image_of(RAMP.astype(np.uint16), **{keyword: value})
            assert (tag in published(instance, stored(instance))) is kept
            assert tag in instance.attributes

    @pytest.mark.parametrize("stated", [None, 0, 7])
    def test_native_colour_by_pixel_is_called_so(self, stated: int | None) -> None:
        instance = image_of(COLOURS.astype(np.uint8), PlanarConfiguration=stated)
        frames = stored(instance)
        assert published(instance, frames)["00280006"] == 0
        assert np.array_equal(shown(instance, frames), COLOURS)

    def test_native_planes_are_called_so(self) -> None:
        instance = image_of(COLOURS.astype(np.uint8), planar=True)
        frames = stored(instance)
        assert published(instance, frames)["00280006"] == 1
        assert "00280006" not in frames.changes

    @pytest.mark.parametrize(("interleaved", "planes"), [("plane", 1), ("line", 0), ("sample", 0)])
    def test_jpeg_ls_says_itself_how_colour_is_arranged(self, interleaved: str, planes: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = PYDICOM / "test_files/SC_rgb_jls_lossy_line.dcm"
            data_set = pydicom.dcmread(path)
        payload = by_component(COLOURS.astype(np.uint8)) if planes else first_frame(data_set)
        if interleaved == "sample":
            payload = bytes(imagecodecs.jpegls_encode(COLOURS.astype(np.uint8)))
        samples = COLOURS.astype(np.uint8) if planes or interleaved == "sample" else data_set.pixel_array
        for stated in (0, 1, None):
            instance = encapsulated(payload, JPEGLSLossless, samples, PlanarConfiguration=stated)
            assert published(instance, stored(instance))["00280006"] == planes

    def test_other_codestreams_decode_to_colour_by_pixel(self) -> None:
        samples = COLOURS.astype(np.uint8)
        payload = bytes(imagecodecs.jpeg2k_encode(samples, level=0, codecformat="j2k"))
        instance = encapsulated(payload, JPEG2000Lossless, samples, PlanarConfiguration=1)
        assert published(instance, stored(instance))["00280006"] == 0

    def test_rle_is_arranged_as_the_data_set_says(self) -> None:
        instance = read(PYDICOM / "test_files/SC_rgb_rle.dcm")
        frames = stored(instance)
        assert "00280006" not in frames.changes


def first_frame(data_set: pydicom.Dataset) -> bytes:
    return next(pydicom.encaps.generate_frames(data_set.PixelData, number_of_frames=1))


def by_component(samples: Array) -> bytes:
    """The head of a JPEG-LS codestream of three scans: its start, its frame and its first scan's header."""
    rows, columns = samples.shape[:2]
    frame = struct.pack(">HBHHB", 17, 8, rows, columns, 3) + bytes((1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0))
    return b"\xff\xd8\xff\xf7" + frame + b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 0, 0) + b"\xff\xd9"


def test_attributes_that_agree_are_not_changed() -> None:
    instance = image_of(RAMP.astype(np.uint16))
    frames = stored(instance)
    assert all(orjson.loads(value or b"{}") != instance.attributes.value(tag) for tag, value in frames.changes.items())
