"""Thumbnails show what the data set says: compared with values worked out here, independently."""

import math
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, convert_color_space
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.frames import describe, frame_segments
from staticwado_daemon.dicom.palette import read_palette
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.render import MAXIMUM_COMPRESSED_BYTES, instance_thumbnail, thumbnail
from staticwado_daemon.dicom.transfer_syntaxes import HTJ2K_LOSSLESS_RPCL
from staticwado_daemon.dicom.voi import presets, read_display
from staticwado_daemon.errors import Corrupt
from tests.corpus import PYDICOM, PYDICOM_DATA
from tests.storing import store
from tests.synthetic import image, image_of, items, read

Array = NDArray[Any]

PYDICOM_FILES = PYDICOM / "test_files"
JPEG_NOISE = 3.0  # of a mean
RAMP = np.tile(np.arange(0, 4096, 32, dtype=np.uint16), (64, 1))  # 64 x 128, from 0 to 4064


def picture(instance: Instance, size: int = 256) -> NDArray[np.float64]:
    """The thumbnail's pixels, grey ones without a third axis."""
    description = describe(instance)
    encoded = instance_thumbnail(instance, description, frame_segments(instance, description), size)
    assert encoded is not None
    assert encoded[:2] == b"\xff\xd8"
    assert b"\xff\xc0" in encoded  # SOF0: baseline
    pixels: NDArray[np.float64] = imagecodecs.jpeg8_decode(encoded).astype(float)
    return pixels


def blocks(pixels: Array) -> Array:
    """Means over a grid of 4 x 4 fields: enough to tell shapes, sides and levels apart."""
    rows, columns = pixels.shape[0] // 4, pixels.shape[1] // 4
    cut = pixels[: 4 * rows, : 4 * columns].reshape(4, rows, 4, columns, -1)
    return cut.mean(axis=(1, 3))


def assert_shows(instance: Instance, expected: Array) -> None:
    """The thumbnail's fields have the levels (0 to 255) of the expected picture at full size."""
    shown = picture(instance)
    assert shown.ndim == expected.ndim
    assert np.abs(blocks(shown) - blocks(expected)).max() < JPEG_NOISE


