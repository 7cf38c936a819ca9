"""Every image of pydicom and pydicom-data: decoded like pydicom, transcoded wherever that is right, and restored.

Compared are the raw numbers of the data set: colour as it is stored (pydicom's `raw`) and all bits of the allocated
word (pydicom's `correct_unused_bits` off, which would clear overlays).
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import get_decoder

from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.content_types import ContentType
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription, big_endian_word, describe, frame_segments
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.render import instance_thumbnail
from staticwado_daemon.dicom.transcode import (
    StoredFrames,
    native_bytes,
    native_value,
    source_frames,
)
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_LS_LOSSLESS,
    transfer_syntax,
)
from staticwado_daemon.errors import Corrupt, Incomplete, Rejected
from tests.corpus import images, test_files
from tests.storing import store
from tests.synthetic import read

FILES = test_files()
IMAGES = images()
CONTENT_TYPES: tuple[ContentType, ...] = ("htj2k", "jls", "none")

UNREADABLE = {
    "pydicom/test_files/MR_truncated.dcm": (Incomplete, "the file ends 62 bytes before"),
    "pydicom/test_files/badVR.dcm": (Rejected, "Number of Frames"),
    "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm": (Incomplete, "ends inside its encapsulated"),
}

# 12-bit JPEG Extended: pydicom decodes it with a GPL plug-in only.
NO_PYDICOM_DECODER = {"pydicom/test_files/JPEG-lossy.dcm", "pydicom/test_files/JPGExtended.dcm"}

# The codestream and the data set contradict each other on the sign; of pydicom's plug-ins this one heeds the latter.
DECODING_PLUGIN = {"J2K_pixelrep_mismatch": "pylibjpeg"}

# Its codestream was damaged: no decoder reads it.
DAMAGED = {"pydicom/test_files/JPEG2000-embedded-sequence-delimiter.dcm"}

# Why native frames stay native when HTJ2K is asked for.
KEPT_NATIVE = {
    "3 x 8 bits of 'YBR_FULL'": {"SC_ybr_full_uncompressed", "SC_ybr_full_422_uncompressed"},
    "Bits Allocated is 1": {"liver", "liver_1frame", "liver_expb", "liver_expb_1frame"},
    "bits above Bits Stored are in use": {"mlut_18"},
    "Bits Allocated is 32": {"rtdose", "rtdose_1frame", "rtdose_expb", "rtdose_expb_1frame"},
}
REASONS = {stem: reason for reason, stems in KEPT_NATIVE.items() for stem in stems}

# Published in another form, because viewers show them wrong as they are: see `test_forms.py`.
DEEP_COLOUR = {
    f"SC_rgb_{kind}{bits}bit{rest}" for kind in ("", "expb_", "rle_") for bits in (16, 32) for rest in ("", "_2frame")
}
RESHAPED = DEEP_COLOUR | {"rtdose_rle", "rtdose_rle_1frame", "SC_ybr_full_422_uncompressed"}

READABLE = {name: path for name, path in IMAGES.items() if name not in UNREADABLE}


@cache
def instance_of(name: str) -> tuple[Instance, PixelDescription]:
    instance = read(FILES[name])
    return instance, describe(instance)


def segments_of(name: str) -> Sequence[FrameSegments]:
    return frame_segments(*instance_of(name))


def is_native(name: str) -> bool:
    return not transfer_syntax(instance_of(name)[0].transfer_syntax_uid).compressed


NATIVE = [name for name in READABLE if is_native(name)]
COMPRESSED = [name for name in READABLE if not is_native(name)]
UNTOUCHED = [name for name in COMPRESSED if Path(name).stem not in RESHAPED]
COMING_BACK = [name for name in NATIVE if Path(name).stem not in DEEP_COLOUR]


@cache  # the files are small, and each is asked about in many ways
def stored(name: str, content_type: ContentType) -> StoredFrames:
    return store(instance_of(name)[0], content_type)


def decoded(name: str, content_type: ContentType) -> Iterator[NDArray[np.generic]]:
    frames = stored(name, content_type)
    instance, description = instance_of(name)
    if Path(name).stem in RESHAPED:
        description = PixelDescription.of(instance.attributes.with_changes(frames.changes))
    return (decode(payload, frames.transfer_syntax_uid, description) for payload in frames.frames)


def pydicom_frames(path: Path, uid: str) -> Iterator[NDArray[np.generic]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd on purpose
        data_set = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in data_set.file_meta:
            data_set.file_meta.TransferSyntaxUID = uid
        plugin = DECODING_PLUGIN.get(path.stem, "")
        decoder = get_decoder(uid)
        for frame, _ in decoder.iter_array(data_set, raw=True, correct_unused_bits=False, decoding_plugin=plugin):
            yield _eight_bits(frame) if path.stem in DEEP_COLOUR else frame


def _eight_bits(frame: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.rint(frame.astype(np.float64) * 255 / np.iinfo(frame.dtype).max).astype(np.uint8)


def assert_equal(ours: Iterator[NDArray[np.generic]], theirs: Iterator[NDArray[np.generic]]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype.newbyteorder("<")
        assert np.array_equal(mine, other)


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_without_its_pixels_is_refused_by_name(name: str) -> None:
    error, reason = UNREADABLE[name]
    with pytest.raises(error, match=reason):
        segments_of(name)


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_native_frames_decode_as_in_pydicom_whatever_they_are_stored_as(name: str, content_type: ContentType) -> None:
    expected = pydicom_frames(IMAGES[name], instance_of(name)[0].transfer_syntax_uid)
    assert_equal(decoded(name, content_type), expected)


@pytest.mark.parametrize("name", [name for name in COMPRESSED if name not in NO_PYDICOM_DECODER | DAMAGED])
def test_compressed_frames_decode_as_in_pydicom(name: str) -> None:
    expected = pydicom_frames(IMAGES[name], instance_of(name)[0].transfer_syntax_uid)
    assert_equal(decoded(name, "htj2k"), expected)


SECOND = [
    name
    for name in COMPRESSED
    if name not in DAMAGED and instance_of(name)[0].transfer_syntax_uid.endswith((".4.90", ".4.91", ".1.2.5"))
]


@pytest.mark.parametrize("name", SECOND)
def test_what_the_first_decoder_fails_on_the_second_reads_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(decoded(name, "none"))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    for codec in ("jpeg2k_decode", "dicomrle_decode"):
        monkeypatch.setattr(imagecodecs, codec, fail)
    assert_equal(decoded(name, "none"), iter(expected))


@pytest.mark.parametrize("name", sorted(NO_PYDICOM_DECODER))
def test_compressed_frames_without_a_decoder_in_pydicom_decode_to_a_picture(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"Unable to (decompress|decode)"):
        next(pydicom_frames(IMAGES[name], instance_of(name)[0].transfer_syntax_uid))
    for frame in decoded(name, "htj2k"):
        assert frame.max() > frame.min()


@pytest.mark.parametrize(
    ("compressed", "native"),
    [
        ("pydicom-data/emri_small_jpeg_ls_lossless.dcm", "pydicom-data/emri_small.dcm"),
        ("pydicom/test_files/MR_small_jpeg_ls_lossless.dcm", "pydicom/test_files/MR_small.dcm"),
        ("pydicom/test_files/SC_rgb_jpeg_gdcm.dcm", "pydicom-data/SC_rgb.dcm"),
    ],
)
def test_lossless_frames_decode_as_their_uncompressed_original(compressed: str, native: str) -> None:
    assert_equal(decoded(compressed, "none"), decoded(native, "none"))


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_damaged_frames_are_named_and_have_no_thumbnail(name: str) -> None:
    with pytest.raises(Corrupt):
        next(decoded(name, "htj2k"))
    instance, description = instance_of(name)
    assert instance_thumbnail(instance, description, segments_of(name)) is None


@pytest.mark.parametrize("name", UNTOUCHED)
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_compressed_frames_pass_untouched(name: str, content_type: ContentType) -> None:
    instance, _ = instance_of(name)
    frames = stored(name, content_type)
    segments = segments_of(name)
    assert frames.transfer_syntax_uid == instance.transfer_syntax_uid
    assert not frames.gzip
    for payload, frame in zip(frames.frames, segments, strict=True):
        assert bytes(payload) == b"".join(bytes(instance.buffer[start : start + size]) for start, size in frame)


@pytest.mark.parametrize("name", COMING_BACK)
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_the_pixel_data_of_the_source_comes_back_byte_for_byte(name: str, content_type: ContentType) -> None:
    instance, description = instance_of(name)
    assert instance.pixel_data is not None
    assert instance.pixel_data.length is not None
    offset = instance.pixel_data.offset
    original = bytes(instance.buffer[offset : offset + instance.pixel_data.length])
    frames = stored(name, content_type)
    word = big_endian_word(instance, description)
    rebuilt = b"".join(native_value(frames.frames, frames.transfer_syntax_uid, description, word=word))
    assert original[: len(rebuilt)] == rebuilt
    rest = len(original) - len(rebuilt)
    assert rest == (128 if name.endswith("MR_small_padded.dcm") else len(rebuilt) % 2)


@pytest.mark.parametrize("name", COMING_BACK)
def test_frames_that_share_no_bytes_come_back_one_by_one(name: str) -> None:
    instance, description = instance_of(name)
    word = big_endian_word(instance, description)
    if description.frame_bits % (8 * word):
        assert name.endswith("SC_rgb_small_odd_big_endian.dcm")
        return
    frames = stored(name, "htj2k")
    segments = segments_of(name)
    for payload, ((offset, length),) in zip(frames.frames, segments, strict=True):
        rebuilt = native_bytes(payload, frames.transfer_syntax_uid, description, word=word)
        assert rebuilt == bytes(instance.buffer[offset : offset + length])


@pytest.mark.parametrize("name", NATIVE)
def test_native_frames_are_transcoded_or_the_reason_is_known(name: str) -> None:
    reason = REASONS.get(Path(name).stem, "")
    htj2k = stored(name, "htj2k")
    assert htj2k.transfer_syntax_uid == (EXPLICIT_VR_LITTLE_ENDIAN if reason else HTJ2K_LOSSLESS_RPCL)
    assert htj2k.gzip == bool(reason)
    assert htj2k.kept_because.startswith(reason)
    assert bool(htj2k.kept_because) == bool(reason)


def test_at_least_99_percent_of_the_eligible_native_frames_are_transcoded() -> None:
    eligible = [name for name in NATIVE if Path(name).stem not in REASONS]
    frames = {name: len(segments_of(name)) for name in eligible}
    transcoded = sum(
        n for name, n in frames.items() if stored(name, "htj2k").transfer_syntax_uid == HTJ2K_LOSSLESS_RPCL
    )
    assert transcoded >= 0.99 * sum(frames.values())
    assert len(eligible) > 80


@pytest.mark.parametrize("name", NATIVE)
def test_jpeg_ls_takes_what_htj2k_takes_and_ybr_full(name: str) -> None:
    expected = stored(name, "htj2k").transfer_syntax_uid == HTJ2K_LOSSLESS_RPCL or "ybr_full_" in name
    assert (stored(name, "jls").transfer_syntax_uid == JPEG_LS_LOSSLESS) == expected


@pytest.mark.parametrize("name", NATIVE)
def test_unchanged_native_frames_are_exactly_as_long_as_they_must_be(name: str) -> None:
    instance, description = instance_of(name)
    for frame in source_frames(instance, description, segments_of(name)):
        assert len(frame) == description.frame_length


@pytest.mark.parametrize("name", [name for name in READABLE if name not in DAMAGED])
def test_every_image_has_a_thumbnail_of_its_own_shape(name: str) -> None:
    instance, description = instance_of(name)
    thumbnail = instance_thumbnail(instance, description, segments_of(name))
    assert thumbnail is not None
    picture = imagecodecs.jpeg8_decode(thumbnail)
    longest = max(description.rows, description.columns)
    assert max(picture.shape[:2]) == min(longest, 256)
    scale = min(1.0, 256 / longest)
    assert abs(picture.shape[0] - description.rows * scale) <= 0.5
    assert abs(picture.shape[1] - description.columns * scale) <= 0.5
