"""Frames are stored losslessly, in a form that viewers show true, and nothing hostile decodes."""

import base64
import io
import random
import struct
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import openjpeg
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut
from pydicom.uid import RLELossless

from staticwado_daemon.dicom import transcode
from staticwado_daemon.dicom.codecs import decode, photometric_interpretation
from staticwado_daemon.dicom.codestreams import jpeg2000_header, jpeg_header
from staticwado_daemon.dicom.content_types import ContentType
from staticwado_daemon.dicom.frames import PixelDescription, big_endian_word, describe, frame_segments
from staticwado_daemon.dicom.native import from_array, to_array
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.proof import NotLossless
from staticwado_daemon.dicom.transcode import StoredFrames, native_value
from staticwado_daemon.dicom.transfer_syntaxes import (
    DEFLATED_IMAGE_FRAME,
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_LS_LOSSLESS,
)
from staticwado_daemon.errors import Corrupt
from tests.corpus import PYDICOM, PYDICOM_DATA
from tests.storing import store
from tests.synthetic import image, image_of, items, read

Array = NDArray[Any]

PYDICOM_FILES = PYDICOM / "test_files"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"

RANDOM = np.random.default_rng(1)
CT = pydicom.dcmread(PYDICOM_DATA / "693_UNCR.dcm").pixel_array
ULTRASOUND = pydicom.dcmread(PYDICOM_DATA / "US1_UNCR.dcm").pixel_array
OVERLAID = pydicom.dcmread(PYDICOM_DATA / "MR-SIEMENS-DICOM-WithOverlays.dcm").pixel_array[:200, :200]

GREY: dict[str, Array] = {
    "signed 16": CT[100:350, 100:355],
    "unsigned 16": (CT[100:350, 100:355].astype(np.int32) + 1024).astype(np.uint16),
    "unsigned 12 in 16": OVERLAID & 0x0FFF,
    "unsigned 12 in 16 with overlays in the upper bits": (OVERLAID & 0x0FFF) | 0xA000,
    "signed 12 in 16": (OVERLAID.astype(np.int16) - 300).clip(-2048, 2047),
    "signed 12 in 16 without sign extension": (OVERLAID.astype(np.int16) - 300) & 0x0FFF,
    "unsigned 8": (CT[100:350, 100:355] >> 4).astype(np.uint8),
    "signed 16, noise of full range": RANDOM.integers(-32768, 32768, (128, 130)).astype(np.int16),
    "unsigned 16, noise of full range": RANDOM.integers(0, 65536, (127, 129)).astype(np.uint16),
    "unsigned 8, noise": RANDOM.integers(0, 256, (77, 101)).astype(np.uint8),
    "extremes": np.array([[-32768, 32767] * 20, [32767, -32768] * 20], np.int16),
    "constant": np.full((64, 64), 7, np.uint16),
    "zero": np.zeros((64, 64), np.uint8),
    "1 x 1": np.array([[4711]], np.uint16),
    "1 x 7": np.arange(7, dtype=np.uint16).reshape(1, 7),
    "7 x 1": np.arange(7, dtype=np.uint8).reshape(7, 1),
    "1 x 1000": RANDOM.integers(0, 65536, (1, 1000)).astype(np.uint16),
    "1000 x 1": RANDOM.integers(-32768, 32768, (1000, 1)).astype(np.int16),
    "odd": RANDOM.integers(0, 4096, (33, 65)).astype(np.uint16),
}
COLOR: dict[str, Array] = {
    "ultrasound": ULTRASOUND[:240, :320],
    "noise, odd": RANDOM.integers(0, 256, (63, 65, 3)).astype(np.uint8),
    "77 x 101": ULTRASOUND[:77, :101],
    "1 x 1": np.array([[[1, 2, 3]]], np.uint8),
    "constant": np.full((16, 16, 3), (9, 200, 77), np.uint8),
}
LABELS = {"htj2k": HTJ2K_LOSSLESS_RPCL, "jls": JPEG_LS_LOSSLESS, "none": EXPLICIT_VR_LITTLE_ENDIAN}


def decoded(instance: Instance, stored: StoredFrames) -> list[Array]:
    return [decode(payload, stored.transfer_syntax_uid, describe(instance)) for payload in stored.frames]


def published(instance: Instance, stored: StoredFrames) -> dict[str, Any]:
    """The Image Pixel attributes as a viewer gets them; an absent one is None."""
    attributes = instance.attributes.with_changes(stored.changes)
    tags = {"pi": "00280004", "pc": "00280006", "stored": "00280101", "sign": "00280103"}
    return {name: attributes.text(tag) or None for name, tag in tags.items()}


