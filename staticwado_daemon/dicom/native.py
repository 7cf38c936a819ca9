"""Native pixel data: between the bytes of a source, the bytes that are published, and arrays.

Published native frames are little-endian and end with their last sample (or, bit-packed, with its byte). What may
differ in a source: words of the big-endian transfer syntax, and frames that share a byte or a word. Overlay bits and
any other content of unused bits pass through every function here.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticwado_daemon.dicom.data_set import Buffer
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.errors import Corrupt

Array = NDArray[Any]
Payload = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Frames:
    """The payloads of an instance's frames, made one at a time and as often as they are asked for.

    Attributes:
        count: How many there are.
        make: Returns the frame at an index from 0.
    """

    count: int
    make: Callable[[int], Payload]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Payload:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.make(index)

    def __iter__(self) -> Iterator[Payload]:
        return map(self.make, range(self.count))


def joined(buffer: Buffer, segments: FrameSegments) -> Payload:
    """Return the concatenated segments; of what is in memory a single one is a slice, not a copy."""
    view = memoryview(buffer) if isinstance(buffer, bytes) else buffer
    if len(segments) == 1:
        offset, length = segments[0]
        return view[offset : offset + length]
    return b"".join(view[offset : offset + length] for offset, length in segments)


def little_endian_frame(covering: Payload, skipped_bits: int, description: PixelDescription, word: int) -> Payload:
    """Cut one frame out of the source bytes that cover it.

    Args:
        covering: Whole words of the source that the frame touches.
        skipped_bits: How many bits of `covering` belong to the frame before.
        description: Of the source.
        word: How many bytes of the source are reversed together, see `frames.big_endian_word`.

    Returns:
        Exactly `description.frame_length` bytes, a slice of `covering` where nothing has to change.
    """
    bits = description.frame_bits
    if word > 1:
        covering = np.frombuffer(covering, np.uint8).reshape(-1, word)[:, ::-1].tobytes()
    if skipped_bits % 8 or bits % 8:
        unpacked = np.unpackbits(np.frombuffer(covering, np.uint8), bitorder="little")
        return np.packbits(unpacked[skipped_bits : skipped_bits + bits], bitorder="little").tobytes()
    start = skipped_bits // 8
    return covering[start : start + description.frame_length]


def source_value(frames: Iterable[Payload], description: PixelDescription, word: int) -> Iterator[bytes]:
    """Rebuild a native source's Pixel Data value from its little-endian frames: the inverse of cutting.

    Padding is made of zeros: whoever needs the source exactly compares, and keeps what differs.

    Args:
        frames: All frames in the source's planar configuration.
        description: Of the source.
        word: As for `little_endian_frame`.

    Yields:
        Pieces of the value up to the end of its last frame's last word.
    """
    unit = 8 * word
    if description.frame_bits % unit == 0:
        for payload in frames:
            yield reverse_words(payload, word)
        return
    carried = np.empty(0, np.uint8)
    for payload in frames:
        own = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little", count=description.frame_bits)
        bits = np.concatenate((carried, own))
        whole = len(bits) // unit * unit
        yield reverse_words(np.packbits(bits[:whole], bitorder="little").tobytes(), word)
        carried = bits[whole:]
    if len(carried):
        carried = np.pad(carried, (0, unit - len(carried)))
        yield reverse_words(np.packbits(carried, bitorder="little").tobytes(), word)


def reverse_words(payload: Payload, word: int) -> bytes:
    """Return `payload` with each `word` bytes in reverse order."""
    if word == 1:
        return bytes(payload)
    return np.frombuffer(payload, np.uint8).reshape(-1, word)[:, ::-1].tobytes()


def sample_type(description: PixelDescription) -> np.dtype[Any]:
    """Return the little-endian type of one decoded sample.

    Raises:
        Corrupt: if no array can hold samples of that width.
    """
    if description.bits_allocated == 1:
        return np.dtype(np.uint8)
    if description.bits_allocated not in {8, 16, 32, 64}:
        raise Corrupt(f"samples of {description.bits_allocated} bits can't be decoded")
    kind = "f" if description.floating else "ui"[description.pixel_representation]
    return np.dtype(f"<{kind}{description.bits_allocated // 8}")


def shape(description: PixelDescription) -> tuple[int, ...]:
    """Return the shape of a decoded frame: (rows, columns) or (rows, columns, samples)."""
    size = (description.rows, description.columns)
    return size if description.samples_per_pixel == 1 else (*size, description.samples_per_pixel)


def to_array(payload: Payload, description: PixelDescription) -> Array:
    """Return one little-endian native frame as an array of `shape(description)`.

    A view of `payload` where the layout allows, so possibly read-only. Subsampled colour is repeated, as
    PS3.3 C.7.6.3.1.2 describes it; bit-packed samples become 0 and 1.

    Raises:
        Corrupt: if the length isn't the description's, or the samples fit no array.
    """
    if len(payload) != description.frame_length:
        raise Corrupt(f"a native frame has {len(payload)} bytes, not {description.frame_length}")
    if description.bits_allocated == 1:
        packed = np.frombuffer(payload, np.uint8)
        samples: Array = np.unpackbits(packed, bitorder="little", count=description.frame_bits)
    else:
        samples = np.frombuffer(payload, sample_type(description))
    if description.is_subsampled:
        samples = _upsampled(samples)
    return _interleaved(samples, description)


def from_array(array: Array, description: PixelDescription) -> bytes:
    """Return a decoded frame as the source's little-endian native bytes.

    Subsampled and bit-packed frames are never stored in any other form, so there is no way back for them.
    """
    return (np.moveaxis(array, -1, 0) if description.is_planar else array).tobytes()


def _interleaved(samples: Array, description: PixelDescription) -> Array:
    if not description.is_planar:
        return samples.reshape(shape(description))
    planes = samples.reshape(description.samples_per_pixel, description.rows, description.columns)
    return np.moveaxis(planes, 0, -1).copy()  # also gives a single pixel the strides that codecs rely on


def _upsampled(samples: Array) -> Array:
    """Y1 Y2 Cb Cr becomes Y1 Cb Cr Y2 Cb Cr."""
    if len(samples) % 4:
        raise Corrupt("a frame of odd width can't be subsampled")
    pairs = samples.reshape(-1, 4)
    return pairs[:, (0, 2, 3, 1, 2, 3)].reshape(-1)
