"""Which bytes of a file are which frame."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import (
    MPEG4HP41,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from staticwado_daemon.dicom import fragments, part10
from staticwado_daemon.dicom.frames import (
    MAXIMUM_FRAMES,
    FrameSegments,
    PixelDescription,
    big_endian_word,
    describe,
    frame_segments,
)
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transcode import native_value, source_frames
from staticwado_daemon.dicom.transfer_syntaxes import (
    ENCAPSULATED_UNCOMPRESSED,
    IMPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)
from staticwado_daemon.errors import Incomplete, Rejected
from tests.corpus import PYDICOM, images
from tests.synthetic import bulk_uri, image, items, read

JPEG_START = b"\xff\xd8\xff\xe0"
J2K_START = b"\xff\x4f\xff\x51"
RLE_START = struct.pack("<2I", 1, 64) + bytes(56)
END = b"\xff\xd9"


def contents(instance: Instance, segments: Sequence[FrameSegments]) -> list[list[bytes]]:
    return [[bytes(instance.buffer[offset : offset + length]) for offset, length in frame] for frame in segments]


def frames_of(instance: Instance) -> list[bytes]:
    description = describe(instance)
    return [bytes(frame) for frame in source_frames(instance, description, frame_segments(instance, description))]


def encapsulated(*parts: bytes, frames: int, table: tuple[int, ...] = (), **attributes: Any) -> Instance:
    attributes = {"transfer_syntax": JPEGBaseline8Bit, "vr": "OB", "NumberOfFrames": frames, **attributes}
    return image(items(*parts, table=table), **attributes)


def uncompressed(*parts: bytes, frames: int, table: tuple[int, ...] = ()) -> Instance:
    attributes = {"Rows": 3, "Columns": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    instance = encapsulated(*parts, frames=frames, table=table, **attributes)
    return replace(instance, transfer_syntax_uid=ENCAPSULATED_UNCOMPRESSED)  # pydicom can't write it


def grouped(instance: Instance) -> list[list[bytes]]:
    return contents(instance, frame_segments(instance, describe(instance)))


class TestDescription:
    def test_reads_every_attribute(self) -> None:
        instance = image(
            bytes(2 * 3 * 3 * 5 * 2),
            Rows=3,
            Columns=5,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=1,
            BitsStored=12,
            HighBit=13,
            PixelRepresentation=1,
            NumberOfFrames=2,
        )
        assert PixelDescription.of(instance.attributes) == PixelDescription(3, 5, 3, 16, 12, 13, 1, "RGB", 1, 2)

    @pytest.mark.parametrize(
        ("attribute", "value", "name"),
        [
            ("Rows", None, r"Rows \(0028,0010\) is missing"),
            ("Rows", 0, "Rows .* is 0"),
            ("Columns", None, r"Columns \(0028,0011\) is missing"),
            ("Columns", 0, "Columns"),
            ("BitsAllocated", None, r"Bits Allocated \(0028,0100\) is missing"),
            ("BitsAllocated", 65, "Bits Allocated .* is 65"),
            ("SamplesPerPixel", 5, r"Samples per Pixel \(0028,0002\) is 5"),
            ("NumberOfFrames", -1, r"Number of Frames \(0028,0008\) is -1"),
            ("NumberOfFrames", MAXIMUM_FRAMES + 1, "Number of Frames"),
        ],
    )
    def test_rejects_what_framing_cannot_do_without_by_name(self, attribute: str, value: int | None, name: str) -> None:
        with pytest.raises(Rejected, match=name):
            describe(image(bytes(8), **{attribute: value}))

    def test_rejects_a_number_of_frames_that_is_none(self) -> None:
        with pytest.raises(Rejected, match=r"Number of Frames \(0028,0008\) is no whole number"):
            describe(read(PYDICOM / "test_files/badVR.dcm"))

    def test_rejects_an_instance_without_pixel_data(self) -> None:
        with pytest.raises(Rejected, match="no pixel data"):
            describe(read(PYDICOM / "test_files/test-SR.dcm"))

    @pytest.mark.parametrize("count", [None, 0])
    def test_no_number_of_frames_is_one_frame(self, count: int | None) -> None:
        assert describe(image(bytes(8), NumberOfFrames=count)).number_of_frames == 1

    def test_nonsense_beside_the_point_costs_nothing(self) -> None:
        description = describe(image(bytes(8), BitsStored=17, HighBit=40, PixelRepresentation=None))
        assert (description.bits_stored, description.high_bit, description.pixel_representation) == (16, 15, 0)

    def test_a_missing_photometric_interpretation_is_the_usual_one(self) -> None:
        grey = describe(image(bytes(8), PhotometricInterpretation=None))
        colour = describe(image(bytes(24), PhotometricInterpretation=None, SamplesPerPixel=3))
        assert (grey.photometric_interpretation, colour.photometric_interpretation) == ("MONOCHROME2", "RGB")

    @pytest.mark.parametrize(
        ("keyword", "vr", "bits"), [("FloatPixelData", "OF", 32), ("DoubleFloatPixelData", "OD", 64)]
    )
    def test_float_pixel_data_is_as_wide_as_its_tag_says(self, keyword: str, vr: str, bits: int) -> None:
        pixels = bytes(4 * bits // 8)
        description = describe(image(pixels, keyword=keyword, vr=vr, BitsAllocated=16, BitsStored=None, HighBit=None))
        assert description.floating
        assert description.frame_length == len(pixels)

    def test_subsampled_colour_has_two_bytes_per_pixel(self) -> None:
        description = describe(read(PYDICOM / "test_files/SC_ybr_full_422_uncompressed.dcm"))
        assert description.is_subsampled
        assert description.frame_length == 100 * 100 * 2

    def test_data_with_all_samples_is_not_subsampled_whatever_it_says(self) -> None:
        pixels = bytes(range(24))
        attributes = {"SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "NumberOfFrames": 2}
        instance = image(pixels, PhotometricInterpretation="YBR_FULL_422", vr="OB", **attributes)
        assert describe(instance).photometric_interpretation == "YBR_FULL"
        assert frames_of(instance) == [pixels[:12], pixels[12:]]


class TestNativeFrames:
    @pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_are_slices_in_order(self, transfer_syntax: str) -> None:
        pixels = bytes(range(24))
        assert frames_of(image(pixels, NumberOfFrames=3, transfer_syntax=transfer_syntax)) == [
            pixels[0:8],
            pixels[8:16],
            pixels[16:24],
        ]

    def test_are_not_copied(self) -> None:
        instance = image(bytes(24), NumberOfFrames=3)
        description = describe(instance)
        frame = source_frames(instance, description, frame_segments(instance, description))[1]
        assert isinstance(frame, memoryview)
        assert frame.obj is instance.buffer

    def test_end_with_their_last_sample_and_not_with_padding(self) -> None:
        # 77 x 101 bytes: OHIF fails on a frame with DICOM's pad byte.
        pixels = np.arange(77 * 101 * 3, dtype=np.uint8).tobytes()
        attributes = {"Rows": 77, "Columns": 101, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "vr": "OB"}
        grey = pixels[: 77 * 101]
        assert frames_of(image(grey + b"\0", **attributes)) == [grey]
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        assert frames_of(image(pixels + b"\0", **attributes, **colour)) == [pixels]

    def test_of_odd_length_follow_each_other_without_padding(self) -> None:
        pixels = bytes(range(27))
        attributes = {"Rows": 3, "Columns": 3, "BitsAllocated": 8, "NumberOfFrames": 3, "vr": "OB"}
        assert frames_of(image(pixels + b"\0", **attributes)) == [pixels[:9], pixels[9:18], pixels[18:]]

    def test_more_bytes_than_needed_are_left_alone(self) -> None:
        instance = read(PYDICOM / "test_files/MR_small_padded.dcm")
        assert frames_of(instance) == frames_of(read(PYDICOM / "test_files/MR_small.dcm"))

    def test_fewer_bytes_than_needed_are_incomplete(self) -> None:
        with pytest.raises(Incomplete, match="Pixel Data has 22 bytes where its attributes promise 24"):
            frames_of(image(bytes(22), NumberOfFrames=3))

    def test_a_huge_number_of_frames_is_refused_before_anything_is_allocated(self) -> None:
        with pytest.raises(Incomplete, match="promise"):
            frames_of(image(bytes(8), Rows=65535, Columns=65535, NumberOfFrames=MAXIMUM_FRAMES))

    def test_bit_packed_frames_are_realigned_to_whole_bytes(self) -> None:
        bits = np.random.default_rng(1).integers(0, 2, (5, 3, 7)).astype(np.uint8)  # 21 bits each
        pixels = np.packbits(bits.ravel(), bitorder="little").tobytes()
        attributes = {"Rows": 3, "Columns": 7, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "NumberOfFrames": 5}
        instance = image(pixels, vr="OB", **attributes)
        expected = [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in bits]
        assert frames_of(instance) == expected
        rebuilt = b"".join(native_value(expected, ExplicitVRLittleEndian, describe(instance)))
        assert rebuilt == pixels

    def test_pixel_data_that_is_not_what_the_syntax_says_is_rejected(self) -> None:
        with pytest.raises(Rejected, match=r"Pixel Data is native, which .* \(JPEG Baseline"):
            frames_of(replace(image(bytes(8)), transfer_syntax_uid=JPEGBaseline8Bit))
        with pytest.raises(Rejected, match=r"Pixel Data is encapsulated, which .* \(Explicit VR Little"):
            frames_of(replace(encapsulated(b"aa", frames=1), transfer_syntax_uid=ExplicitVRLittleEndian))


class TestBigEndianFrames:
    @pytest.mark.parametrize(("bits", "word"), [(8, 1), (16, 2), (32, 4), (64, 8)])
    def test_have_their_samples_reversed(self, bits: int, word: int) -> None:
        samples = (np.arange(12) * 3 + 1).astype(f">u{bits // 8}")
        attributes = {"Rows": 2, "Columns": 2, "NumberOfFrames": 3, "BitsAllocated": bits, "BitsStored": bits}
        vr = "OB" if bits == 8 else "OW"
        instance = image(samples.tobytes(), transfer_syntax=ExplicitVRBigEndian, vr=vr, **attributes)
        assert big_endian_word(instance, describe(instance)) == word
        assert b"".join(frames_of(instance)) == samples.astype(f"<u{bits // 8}").tobytes()

    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    @pytest.mark.parametrize("size", [(2, 2), (3, 3), (1, 1), (1, 7)])
    def test_of_bytes_in_ow_are_swapped_in_pairs_even_across_frames(self, count: int, size: tuple[int, int]) -> None:
        rows, columns = size
        pixels = bytes(range(1, rows * columns * count + 1))
        padded = pixels + bytes(len(pixels) % 2)
        swapped = np.frombuffer(padded, "<u2").byteswap().tobytes()
        attributes = {"Rows": rows, "Columns": columns, "BitsAllocated": 8, "NumberOfFrames": count}
        instance = image(swapped, transfer_syntax=ExplicitVRBigEndian, vr="OW", **attributes)
        frames = frames_of(instance)
        length = rows * columns
        assert frames == [pixels[start : start + length] for start in range(0, len(pixels), length)]
        rebuilt = native_value(frames, ExplicitVRLittleEndian, describe(instance), word=2)
        assert b"".join(rebuilt) == swapped

    def test_of_floats_are_reversed(self) -> None:
        numbers = np.array([1.5, -2.25, 3e9, -0.0], ">f4")
        attributes = {"BitsAllocated": 32, "BitsStored": None, "HighBit": None, "PixelRepresentation": None}
        instance = image(
            numbers.tobytes(), keyword="FloatPixelData", vr="OF", transfer_syntax=ExplicitVRBigEndian, **attributes
        )
        assert frames_of(instance) == [numbers.astype("<f4").tobytes()]


class TestEncapsulatedFrames:
    def test_by_basic_offset_table(self) -> None:
        instance = encapsulated(b"aa", b"bb", b"cc", b"dddd", frames=2, table=(0, 30))
        assert grouped(instance) == [[b"aa", b"bb", b"cc"], [b"dddd"]]

    @pytest.mark.parametrize("threshold", [15, 16], ids=["kept outside", "inline"])
    def test_by_extended_offset_table(self, threshold: int) -> None:
        tables = {
            "ExtendedOffsetTable": struct.pack("<2Q", 0, 20),
            "ExtendedOffsetTableLengths": struct.pack("<2Q", 4, 2),
        }
        instance = encapsulated(b"aa", b"bb", b"cc", frames=2, **tables)
        limits = part10.Limits(maximum_inline_public_length=threshold)
        instance = part10.read(bytes(instance.buffer), limits, bulk_uri)
        assert bool(instance.bulk_values) == (threshold < 16)
        assert grouped(instance) == [[b"aa", b"bb"], [b"cc"]]

    def test_as_many_fragments_as_frames(self) -> None:
        assert grouped(encapsulated(b"aa", b"bb", b"cc", frames=3)) == [[b"aa"], [b"bb"], [b"cc"]]

    def test_a_single_frame_owns_every_fragment(self) -> None:
        assert grouped(encapsulated(b"aa", b"bb", b"cc", frames=1)) == [[b"aa", b"bb", b"cc"]]

    def test_a_single_frame_is_not_divided_by_a_table(self) -> None:
        assert grouped(encapsulated(b"aa", b"bb", frames=1, table=(0, 10))) == [[b"aa", b"bb"]]

    @pytest.mark.parametrize(
        ("start", "transfer_syntax"),
        [(JPEG_START, JPEGBaseline8Bit), (J2K_START, JPEG2000Lossless), (RLE_START, RLELossless)],
    )
    def test_more_fragments_than_frames_by_their_starts(self, start: bytes, transfer_syntax: str) -> None:
        parts = (start + b"1a", b"1b", b"1c", start + b"2a", start + b"3a", b"3b")
        assert grouped(encapsulated(*parts, frames=3, transfer_syntax=transfer_syntax)) == [
            list(parts[:3]),
            [parts[3]],
            list(parts[4:]),
        ]

    def test_more_fragments_than_frames_by_their_ends(self) -> None:
        parts = (b"?1a1", b"?b" + END, b"?2" + END + b"\0\0", b"?3a3", b"?3b3", b"?c" + END)
        assert grouped(encapsulated(*parts, frames=3)) == [list(parts[:2]), [parts[2]], list(parts[3:])]

    def test_empty_fragments_count_for_nothing(self) -> None:
        assert grouped(encapsulated(b"aa", b"", b"bb", b"", frames=2)) == [[b"aa"], [b"bb"]]

    @pytest.mark.parametrize("table", [(0,), (0, 4), (0, 10, 20), (10, 0), (0, 0), (0, 999_999)])
    def test_a_wrong_table_is_no_table(self, table: tuple[int, ...]) -> None:
        assert grouped(encapsulated(b"aa", b"bb", frames=2, table=table)) == [[b"aa"], [b"bb"]]

    @pytest.mark.parametrize(
        ("parts", "frames"), [((b"aa", b"bb"), 3), ((b"aa", b"bb", b"cc"), 2), ((b"",), 1), ((), 1)]
    )
    def test_fragments_that_cannot_be_told_apart_are_rejected(self, parts: tuple[bytes, ...], frames: int) -> None:
        with pytest.raises(Rejected, match="can't be told apart as"):
            grouped(encapsulated(*parts, frames=frames))

    def test_a_video_is_one_stream_of_all_its_fragments(self) -> None:
        instance = encapsulated(b"aa", b"bb", b"cc", frames=250, transfer_syntax=MPEG4HP41)
        assert grouped(instance) == [[b"aa", b"bb", b"cc"]]

    def test_uncompressed_ones_lose_their_padding(self) -> None:
        parts = (b"abcdefg", b"hi\0", b"ABCDEFGHI\0")
        instance = uncompressed(*parts, frames=2, table=(0, 8 + 7 + 8 + 3))
        assert frames_of(instance) == [b"abcdefghi", b"ABCDEFGHI"]

    def test_uncompressed_ones_that_are_short_are_incomplete(self) -> None:
        with pytest.raises(Incomplete, match="lacks 5 bytes"):
            grouped(uncompressed(b"abcd", frames=1))

    def test_without_a_delimiter_are_incomplete(self) -> None:
        instance = encapsulated(b"aa", frames=1)
        with pytest.raises(Incomplete, match="ends inside its encapsulated"):
            grouped(replace(instance, buffer=instance.buffer[:-8]))

    def test_with_a_fragment_cut_off_are_incomplete(self) -> None:
        instance = encapsulated(b"aaaa", frames=1)
        with pytest.raises(Incomplete, match="ends inside its encapsulated"):
            grouped(replace(instance, buffer=instance.buffer[:-10]))

    def test_with_anything_but_items_are_rejected(self) -> None:
        instance = encapsulated(b"aa", frames=1)
        damaged = bytes(instance.buffer[:-8]) + struct.pack("<HHI", 0x0008, 0x0018, 0)
        with pytest.raises(Rejected, match=r"\(0008,0018\) in place of an item"):
            grouped(replace(instance, buffer=damaged))

    def test_without_any_item_are_rejected(self) -> None:
        instance = encapsulated(frames=1)
        assert instance.pixel_data is not None
        nothing = replace(instance, pixel_data=replace(instance.pixel_data, offset=len(instance.buffer) - 8))
        with pytest.raises(Rejected, match="no items"):
            grouped(nothing)

    def test_with_too_many_fragments_are_rejected(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fragments, "MAXIMUM_FRAGMENTS", 3)
        with pytest.raises(Rejected, match="more than 3 fragments"):
            grouped(encapsulated(b"a1", b"b1", b"c1", b"d1", frames=1))

    def test_a_table_of_more_entries_than_there_can_be_fragments_is_not_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = encapsulated(b"a1", b"b1", frames=2, table=(0, 10, 20, 30))
        assert instance.pixel_data is not None
        extended = instance.attributes.with_changes({"7FE00001": b'{"vr":"OV","InlineBinary":"' + b"A" * 44 + b'"}'})
        assert fragments.read_items(instance.buffer, instance.pixel_data.offset)[0] == (0, 10, 20, 30)
        assert fragments.extended_offsets(extended, ()) == (0, 0, 0, 0)
        monkeypatch.setattr(fragments, "MAXIMUM_FRAGMENTS", 3)
        assert fragments.read_items(instance.buffer, instance.pixel_data.offset)[0] == ()
        assert fragments.extended_offsets(extended, ()) == ()


CUT_OFF = "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm"


def is_compressed(path: Path) -> bool:
    meta = pydicom.dcmread(path, force=True, stop_before_pixels=True).file_meta
    return transfer_syntax(meta.get("TransferSyntaxUID", IMPLICIT_VR_LITTLE_ENDIAN)).compressed


COMPRESSED = {name: path for name, path in images().items() if name != CUT_OFF and is_compressed(path)}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_frames_of_the_test_files_are_those_of_pydicom(name: str) -> None:
    data_set = pydicom.dcmread(COMPRESSED[name])
    count = int(data_set.get("NumberOfFrames", 1) or 1)
    expected = list(generate_frames(data_set.PixelData, number_of_frames=count))
    assert frames_of(read(COMPRESSED[name])) == expected


def test_there_are_compressed_test_files() -> None:
    assert len(COMPRESSED) > 40