def pixel_data(instance: Instance) -> bytes:
    found = instance.pixel_data
    assert found is not None
    assert found.length is not None
    return bytes(instance.buffer[found.offset : found.offset + found.length])


def assert_restored(instance: Instance, stored: StoredFrames) -> None:
    description = describe(instance)
    word = big_endian_word(instance, description)
    rebuilt = b"".join(native_value(stored.frames, stored.transfer_syntax_uid, description, word=word))
    original = pixel_data(instance)
    assert original.rstrip(b"\0") == rebuilt.rstrip(b"\0")
    assert len(original) - len(rebuilt) in {0, 1}


class TestLosslessness:
    @pytest.mark.parametrize("content_type", LABELS)
    @pytest.mark.parametrize("kind", GREY)
    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    def test_of_grey_frames(self, kind: str, content_type: ContentType, photometric: str) -> None:
        instance = image_of(GREY[kind], PhotometricInterpretation=photometric)
        stored = store(instance, content_type)
        assert stored.transfer_syntax_uid == LABELS[content_type]
        assert stored.kept_because == ""
        (frame,) = decoded(instance, stored)
        assert frame.dtype == GREY[kind].dtype
        assert np.array_equal(frame, GREY[kind])
        assert_restored(instance, stored)

    @pytest.mark.parametrize("content_type", LABELS)
    @pytest.mark.parametrize("planar", [False, True], ids=["pixels", "planes"])
    @pytest.mark.parametrize("kind", COLOR)
    def test_of_colour_frames(self, kind: str, content_type: ContentType, planar: bool) -> None:
        instance = image_of(COLOR[kind], planar=planar)
        stored = store(instance, content_type)
        assert stored.transfer_syntax_uid == LABELS[content_type]
        (frame,) = decoded(instance, stored)
        assert np.array_equal(frame, COLOR[kind])
        assert_restored(instance, stored)

    @pytest.mark.parametrize("content_type", LABELS)
    @pytest.mark.parametrize("name", ["MR_small_bigendian", "ExplVR_BigEnd", "SC_rgb_small_odd_big_endian"])
    def test_of_big_endian_files(self, name: str, content_type: ContentType) -> None:
        instance = read(PYDICOM_FILES / f"{name}.dcm")
        stored = store(instance, content_type)
        assert stored.transfer_syntax_uid == LABELS[content_type]
        assert_restored(instance, stored)

    @pytest.mark.parametrize("content_type", LABELS)
    def test_of_many_frames(self, content_type: ContentType) -> None:
        frames = np.stack([np.roll(GREY["signed 16"], shift, 0) for shift in range(4)])
        instance = image_of(frames, NumberOfFrames=4)
        stored = store(instance, content_type)
        assert len(stored.frames) == 4
        assert np.array_equal(np.stack(decoded(instance, stored)), frames)
        assert_restored(instance, stored)

    @pytest.mark.parametrize("kind", GREY)
    def test_is_confirmed_by_a_second_decoder(self, kind: str) -> None:
        (payload,) = store(image_of(GREY[kind]), "htj2k").frames
        assert np.array_equal(openjpeg.decode(io.BytesIO(payload)), GREY[kind])

    @pytest.mark.parametrize("kind", COLOR)
    def test_of_colour_is_confirmed_by_a_second_decoder(self, kind: str) -> None:
        (payload,) = store(image_of(COLOR[kind]), "htj2k").frames
        assert np.array_equal(openjpeg.decode(io.BytesIO(payload)), COLOR[kind])

    def test_pays(self) -> None:
        for content_type in ("htj2k", "jls"):
            (payload,) = store(image_of(CT), content_type).frames
            assert len(payload) < 0.25 * CT.nbytes


