"""Pictures: one frame as grey levels or colours of 8 bits, windowed as the data set asks, small or in full.

A frame is made small first and then windowed: a quarter of a millisecond instead of one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.codecs import decode, photometric_interpretation
from staticwado_daemon.dicom.colors import from_ybr_full, from_ybr_partial
from staticwado_daemon.dicom.data_set import BulkValue
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.dicom.native import Array
from staticwado_daemon.dicom.palette import read_palette
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transcode import source_frames
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.dicom.voi import VOI, Display, read_display
from staticwado_daemon.errors import Corrupt

QUALITY = 80
"""Of a thumbnail's JPEG, from 1 to 100."""

RENDERED_QUALITY = 90
"""Of a rendered image's."""

_PALETTE = "PALETTE COLOR"

# Decoding a larger compressed frame (60 million pixels) takes longer than its thumbnail is worth, and much memory.
MAXIMUM_COMPRESSED_BYTES = 1 << 26


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
    try:
        return _picture_of(instance, description, segments, len(segments) // 2, thumbnail_size=size)
    except Corrupt:
        return None


def rendered_frames(
    instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments]
) -> Iterator[bytes | None]:
    """Yield each frame of `instance` as a JPEG of its own size, None for one that can't be shown.

    Args:
        instance: As read.
        description: Of `instance`, see `frames.describe`.
        segments: Of `instance`, see `frames.frame_segments`.
    """
    for index in range(len(segments)):
        try:
            yield _picture_of(instance, description, segments, index)
        except Corrupt:
            yield None


def _picture_of(
    instance: Instance,
    description: PixelDescription,
    segments: Sequence[FrameSegments],
    index: int,
    *,
    thumbnail_size: int | None = None,
) -> bytes | None:
    """A frame as a JPEG, None if it is too large a one to be decoded for that; raises Corrupt if it can't be."""
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    decoded_bytes = (
        description.rows * description.columns * description.samples_per_pixel * description.bits_allocated // 8
    )
    if syntax.is_video or (syntax.compressed and decoded_bytes > MAXIMUM_COMPRESSED_BYTES):
        return None
    payload = source_frames(instance, description, segments)[index]
    uid = syntax.uid if syntax.compressed else EXPLICIT_VR_LITTLE_ENDIAN
    kind = photometric_interpretation(payload, uid, description)
    meant = replace(description, photometric_interpretation=kind)
    longest = max(description.rows, description.columns)
    halvings = 0
    if thumbnail_size is not None:
        longest = min(longest, thumbnail_size)
        # Lower resolutions hold means: of grey or colour that is what we want, of palette indices nonsense.
        halvings = 0 if kind == _PALETTE else _halvings(description, thumbnail_size)
    frame = decode(payload, uid, description, halvings=halvings)
    return as_jpeg(
        picture(frame, instance.attributes, meant, longest=longest, index=index, bulk_values=instance.bulk_values),
        QUALITY if thumbnail_size is not None else RENDERED_QUALITY,
    )


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
    longest = min(size, max(frame.shape[:2]))
    return as_jpeg(picture(frame, attributes, description, longest=longest, index=index, bulk_values=bulk_values))


def picture(
    frame: Array,
    attributes: Attributes,
    description: PixelDescription,
    *,
    longest: int,
    index: int = 0,
    bulk_values: Iterable[BulkValue] = (),
    voi: VOI | None = None,
) -> NDArray[np.uint8]:
    """Return one decoded frame as (rows, columns) grey levels or (rows, columns, 3) red, green and blue.

    Args:
        frame: See `thumbnail`, and so for what isn't explained here.
        attributes: The data set.
        description: Of the frame.
        longest: Pixels of the longest side; the aspect is kept.
        index: Of the frame, from 0.
        bulk_values: Kept outside the data set.
        voi: The window or table for a grey image, in place of its own first one.

    Raises:
        Corrupt: if the frame's colours can't be told.
    """
    if description.photometric_interpretation == _PALETTE:
        return _bytes(_resized(read_palette(attributes, bulk_values).apply(frame), longest))
    if description.samples_per_pixel != 1:
        return _color(frame, description, longest)
    display = read_display(attributes, index)
    return _grey(frame, attributes, description, replace(display, voi=voi) if voi else display, longest)


def as_jpeg(pixels: NDArray[np.uint8], quality: int = QUALITY) -> bytes:
    """Return a picture as a baseline JPEG."""
    return bytes(imagecodecs.jpeg8_encode(pixels, level=quality, subsampling="420" if pixels.ndim == 3 else None))


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture as a PNG, without loss."""
    return bytes(imagecodecs.png_encode(pixels))


def _halvings(description: PixelDescription, size: int) -> int:
    """How often a frame may be halved and still be no smaller than its thumbnail."""
    return max((max(description.rows, description.columns) // size).bit_length() - 1, 0)


def _grey(
    frame: Array, attributes: Attributes, description: PixelDescription, display: Display, longest: int
) -> NDArray[np.uint8]:
    values = _stored_bits(frame, description)
    if display.voi is None:
        values = _without_padding(values, attributes)
    levels = display.levels(_resized(values, longest))
    # Where both are present they say the same: PS3.3 C.8.11.3.1.2.
    if description.photometric_interpretation == "MONOCHROME1" or display.inverse:
        levels = 1 - levels
    return _bytes(levels * np.float32(255))


def _color(frame: Array, description: PixelDescription, longest: int) -> NDArray[np.uint8]:
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise Corrupt(f"{description.samples_per_pixel} samples per pixel aren't a colour")
    values = np.asarray(_resized(_stored_bits(frame, description), longest), np.float32)
    values = values * np.float32(255 / ((1 << description.bits_stored) - 1))
    if description.photometric_interpretation.startswith("YBR_PARTIAL"):
        values = from_ybr_partial(values)
    elif description.photometric_interpretation.startswith("YBR"):
        values = from_ybr_full(values)
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


def _resized(frame: Array, longest: int) -> Array:
    """Make a frame's longest side `longest`.

    To make it smaller whole blocks of pixels are averaged, which leaves less than a factor of two to interpolate.
    """
    rows, columns = frame.shape[:2]
    present = max(rows, columns)
    if present == longest:
        return frame
    factor = max(1, present // longest)
    resized = _binned(_binned(frame, min(factor, rows), 0), min(factor, columns), 1)
    for axis, length in ((0, rows), (1, columns)):
        resized = _interpolated(resized, max(1, round(length * longest / present)), axis)
    return resized


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
