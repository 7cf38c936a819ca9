"""Decoding one frame, whatever its transfer syntax, into the numbers of the data set.

imagecodecs does the work: it releases the GIL, is the fastest for each syntax and agrees bit for bit with pydicom's
decoders. Where it fails on JPEG 2000 or RLE, and for HTJ2K with loss, pylibjpeg is asked (`second_decoder`). What a
codestream doesn't say (sign, cell width) comes from the data set.
"""

import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np

from staticwado_daemon.dicom import native, second_decoder
from staticwado_daemon.dicom.codestreams import Header, jpeg2000_header, jpeg_header
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.native import Array, Payload
from staticwado_daemon.dicom.transfer_syntaxes import (
    DEFLATED_IMAGE_FRAME,
    HTJ2K,
    HTJ2K_ANY,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_FIRST_ORDER,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE_LOSSLESS,
    transfer_syntax,
)
from staticwado_daemon.errors import Corrupt

# A frame that decodes to more isn't shown by any viewer, and would cost more than a worker has.
MAXIMUM_DECODED_BYTES = 1 << 31

_JPEG = frozenset((JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_FIRST_ORDER))
_JPEG_LS = frozenset((JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS))
_JPEG_2000 = frozenset((JPEG_2000_LOSSLESS, JPEG_2000))
_MULTI_COMPONENT_TRANSFORMED = frozenset({"YBR_RCT", "YBR_ICT"})
_END_OF_IMAGE = b"\xff\xd9"
_TAIL = 16  # the marker, and what writers pad with
_CODEC_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError, zlib.error)


