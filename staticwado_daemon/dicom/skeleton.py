"""Large data sets for the fast reader: all that is in them but the value of Pixel Data.

The fast reader wants its data set in memory. Of one that is read slice by slice it gets a skeleton, in which Pixel Data
is empty; everything before it stands where it stood. Like the fast reader this one may only decline: without Pixel
Data, or at the first header that isn't plainly right, the thorough reader answers, which needs slices only; so it does
where another value is too long to be held.
"""

import struct
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from staticwado_daemon.dicom import explicit_le
from staticwado_daemon.dicom.data_set import (
    ITEM,
    ITEM_DELIMITER,
    LONG_LENGTH_VRS,
    MOST_HELD,
    PIXEL_DATA_TAGS,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    Buffer,
    DataSet,
    Limits,
    Rules,
)
from staticwado_daemon.dicom.fragments import end_of_items
from staticwado_daemon.dicom.json_model import VRS
from staticwado_daemon.errors import Rejected

_LONGEST_TAIL: Final = 1 << 26
"""Bytes after Pixel Data; more is hardly content."""

_NO_ITEMS: Final = bytes.fromhex("FEFFDDE000000000")
_NO_BYTES: Final = bytes(4)

_LONG: Final = frozenset(vr.encode() for vr in LONG_LENGTH_VRS)
_VRS: Final = frozenset(vr.encode() for vr in VRS)
_HEADER: Final = struct.Struct("<HH2sH")
_LENGTH: Final = struct.Struct("<I")
_ITEM_HEADER: Final = struct.Struct("<HHI")


class _DeclinedError(Exception):
    """This is not for us."""


class _Element(NamedTuple):
    """An element's header: what it says of the value, and where that is."""

    tag: int
    vr: bytes
    start: int
    length: int


def read(buffer: Buffer, offset: int, rules: Rules) -> DataSet | None:
    """Read the data set in Explicit VR Little Endian that fills the buffer from `offset`, or decline with None.

    The answer is the one that `explicit_le.read` gives for the whole.
    """
    try:
        element = _Walk(buffer, rules.limits).pixel_data(offset)
        skeleton = _without_value(buffer, element)
    except (_DeclinedError, Rejected, struct.error):
        return None
    data_set = explicit_le.read(skeleton, offset, rules)
    if data_set is None or data_set.pixel_data is None or data_set.pixel_data.offset != element.start:
        return None
    length = None if element.length == UNDEFINED_LENGTH else element.length
    left_out = len(buffer) - len(skeleton)
    places = (
        place._replace(offset=place.offset + left_out) if place.offset >= element.start else place
        for place in data_set.places
    )
    return replace(data_set, pixel_data=replace(data_set.pixel_data, length=length), places=tuple(places))


def _without_value(buffer: Buffer, element: _Element) -> bytes:
    """Return what is in the buffer, but with an empty Pixel Data."""
    undefined = element.length == UNDEFINED_LENGTH
    end = end_of_items(buffer, element.start) if undefined else element.start + element.length
    if not 0 <= len(buffer) - end <= _LONGEST_TAIL:
        raise _DeclinedError
    if undefined:
        return b"".join((buffer[: element.start], _NO_ITEMS, buffer[end:]))
    return b"".join((buffer[: element.start - _LENGTH.size], _NO_BYTES, buffer[end:]))


@dataclass(slots=True)
class _Walk:
    """A walk from header to header."""

    buffer: Buffer
    limits: Limits
    elements: int = 0

    def pixel_data(self, position: int) -> _Element:
        """Return the Pixel Data element of a data set."""
        while (element := self.element(position)).tag not in PIXEL_DATA_TAGS:
            if element.vr != b"SQ" and element.length > MOST_HELD:
                raise _DeclinedError
            position = self.end(element, 0)
        if element.vr not in _LONG:
            raise _DeclinedError
        return element

    def element(self, position: int) -> _Element:
        """Read the header at a position; item delimiters have one, too."""
        self.elements += 1
        if self.elements > self.limits.maximum_elements:
            raise _DeclinedError
        group, number, vr, length = _HEADER.unpack(self.buffer[position : position + _HEADER.size])
        start = position + _HEADER.size
        if vr in _LONG:
            (length,) = _LENGTH.unpack(self.buffer[start : start + _LENGTH.size])
            start += _LENGTH.size
        return _Element(group << 16 | number, vr, start, length)

    def end(self, element: _Element, depth: int) -> int:
        """Return the position after an element, which may be a sequence without a length."""
        if element.vr not in _VRS:
            raise _DeclinedError
        if element.length != UNDEFINED_LENGTH:
            return element.start + element.length
        if element.vr != b"SQ" or depth >= self.limits.maximum_depth:
            raise _DeclinedError
        position = element.start
        while True:
            group, number, length = _ITEM_HEADER.unpack(self.buffer[position : position + _ITEM_HEADER.size])
            position += _ITEM_HEADER.size
            tag = group << 16 | number
            if tag == SEQUENCE_DELIMITER:
                return position
            if tag != ITEM:
                raise _DeclinedError
            position = self.end_of_item(position, depth + 1) if length == UNDEFINED_LENGTH else position + length

    def end_of_item(self, position: int, depth: int) -> int:
        """Return the position after an item without a length."""
        while (element := self.element(position)).tag != ITEM_DELIMITER:
            position = self.end(element, depth)
        return element.start