class TestWhatViewersShow:
    """One test for each row of the experiment with OHIF that concerns writing."""

    @pytest.mark.parametrize("content_type", LABELS)
    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    @pytest.mark.parametrize(("dtype", "bits"), [("i2", 14), ("i2", 16), ("u2", 10), ("u2", 12), ("u2", 15), ("u1", 8)])
    def test_grey_keeps_its_labels(self, content_type: ContentType, photometric: str, dtype: str, bits: int) -> None:
        samples = (RANDOM.integers(0, 1 << bits, (20, 30)) - (1 << (bits - 1) if dtype == "i2" else 0)).astype(dtype)
        instance = image_of(samples, PhotometricInterpretation=photometric, BitsStored=bits, HighBit=bits - 1)
        stored = store(instance, content_type)
        assert stored.changes == {}
        assert stored.transfer_syntax_uid == LABELS[content_type]
        assert np.array_equal(decoded(instance, stored)[0], samples)

    @pytest.mark.parametrize(("kind", "signed"), [("signed 16", True), ("unsigned 16", False), ("unsigned 8", False)])
    def test_the_sign_of_an_htj2k_codestream_is_that_of_the_data(self, kind: str, signed: bool) -> None:
        (payload,) = store(image_of(GREY[kind]), "htj2k").frames
        header = jpeg2000_header(payload)
        assert header.signed == signed
        assert header.precision == 8 * GREY[kind].itemsize

    def test_signed_jpeg_ls_is_coded_in_whole_words(self) -> None:
        instance = image_of(GREY["signed 16"] >> 4, BitsStored=12, HighBit=11)
        (payload,) = store(instance, "jls").frames
        assert jpeg_header(payload).precision == 16

    @pytest.mark.parametrize("content_type", ["htj2k", "jls"])
    def test_samples_with_more_than_their_sign_above_bits_stored_stay_native(self, content_type: ContentType) -> None:
        for samples in (GREY["signed 16"] & 0x0FFF, GREY["unsigned 16"] | 0x1000):
            stored = store(image_of(samples, BitsStored=12, HighBit=11), content_type)
            assert stored.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
            assert stored.kept_because == "bits above Bits Stored are in use"

    @pytest.mark.parametrize("planar", [False, True])
    def test_rgb_in_htj2k_is_transformed_and_says_so(self, planar: bool) -> None:
        instance = image_of(COLOR["ultrasound"], planar=planar)
        stored = store(instance, "htj2k")
        labels = published(instance, stored)
        assert (labels["pi"], labels["pc"]) == ("YBR_RCT", "0")
        assert multi_component_transform(stored.frames[0]) == 1

    @pytest.mark.parametrize("planar", [False, True])
    def test_rgb_in_jpeg_ls_is_interleaved_by_sample(self, planar: bool) -> None:
        instance = image_of(COLOR["ultrasound"], planar=planar)
        stored = store(instance, "jls")
        labels = published(instance, stored)
        assert (labels["pi"], labels["pc"]) == ("RGB", "0")
        assert interleave_mode(stored.frames[0]) == 2

    @pytest.mark.parametrize("planar", [False, True])
    def test_native_rgb_stays_as_labelled(self, planar: bool) -> None:
        instance = image_of(COLOR["ultrasound"], planar=planar)
        stored = store(instance, "none")
        assert stored.changes == {}
        assert bytes(stored.frames[0]) == pixel_data(instance)

    def test_ybr_full_stays_native_beside_htj2k(self) -> None:
        instance = image_of(COLOR["77 x 101"], planar=True, PhotometricInterpretation="YBR_FULL")
        stored = store(instance, "htj2k")
        assert stored.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
        labels = published(instance, stored)
        assert (labels["pi"], labels["pc"]) == ("YBR_FULL", "1")

    @pytest.mark.parametrize("planar", [False, True])
    def test_ybr_full_may_become_jpeg_ls(self, planar: bool) -> None:
        instance = image_of(COLOR["77 x 101"], planar=planar, PhotometricInterpretation="YBR_FULL")
        stored = store(instance, "jls")
        assert stored.transfer_syntax_uid == JPEG_LS_LOSSLESS
        labels = published(instance, stored)
        assert (labels["pi"], labels["pc"]) == ("YBR_FULL", "0")
        assert interleave_mode(stored.frames[0]) == 2

    @pytest.mark.parametrize("content_type", LABELS)
    @pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
    def test_colour_always_says_how_it_is_arranged(self, content_type: ContentType, photometric: str) -> None:
        instance = image_of(COLOR["77 x 101"], PhotometricInterpretation=photometric, PlanarConfiguration=None)
        assert published(instance, store(instance, content_type))["pc"] == "0"

    @pytest.mark.parametrize("content_type", LABELS)
    def test_data_that_is_not_subsampled_is_not_said_to_be(self, content_type: ContentType) -> None:
        instance = image_of(COLOR["77 x 101"], PhotometricInterpretation="YBR_FULL_422")
        stored = store(instance, content_type)
        assert published(instance, stored)["pi"] == "YBR_FULL"
        assert np.array_equal(decoded(instance, stored)[0], COLOR["77 x 101"])

    @pytest.mark.parametrize("content_type", ["htj2k", "jls"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_palette_colour_is_one_component_with_its_tables(
        self, content_type: ContentType, dtype: type[np.generic]
    ) -> None:
        tables = {
            f"{color}PaletteColorLookupTable{part}": value
            for color in ("Red", "Green", "Blue")
            for part, value in (("Descriptor", [256, 0, 16]), ("Data", np.arange(256, dtype="<u2").tobytes()))
        }
        samples = RANDOM.integers(0, 256, (40, 50)).astype(dtype)
        instance = image_of(samples, PhotometricInterpretation="PALETTE COLOR", **tables)
        stored = store(instance, content_type)
        assert stored.transfer_syntax_uid == LABELS[content_type]
        assert stored.changes == {}
        assert np.array_equal(decoded(instance, stored)[0], samples)

    @pytest.mark.parametrize("content_type", LABELS)
    def test_segmented_palettes_become_plain(self, content_type: ContentType) -> None:
        path = PYDICOM_DATA / "gdcm-US-ALOKA-16.dcm"
        instance = read(path)
        stored = store(instance, content_type)
        assert stored.transfer_syntax_uid == LABELS[content_type]
        attributes = instance.attributes.with_changes(stored.changes)
        tables = [attributes.value(tag) for tag in ("00281201", "00281202", "00281203")]
        plain = np.stack([np.frombuffer(base64.b64decode(table["InlineBinary"]), "<u2") for table in tables], axis=-1)
        data_set = pydicom.dcmread(path)
        assert np.array_equal(plain[data_set.pixel_array], apply_color_lut(data_set.pixel_array, data_set))
        assert {table["vr"] for table in tables} == {"OW"}
        assert not {"00281221", "00281222", "00281223"} & set(attributes)

    @pytest.mark.parametrize("content_type", LABELS)
    def test_a_malformed_segmented_palette_is_left_alone(self, content_type: ContentType) -> None:
        tables: dict[str, Any] = {}
        for color in ("Red", "Green", "Blue"):
            tables[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            tables[f"Segmented{color}PaletteColorLookupTableData"] = struct.pack("<4H", 9, 9, 9, 9)
        instance = image_of(GREY["unsigned 8"], PhotometricInterpretation="PALETTE COLOR", **tables)
        assert store(instance, content_type).changes == {}

    @pytest.mark.parametrize("planar", [False, True])
    @pytest.mark.parametrize("colour", [False, True])
    def test_odd_frames_have_no_padding(self, planar: bool, colour: bool) -> None:
        samples = COLOR["77 x 101"] if colour else COLOR["77 x 101"][..., 0]
        instance = image_of(samples, planar=planar and colour)
        assert len(pixel_data(instance)) == samples.nbytes + 1
        (payload,) = store(instance, "none").frames
        assert len(payload) == samples.nbytes

    @pytest.mark.parametrize("kind", GREY)
    def test_htj2k_is_rpcl_with_tlm_and_small_lowest_resolution(self, kind: str) -> None:
        (payload,) = store(image_of(GREY[kind]), "htj2k").frames
        assert_rpcl(bytes(payload))

    @pytest.mark.parametrize("size", [64, 65, 128, 2049, 4096])
    def test_htj2k_of_large_frames_has_enough_resolutions(self, size: int) -> None:
        (payload,) = store(image_of(np.tile(np.arange(size, dtype=np.uint16), (3, 1))), "htj2k").frames
        assert_rpcl(bytes(payload))
        header = jpeg2000_header(payload)
        assert -(-size // (1 << header.decompositions)) <= 64

    @pytest.mark.parametrize("content_type", ["htj2k", "jls"])
    @pytest.mark.parametrize(
        "attributes",
        [
            {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "Rows": 1},
            {"PhotometricInterpretation": "RGB"},
            {"PhotometricInterpretation": "HSV", "SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "Rows": 1},
            {"PhotometricInterpretation": "CMYK", "SamplesPerPixel": 4, "BitsAllocated": 8, "BitsStored": 8, "Rows": 1},
            {"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11},
        ],
    )
    def test_what_was_never_seen_right_stays_native(
        self, content_type: ContentType, attributes: dict[str, Any]
    ) -> None:
        instance = image(bytes(range(8)), **attributes)
        stored = store(instance, content_type)
        assert stored.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
        assert stored.kept_because
        assert stored.gzip

    @pytest.mark.parametrize("content_type", ["htj2k", "jls"])
    def test_float_pixel_data_stays_native(self, content_type: ContentType) -> None:
        numbers = np.array([[1.5, -2.25], [np.inf, 1e-30]], "<f4")
        absent = dict.fromkeys(("BitsStored", "HighBit", "PixelRepresentation"))
        instance = image(numbers.tobytes(), keyword="FloatPixelData", vr="OF", **{"BitsAllocated": 32, **absent})
        stored = store(instance, content_type)
        assert stored.kept_because == "floating-point samples have no codec"
        assert np.array_equal(decoded(instance, stored)[0], numbers)


class TestDecision:
    def test_a_frame_that_decodes_to_something_else_leaves_all_frames_native(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames = np.stack([GREY["unsigned 8"]] * 4)
        instance = image_of(frames, NumberOfFrames=4)
        encoder = CountingEncoder(lambda frame, call: frame ^ (call == 2))
        monkeypatch.setattr(imagecodecs, "htj2k_encode", encoder)
        stored = store(instance, "htj2k")
        assert encoder.calls == 3
        assert stored.kept_because == "the encoded frame decodes to something else"
        assert stored.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
        assert stored.changes == {}
        assert np.array_equal(np.stack(decoded(instance, stored)), frames)

    @pytest.mark.parametrize("content_type", ["htj2k", "jls"])
    def test_a_codec_error_leaves_all_frames_native(
        self, monkeypatch: pytest.MonkeyPatch, content_type: ContentType
    ) -> None:
        def fail(*_: object, **__: object) -> bytes:
            raise RuntimeError("no")

        monkeypatch.setattr(imagecodecs, {"htj2k": "htj2k_encode", "jls": "jpegls_encode"}[content_type], fail)
        instance = image_of(COLOR["ultrasound"], planar=True)
        stored = store(instance, content_type)
        assert stored.kept_because == "the frame can't be encoded"
        assert stored.changes == {}
        assert bytes(stored.frames[0]) == pixel_data(instance)

    def test_frames_are_made_when_they_are_asked_for_and_until_one_does_not_come_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = image_of(np.stack([GREY["unsigned 8"]] * 4), NumberOfFrames=4)
        encoder = CountingEncoder(lambda frame, call: frame ^ (call == 2))
        monkeypatch.setattr(imagecodecs, "htj2k_encode", encoder)
        description = describe(instance)
        frames = iter(transcode.store(instance, description, frame_segments(instance, description), "htj2k").frames)
        assert encoder.calls == 0
        first = next(frames)
        assert encoder.calls == 1
        assert np.array_equal(decode(first, HTJ2K_LOSSLESS_RPCL, description), GREY["unsigned 8"])
        next(frames)
        with pytest.raises(NotLossless, match="decodes to something else"):
            next(frames)

    def test_compressed_frames_pass_whatever_is_asked_for(self) -> None:
        fragments = (b"\xff\xd8\xff\xe0", b"abcd", b"ef")
        instance = image(items(*fragments), transfer_syntax=JPEG_BASELINE, vr="OB")
        stored = store(instance, "htj2k")
        assert [bytes(frame) for frame in stored.frames] == [b"\xff\xd8\xff\xe0abcdef"]
        assert (stored.transfer_syntax_uid, stored.gzip, stored.changes) == (JPEG_BASELINE, False, {})

    def test_frames_can_be_asked_for_one_by_one(self) -> None:
        instance = image_of(np.stack([GREY["odd"]] * 3), NumberOfFrames=3)
        frames = store(instance, "none").frames
        assert len(frames) == 3
        assert bytes(frames[2]) == GREY["odd"].tobytes()
        with pytest.raises(IndexError):
            frames[3]
        with pytest.raises(IndexError):
            frames[-1]


class TestDecode:
    def test_jpeg_ls_takes_its_sign_from_the_data_set(self) -> None:
        samples = np.array([[-2048, 2047], [-1, 0]], np.int16)
        codestream = bytearray(imagecodecs.jpegls_encode(samples.view(np.uint16) & 0x0FFF, out=4096))
        start = codestream.index(b"\xff\xf7") + 4
        description = describe(image_of(samples, BitsStored=12, HighBit=11))
        sixteen = decode(bytes(codestream), JPEG_LS_LOSSLESS, description)
        assert codestream[start] == 16
        assert np.array_equal(sixteen, samples & 0x0FFF)

    def test_jpeg_of_8_bits_fills_wider_cells(self) -> None:
        samples = GREY["unsigned 8"]
        payload = imagecodecs.ljpeg_encode(samples)
        description = describe(image_of(samples.astype(np.uint16)))
        frame = decode(payload, JPEG_LOSSLESS, description)
        assert frame.dtype == np.uint16
        assert np.array_equal(frame, samples)

    @pytest.mark.parametrize("precision", [12, 13])
    @pytest.mark.parametrize("in_stream", [False, True])
    @pytest.mark.parametrize("in_data_set", [False, True])
    def test_jpeg_2000_of_the_wrong_sign_is_read_as_the_data_set_says(
        self, precision: int, in_stream: bool, in_data_set: bool
    ) -> None:
        low = -(1 << (precision - 1)) if in_stream else 0
        samples = RANDOM.integers(low, low + (1 << precision), (20, 30))
        payload = imagecodecs.jpeg2k_encode(
            samples.astype("i2" if in_stream else "u2"),
            level=0,
            reversible=True,
            codecformat="j2k",
            bitspersample=precision,
        )
        assert jpeg2000_header(payload).precision == precision
        description = describe(image_of(np.zeros((20, 30), "i2" if in_data_set else "u2"), BitsStored=precision))
        wrapped = samples & ((1 << precision) - 1)
        top = 1 << (precision - 1)
        expected = np.where(wrapped >= top, wrapped - 2 * top, wrapped) if in_data_set else wrapped
        assert np.array_equal(decode(payload, JPEG_2000, description), expected)

    @pytest.mark.parametrize(("halvings", "size"), [(0, 250), (1, 125), (2, 63), (99, 8)])
    def test_htj2k_decodes_at_lower_resolutions(self, halvings: int, size: int) -> None:
        instance = image_of(GREY["signed 16"])
        (payload,) = store(instance, "htj2k").frames
        frame = decode(payload, HTJ2K_LOSSLESS_RPCL, describe(instance), halvings=halvings)
        assert frame.shape[0] == size
        assert abs(float(frame.mean()) - float(GREY["signed 16"].mean())) < 100

    def test_only_htj2k_has_lower_resolutions(self) -> None:
        instance = image_of(GREY["signed 16"])
        for content_type in ("jls", "none"):
            payload = store(instance, content_type).frames[0]
            frame = decode(payload, LABELS[content_type], describe(instance), halvings=2)
            assert np.array_equal(frame, GREY["signed 16"])

    def test_deflated_frames(self) -> None:
        samples = GREY["unsigned 12 in 16"]
        deflate = zlib.compressobj(wbits=-15)
        payload = deflate.compress(samples.tobytes()) + deflate.flush()
        assert np.array_equal(decode(payload, DEFLATED_IMAGE_FRAME, describe(image_of(samples))), samples)
        with pytest.raises(Corrupt):
            decode(b"\xff" + payload, DEFLATED_IMAGE_FRAME, describe(image_of(samples)))

    def test_a_syntax_without_a_decoder_is_named(self) -> None:
        with pytest.raises(Corrupt, match=r"no decoder for transfer syntax 1\.2\.3"):
            decode(b"abcd", "1.2.3", describe(image_of(GREY["1 x 1"])))

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("SC_rgb_dcmtk_+eb+cr.dcm", "RGB"),  # Adobe: no transform
            ("SC_rgb_jpeg_app14_dcmd.dcm", "RGB"),
            ("SC_jpeg_no_color_transform.dcm", "RGB"),  # says nothing, nor does its data set lie
            ("SC_rgb_jpeg.dcm", "YBR_FULL"),  # JFIF, though its data set says RGB
            ("SC_rgb_dcmtk_+eb+cy+s2.dcm", "YBR_FULL"),
            ("examples_ybr_color.dcm", "YBR_FULL"),
            ("SC_rgb_jls_lossy_line.dcm", "RGB"),
            ("GDCMJ2K_TextGBR.dcm", "RGB"),  # YBR_RCT, which the decoder undoes
            ("MR_small_RLE.dcm", "MONOCHROME2"),
        ],
    )
    def test_what_decoded_samples_are(self, name: str, expected: str) -> None:
        instance = read(PYDICOM_FILES / name)
        payload = store(instance, "none").frames[0]
        found = photometric_interpretation(payload, instance.transfer_syntax_uid, describe(instance))
        assert found.removesuffix("_422") == expected

    def test_component_names_tell_the_colour_space(self) -> None:
        plain = imagecodecs.jpeg8_encode(COLOR["ultrasound"], level=90, colorspace="RGB", outcolorspace="RGB")
        assert jpeg_header(plain).color_space == "RGB"


class TestHostileFrames:
    @pytest.mark.parametrize("rows_and_columns", [(65535, 65535), (250, 65535), (0, 255), (250, 254)])
    @pytest.mark.parametrize("content_type", ["htj2k", "jls"])
    def test_other_dimensions_than_the_data_set_are_refused_before_decoding(
        self, content_type: ContentType, rows_and_columns: tuple[int, int]
    ) -> None:
        instance = image_of(GREY["signed 16"])
        payload = bytearray(store(instance, content_type).frames[0])
        rows, columns = rows_and_columns
        if content_type == "jls":
            struct.pack_into(">HH", payload, payload.index(b"\xff\xf7") + 5, rows, columns)
        else:
            struct.pack_into(">II", payload, 8, columns, rows)
            struct.pack_into(">II", payload, 24, columns, rows)
        with pytest.raises(Corrupt):
            decode(bytes(payload), LABELS[content_type], describe(instance))

    def test_a_frame_beyond_memory_is_refused(self) -> None:
        description = replace(describe(image_of(GREY["1 x 1"])), rows=65535, columns=65535)
        for uid in (HTJ2K_LOSSLESS_RPCL, RLELossless, DEFLATED_IMAGE_FRAME):
            with pytest.raises(Corrupt, match="too large"):
                decode(bytes(100), uid, description)

    def test_samples_wider_than_their_cells_are_refused(self) -> None:
        (payload,) = store(image_of(GREY["unsigned 16"]), "htj2k").frames
        description = describe(image_of(GREY["unsigned 8"]))
        with pytest.raises(Corrupt, match="16 bits, more than Bits Allocated"):
            decode(payload, HTJ2K_LOSSLESS_RPCL, description)

    @pytest.mark.parametrize("offset", [24, 28, 32, 36])
    @pytest.mark.parametrize("value", [0, 1, 80, 0xFFFFFFFF])
    def test_an_impossible_tile_grid_is_refused_at_once(self, offset: int, value: int) -> None:
        instance = image_of(GREY["signed 16"])
        payload = bytearray(store(instance, "htj2k").frames[0])
        if struct.unpack_from(">I", payload, offset)[0] == value:
            return
        struct.pack_into(">I", payload, offset, value)
        began = time.process_time()
        with pytest.raises(Corrupt):
            decode(bytes(payload), HTJ2K_LOSSLESS_RPCL, describe(instance))
        assert time.process_time() - began < 1

    def test_rle_cannot_yield_more_than_the_frame(self) -> None:
        bomb = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\xff" * 10_000
        description = describe(image_of(GREY["unsigned 8, noise"]))
        frame_or_error: list[object] = []
        try:
            frame_or_error.append(decode(bomb, RLELossless, description).shape)
        except Corrupt as error:
            frame_or_error.append(error)
        assert frame_or_error[0] == (77, 101) or isinstance(frame_or_error[0], Corrupt)

    @pytest.mark.parametrize("payload", [b"", b"\0", b"\xff", b"\xff\xd8", b"\xff\x4f\xff\x51", b"DICM" * 50])
    @pytest.mark.parametrize("uid", [JPEG_BASELINE, JPEG_LS_LOSSLESS, JPEG_2000, HTJ2K_LOSSLESS_RPCL, RLELossless])
    def test_what_is_no_codestream_is_refused(self, payload: bytes, uid: str) -> None:
        with pytest.raises(Corrupt):
            decode(payload, uid, describe(image_of(GREY["unsigned 8"])))

    @pytest.mark.parametrize("content_type", ["htj2k", "jls"])
    @pytest.mark.parametrize("seed", range(4))
    def test_damage_ends_in_a_frame_or_in_an_error_soon(self, content_type: ContentType, seed: int) -> None:
        instance = image_of(GREY["odd"])
        description = describe(instance)
        payload = bytes(store(instance, content_type).frames[0])
        chance = random.Random(seed)
        began = time.process_time()
        for _ in range(50):
            try:
                frame = decode(damaged(payload, chance), LABELS[content_type], description)
            except Corrupt:
                continue
            assert frame.shape == GREY["odd"].shape
        assert time.process_time() - began < 5

    def test_damage_that_the_codec_cannot_raise_is_an_error_all_the_same(self) -> None:
        instance = image_of(GREY["signed 16"])
        payload = bytearray(store(instance, "htj2k").frames[0])
        struct.pack_into(">I", payload, 24, 80)  # tiles of 80 columns, which the data doesn't have
        with pytest.raises(Corrupt, match="can't be decoded as HTJ2K"):
            decode(bytes(payload), HTJ2K_LOSSLESS_RPCL, describe(instance))
        assert sys.unraisablehook.__module__ != "staticwado_daemon.dicom.codecs"

    def test_memory_that_runs_out_is_an_error_of_the_frame(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> bytes:
            raise MemoryError

        instance = image_of(GREY["signed 16"])
        payload = store(instance, "htj2k").frames[0]
        monkeypatch.setattr(imagecodecs, "htj2k_decode", fail)
        with pytest.raises(Corrupt):
            decode(payload, HTJ2K_LOSSLESS_RPCL, describe(instance))

    def test_a_jpeg_ls_frame_without_its_end_does_not_hang(self) -> None:
        instance = image_of(GREY["unsigned 16, noise of full range"])
        (payload,) = store(instance, "jls").frames
        began = time.process_time()
        with pytest.raises(Corrupt):
            decode(payload[: len(payload) // 2], JPEG_LS_LOSSLESS, describe(instance))
        assert time.process_time() - began < 1

    def test_an_endless_jpeg_header_ends(self) -> None:
        with pytest.raises(Corrupt):
            jpeg_header(b"\xff\xd8" + b"\xff" * 10_000)
        with pytest.raises(Corrupt):
            jpeg_header(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 10)


class TestNativeArrays:
    @pytest.mark.parametrize("kind", [*GREY])
    def test_of_grey_are_views(self, kind: str) -> None:
        payload = GREY[kind].tobytes()
        array = to_array(payload, describe(image_of(GREY[kind])))
        assert np.array_equal(array, GREY[kind])
        assert not array.flags.owndata
        assert from_array(array, describe(image_of(GREY[kind]))) == payload

    def test_of_planes_are_interleaved_and_go_back(self) -> None:
        description = describe(image_of(COLOR["77 x 101"], planar=True))
        planes = np.moveaxis(COLOR["77 x 101"], -1, 0).tobytes()
        assert np.array_equal(to_array(planes, description), COLOR["77 x 101"])
        assert from_array(COLOR["77 x 101"], description) == planes

    def test_of_the_wrong_length_are_refused(self) -> None:
        with pytest.raises(Corrupt, match="has 9 bytes, not 8"):
            to_array(bytes(9), describe(image(bytes(8))))

    def test_of_odd_subsampled_rows_are_refused(self) -> None:
        attributes = {"SamplesPerPixel": 3, "BitsAllocated": 8, "PhotometricInterpretation": "YBR_FULL_422"}
        description: PixelDescription = describe(image(bytes(6), Rows=1, Columns=3, **attributes))
        with pytest.raises(Corrupt, match="odd width"):
            to_array(bytes(6), description)


class CountingEncoder:
    """The real HTJ2K encoder, fed with a frame that may have been tampered with."""

    def __init__(self, tamper: Callable[[Array, int], Array]) -> None:
        self.calls = 0
        self._tamper = tamper
        self._encode = imagecodecs.htj2k_encode

    def __call__(self, frame: Array, **options: Any) -> bytes:
        self.calls += 1
        return bytes(self._encode(self._tamper(frame, self.calls - 1), **options))


def damaged(payload: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return payload[: chance.randrange(len(payload))]
    changed = bytearray(payload)
    for _ in range(chance.choice((1, 2, 10))):
        changed[chance.randrange(len(changed) if chance.random() < 0.5 else 100)] = chance.randrange(256)
    return bytes(changed)


def coding_style(payload: bytes) -> tuple[int, int, int]:
    """Progression order, multi-component transform and decompositions of a JPEG 2000 codestream."""
    start = bytes(payload).index(b"\xff\x52")
    return payload[start + 5], payload[start + 8], payload[start + 9]


def multi_component_transform(payload: Any) -> int:
    return coding_style(bytes(payload))[1]


def assert_rpcl(payload: bytes) -> None:
    assert coding_style(payload)[0] == 2
    assert b"\xff\x55" in payload[: payload.index(b"\xff\x90")]
    header = jpeg2000_header(payload)
    assert max(header.rows, header.columns) <= 64 << header.decompositions


def interleave_mode(payload: Any) -> int:
    """Also proves that the codestream begins with its frame header, without SPIFF in between."""
    codestream = bytes(payload)
    assert codestream[:4] == b"\xff\xd8\xff\xf7"
    scan = codestream.index(b"\xff\xda")
    components = codestream[scan + 4]
    near, mode = codestream[scan + 5 + 2 * components], codestream[scan + 6 + 2 * components]
    assert near == 0
    return mode
