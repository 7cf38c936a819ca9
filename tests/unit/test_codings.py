"""Every coding that can be asked for, over every kind of image: what comes back, and what it is called."""

import math
from typing import Any, get_args

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array

from staticwado_daemon.dicom import codings
from staticwado_daemon.dicom.alternates import Renditions, renditions
from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.codestreams import jpeg_header
from staticwado_daemon.dicom.codings import coding, is_recompressed
from staticwado_daemon.dicom.content_types import Alternate, ContentType, SourceCoding
from staticwado_daemon.dicom.frames import describe, frame_segments
from staticwado_daemon.dicom.lossy import derived_uid
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transcode import Choices, StoredFrames, decoded_description, native_value
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.dicom.uids import UID
from tests.corpus import PYDICOM, PYDICOM_DATA
from tests.storing import store
from tests.synthetic import image, image_of, items, read

Array = NDArray[Any]

PREFIX = "1.2.840.10008.1.2.4."
RANDOM = np.random.default_rng(2)
CT = pydicom.dcmread(PYDICOM_DATA / "693_UNCR.dcm").pixel_array[100:228, 100:230]
ULTRASOUND = pydicom.dcmread(PYDICOM_DATA / "US1_UNCR.dcm").pixel_array[:120, :160]
FILES = PYDICOM / "test_files"

GREY: dict[str, Array] = {
    "signed 16": CT,
    "unsigned 16": (CT.astype(np.int32) + 1024).astype(np.uint16),
    "unsigned 8": (CT >> 4).astype(np.uint8),
    "noise": RANDOM.integers(-32768, 32768, (65, 63)).astype(np.int16),
    "constant": np.full((64, 64), 7, np.uint16),
    "1 x 7": np.arange(7, dtype=np.uint16).reshape(1, 7),
}
COLOR: dict[str, Array] = {
    "ultrasound": ULTRASOUND,
    "noise": RANDOM.integers(0, 256, (63, 65, 3)).astype(np.uint8),
    "1 x 1": np.array([[[1, 2, 3]]], np.uint8),
}
LOSSLESS: dict[ContentType, tuple[str, str]] = {
    "htj2k": ("202", "YBR_RCT"),
    "jhc": ("202", "YBR_RCT"),
    "1.2.840.10008.1.2.4.201": ("201", "YBR_RCT"),
    "1.2.840.10008.1.2.4.202": ("202", "YBR_RCT"),
    "jls": ("80", "RGB"),
    "1.2.840.10008.1.2.4.80": ("80", "RGB"),
    "jp2": ("90", "YBR_RCT"),
    "1.2.840.10008.1.2.4.90": ("90", "YBR_RCT"),
}
LOSSY: dict[ContentType, tuple[str, str, str]] = {
    "jhc-lossy": ("203", "YBR_ICT", "ISO_15444_15"),
    "jls-lossy": ("81", "RGB", "ISO_14495_1"),
    "jp2-lossy": ("91", "YBR_ICT", "ISO_15444_1"),
    "jpeg": ("50", "YBR_FULL_422", "ISO_10918_1"),
}


def frames_of(instance: Instance, stored: StoredFrames) -> list[Array]:
    return [decode(payload, stored.transfer_syntax_uid, describe(instance)) for payload in stored.frames]


def decibels(source: Array, result: Array) -> float:
    error = np.mean((result.astype(float) - source) ** 2)
    return math.inf if error == 0 else 20 * math.log10(codings.spread(source)) - 10 * math.log10(error)


def label(instance: Instance, stored: StoredFrames, tag: str) -> str:
    return instance.attributes.with_changes(stored.changes).text(tag)


def to_rgb(ybr: Array) -> Array:
    """PS3.3 C.7.6.3.1.2."""
    y, cb, cr = np.moveaxis(ybr.astype(float), -1, 0)
    red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    return np.stack([red, (y - 0.299 * red - 0.114 * blue) / 0.587, blue], -1).clip(0, 255)