def linear(values: Array, center: float, width: float) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.2.1, written as the standard does."""
    low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    inside = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.where(values <= low, 0, np.where(values > high, 255, inside))


def linear_exact(values: Array, center: float, width: float) -> NDArray[np.float64]:
    return np.clip((values - center) / width + 0.5, 0, 1) * 255


def sigmoid(values: Array, center: float, width: float) -> NDArray[np.float64]:
    return np.asarray([255 / (1 + math.exp(-4 * (v - center) / width)) for v in values.ravel()]).reshape(values.shape)


class TestGrey:
    @pytest.mark.parametrize(
        ("function", "formula"),
        [(None, linear), ("LINEAR", linear), ("LINEAR_EXACT", linear_exact), ("SIGMOID", sigmoid)],
    )
    def test_window(self, function: str | None, formula: Callable[[Array, float, float], Array]) -> None:
        instance = image_of(RAMP, WindowCenter=1500, WindowWidth=1800, VOILUTFunction=function)
        assert_shows(instance, formula(RAMP.astype(float), 1500, 1800))

    def test_monochrome1_is_inverted(self) -> None:
        attributes = {"WindowCenter": 1500, "WindowWidth": 1800}
        plain = picture(image_of(RAMP, **attributes))
        inverted = picture(image_of(RAMP, PhotometricInterpretation="MONOCHROME1", **attributes))
        assert np.abs(plain + inverted - 255).max() <= JPEG_NOISE
        assert inverted[0, 0] > 250
        assert inverted[0, -1] < 5

    def test_rescale_comes_before_the_window(self) -> None:
        attributes = {"RescaleSlope": "0.5", "RescaleIntercept": "-1024", "WindowCenter": 40, "WindowWidth": 800}
        assert_shows(image_of(RAMP, **attributes), linear(RAMP * 0.5 - 1024, 40, 800))

    def test_signed_values(self) -> None:
        values = RAMP.astype(np.int16) - 2048
        assert_shows(image_of(values, WindowCenter=-500, WindowWidth=2000), linear(values.astype(float), -500, 2000))

    def test_signed_8_bit_values(self) -> None:
        values = (RAMP.astype(np.int32) // 16 - 128).astype(np.int8)
        assert_shows(image_of(values, WindowCenter=0, WindowWidth=128), linear(values.astype(float), 0, 128))

    @pytest.mark.parametrize("signed", [False, True])
    def test_bits_outside_the_stored_ones_do_not_show(self, signed: bool) -> None:
        values = RAMP.astype(np.int32) - (2048 if signed else 0)
        overlaid = (values & 0x0FFF | 0xA000).astype(np.uint16).view(np.int16 if signed else np.uint16)
        attributes = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 0, "WindowWidth": 3000}
        assert_shows(image_of(overlaid, **attributes), linear(values.astype(float), 0, 3000))

    def test_samples_below_the_high_bit_are_shifted_down(self) -> None:
        shifted = (RAMP << 4) | 0xF
        attributes = {"BitsStored": 12, "HighBit": 15, "WindowCenter": 2000, "WindowWidth": 3000}
        assert_shows(image_of(shifted, **attributes), linear(RAMP.astype(float), 2000, 3000))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32])
    def test_without_a_window_the_whole_range_shows(self, dtype: type[np.generic]) -> None:
        values = (RAMP // 32 + 100).astype(dtype)
        assert_shows(image_of(values), linear_exact(values.astype(float), 163.5, 127))

    @pytest.mark.parametrize("width", [0, -5, 0.5])
    def test_an_unusable_window_is_no_window(self, width: float) -> None:
        assert_shows(image_of(RAMP, WindowCenter=100, WindowWidth=width), linear_exact(RAMP.astype(float), 2032, 4064))

    def test_a_center_without_a_width_is_no_window(self) -> None:
        named = image_of(RAMP, WindowCenter=[1500, 40], WindowWidth=1800, WindowCenterWidthExplanation=["A", "B"])
        assert [preset.name for preset in presets(named.attributes, 0)] == ["A"]
        assert_shows(named, linear(RAMP.astype(float), 1500, 1800))

    def test_a_window_of_width_1_is_a_threshold(self) -> None:
        shown = picture(image_of(RAMP, WindowCenter=2048, WindowWidth=1))
        assert shown[:, :60].max() < 10
        assert shown[:, 68:].min() > 245

    def test_a_constant_image_is_black_and_no_error(self) -> None:
        assert picture(image_of(np.full((20, 20), 77, np.uint16))).max() <= 128

    def test_padding_does_not_stretch_the_range(self) -> None:
        values = RAMP.astype(np.int16)
        values[:, :32] = -2000
        shown = picture(image_of(values, PixelPaddingValue=-2000))
        assert shown[:, :28].max() < 5
        assert (
            np.abs(blocks(shown)[:, 1:, 0] - blocks(linear_exact(values.astype(float), 2544, 3040))[:, 1:, 0]).max() < 3
        )

    def test_a_range_of_padding_does_not_stretch_the_range(self) -> None:
        values = RAMP.astype(np.int16)
        values[:, :16], values[:, 16:32] = -2000, -1500
        shown = picture(image_of(values, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1400))
        assert shown[:, :28].max() < 5

    def test_a_voi_lut_counts_where_there_is_no_window(self) -> None:
        table = Dataset()
        table.LUTDescriptor = [4096, 0, 8]
        table["LUTDescriptor"].VR = "US"
        outputs = np.clip(np.arange(4096) // 8 - 100, 0, 255)
        table.LUTData = outputs.astype("<u2").tobytes()
        table["LUTData"].VR = "OW"
        assert_shows(image_of(RAMP, VOILUTSequence=[table]), outputs[RAMP].astype(float))
        both = image_of(RAMP, VOILUTSequence=[table], WindowCenter=1500, WindowWidth=1800)
        assert_shows(both, linear(RAMP.astype(float), 1500, 1800))

    def test_a_modality_lut_takes_the_place_of_rescale(self) -> None:
        table = Dataset()
        table.LUTDescriptor = [128, 1000, 16]
        table["LUTDescriptor"].VR = "US"
        table.LUTData = [int(v) for v in np.arange(128) * 10]
        table["LUTData"].VR = "US"
        values = RAMP // 32 + 1000
        instance = image_of(values, ModalityLUTSequence=[table], RescaleSlope=99, WindowCenter=600, WindowWidth=900)
        assert_shows(instance, linear((values - 1000) * 10.0, 600, 900))

    def test_the_test_files_with_tables_show_their_bars(self) -> None:
        for name in ("mlut_18", "vlut_04"):
            shown = picture(read(PYDICOM_DATA / f"{name}.dcm"))
            assert shown.std() > 20

    def test_bit_packed_samples_are_black_and_white(self) -> None:
        path = PYDICOM_DATA / "liver.dcm"
        assert_shows(read(path), pydicom.dcmread(path).pixel_array[1] * 255.0)

    def test_floats_of_any_range(self) -> None:
        numbers = (RAMP / 4096 * 1e-6).astype("<f4")
        numbers[0, :2] = np.nan, np.inf
        absent = dict.fromkeys(("BitsStored", "HighBit", "PixelRepresentation"))
        described = {"Rows": 64, "Columns": 128, "BitsAllocated": 32, **absent}
        shown = picture(image(numbers.tobytes(), keyword="FloatPixelData", vr="OF", **described))
        assert np.abs(blocks(shown) - blocks(RAMP / 4064 * 255)).max() < JPEG_NOISE


class TestMultiFrame:
    @staticmethod
    def macro(center: float, slope: float) -> Dataset:
        group, voi, transformation = Dataset(), Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = center, 400
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = slope, 0, "US"
        group.FrameVOILUTSequence = [voi]
        group.PixelValueTransformationSequence = [transformation]
        return group

    def test_the_middle_frame_is_shown(self) -> None:
        frames = np.stack([np.full((40, 40), level, np.uint8) for level in (0, 50, 100, 150, 200)])
        shown = picture(image_of(frames, NumberOfFrames=5, WindowCenter=128, WindowWidth=256))
        assert abs(shown.mean() - 100) < JPEG_NOISE

    def test_per_frame_groups_go_before_shared_ones_and_these_before_the_data_set(self) -> None:
        frames = np.stack([RAMP] * 3)
        own = [self.macro(100, 1), self.macro(300, 0.5), self.macro(500, 1)]
        attributes = {"NumberOfFrames": 3, "WindowCenter": 9999, "WindowWidth": 1, "RescaleSlope": 7}
        shared = {"SharedFunctionalGroupsSequence": [self.macro(900, 2)]}
        top = image_of(frames, **attributes)
        with_shared = image_of(frames, **attributes, **shared)
        with_both = image_of(frames, **attributes, **shared, PerFrameFunctionalGroupsSequence=own)
        assert_shows(with_both, linear(RAMP * 0.5, 300, 400))
        assert_shows(with_shared, linear(RAMP * 2.0, 900, 400))
        assert picture(top)[:, :40].max() < 10

    def test_every_frame_can_be_asked_for(self) -> None:
        frames = np.stack([RAMP] * 3)
        own = [self.macro(100, 1), self.macro(300, 0.5), self.macro(500, 1)]
        instance = image_of(frames, NumberOfFrames=3, PerFrameFunctionalGroupsSequence=own)
        encoded = thumbnail(RAMP, instance.attributes, describe(instance), index=2)
        shown = imagecodecs.jpeg8_decode(encoded).astype(float)
        assert np.abs(blocks(shown) - blocks(linear(RAMP.astype(float), 500, 400))).max() < JPEG_NOISE

    def test_malformed_groups_are_passed_over(self) -> None:
        empty, odd = Dataset(), Dataset()
        odd.FrameVOILUTSequence = []
        instance = image_of(
            np.stack([RAMP] * 3),
            NumberOfFrames=3,
            SharedFunctionalGroupsSequence=[empty],
            PerFrameFunctionalGroupsSequence=[odd],
        )
        assert read_display(instance.attributes, 2).voi is None
        assert_shows(instance, RAMP / 4064 * 255)


class TestColour:
    PICTURE = pydicom.dcmread(PYDICOM_DATA / "color-px.dcm").pixel_array

    @pytest.mark.parametrize("planar", [False, True])
    def test_rgb(self, planar: bool) -> None:
        assert_shows(image_of(self.PICTURE, planar=planar), self.PICTURE.astype(float))

    @pytest.mark.parametrize("planar", [False, True])
    def test_ybr_full(self, planar: bool) -> None:
        ybr = convert_color_space(self.PICTURE, "RGB", "YBR_FULL")
        instance = image_of(ybr, planar=planar, PhotometricInterpretation="YBR_FULL")
        assert_shows(instance, self.PICTURE.astype(float))

    def test_ybr_full_422(self) -> None:
        shown = picture(read(PYDICOM_FILES / "SC_ybr_full_422_uncompressed.dcm"))
        expected = pydicom.dcmread(PYDICOM_FILES / "SC_ybr_full_422_uncompressed.dcm").pixel_array.astype(float)
        assert np.abs(blocks(shown) - blocks(expected)).max() < JPEG_NOISE

    @pytest.mark.parametrize("bits", [12, 16])
    def test_deep_rgb(self, bits: int) -> None:
        deep = self.PICTURE.astype(np.uint16) << (bits - 8)
        assert_shows(image_of(deep, BitsStored=bits, HighBit=bits - 1), deep / ((1 << bits) - 1) * 255)

    @pytest.mark.parametrize(
        "name",
        [
            "SC_rgb_dcmtk_+eb+cr",
            "SC_rgb_dcmtk_+eb+cy+n1",
            "SC_rgb_dcmtk_+eb+cy+s2",
            "SC_rgb_dcmtk_+eb+cy+s4",
            "SC_rgb_rle",
            "SC_rgb_jpeg_gdcm",
            "SC_rgb_jls_lossy_line",
            "SC_rgb_jls_lossy_sample",
            "SC_rgb_gdcm_KY",
        ],
    )
    def test_the_bars_look_alike_in_every_syntax(self, name: str) -> None:
        bars = pydicom.dcmread(PYDICOM_DATA / "SC_rgb.dcm").pixel_array.astype(float)
        shown = picture(read(PYDICOM_FILES / f"{name}.dcm"))
        # Lossy coding smears the edges; the middle of each bar keeps its colour.
        assert np.abs(shown[5::10] - bars[5::10]).max() < 12

    def test_jpeg_2000_colour_is_converted_once(self) -> None:
        original = pydicom.dcmread(PYDICOM_DATA / "US1_UNCR.dcm").pixel_array.astype(float)
        assert_shows(read(PYDICOM_DATA / "US1_J2KR.dcm"), original)

    def test_a_fourth_sample_is_no_colour(self) -> None:
        attributes = {"SamplesPerPixel": 4, "BitsAllocated": 8, "BitsStored": 8, "PhotometricInterpretation": "CMYK"}
        instance = image(bytes(16), **attributes)
        assert instance_thumbnail(instance, describe(instance), frame_segments(instance, describe(instance))) is None


class TestPalette:
    @pytest.mark.parametrize(
        ("name", "original"),
        [
            ("OBXXXX1A", "OBXXXX1A"),
            ("OBXXXX1A_rle", "OBXXXX1A"),
            ("OBXXXX1A_expb", "OBXXXX1A"),  # pydicom doesn't swap its tables
            ("OT-PAL-8-face", "OT-PAL-8-face"),
            ("gdcm-US-ALOKA-16", "gdcm-US-ALOKA-16"),
            ("gdcm-US-ALOKA-16_big", "gdcm-US-ALOKA-16"),
        ],
    )
    def test_of_the_test_files(self, name: str, original: str) -> None:
        data_set = pydicom.dcmread(PYDICOM_DATA / f"{original}.dcm", force=True)
        if "TransferSyntaxUID" not in data_set.file_meta:
            data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        colors = apply_color_lut(data_set.pixel_array, data_set)
        expected = colors >> 8 if colors.dtype.itemsize == 2 else colors
        assert_shows(read(PYDICOM_DATA / f"{name}.dcm"), expected.astype(float))

    @staticmethod
    def tables(descriptor: list[int], data: bytes, prefix: str = "") -> dict[str, Any]:
        described: dict[str, Any] = {}
        for color in ("Red", "Green", "Blue"):
            described[f"{color}PaletteColorLookupTableDescriptor"] = descriptor
            described[f"{prefix}{color}PaletteColorLookupTableData"] = data
        return described

    def colors(self, tables: dict[str, Any]) -> list[int]:
        instance = image(bytes(8), PhotometricInterpretation="PALETTE COLOR", **tables)
        palette = read_palette(instance.attributes, instance.bulk_values)
        assert (palette.colors[:, 0] == palette.colors[:, 2]).all()
        return [int(v) for v in palette.colors[:, 0]]

    def test_16_bit_entries_show_their_upper_byte(self) -> None:
        data = np.array([0x0102, 0xFF00, 0x8040], "<u2").tobytes()
        assert self.colors(self.tables([3, 0, 16], data)) == [1, 255, 128]

    def test_8_bit_entries_in_bytes_and_in_words(self) -> None:
        assert self.colors(self.tables([3, 0, 8], bytes([1, 255, 128, 0]))) == [1, 255, 128]
        assert self.colors(self.tables([3, 0, 8], np.array([1, 255, 128], "<u2").tobytes())) == [1, 255, 128]
        assert self.colors(self.tables([3, 0, 8], np.array([256, 65280, 32768], "<u2").tobytes())) == [1, 255, 128]

    def test_values_beyond_the_table_get_its_ends(self) -> None:
        data = np.array([0x1000, 0x2000, 0x3000], "<u2").tobytes()
        instance = image(bytes(8), PhotometricInterpretation="PALETTE COLOR", **self.tables([3, 10, 16], data))
        shown = read_palette(instance.attributes).apply(np.array([[0, 10, 11], [12, 13, 65535]], np.uint16))
        assert shown[..., 0].tolist() == [[0x10, 0x10, 0x20], [0x30, 0x30, 0x30]]

    def test_65536_entries_are_written_as_0(self) -> None:
        data = np.arange(65536, dtype="<u2").tobytes()
        assert len(self.colors(self.tables([0, 0, 16], data))) == 65536

    def test_tables_kept_outside_the_data_set_are_found(self) -> None:
        data = np.arange(65536, dtype="<u2").tobytes() + bytes(16)
        instance = image(bytes(8), PhotometricInterpretation="PALETTE COLOR", **self.tables([0, 0, 16], data))
        assert instance.bulk_values
        assert len(read_palette(instance.attributes, instance.bulk_values).colors) == 65536
        assert picture(instance).shape == (2, 2, 3)
        with pytest.raises(Corrupt, match="missing"):
            thumbnail(np.zeros((2, 2), np.uint16), instance.attributes, describe(instance))

    @pytest.mark.parametrize("width", [8, 16])
    def test_segments_are_discrete_linear_or_repeated(self, width: int) -> None:
        words = [0, 2, 10, 20, 1, 5, 70, 2, 1]  # discrete 10 20, linear 30 40 50 60 70, then the linear one again
        offset = 4 * width // 8
        words += [offset, 0] if width == 16 else [offset, 0, 0, 0]
        data = np.array(words, f"<u{width // 8}").tobytes()
        data += bytes(len(data) % 2)
        instance = image(
            bytes(8), PhotometricInterpretation="PALETTE COLOR", **self.tables([12, 0, width], data, "Segmented")
        )
        shown = read_palette(instance.attributes).colors[:, 0].tolist()
        expected = [10, 20, 30, 40, 50, 60, 70, 70, 70, 70, 70, 70]
        assert shown == ([v >> 8 for v in expected] if width == 16 else expected)

    @pytest.mark.parametrize(
        "words",
        [
            [1, 5, 70],  # linear from nothing
            [0, 9, 1, 2],  # more entries than there are
            [0, 0] * 8,  # no progress
            [7, 1, 1],  # no such segment
            [0, 1, 5, 2, 1, 6, 0],  # repeats itself
            [],
        ],
    )
    def test_malformed_segments_are_named(self, words: list[int]) -> None:
        data = np.array(words, "<u2").tobytes()
        instance = image(
            bytes(8), PhotometricInterpretation="PALETTE COLOR", **self.tables([16, 0, 16], data, "Segmented")
        )
        with pytest.raises(Corrupt):
            read_palette(instance.attributes)

    @pytest.mark.parametrize("descriptor", [[3, 0], [3, 0, 12], [3]])
    def test_an_unusable_descriptor_means_no_thumbnail(self, descriptor: list[int]) -> None:
        tables = self.tables(descriptor, bytes(6))
        instance = image(bytes(8), PhotometricInterpretation="PALETTE COLOR", **tables)
        assert instance_thumbnail(instance, describe(instance), frame_segments(instance, describe(instance))) is None


class TestSize:
    @pytest.mark.parametrize(
        ("rows", "columns", "expected"),
        [
            (512, 512, (256, 256)),
            (513, 400, (256, 200)),
            (320, 320, (256, 256)),
            (256, 100, (256, 100)),
            (100, 60, (100, 60)),
            (1, 3000, (1, 256)),
            (3000, 2, (256, 1)),
            (2000, 1000, (256, 128)),
            (1, 1, (1, 1)),
        ],
    )
    def test_keeps_the_aspect_and_never_enlarges(self, rows: int, columns: int, expected: tuple[int, int]) -> None:
        values = np.add.outer(np.arange(rows), np.arange(columns)).astype(np.uint16)
        assert picture(image_of(values)).shape == expected

    @pytest.mark.parametrize("size", [64, 128, 200, 511])
    def test_is_a_setting(self, size: int) -> None:
        values = np.add.outer(np.arange(512), np.arange(512)).astype(np.uint16)
        assert picture(image_of(values), size).shape == (size, size)

    @pytest.mark.parametrize("edge", [300, 512, 700, 1024])
    def test_shrinking_keeps_every_part_in_its_place(self, edge: int) -> None:
        values = np.add.outer(np.arange(edge) * 2, np.arange(edge)).astype(np.uint16)
        assert_shows(image_of(values), values / values.max() * 255)

    @pytest.mark.parametrize("edge", [512, 640])
    def test_htj2k_is_shrunk_by_its_own_resolutions(self, edge: int, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.add.outer(np.arange(edge * 2) * 2, np.arange(edge * 2)).astype(np.uint16)
        native = image_of(values)
        (payload,) = store(native, "htj2k").frames
        described = {"Rows": 2 * edge, "Columns": 2 * edge}
        padded = bytes(payload) + bytes(len(payload) % 2)
        compressed = image(items(padded), transfer_syntax=HTJ2K_LOSSLESS_RPCL, vr="OB", **described)
        asked: list[int] = []

        def spy(*arguments: Any, halvings: int = 0) -> Any:
            asked.append(halvings)
            return decode(*arguments, halvings=halvings)

        monkeypatch.setattr("staticwado_daemon.dicom.render.decode", spy)
        assert_shows(compressed, values / values.max() * 255)
        assert asked == [2]

    def test_palette_indices_are_never_averaged(self) -> None:
        # Only 0 (black) and 200 (white) occur; every index in between would show as mid grey.
        indices = np.where(np.add.outer(np.arange(600), np.arange(600)) % 2, 0, 200).astype(np.uint8)
        table = np.full(256, 0x8000, "<u2")
        table[0], table[200] = 0, 0xFFFF
        native = image_of(indices, PhotometricInterpretation="PALETTE COLOR")
        (payload,) = store(native, "htj2k").frames
        attributes: dict[str, Any] = {"Rows": 600, "Columns": 600, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
        for color in ("Red", "Green", "Blue"):
            attributes[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            attributes[f"{color}PaletteColorLookupTableData"] = table.tobytes()
        compressed = image(
            items(bytes(payload) + bytes(len(payload) % 2)),
            transfer_syntax=HTJ2K_LOSSLESS_RPCL,
            vr="OB",
            PhotometricInterpretation="PALETTE COLOR",
            **attributes,
        )
        data = indices.tobytes()
        uncompressed = image(data, vr="OB", PhotometricInterpretation="PALETTE COLOR", **attributes)
        assert np.array_equal(picture(compressed), picture(uncompressed))


class TestWithoutThumbnail:
    def test_a_frame_that_cannot_be_decoded(self) -> None:
        instance = image(items(b"\xff\xd8no picture"), transfer_syntax="1.2.840.10008.1.2.4.50", vr="OB")
        description = describe(instance)
        assert instance_thumbnail(instance, description, frame_segments(instance, description)) is None

    def test_a_video(self) -> None:
        instance = image(items(b"stream"), transfer_syntax="1.2.840.10008.1.2.4.102", vr="OB", NumberOfFrames=9)
        description = describe(instance)
        assert instance_thumbnail(instance, description, frame_segments(instance, description)) is None

    def test_a_syntax_nobody_knows(self) -> None:
        instance = image(items(b"abcd"), transfer_syntax="1.2.840.10008.1.2.4.93", vr="OB")
        description = describe(instance)
        assert instance_thumbnail(instance, description, frame_segments(instance, description)) is None

    def test_a_compressed_frame_too_large_to_be_worth_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        instance = read(PYDICOM_FILES / "MR_small_RLE.dcm")
        description = describe(instance)
        assert MAXIMUM_COMPRESSED_BYTES == 1 << 26
        monkeypatch.setattr("staticwado_daemon.dicom.render.MAXIMUM_COMPRESSED_BYTES", 8191)
        assert instance_thumbnail(instance, description, frame_segments(instance, description)) is None


def test_big_endian_frames_show_like_little_endian_ones() -> None:
    little = image_of(RAMP, WindowCenter=1500, WindowWidth=1800)
    big = image(
        RAMP.astype(">u2").tobytes(),
        transfer_syntax=ExplicitVRBigEndian,
        Rows=64,
        Columns=128,
        WindowCenter=1500,
        WindowWidth=1800,
    )
    assert np.array_equal(picture(little), picture(big))


def test_the_same_frame_gives_the_same_bytes() -> None:
    instance = read(PYDICOM_DATA / "693_UNCR.dcm")
    description = describe(instance)
    segments = frame_segments(instance, description)
    first = instance_thumbnail(instance, description, segments)
    assert first is not None
    assert first == instance_thumbnail(instance, description, segments)
    assert len(first) < 20_000
