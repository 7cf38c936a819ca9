r"""Restore: the original Part 10 file, byte for byte, from its frames and a remainder.

The remainder is every byte of the source that isn't in a frame (header, item lengths, offset tables, padding),
preceded by a recipe that says how the two interleave. Where frames can't be found again in the source (a deflated
data set, bit-packed frames that don't end on a byte) the remainder is simply the whole file.

    remainder = recipe, b"\\n", bytes
    recipe    = JSON array of pieces: [0, n] takes the next n bytes,
                [k, start, n] takes n bytes at start of frame k (from 1) as it was in the source

Remainders are kept in packs, one per study and commit, each named by the SHA-256 of its uncompressed bytes:

    pack = gzip of: JSON array of [sha256, length], b"\\n", the remainders
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import orjson

from staticwado_daemon.archive import gzipped
from staticwado_daemon.errors import Corrupt

Segment = tuple[int, int]
"""(offset, length) of bytes in the source."""


def split(source: bytes, frames: Sequence[Sequence[Segment]]) -> bytes:
    """Make the remainder of `source`, whose frames lie in it as these segments, in ascending order."""
    pieces: list[tuple[int, ...]] = []
    rest: list[memoryview] = []
    view = memoryview(source)
    position = 0
    for number, segments in enumerate(frames, start=1):
        start = 0
        for offset, length in segments:
            if offset < position:
                return whole(source)
            if offset > position:
                pieces.append((0, offset - position))
                rest.append(view[position:offset])
            pieces.append((number, start, length))
            start += length
            position = offset + length
    if position < len(source):
        pieces.append((0, len(source) - position))
        rest.append(view[position:])
    return orjson.dumps(pieces) + b"\n" + b"".join(rest)


def whole(source: bytes) -> bytes:
    """A remainder that needs no frames."""
    return orjson.dumps([(0, len(source))]) + b"\n" + source


def join(remainder: bytes, frame: Callable[[int], bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The original file, piece by piece.

    Args:
        remainder: what `split` made.
        frame: gives frame k, from 1, as it was in the source.

    Raises:
        Corrupt: if the recipe can't be followed.
    """
    try:
        end = remainder.index(b"\n")
        pieces = orjson.loads(remainder[:end])
    except ValueError as error:
        raise Corrupt(f"remainder without a recipe: {error}") from error
    rest = memoryview(remainder)[end + 1 :]
    current, number = memoryview(b""), 0
    for piece in pieces:
        if piece[0] == 0:
            yield rest[: piece[1]]
            rest = rest[piece[1] :]
            continue
        if piece[0] != number:
            number = piece[0]
            current = memoryview(frame(number))
        yield current[piece[1] : piece[1] + piece[2]]


def matches(source_sha256: str, pieces: Iterable[bytes | memoryview]) -> bool:
    """Whether the pieces are the file of this digest."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest() == source_sha256


def to_pack(remainders: Iterable[bytes]) -> tuple[str, bytes]:
    """A pack: its file name and its compressed bytes; the remainders' order doesn't matter."""
    named = sorted((hashlib.sha256(remainder).hexdigest(), remainder) for remainder in remainders)
    table = orjson.dumps([(digest, len(remainder)) for digest, remainder in named])
    body = b"".join((table, b"\n", *(remainder for _, remainder in named)))
    return hashlib.sha256(body).hexdigest() + ".pack.gz", gzipped.pack(body)


def from_pack(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The remainders in a pack, each with its SHA-256.

    Raises:
        Corrupt: if the pack isn't one.
    """
    body = gzipped.unpack(data)
    try:
        end = body.index(b"\n")
        table: list[tuple[str, int]] = orjson.loads(body[:end])
    except ValueError as error:
        raise Corrupt(f"pack without a table: {error}") from error
    position = end + 1
    for digest, length in table:
        yield digest, body[position : position + length]
        position += length