class TestLossless:
    @pytest.mark.parametrize("content_type", LOSSLESS)
    @pytest.mark.parametrize("kind", GREY)
    def test_grey_comes_back(self, kind: str, content_type: ContentType) -> None:
        instance = image_of(GREY[kind])
        stored = store(instance, content_type)
        assert (stored.transfer_syntax_uid, stored.kept_because) == (PREFIX + LOSSLESS[content_type][0], "")
        assert (stored.invertible, stored.loss, stored.gzip) == (True, None, False)
        assert np.array_equal(frames_of(instance, stored)[0], GREY[kind])
        rebuilt = b"".join(native_value(stored.frames, stored.transfer_syntax_uid, describe(instance)))
        assert rebuilt == GREY[kind].tobytes()

    @pytest.mark.parametrize("content_type", LOSSLESS)
    @pytest.mark.parametrize("kind", COLOR)
    def test_colour_comes_back_under_its_true_name(self, kind: str, content_type: ContentType) -> None:
        instance = image_of(COLOR[kind], planar=True)
        stored = store(instance, content_type)
        syntax, photometric = LOSSLESS[content_type]
        assert stored.transfer_syntax_uid == PREFIX + syntax
        assert label(instance, stored, "00280004") == photometric
        assert label(instance, stored, "00280006") == "0"
        assert np.array_equal(frames_of(instance, stored)[0], COLOR[kind])

    @pytest.mark.parametrize("content_type", ["none", "lei", "1.2.840.10008.1.2.1"])
    def test_native_frames_stay_native(self, content_type: ContentType) -> None:
        instance = image_of(GREY["signed 16"])
        stored = store(instance, content_type)
        assert (stored.transfer_syntax_uid, stored.gzip) == (EXPLICIT_VR_LITTLE_ENDIAN, True)
        assert (stored.kept_because, stored.invertible) == ("", True)

    def test_colour_has_a_content_type_of_its_own(self) -> None:
        choices = Choices("jls", "jp2")
        assert store(image_of(GREY["unsigned 8"]), choices).transfer_syntax_uid == PREFIX + "80"
        assert store(image_of(COLOR["ultrasound"]), choices).transfer_syntax_uid == PREFIX + "90"


class TestLossy:
    @pytest.mark.parametrize("content_type", LOSSY)
    @pytest.mark.parametrize("kind", GREY)
    def test_grey_is_close_and_smaller_than_lossless(self, kind: str, content_type: ContentType) -> None:
        source = GREY[kind]
        instance = image_of(source)
        stored = store(instance, content_type)
        if content_type == "jpeg" and source.itemsize == 2:
            assert stored.kept_because == "Bits Allocated is 16"
            assert stored.transfer_syntax_uid == PREFIX + "202"
            assert stored.loss is None
            assert np.array_equal(frames_of(instance, stored)[0], source)
            return
        syntax, _, _ = LOSSY[content_type]
        assert (stored.transfer_syntax_uid, stored.invertible) == (PREFIX + syntax, False)
        result = frames_of(instance, stored)[0]
        worst = int(np.abs(result.astype(int) - source).max())
        if content_type == "jls-lossy":
            assert worst <= codings.NEAR
        assert decibels(source, result) > 40 or worst <= codings.NEAR
        if kind in {"signed 16", "unsigned 16"}:
            lossless = store(instance, stored.loss.coding.instead if stored.loss else "none")
            assert len(stored.frames[0]) < 0.8 * len(lossless.frames[0])

    @pytest.mark.parametrize("content_type", LOSSY)
    @pytest.mark.parametrize("kind", ["ultrasound", "1 x 1"])
    def test_colour_is_close_under_its_true_name(self, kind: str, content_type: ContentType) -> None:
        source = COLOR[kind]
        instance = image_of(source)
        stored = store(instance, content_type)
        syntax, photometric, _ = LOSSY[content_type]
        assert (stored.transfer_syntax_uid, stored.kept_because) == (PREFIX + syntax, "")
        assert label(instance, stored, "00280004") == photometric
        result = frames_of(instance, stored)[0]
        if content_type == "jpeg":
            result = to_rgb(result)
        assert decibels(source, result) > 30 or np.abs(result.astype(float) - source).max() <= codings.NEAR

    def test_white_stays_white(self) -> None:
        # Coefficients overshoot at hard edges, and must be clipped, not wrapped around.
        stripes = np.tile(np.array([0, 0, 0, 255, 255, 255], np.uint8), (60, 20))
        instance = image_of(np.stack([stripes] * 3, -1))
        for content_type in LOSSY:
            stored = store(instance, content_type)
            result = frames_of(instance, stored)[0]
            if content_type == "jpeg":
                result = to_rgb(result)
            assert np.abs(result[..., 0].astype(int) - stripes).max() < 128

    def test_jpeg_halves_the_columns_of_its_colour_differences(self) -> None:
        payload = bytes(store(image_of(COLOR["ultrasound"]), "jpeg").frames[0])
        start = payload.index(b"\xff\xc0") + 10
        assert [payload[start + 3 * index + 1] for index in range(3)] == [0x21, 0x11, 0x11]
        assert jpeg_header(payload).color_space == "YBR_FULL"

    @pytest.mark.parametrize("content_type", LOSSY)
    def test_ybr_full_is_what_it_is(self, content_type: ContentType) -> None:
        instance = image_of(COLOR["ultrasound"], PhotometricInterpretation="YBR_FULL")
        stored = store(instance, content_type)
        if content_type == "jhc-lossy":
            assert stored.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
            assert "shown correctly only as they are" in stored.kept_because
            return
        halved = content_type == "jpeg"  # the colour differences, of which this image has too many
        source, result = COLOR["ultrasound"], frames_of(instance, stored)[0]
        assert decibels(source[..., : 1 if halved else 3], result[..., : 1 if halved else 3]) > 30

    @pytest.mark.parametrize("content_type", LOSSY)
    def test_indices_of_a_palette_lose_nothing(self, content_type: ContentType) -> None:
        instance = image_of(GREY["unsigned 8"], PhotometricInterpretation="PALETTE COLOR")
        stored = store(instance, content_type)
        assert "palette" in stored.kept_because
        assert stored.loss is None
        assert np.array_equal(frames_of(instance, stored)[0], GREY["unsigned 8"])


