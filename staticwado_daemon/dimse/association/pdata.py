"""P-DATA-TF PDUs (PS3.8 9.3.5): commands and data sets in fragments that the receiver takes."""

import struct
from collections.abc import Iterator
from typing import Final

TYPE: Final = 0x04
COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 E.2)."""

_HEADER: Final = struct.Struct(">BxIIBB")
_OVERHEAD: Final = 6
"""Bytes that a PDU's maximum length counts besides the fragment."""
_LONGEST_FRAGMENT: Final = 1 << 20
"""Where the receiver sets no limit."""


def fragment_length(maximum_length: int) -> int:
    """How many bytes a fragment may have.

    Args:
        maximum_length: of a PDU, as the receiver has said; 0 for no limit.
    """
    return max(1, maximum_length - _OVERHEAD) if maximum_length else _LONGEST_FRAGMENT


def pdus(
    context_id: int, data: bytes | memoryview, maximum_length: int, *, kind: int = 0, is_last: bool = True
) -> Iterator[bytes | memoryview]:
    """Yield the PDUs of a command or data set, of each its headers and then its fragment.

    Args:
        context_id: of the presentation context.
        data: what is to be sent, at least one fragment of it.
        maximum_length: of a PDU, as the receiver has said; 0 for no limit.
        kind: `COMMAND`, or 0 for a data set.
        is_last: whether nothing of it comes after this.
    """
    room = fragment_length(maximum_length)
    for start in range(0, max(len(data), 1), room):
        fragment = data[start : start + room]
        control = kind | (LAST if is_last and start + room >= len(data) else 0)
        yield _HEADER.pack(TYPE, len(fragment) + 6, len(fragment) + 2, context_id, control)
        yield fragment
