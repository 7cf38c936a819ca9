"""A zip archive written front to back, the same bytes for the same members: no times, no compression, nothing to seek.

Each member's length and checksum stand before it, where every reader that takes a zip from a pipe looks for them. (A
member that is announced by a data descriptor behind it can't be found by them where it isn't compressed.) Sizes and
offsets that don't fit into 32 bits, and more than 65,534 members, are in zip64 form (APPNOTE.TXT 4.3.14, 4.5.3).
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")

_PLAIN, _ZIP64 = 20, 45
"""The versions of the format that a reader needs."""
_UNIX = 3 << 8
_STORED = 0
_MIDNIGHT, _FIRST_DAY = 0, (1 << 5) | 1  # 1980-01-01, where the format's time begins
_PRIVATE_FILE = 0o100600 << 16
_MANY, _LARGE = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Member:
    name: bytes
    length: int
    checksum: int
    offset: int


class ZipStream:
    """A zip archive while it is written.

    Args:
        write: takes the next bytes of the archive.
    """

    def __init__(self, write: Callable[[bytes | memoryview], object]) -> None:
        self._write = write
        self._offset = 0
        self._members: list[_Member] = []

    def add(self, name: str, length: int, checksum: int, pieces: Iterable[bytes | memoryview]) -> None:
        """Write one member.

        Args:
            name: its path, in ASCII.
            length: of all pieces, in bytes.
            checksum: CRC-32 of them.
            pieces: its bytes, which have to be what the two say.
        """
        member = _Member(name.encode("ascii"), length, checksum, self._offset)
        extra = _extra([length, length]) if length >= _LARGE else b""
        size = min(length, _LARGE)
        version = _ZIP64 if extra else _PLAIN
        head = (version, 0, _STORED, _MIDNIGHT, _FIRST_DAY, checksum, size, size, len(member.name), len(extra))
        self._put(_LOCAL.pack(b"PK\3\4", *head) + member.name + extra)
        for piece in pieces:
            self._put(piece)
        self._members.append(member)

    def finish(self) -> None:
        """Write the directory that stands at the end."""
        start = self._offset
        for member in self._members:
            self._put(_central(member))
        size, count = self._offset - start, len(self._members)
        if count >= _MANY or start >= _LARGE or size >= _LARGE:
            end = self._offset
            versions = (_UNIX | _ZIP64, _ZIP64)
            self._put(_END_64.pack(b"PK\6\6", _END_64.size - 12, *versions, 0, 0, count, count, size, start))
            self._put(_LOCATOR_64.pack(b"PK\6\7", 0, end, 1))
        many = min(count, _MANY)
        self._put(_END.pack(b"PK\5\6", 0, 0, many, many, min(size, _LARGE), min(start, _LARGE), 0))

    def _put(self, data: bytes | memoryview) -> None:
        self._write(data)
        self._offset += len(data)


def _central(member: _Member) -> bytes:
    large = [each for each in (member.length, member.length, member.offset) if each >= _LARGE]
    extra = _extra(large) if large else b""
    version = _ZIP64 if large else _PLAIN
    size = min(member.length, _LARGE)
    head = (_UNIX | version, version, 0, _STORED, _MIDNIGHT, _FIRST_DAY, member.checksum, size, size)
    tail = (len(member.name), len(extra), 0, 0, 0, _PRIVATE_FILE, min(member.offset, _LARGE))
    return _CENTRAL.pack(b"PK\1\2", *head, *tail) + member.name + extra


def _extra(values: list[int]) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)
