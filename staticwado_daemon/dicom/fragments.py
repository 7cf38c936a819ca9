"""Encapsulated Pixel Data: its items, and which of their fragments make up each frame (PS3.5 A.4)."""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.binary import binary_buffer
from staticwado_daemon.dicom.data_set import Buffer, BulkValue, Part
from staticwado_daemon.errors import Incomplete, Rejected

Segment = tuple[int, int]
"""Offset and length of a run of bytes."""

# Four fragments for each of the most frames that are stored: more is damage, and would only cost memory.
MAXIMUM_FRAGMENTS = 1 << 22

_ITEM = (0xFFFE, 0xE000)
_DELIMITER = (0xFFFE, 0xE0DD)
_HEADER_LENGTH = 8
_CODESTREAM_STARTS = (
    b"\xff\xd8\xff",  # JPEG and JPEG-LS: SOI and the next marker
    b"\xff\x4f\xff\x51",  # JPEG 2000 and HTJ2K: SOC and SIZ
    b"\x00\x00\x00\x0cjP  ",  # a JP2 file, wrongly but really found
    b"\xff\x0a",  # JPEG XL, bare
    b"\x00\x00\x00\x0cJXL ",  # JPEG XL in its container
)
_CODESTREAM_END = b"\xff\xd9"
# Writers pad a fragment to even length, some of them to more.
_TAIL = 10
_CUT_OFF = "the file ends inside its encapsulated pixel data"


def items(buffer: Buffer, offset: int, *, little_endian: bool = True) -> Iterator[Segment]:
    """Yield the value of each item up to the sequence delimiter.

    Only item headers are looked at, so a delimiter inside a codestream fools nobody.

    Args:
        buffer: What `offset` and the yielded segments refer to.
        offset: Of the first item, the basic offset table (which may be empty).
        little_endian: Byte order of the item headers.

    Raises:
        Incomplete: if the buffer ends before the sequence delimiter.
        Rejected: if there is anything but items, or far too many of them.
    """
    header = struct.Struct("<HHI" if little_endian else ">HHI")
    end = len(buffer)
    for _ in range(1 + MAXIMUM_FRAGMENTS + 1):  # the table, fragments, the delimiter
        start = offset + _HEADER_LENGTH
        if start > end:
            raise Incomplete(_CUT_OFF)
        group, element, length = header.unpack(buffer[offset:start])
        if (group, element) == _DELIMITER:
            return
        if (group, element) != _ITEM:
            raise Rejected(f"the encapsulated Pixel Data has ({group:04X},{element:04X}) in place of an item")
        offset = start + length
        if offset > end:
            raise Incomplete(_CUT_OFF)
        yield start, length
    raise Rejected(f"the encapsulated Pixel Data has more than {MAXIMUM_FRAGMENTS} fragments")


def end_of_items(buffer: Buffer, offset: int, *, little_endian: bool = True) -> int:
    """Return the position after the sequence delimiter.

    Args:
        buffer: Holds the items.
        offset: As for `items`.
        little_endian: As for `items`.

    Raises:
        Incomplete, Rejected: as `items`.
    """
    end = offset
    for start, length in items(buffer, offset, little_endian=little_endian):
        end = start + length
    return end + _HEADER_LENGTH


def read_items(buffer: Buffer, offset: int) -> tuple[tuple[int, ...], list[Segment]]:
    """Return the entries of the basic offset table, and each fragment without its item header.

    Args:
        buffer: What the returned segments refer to.
        offset: As for `items`.

    Raises:
        Incomplete, Rejected: as `items`; also if there isn't even the basic offset table.
    """
    found = list(items(buffer, offset))
    if not found:
        raise Rejected("the encapsulated Pixel Data has no items")
    return _table(Part(buffer, *found[0]), "I"), found[1:]


def extended_offsets(attributes: Attributes, bulk_values: Sequence[BulkValue]) -> tuple[int, ...]:
    """Return the Extended Offset Table (7FE0,0001), empty if there is none (PS3.3 C.7.6.3.1.8)."""
    return _table(binary_buffer(attributes, "7FE00001", bulk_values) or b"", "Q")


def _table(value: Buffer, code: str) -> tuple[int, ...]:
    """Unpack an offset table; one with more entries than there can be fragments counts as none."""
    width = struct.calcsize(f"<{code}")
    count = len(value) // width
    return () if count > MAXIMUM_FRAGMENTS else struct.unpack(f"<{count}{code}", value[: count * width])


def group(
    buffer: Buffer, fragments: Sequence[Segment], count: int, tables: Iterable[Sequence[int]]
) -> list[tuple[Segment, ...]]:
    """Assign fragments to frames.

    By the first of these that explains all frames: a single frame owns every fragment; an offset table whose entries
    are starts of fragments; as many fragments as frames; the fragments that begin, then those that end a codestream.

    Args:
        buffer: What the fragments refer to.
        fragments: In their order in the file.
        count: How many frames there are said to be.
        tables: Offset tables to try in turn, their entries counted from the first fragment's item header.

    Returns:
        One tuple of fragments for each frame.

    Raises:
        Rejected: if none of these yields `count` frames.
    """
    filled = [fragment for fragment in fragments if fragment[1]]
    if count == 1 and filled:
        return [tuple(filled)]
    for table in tables:
        if len(table) == count and (starts := _starts_by_table(fragments, table)):
            return _split(fragments, starts)
    if len(filled) == count:
        return [(fragment,) for fragment in filled]
    if len(filled) > count:
        for starts in (_starts_by_marker(buffer, filled), _starts_after_end(buffer, filled)):
            if len(starts) == count and starts[0] == 0:
                return _split(filled, starts)
    raise Rejected(f"{len(filled)} fragments of encapsulated Pixel Data can't be told apart as {count} frames")


def _starts_by_table(fragments: Sequence[Segment], table: Sequence[int]) -> list[int]:
    """The index of each frame's first fragment, or nothing if the table isn't one of these fragments."""
    if not fragments or table[0] != 0:
        return []
    first = fragments[0][0]
    positions = [offset - first for offset, _ in fragments]
    starts = [bisect_left(positions, entry) for entry in table]
    if any(start == len(positions) or positions[start] != entry for start, entry in zip(starts, table, strict=True)):
        return []
    return starts if all(a < b for a, b in pairwise(starts)) else []


def _split(fragments: Sequence[Segment], starts: Sequence[int]) -> list[tuple[Segment, ...]]:
    return [tuple(fragments[a:b]) for a, b in pairwise((*starts, len(fragments)))]


def _starts_by_marker(buffer: Buffer, fragments: Sequence[Segment]) -> list[int]:
    return [index for index, fragment in enumerate(fragments) if _starts_codestream(buffer, fragment)]


def _starts_after_end(buffer: Buffer, fragments: Sequence[Segment]) -> list[int]:
    ends = [
        index + 1
        for index, (offset, length) in enumerate(fragments)
        if _CODESTREAM_END in bytes(buffer[offset + max(0, length - _TAIL) : offset + length])
    ]
    return [0, *ends[:-1]] if ends and ends[-1] == len(fragments) else []


def _starts_codestream(buffer: Buffer, fragment: Segment) -> bool:
    offset, length = fragment
    head = bytes(buffer[offset : offset + min(length, 8)])
    if head.startswith(_CODESTREAM_STARTS):
        return True
    # PS3.5 G.5: an RLE header counts its segments, and the first of them follows the header.
    return len(head) == 8 and 1 <= head[0] <= 15 and head[1:8] == b"\0\0\0\x40\0\0\0"