class TestDerivedInstance:
    @pytest.mark.parametrize("content_type", LOSSY)
    def test_says_what_was_lost_and_where_it_comes_from(self, content_type: ContentType) -> None:
        instance = image_of(GREY["unsigned 8"], ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], Modality="CT")
        stored = store(instance, content_type)
        assert stored.loss is not None
        changes = stored.loss.changes(instance.attributes, sum(map(len, stored.frames)))
        attributes = instance.attributes.with_changes(changes)
        ratio = GREY["unsigned 8"].nbytes / len(stored.frames[0])
        assert attributes.value("00080008") == {"vr": "CS", "Value": ["DERIVED", "PRIMARY", "AXIAL"]}
        assert attributes.text("00080018") == stored.loss.instance != "1.2.3.4"
        assert attributes.text("00282110") == "01"
        assert attributes.numbers("00282112") == [round(ratio, 2)]
        assert attributes.text("00282114") == LOSSY[content_type][2]
        assert f"{ratio:.2f}:1" in attributes.text("00082111")
        (predecessor,) = attributes.sequence("00082112")
        assert predecessor["00081155"]["Value"] == ["1.2.3.4"]
        assert predecessor["0040A170"]["Value"][0]["00080100"]["Value"] == ["121320"]
        assert attributes.sequence("00089215")[0]["00080100"]["Value"] == ["113040"]

    def test_appends_to_what_was_lost_before(self) -> None:
        instance = image_of(
            GREY["unsigned 8"],
            LossyImageCompression="01",
            LossyImageCompressionRatio="12.5",
            LossyImageCompressionMethod="ISO_10918_1",
            DerivationDescription="Once before",
        )
        stored = store(instance, "jls-lossy")
        assert stored.loss is not None
        attributes = instance.attributes.with_changes(stored.loss.changes(instance.attributes, 1000))
        assert attributes.numbers("00282112") == [12.5, GREY["unsigned 8"].nbytes / 1000]
        assert attributes.value("00282114") == {"vr": "CS", "Value": ["ISO_10918_1", "ISO_14495_1"]}
        assert attributes.text("00082111").startswith("Once before; Lossy compression")

    def test_has_a_uid_that_depends_on_source_and_coding_alone(self) -> None:
        uids = {
            derived_uid(UID(source), found)
            for source in ("1.2.3", "1.2.4")
            for name in LOSSY
            if (found := coding(name)) is not None
        }
        assert len(uids) == 2 * len(LOSSY)
        assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)
        near = coding("jls-lossy")
        assert near is not None
        assert (
            derived_uid(UID("1.2.3"), near)
            == derived_uid(UID("1.2.3"), near)
            == ("2.25.262144724673770601476645063899740602713")
        )


