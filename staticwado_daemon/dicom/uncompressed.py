"""A DICOM file's data set without compression, in Explicit or Implicit VR Little Endian: what every program can read.

Native pixel data keep their bytes, but for the order in words that were big-endian. Compressed frames are decoded one
after the other, so that an object of any length costs the memory of one frame, and the attributes that describe them
say what they are then (PS3.5 section 8.2, PS3.3 C.7.6.3).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from staticwado_daemon.dicom import frames, native, part10, recode, transcode
from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.codestreams import jpeg2000_header, jpeg_header
from staticwado_daemon.dicom.colors import from_ybr_full
from staticwado_daemon.dicom.data_set import Buffer, Limits, PixelData, encoding_of, pieces
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.dicom.native import Array, Frames, Payload
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.recode import Value
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_ANY,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LS_NEAR_LOSSLESS,
    PRIVATE_HTJ2K,
    transfer_syntax,
)
from staticwado_daemon.errors import Corrupt, Rejected

SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""What this makes, the better one first: it tells the value representation of private elements."""

_PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
_PLANAR_CONFIGURATION: Final = 0x00280006
_LOSSY: Final = 0x00282110
_RATIO: Final = 0x00282112
_METHOD: Final = 0x00282114
_OFFSET_TABLES: Final = (0x7FE00001, 0x7FE00002, 0x7FE00003)

_JPEG: Final = frozenset((JPEG_BASELINE, JPEG_EXTENDED))
_PERHAPS_LOSSY: Final = frozenset((JPEG_2000, HTJ2K_ANY, PRIVATE_HTJ2K))
_METHODS: Final = {
    JPEG_BASELINE: "ISO_10918_1",
    JPEG_EXTENDED: "ISO_10918_1",
    JPEG_LS_NEAR_LOSSLESS: "ISO_14495_1",
    JPEG_2000: "ISO_15444_1",
    HTJ2K_ANY: "ISO_15444_15",
    PRIVATE_HTJ2K: "ISO_15444_15",
}
"""Lossy Image Compression Method of the transfer syntaxes that may lose something (PS3.3 C.7.6.1.1.5.1)."""


def data_set(file: Buffer, transfer_syntax_uid: str) -> Iterator[bytes | memoryview]:
    """Yield the data set of a DICOM file in one of the `SYNTAXES`, without file meta information.

    Every element is there with the value that it had, private ones included, except for those that describe the
    coding of pixel data.

    Raises:
        Corrupt: if it has pixels that can't be decoded: at the first of them, or where one is damaged.
    """
    try:
        instance = part10.read(file, Limits(), str)
        declared = transfer_syntax(instance.transfer_syntax_uid).encoding
        yield from recode.recoded(
            instance.buffer,
            instance.dataset_offset,
            encoding_of(instance.buffer, instance.dataset_offset, declared),
            _pixel_changes(instance),
            implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        )
    except Rejected as why:
        raise Corrupt(f"it can't be converted: {why.reason}") from why


def _pixel_changes(instance: Instance) -> dict[int, Value | None]:
    """Pixel data as they will be, and the attributes that have to say so."""
    pixel_data = instance.pixel_data
    if pixel_data is None:
        return {}
    tag = int(pixel_data.tag, 16)
    if pixel_data.length is not None:
        return {tag: _as_it_is(instance, pixel_data, pixel_data.length)}
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    if syntax.is_video:
        raise Corrupt(f"it is a video ({syntax.name}), which isn't converted")
    description = frames.describe(instance)
    segments = frames.frame_segments(instance, description)
    source = transcode.source_frames(instance, description, segments)
    if not syntax.compressed:
        return {tag: _joined(source, description), **dict.fromkeys(_OFFSET_TABLES)}
    first = source[0]
    decoded = transcode.decoded_description(first, syntax.uid, description)
    make: Callable[[Payload], Array] = partial(decode, transfer_syntax_uid=syntax.uid, description=description)
    if syntax.uid in _JPEG and decoded.photometric_interpretation == "YBR_FULL":
        decoded = replace(decoded, photometric_interpretation="RGB")
        make = _in_rgb(make, jpeg_header(first).precision)
    _packed(make(first), decoded)  # so that what can't be decoded is known before anything is written
    payloads = Frames(len(source), lambda index: _packed(make(source[index]), decoded))
    return {
        tag: _joined(payloads, decoded),
        **dict.fromkeys(_OFFSET_TABLES),
        **_labels(decoded),
        **_loss(instance, first, decoded, segments),
    }


def _as_it_is(instance: Instance, pixel_data: PixelData, length: int) -> Value:
    """Native pixel data, with whatever stands after the last frame."""
    segment = (pixel_data.offset, min(length, len(instance.buffer) - pixel_data.offset))
    word = 1
    if not transfer_syntax(instance.transfer_syntax_uid).encoding.little_endian:
        word = frames.big_endian_word(instance, frames.describe(instance))

    def make() -> Iterator[Payload]:
        for piece in pieces(instance.buffer, [segment]):
            whole = len(piece) // word * word
            yield native.reverse_words(piece[:whole], word) if word > 1 else piece
            yield piece[whole:]

    return Value(pixel_data.vr, segment[1], make)


def _joined(payloads: Frames, description: PixelDescription) -> Value:
    """Frames, each as native ones are, one after the other."""
    length = -(-description.frame_bits * len(payloads) // 8)
    padding = length % 2

    def make() -> Iterator[bytes]:
        yield from native.source_value(payloads, description, 1)
        yield bytes(padding)

    return Value("OB" if description.bits_allocated <= 8 else "OW", length + padding, make)


def _packed(frame: Array, description: PixelDescription) -> bytes:
    if description.bits_allocated == 1:
        return np.packbits(frame.reshape(-1), bitorder="little").tobytes()
    return native.from_array(frame, description)


def _in_rgb(make: Callable[[Payload], Array], bits: int) -> Callable[[Payload], Array]:
    """Decode, and convert YBR_FULL: few programs expect it in pixel data that aren't compressed."""

    def converted(payload: Payload) -> Array:
        frame = make(payload)
        rgb: Array = np.clip(np.rint(from_ybr_full(frame, bits)), 0, (1 << bits) - 1).astype(frame.dtype)
        return rgb

    return converted


def _labels(description: PixelDescription) -> dict[int, Value | None]:
    """What decoded frames of several samples, arranged pixel by pixel, must be called."""
    if description.samples_per_pixel == 1:
        return {}
    return {
        _PHOTOMETRIC_INTERPRETATION: _text("CS", description.photometric_interpretation),
        _PLANAR_CONFIGURATION: Value("US", 2, lambda: [bytes(2)]),
    }


def _loss(
    instance: Instance, first: Payload, description: PixelDescription, segments: Iterable[FrameSegments]
) -> dict[int, Value | None]:
    """That compression has lost something, where the file didn't say so; it can't be seen any more otherwise."""
    uid = instance.transfer_syntax_uid
    method = _METHODS.get(uid)
    if not method or f"{_LOSSY:08X}" in instance.attributes:
        return {}
    if uid in _PERHAPS_LOSSY and jpeg2000_header(first).reversible:
        return {}
    coded = sum(length for frame in segments for _, length in frame)
    native_length = description.frame_length * description.number_of_frames
    return {
        _LOSSY: _text("CS", "01"),
        _RATIO: _text("DS", f"{native_length / max(1, coded):.2f}"),
        _METHOD: _text("CS", method),
    }


def _text(vr: str, text: str) -> Value:
    value = text.encode()
    value += b" " * (len(value) % 2)
    return Value(vr, len(value), lambda: [value])
