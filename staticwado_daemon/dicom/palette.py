"""Palette colour lookup tables: reading them, and expanding segmented ones (PS3.3 C.7.6.3.1.5 and C.7.9)."""

import binascii
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.binary import binary_value
from staticwado_daemon.dicom.data_set import BulkValue
from staticwado_daemon.dicom.native import Array
from staticwado_daemon.errors import Corrupt

_DESCRIPTORS = ("00281101", "00281102", "00281103")
_TABLES = ("00281201", "00281202", "00281203")
_SEGMENTED = ("00281221", "00281222", "00281223")
_MAXIMUM_ENTRIES = 1 << 16
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a PALETTE COLOR image.

    Attributes:
        first: The pixel value that the first colour stands for.
        colors: An array (entries, 3) of 8-bit red, green and blue.
    """

    first: int
    colors: NDArray[np.uint8]

    def apply(self, frame: Array) -> NDArray[np.uint8]:
        """Return the colours of a (rows, columns) frame; values beyond the table's ends get its end colours."""
        index = np.clip(frame.astype(np.int64) - self.first, 0, len(self.colors) - 1)
        return self.colors[index]


@dataclass(frozen=True, slots=True)
class _Descriptor:
    entries: int
    first: int
    bits: int


def read_palette(attributes: Attributes, bulk_values: Iterable[BulkValue] = ()) -> Palette:
    """Return the palette of a PALETTE COLOR data set.

    Raises:
        Corrupt: if a table is missing, out of reach or malformed.
    """
    bulk_values = tuple(bulk_values)
    channels = []
    first = 0
    for descriptor_tag, table_tag, segmented_tag in zip(_DESCRIPTORS, _TABLES, _SEGMENTED, strict=True):
        descriptor = _descriptor(attributes, descriptor_tag)
        table = binary_value(attributes, table_tag, bulk_values)
        if table is None:
            segmented = binary_value(attributes, segmented_tag, bulk_values)
            if segmented is None:
                raise Corrupt("a palette colour lookup table is missing")
            table = _expand(segmented, descriptor)
        channels.append(_eight_bits(table, descriptor))
        first = descriptor.first
    entries = min(len(channel) for channel in channels)
    return Palette(first, np.stack([channel[:entries] for channel in channels], axis=-1))


def plain_tables(attributes: Attributes, bulk_values: Iterable[BulkValue] = ()) -> dict[str, bytes | None]:
    """Return the attribute changes that replace segmented lookup tables by plain ones with the same colours.

    OHIF never loads an image with segmented tables. Nothing changes where there are none, where a plain one stands
    beside them, or where they can't be expanded: then the data set stays as it was sent.
    """
    bulk_values = tuple(bulk_values)
    changes: dict[str, bytes | None] = {}
    for descriptor_tag, table_tag, segmented_tag in zip(_DESCRIPTORS, _TABLES, _SEGMENTED, strict=True):
        segmented = binary_value(attributes, segmented_tag, bulk_values)
        if segmented is None or table_tag in attributes:
            return {}
        try:
            table = _expand(segmented, _descriptor(attributes, descriptor_tag))
        except Corrupt:
            return {}
        inline = binascii.b2a_base64(table, newline=False).decode()
        changes[table_tag] = orjson.dumps({"vr": "OW", "InlineBinary": inline})
        changes[segmented_tag] = None
    return changes


def _descriptor(attributes: Attributes, tag: str) -> _Descriptor:
    numbers = attributes.numbers(tag)
    if len(numbers) != 3 or numbers[2] not in {8, 16}:
        raise Corrupt("a palette colour lookup table descriptor is missing or unusable")
    # 65536 entries don't fit the attribute and are written as 0; read as signed, large counts are negative.
    return _Descriptor(int(numbers[0]) % _MAXIMUM_ENTRIES or _MAXIMUM_ENTRIES, int(numbers[1]), int(numbers[2]))


def _eight_bits(table: bytes, descriptor: _Descriptor) -> NDArray[np.uint8]:
    entries = descriptor.entries
    if descriptor.bits == 8 and len(table) < 2 * entries:
        values = np.frombuffer(table, np.uint8)[:entries]
    else:
        words = np.frombuffer(table[: 2 * entries], "<u2", count=min(len(table) // 2, entries))
        # 8-bit entries in 16-bit words are legal; where nothing is in the upper bytes, the lower ones are meant.
        narrow = descriptor.bits == 8 and (not len(words) or int(words.max()) < 256)
        values = (words if narrow else words >> 8).astype(np.uint8)
    if not len(values):
        raise Corrupt("a palette colour lookup table is empty")
    return values


def _expand(segmented: bytes, descriptor: _Descriptor) -> bytes:
    """Expand a segmented table (PS3.3 C.7.9.2) to plain entries of the same width, padded to even length."""
    width = descriptor.bits // 8
    words = np.frombuffer(segmented[: len(segmented) // width * width], f"<u{width}").tolist()
    values: list[int] = []
    try:
        position = 0
        while len(values) < descriptor.entries:
            position = _expand_segment(words, position, width, values)
    except (IndexError, ValueError) as error:
        raise Corrupt("a segmented palette colour lookup table is malformed") from error
    table = np.asarray(values[: descriptor.entries], f"<u{width}").tobytes()
    return table + bytes(len(table) % 2)


def _expand_segment(words: list[int], position: int, width: int, values: list[int], *, nested: bool = False) -> int:
    """Append the segment at `position` to `values` and return where the next one begins."""
    opcode, length = words[position], words[position + 1]
    position += 2
    if length == 0 or len(values) > _MAXIMUM_ENTRIES:
        raise ValueError(length)  # such a table would never end
    if opcode == _DISCRETE:
        entries = words[position : position + length]
        if len(entries) != length:
            raise IndexError(position)
        values.extend(entries)
        return position + length
    if opcode == _LINEAR:
        start, end = values[-1], words[position]
        steps = np.linspace(start + (end - start) / length, end, length)
        values.extend(np.around(steps).astype(int).tolist())
        return position + 1
    if opcode != _INDIRECT or nested:
        raise ValueError(opcode)
    # The offset counts bytes from the table's start, its least significant word (or byte) first.
    offset_length = 4 // width
    parts = words[position : position + offset_length]
    offset = sum(part << (8 * width * index) for index, part in enumerate(parts)) // width
    for _ in range(length):
        offset = _expand_segment(words, offset, width, values, nested=True)
    return position + offset_length