RECOMPRESSED = {
    "MR_small_RLE.dcm": "rle",
    "MR_small_jp2klossless.dcm": "jp2",
    "MR_small_jpeg_ls_lossless.dcm": "jls",
    "JPEG-LL.dcm": "jpeglossless",
    "US1_J2KR.dcm": "jp2",
    "SC_rgb_rle.dcm": "rle",
    "SC_rgb_jpeg_dcmtk.dcm": "jpeg",
}


def recompressed(name: str) -> Instance:
    folder = FILES if (FILES / name).exists() else PYDICOM_DATA
    return read(folder / name)


class TestRecompressed:
    @pytest.mark.parametrize("name", RECOMPRESSED)
    def test_pass_untouched_unless_asked_for(self, name: str) -> None:
        instance = recompressed(name)
        everything_else: Any = tuple(set(get_args(SourceCoding)) - {RECOMPRESSED[name], "true", "none", "jll", "jhc"})
        for choices in (Choices("jls"), Choices("jls", None, everything_else, everything_else), Choices("none")):
            stored = store(instance, choices)
            assert stored.transfer_syntax_uid == instance.transfer_syntax_uid
            assert stored.kept_because == ""
            assert stored.invertible

    @pytest.mark.parametrize("name", RECOMPRESSED)
    @pytest.mark.parametrize("content_type", ["htj2k", "jls", "jp2", "lei"])
    def test_decode_to_the_same_samples(self, name: str, content_type: ContentType) -> None:
        instance = recompressed(name)
        description = describe(instance)
        segments = frame_segments(instance, description)
        asked: Any = (RECOMPRESSED[name],)
        stored = store(instance, Choices(content_type, None, asked, asked))
        (payload,) = store(instance, "none").frames
        expected = decode(payload, instance.transfer_syntax_uid, description)
        if stored.transfer_syntax_uid == instance.transfer_syntax_uid:
            assert stored.kept_because or coding(content_type) is not None
            return
        assert not stored.invertible
        assert stored.loss is None
        shown = decoded_description(payload, instance.transfer_syntax_uid, description)
        assert np.array_equal(decode(stored.frames[0], stored.transfer_syntax_uid, shown), expected)
        assert len(segments) == len(stored.frames)
        if description.samples_per_pixel == 3:
            assert label(instance, stored, "00280006") == "0"
            assert label(instance, stored, "00280004") in {"RGB", "YBR_RCT", "YBR_FULL"}

    def test_what_has_lost_something_does_not_lose_more(self) -> None:
        instance = recompressed("SC_rgb_jpeg_dcmtk.dcm")
        stored = store(instance, Choices("jls-lossy", None, ("true",), ("true",)))
        assert stored.transfer_syntax_uid == instance.transfer_syntax_uid
        assert "lost something already" in stored.kept_because

    def test_lossless_sources_may_be_made_lossy(self) -> None:
        instance = recompressed("MR_small_RLE.dcm")
        stored = store(instance, Choices("jls-lossy", None, ("rle",)))
        assert stored.transfer_syntax_uid == PREFIX + "81"
        assert stored.loss is not None

    def test_what_can_not_be_decoded_passes(self) -> None:
        payload = b"\xff\xd8\xff\xe0abcdef"
        instance = image(items(payload), transfer_syntax=PREFIX + "80", vr="OB")
        stored = store(instance, Choices("htj2k", None, ("true",)))
        assert stored.transfer_syntax_uid == PREFIX + "80"
        assert stored.kept_because
        assert [bytes(frame) for frame in stored.frames] == [payload]

    def test_htj2k_of_another_label(self) -> None:
        (payload,) = store(image_of(GREY["unsigned 16"]), "htj2k").frames
        instance = image(
            items(bytes(payload) + bytes(len(payload) % 2)),
            transfer_syntax=PREFIX + "201",
            vr="OB",
            Rows=GREY["unsigned 16"].shape[0],
            Columns=GREY["unsigned 16"].shape[1],
        )
        assert store(instance, Choices("htj2k", None, ("jph",))).transfer_syntax_uid == PREFIX + "202"

    @pytest.mark.parametrize("modality", ["SEG", "RTDOSE"])
    def test_values_lose_nothing(self, modality: str) -> None:
        stored = store(image_of(GREY["unsigned 8"], Modality=modality), "jls-lossy")
        assert stored.transfer_syntax_uid == PREFIX + "80"
        assert modality in stored.kept_because

    @pytest.mark.parametrize(
        ("asked", "uid", "does"),
        [
            (("none",), EXPLICIT_VR_LITTLE_ENDIAN, False),
            (("true",), PREFIX + "70", True),
            (("jll",), PREFIX + "57", True),
            (("jhc",), PREFIX + "201", True),
            (("jp2",), EXPLICIT_VR_LITTLE_ENDIAN, False),
            (("uncompressed",), PREFIX + "90", False),
            (("uncompressed",), "1.2.840.10008.1.2.2", True),
        ],
    )
    def test_names_of_sources(self, asked: Any, uid: str, does: bool) -> None:
        assert is_recompressed(uid, asked) is does