def decode(payload: Payload, transfer_syntax_uid: str, description: PixelDescription, *, halvings: int = 0) -> Array:
    """Decode one frame.

    Args:
        payload: The frame's bytes in `transfer_syntax_uid`; native ones as they are published (little-endian).
        transfer_syntax_uid: Of the payload.
        description: Of the source data set, also where the payload is a lossless re-coding of it.
        halvings: Decode HTJ2K, where it is reversible, at a resolution halved so many times; all else ignores it,
            and so do missing resolutions.

    Returns:
        An array (rows, columns) or (rows, columns, samples), little-endian, of the sign and cell width that the data
        set has. Colour is as `photometric_interpretation` says: components aren't converted, except that the
        multi-component transforms inside JPEG 2000 codestreams are undone. It may be read-only.

    Raises:
        Corrupt: if the payload can't be decoded as what it is said to be, or decodes to another size.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if not syntax.compressed:
        return native.to_array(payload, description)
    target = native.sample_type(description)
    size = description.rows * description.columns * description.samples_per_pixel * target.itemsize
    if size > MAXIMUM_DECODED_BYTES:
        raise Corrupt(f"a frame of {size} bytes is too large to be decoded")
    if transfer_syntax_uid in {RLE_LOSSLESS, DEFLATED_IMAGE_FRAME}:
        return _decode_bytes(payload, transfer_syntax_uid, description, size)
    header = _header(payload, transfer_syntax_uid)
    _compare(header, description)
    if transfer_syntax_uid in HTJ2K and not header.reversible:
        # Where such a frame overshoots its range, imagecodecs doesn't clip: white becomes black.
        samples = second_decoder.decode_pixels(payload, HTJ2K_ANY, header, description)
        return _conform(samples, header, description, target)
    try:
        samples = _guarded(_decoder(transfer_syntax_uid, header, halvings), payload, syntax.name)
    except Corrupt as why:
        if transfer_syntax_uid not in _JPEG_2000 or isinstance(why.__cause__, MemoryError):
            raise
        samples = second_decoder.decode_pixels(payload, transfer_syntax_uid, header, description)
    return _conform(samples, header, description, target)


def photometric_interpretation(payload: Payload, transfer_syntax_uid: str, description: PixelDescription) -> str:
    """Return what the samples that `decode` yields are, for whoever displays them.

    A JPEG stream that names its colour space is right where the data set says otherwise; the decoder undoes the
    transforms YBR_RCT and YBR_ICT.

    Raises:
        Corrupt: if the payload has no readable header.
    """
    stated = description.photometric_interpretation
    if description.samples_per_pixel == 1:
        return stated
    if transfer_syntax_uid in _JPEG:
        found = jpeg_header(payload).color_space
        return found if found is not None else stated
    return "RGB" if stated in _MULTI_COMPONENT_TRANSFORMED else stated


def _header(payload: Payload, transfer_syntax_uid: str) -> Header:
    if transfer_syntax_uid in _JPEG or transfer_syntax_uid in _JPEG_LS:
        return jpeg_header(payload)
    if transfer_syntax_uid in _JPEG_2000 or transfer_syntax_uid in HTJ2K:
        return jpeg2000_header(payload)
    raise Corrupt(f"there is no decoder for transfer syntax {transfer_syntax_uid}")


def _compare(header: Header, description: PixelDescription) -> None:
    told = (header.rows, header.columns, header.samples)
    expected = (description.rows, description.columns, description.samples_per_pixel)
    if told != expected:
        raise Corrupt(f"the codestream's rows, columns and samples are {told}, the data set's {expected}")
    if header.precision > description.bits_allocated:
        raise Corrupt(f"the codestream has {header.precision} bits, more than Bits Allocated")


def _decoder(transfer_syntax_uid: str, header: Header, halvings: int) -> Callable[[Any], Array]:
    if transfer_syntax_uid in HTJ2K:
        return lambda data: _decode_htj2k(data, min(halvings, header.decompositions))
    if transfer_syntax_uid in _JPEG_2000:
        return imagecodecs.jpeg2k_decode
    if transfer_syntax_uid in _JPEG_LS:
        return lambda data: imagecodecs.jpegls_decode(_ended(data))
    if header.samples == 3:
        # The same space in and out: the components leave as they are stored.
        return lambda data: imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB")
    return imagecodecs.jpeg8_decode


def _decode_htj2k(payload: Any, halvings: int) -> Array:
    """Decode HTJ2K, and fail where imagecodecs can't.

    Its decoding loop has no way to raise: the interpreter's hook is told, and the rest of the frame stays empty. The
    hook is the whole process's, so of two threads that decode at once one may get the other's error.
    """
    ignored: list[str] = []
    previous, sys.unraisablehook = sys.unraisablehook, lambda told: ignored.append(str(told.exc_value))
    try:
        frame = imagecodecs.htj2k_decode(payload, skipres=halvings or None, planar=False)
    finally:
        sys.unraisablehook = previous
    if ignored:
        raise RuntimeError(ignored[0])
    return frame


def _ended(payload: Any) -> Any:
    """Close a JPEG-LS codestream that was cut off: CharLS searches for its end for seconds, then fails."""
    return payload if _END_OF_IMAGE in bytes(payload[-_TAIL:]) else bytes(payload) + _END_OF_IMAGE


def _decode_bytes(payload: Payload, transfer_syntax_uid: str, description: PixelDescription, size: int) -> Array:
    """Decode a syntax that codes bytes, not pixels."""
    if transfer_syntax_uid == DEFLATED_IMAGE_FRAME:
        inflated = _guarded(
            lambda data: zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, description.frame_length),
            payload,
            "deflate",
        )
        return native.to_array(inflated, description)
    target = native.sample_type(description)
    # RLE yields planes of all samples (PS3.5 G.2), whatever the data set says about their arrangement.
    layout = replace(description, planar_configuration=1, photometric_interpretation="RGB")
    try:
        planes = _guarded(
            lambda data: imagecodecs.dicomrle_decode(data, target, out=bytearray(size)), payload, "RLE Lossless"
        )
    except Corrupt as why:
        if isinstance(why.__cause__, MemoryError):
            raise
        planes = second_decoder.decode_planes(payload, transfer_syntax_uid, description)
    return native.to_array(bytes(planes), layout)


def _guarded(decoder: Callable[[Any], Any], payload: Payload, name: str) -> Any:
    try:
        return decoder(payload)
    except _CODEC_ERRORS as error:
        raise Corrupt(f"the frame can't be decoded as {name}") from error


def _conform(samples: Array, header: Header, description: PixelDescription, target: np.dtype[Any]) -> Array:
    """Give decoded samples the data set's sign and cell width."""
    if samples.ndim != len(native.shape(description)):
        raise Corrupt(f"the frame decodes to {samples.shape}")
    signed = description.pixel_representation == 1
    unused = 8 * samples.itemsize - header.precision
    if signed != header.signed:
        # The bits are right and their sign is misread: shifting it to the top and back reads it again.
        samples = samples.view(np.dtype(f"{'i' if signed else 'u'}{samples.itemsize}"))
        if unused:
            samples = (samples << unused) >> unused
    return samples if samples.dtype == target else samples.astype(target)
