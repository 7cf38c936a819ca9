"""The outline of a data set: where its elements end, and the values of a few of them.

Only headers are looked at, in each encoding that there is, so that it costs little whether a data set is as long as it
says it is. It isn't for this walk to say what else is wrong: where it meets something odd it says that it doesn't know.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from staticwado_daemon.dicom.data_set import (
    ITEM,
    ITEM_DELIMITER,
    LONG_LENGTH_VRS,
    PIXEL_DATA_TAGS,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    encoding_of,
)
from staticwado_daemon.dicom.fragments import items
from staticwado_daemon.errors import Incomplete, Rejected

_WINDOW: Final = 1 << 14
_MAXIMUM_DEPTH: Final = 64
_LONGEST_VALUE: Final = 1024
_MOST_HEADERS: Final = 200_000


_LONG: Final = frozenset(vr.encode() for vr in LONG_LENGTH_VRS)
_CUT_OFF: Final = "the data set ends inside one of its elements"


class _OddError(Exception):
    """Something that isn't plainly right."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a walk found.

    Attributes:
        values: of the elements asked for, as far as they are there, at the top level.
        walked: whether the walk came to the end, which is then the end of the last element.
    """

    values: dict[int, bytes]
    walked: bool


def read(buffer: Buffer, offset: int, declared: Encoding, wanted: Collection[int]) -> Outline:
    """Walk through the data set that fills the buffer from `offset`.

    Args:
        buffer: what is read; some 16 kB at a time, and nothing of long values.
        offset: of the first element.
        declared: the encoding by the transfer syntax, not deflated. Where the looks say otherwise they are believed.
        wanted: tags of the elements whose values are to be returned; of long ones the first kilobyte.

    Raises:
        Incomplete: if the data set ends inside an element.
    """
    walk = _Walk(buffer, encoding_of(buffer, offset, declared), wanted)
    try:
        walk.data_set(offset)
    except (_OddError, Rejected) as why:
        if isinstance(why, Incomplete):
            raise
        return Outline(walk.values, walked=False)
    return Outline(walk.values, walked=True)


@dataclass(slots=True)
class _Walk:
    """A walk from header to header, over a window that moves along."""

    buffer: Buffer
    encoding: Encoding
    wanted: Collection[int]
    values: dict[int, bytes] = field(default_factory=dict)
    end: int = 0
    window: bytes = b""
    window_start: int = 0
    headers: int = 0
    item: struct.Struct = field(init=False)
    short: struct.Struct = field(init=False)

    def __post_init__(self) -> None:
        order = "<" if self.encoding.little_endian else ">"
        self.item = struct.Struct(f"{order}HHI")
        self.short = struct.Struct(f"{order}H")
        self.end = len(self.buffer)

    def data_set(self, position: int) -> None:
        """Walk through the top level."""
        implicit = self.encoding.implicit
        # Fewer bytes than a header at the end are padding.
        while position + 8 <= self.end:
            tag, vr, start, length = self.element(position, implicit=implicit)
            if length != UNDEFINED_LENGTH:
                position = start + length
                if position > self.end:
                    raise Incomplete(_CUT_OFF)
                if tag in self.wanted:
                    self.values[tag] = bytes(self.buffer[start : start + min(length, _LONGEST_VALUE)])
            elif tag in PIXEL_DATA_TAGS:
                position = self.fragments_end(start)
            else:
                # A sequence whose VR is unknown is in implicit VR (PS3.5 6.2.2 note 7).
                position = self.sequence(start, implicit=implicit or vr == b"UN", depth=1)

    def element(self, position: int, *, implicit: bool) -> tuple[int, bytes, int, int]:
        """Read a header: tag, VR (if any), where the value starts, and its length."""
        self.count()
        at = self.at(position)
        group, number, length = self.item.unpack_from(self.window, at)
        tag = group << 16 | number
        vr = self.window[at + 4 : at + 6]
        if implicit or group == 0xFFFE or not b"AA" <= vr <= b"ZZ":
            return tag, b"", position + 8, length
        if vr not in _LONG:
            return tag, vr, position + 8, self.short.unpack_from(self.window, at + 6)[0]
        if position + 12 > self.end:
            raise Incomplete(_CUT_OFF)
        _, _, length = self.item.unpack_from(self.window, at + 4)
        return tag, vr, position + 12, length

    def sequence(self, position: int, *, implicit: bool, depth: int) -> int:
        """Return the position after a sequence without a length."""
        if depth > _MAXIMUM_DEPTH:
            raise _OddError
        while True:
            tag, _, start, length = self.element(position, implicit=True)
            if tag == SEQUENCE_DELIMITER:
                return start
            if tag != ITEM:
                raise _OddError
            if length == UNDEFINED_LENGTH:
                position = self.items_end(start, implicit=implicit, depth=depth)
            else:
                position = start + length

    def items_end(self, position: int, *, implicit: bool, depth: int) -> int:
        """Return the position after an item without a length."""
        while True:
            tag, vr, start, length = self.element(position, implicit=implicit)
            if tag == ITEM_DELIMITER:
                return start
            if length != UNDEFINED_LENGTH:
                position = start + length
            elif tag in PIXEL_DATA_TAGS:  # an icon's
                position = self.fragments_end(start)
            else:
                position = self.sequence(start, implicit=implicit or vr == b"UN", depth=depth + 1)

    def fragments_end(self, position: int) -> int:
        """Return the position after encapsulated pixel data."""
        for start, length in items(self.buffer, position, little_endian=self.encoding.little_endian):
            self.count()
            position = start + length
        return position + 8

    def count(self) -> None:
        """Count a header: there can be more of them than anybody should wait for."""
        self.headers += 1
        if self.headers > _MOST_HEADERS:
            raise _OddError

    def at(self, position: int) -> int:
        """Bring a header into the window; return where in it the header is."""
        at = position - self.window_start
        if at < 0 or at + 12 > len(self.window):
            if position + 8 > self.end:
                raise Incomplete(_CUT_OFF)
            self.window = bytes(self.buffer[position : min(position + _WINDOW, self.end)])
            self.window_start, at = position, 0
        return at
