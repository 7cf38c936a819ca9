"""The outer form of encapsulated pixel data: a sequence of fragments (PS3.5 section A.4)."""

import struct
from typing import Final

from staticwado_daemon.dicom.data_set import Buffer
from staticwado_daemon.errors import Incomplete, Rejected

_ITEM: Final = (0xFFFE, 0xE000)
_SEQUENCE_DELIMITER: Final = (0xFFFE, 0xE0DD)


def end_of_fragments(buffer: Buffer, offset: int, *, little_endian: bool = True) -> int:
    """Return the position after the sequence delimiter of encapsulated pixel data.

    Only item headers are looked at, so a delimiter inside a codestream fools nobody.

    Args:
        buffer: holds the pixel data.
        offset: of the first item, the basic offset table.
        little_endian: byte order of the item headers.

    Raises:
        Incomplete: if the buffer ends before the delimiter.
        Rejected: if anything but items comes before the delimiter.
    """
    header = struct.Struct("<HHI" if little_endian else ">HHI")
    end = len(buffer)
    while offset + header.size <= end:
        group, element, length = header.unpack_from(buffer, offset)
        offset += header.size
        if (group, element) == _SEQUENCE_DELIMITER:
            return offset
        if (group, element) != _ITEM:
            raise Rejected(f"({group:04X},{element:04X}) among the fragments of the pixel data")
        offset += length
    raise Incomplete("the file ends inside its encapsulated pixel data")
