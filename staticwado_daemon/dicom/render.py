"""Thumbnails: one frame as a small baseline JPEG, windowed as the data set asks.

The frame is made small first and then windowed: a quarter of a millisecond instead of one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.codecs import decode, photometric_interpretation
from staticwado_daemon.dicom.data_set import BulkValue
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.dicom.native import Array
from staticwado_daemon.dicom.palette import read_palette
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transcode import source_frames
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.dicom.voi import read_display
from staticwado_daemon.errors import Corrupt

QUALITY = 80

_PALETTE = "PALETTE COLOR"

# Decoding a larger compressed frame (60 million pixels) takes longer than its thumbnail is worth, and much memory.
MAXIMUM_COMPRESSED_BYTES = 1 << 26

# PS3.3 C.7.6.3.1.2, solved for red, green and blue.
_FROM_YBR_FULL = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)


def instance_thumbnail(
    instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments], size: int = 256
) -> bytes | None:
    """Return a thumbnail of the middle frame of `instance`, None if it can't be decoded.

    Args:
        instance: As read.
        description: Of `instance`, see `frames.describe`.
        segments: Of `instance`, see `frames.frame_segments`.
        size: Pixels of the longest side, at most.
    """
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    decoded_bytes = (
        description.rows * description.columns * description.samples_per_pixel * description.bits_allocated // 8
    )
    if syntax.is_video or (syntax.compressed and decoded_bytes > MAXIMUM_COMPRESSED_BYTES):
        return None
    index = len(segments) // 2
    payload = source_frames(instance, description, segments)[index]
    uid = syntax.uid if syntax.compressed else EXPLICIT_VR_LITTLE_ENDIAN
    try:
        meant = replace(description, photometric_interpretation=photometric_interpretation(payload, uid, description))
        # Lower resolutions hold means: of grey or colour that is what we want, of palette indices nonsense.
        halvings = 0 if meant.photometric_interpretation == _PALETTE else _halvings(description, size)
        frame = decode(payload, uid, description, halvings=halvings)
        return thumbnail(frame, instance.attributes, meant, size=size, index=index, bulk_values=instance.bulk_values)
    except Corrupt:
        return None


def thumbnail(
    frame: Array,
    attributes: Attributes,
    description: PixelDescription,
    *,
    size: int = 256,
    index: int = 0,
    bulk_values: Iterable[BulkValue] = (),
) -> bytes:
    """Return one decoded frame as a baseline JPEG.

    Args:
        frame: As `codecs.decode` returns it, perhaps at a lower resolution.
        attributes: The data set: rescale, window, palette, pixel padding.
        description: Of the frame; its photometric interpretation is what the samples really are.
        size: Pixels of the longest side, at most; smaller frames keep their size, all keep their aspect.
        index: Of the frame, from 0: for the functional groups of multi-frame images.
        bulk_values: Kept outside the data set: long palettes are.

    Raises:
        Corrupt: if the frame's colours can't be told.
    """
    if description.photometric_interpretation == _PALETTE:
        pixels = _bytes(_shrunk(read_palette(attributes, bulk_values).apply(frame), size))
    elif description.samples_per_pixel == 1:
        pixels = _grey(frame, attributes, description, size, index)
    else:
        pixels = _color(frame, description, size)
    return bytes(imagecodecs.jpeg8_encode(pixels, level=QUALITY, subsampling="420" if pixels.ndim == 3 else None))


def _halvings(description: PixelDescription, size: int) -> int:
    """How often a frame may be halved and still be no smaller than its thumbnail."""
    return max((max(description.rows, description.columns) // size).bit_length() - 1, 0)


def _grey(
    frame: Array, attributes: Attributes, description: PixelDescription, size: int, index: int
) -> NDArray[np.uint8]:
    values = _stored_bits(frame, description)
    display = read_display(attributes, index)
    if display.voi is None:
        values = _without_padding(values, attributes)
    levels = display.levels(_shrunk(values, size))
    if description.photometric_interpretation == "MONOCHROME1":
        levels = 1 - levels
    return _bytes(levels * np.float32(255))


def _color(frame: Array, description: PixelDescription, size: int) -> NDArray[np.uint8]:
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise Corrupt(f"{description.samples_per_pixel} samples per pixel aren't a colour")
    values = np.asarray(_shrunk(_stored_bits(frame, description), size), np.float32)
    values = values * np.float32(255 / ((1 << description.bits_stored) - 1))
    if description.photometric_interpretation.startswith("YBR"):
        values = (values - np.array([0, 128, 128], np.float32)) @ _FROM_YBR_FULL.T
    return _bytes(values)


def _stored_bits(frame: Array, description: PixelDescription) -> Array:
    """Keep only the bits of the sample: those above and below may be overlays or garbage (PS3.5 8.1.1)."""
    if description.floating:
        return np.nan_to_num(frame, posinf=0.0, neginf=0.0)
    above = 8 * frame.itemsize - description.high_bit - 1
    below = description.high_bit + 1 - description.bits_stored
    if description.bits_allocated == 1 or (above <= 0 and below == 0):
        return frame
    return (frame << above) >> (above + below)


def _without_padding(values: Array, attributes: Attributes) -> Array:
    """Replace padding by the lowest real value, so that it doesn't stretch the range of grey levels.

    Pixel Padding Value and Range Limit: PS3.3 C.7.5.1.1.2.
    """
    padding = attributes.integer("00280120")
    if padding is None:
        return values
    limit = attributes.integer("00280121", padding)
    low, high = sorted((padding, padding if limit is None else limit))
    is_padding = (values >= low) & (values <= high)
    if not is_padding.any() or is_padding.all():
        return values
    return np.where(is_padding, values[~is_padding].min(), values)


def _shrunk(frame: Array, size: int) -> Array:
    """Reduce a frame so that its longest side is `size`; frames that are smaller stay as they are.

    Whole blocks of pixels are averaged, which leaves less than a factor of two to interpolate.
    """
    rows, columns = frame.shape[:2]
    longest = max(rows, columns)
    if longest <= size:
        return frame
    factor = longest // size
    shrunk = _binned(_binned(frame, min(factor, rows), 0), min(factor, columns), 1)
    for axis, length in ((0, rows), (1, columns)):
        shrunk = _interpolated(shrunk, max(1, round(length * size / longest)), axis)
    return shrunk


def _binned(frame: Array, factor: int, axis: int) -> Array:
    """Average each `factor` rows (axis 0) or columns (axis 1); what is left over at the end is dropped."""
    if factor == 1:
        return frame
    whole = frame.shape[axis] // factor * factor
    slices = [(slice(None),) * axis + (slice(first, whole, factor),) for first in range(factor)]
    total = np.add(frame[slices[0]], frame[slices[1]], dtype=np.float32)
    for part in slices[2:]:
        total += frame[part]
    return total * np.float32(1 / factor)


def _interpolated(frame: Array, length: int, axis: int) -> Array:
    """Resample rows (axis 0) or columns (axis 1) linearly to `length`."""
    present = frame.shape[axis]
    if present == length:
        return frame
    position = np.clip((np.arange(length, dtype=np.float32) + 0.5) * present / length - 0.5, 0, present - 1)
    before = position.astype(np.int64)
    after = np.minimum(before + 1, present - 1)
    weight = (position - before).astype(np.float32).reshape([-1 if axis == i else 1 for i in range(frame.ndim)])
    return np.asarray(frame.take(before, axis) * (1 - weight) + frame.take(after, axis) * weight, np.float32)


def _bytes(values: Array) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    return np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8)
