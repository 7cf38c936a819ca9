"""A pack of remainders, looked through from its first byte to its last.

None of it is held but its table: a remainder may be as long as its source, and a damaged pack may unpack to anything.
"""

import hashlib
from collections.abc import Iterator

import msgspec

from staticwado_daemon.archive import gzipped
from staticwado_daemon.dicom.data_set import pieces
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.verify.reading import Reader

_LONGEST_TABLE = 256 << 20
"""Bytes: some seventy for each of millions of instances."""


def look_through(reader: Reader, path: str) -> tuple[str, list[str]]:
    """A pack's own SHA-256, and the digests of those of its remainders that are what its table says.

    Raises:
        Corrupt: if it isn't a pack.
        Unreadable, FileNotFoundError, OSError: as of `Reader`.
    """
    packed = reader.sliced(path)
    said = int.from_bytes(packed[max(0, len(packed) - 4) : len(packed)], "little")
    whole, length = hashlib.sha256(), 0

    def unpacked() -> Iterator[bytes]:
        nonlocal length
        for piece in gzipped.unpack_pieces(pieces(packed, [(0, len(packed))])):
            whole.update(piece)
            length += len(piece)
            if length > said:
                break
            yield piece

    flow = unpacked()
    table, rest = _table(flow)
    held = [digest for digest, own in _digests(table, rest, flow) if digest == own]
    for _ in flow:
        continue  # what no entry of the table speaks of counts for the SHA-256 of the whole
    if length != said:
        raise Corrupt("gzip data is cut short, or isn't as long as it says")
    return whole.hexdigest(), held


def _table(flow: Iterator[bytes]) -> tuple[list[tuple[str, int]], bytes]:
    """The table at the beginning of a pack, and what follows it in the piece in which it ends."""
    head = bytearray()
    for piece in flow:
        end = piece.find(b"\n")
        if end >= 0:
            head += piece[:end]
            try:
                return msgspec.json.decode(head, type=list[tuple[str, int]]), piece[end + 1 :]
            except ValueError as error:
                raise Corrupt(f"pack without a table: {error}") from error
        head += piece
        if len(head) > _LONGEST_TABLE:
            break
    raise Corrupt("pack without a table")


def _digests(table: list[tuple[str, int]], rest: bytes, flow: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    """What a pack's table says of each remainder, and the SHA-256 that it has."""
    left = memoryview(rest)
    for said, length in table:
        own, missing = hashlib.sha256(), length
        while missing > 0:
            if not left:
                piece = next(flow, None)
                if piece is None:
                    break
                left = memoryview(piece)
            own.update(left[:missing])
            missing, left = missing - len(left[:missing]), left[missing:]
        yield said, own.hexdigest()