class TestAlternates:
    @pytest.mark.parametrize("alternate", get_args(Alternate))
    @pytest.mark.parametrize("thumbnails", [False, True])
    def test_are_what_their_header_says(self, alternate: Alternate, thumbnails: bool) -> None:
        source = np.tile(CT, (5, 2))
        instance = image_of(source)
        description = describe(instance)
        made = renditions(
            instance, description, frame_segments(instance, description), alternate, thumbnails=thumbnails
        )
        assert isinstance(made, Renditions)
        expected = source[::4, ::4] if thumbnails else source
        ends = {"jhc": "203", "jls": "81", "jhcLossless": "202", "jlsLossless": "80"}
        assert made.transfer_syntax_uid == PREFIX + ends[alternate]
        small = describe(image_of(expected))
        frame = decode(made.frames[0], made.transfer_syntax_uid, small)
        assert np.array_equal(frame, expected) == alternate.endswith("Lossless")
        assert decibels(expected, frame) > 40

    def test_of_frames_that_no_codec_holds_there_are_none(self) -> None:
        instance = image_of(np.arange(16, dtype=np.uint32).reshape(4, 4))
        description = describe(instance)
        made = renditions(instance, description, frame_segments(instance, description), "jls", thumbnails=False)
        assert made == "Bits Allocated is 32"


class TestToOtherReaders:
    """pydicom, told no more than the published attributes."""

    @pytest.mark.parametrize("content_type", ["htj2k", "jls", "jp2", "jls-lossy", "jp2-lossy", "jhc-lossy", "jpeg"])
    @pytest.mark.parametrize("kind", ["signed 16", "unsigned 8", "ultrasound"])
    def test_frames_are_what_their_labels_say(self, kind: str, content_type: ContentType) -> None:
        source = {**GREY, **COLOR}[kind]
        instance = image_of(source)
        stored = store(instance, content_type)
        data_set = pydicom.Dataset()
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = stored.transfer_syntax_uid
        published = instance.attributes.with_changes(stored.changes)
        for tag in ("00280002", "00280004", "00280006", "00280010", "00280011", "00280100", "00280101", "00280103"):
            if tag in published:
                value: Any = published.text(tag)
                data_set[tag] = pydicom.DataElement(tag, dictionary_VR(tag), int(value) if value.isdigit() else value)
        data_set.PixelData = encapsulate([bytes(stored.frames[0])])
        result = pixel_array(data_set)  # colours become RGB
        assert (decibels(source, result) > 30) or content_type == "jpeg"
        assert decibels(source, result) > 20
        assert np.array_equal(source, result) == (stored.loss is None)
