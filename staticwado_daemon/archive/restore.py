r"""Restore: the original Part 10 file, byte for byte, from its frames, its bulk data and a remainder.

The remainder is every byte of the source that isn't in a frame or in a long value of bulk data (header, item lengths,
offset tables, padding), preceded by a recipe that says how these interleave. Where frames and values can't be found
again in the source (a deflated data set) the remainder is simply the whole file.

    remainder = recipe, b"\n", bytes
    recipe    = {"pieces": [...], "word": w, "shared": s, "pixels": {...} or null}

    pieces    [0, n] takes the next n bytes of the remainder;
              [k, start, n] takes n bytes at start of frame k (from 1) as it was in the source;
              ["digest", start, n] takes n bytes at start of the value that the record's bulk data of this digest hold
                  (the SHA-256 that their path spells), without multipart framing and gzip
    word      how many bytes of native pixel data were in reverse order together; 1 but for big endian
    shared    frame 1 stands for the value of all native frames, which share bytes or words with each other
    pixels    how native frames were read (`dicom.frames.PixelDescription`); null for compressed ones

Remainders are kept in packs (`archive.pack`).
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.source_frames import SourceFrames
from staticwado_daemon.dicom.data_set import Buffer, Place
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.errors import Corrupt

Segment = tuple[int, int]
"""(offset, length) of bytes in the source."""

Piece = tuple[int, int] | tuple[int | str, int, int]
"""See the recipe."""

_CHUNK_BYTES = 4 << 20
"""No more of a frame, which may be a video, or of a value is asked for at a time."""

_COMPARED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where the frames lie in a source, and how to make them again from what is stored.

    Attributes:
        segments: of each frame, in ascending order.
        word: see the recipe.
        shared: see the recipe; there is one entry in `segments` then.
        description: of native frames; None for compressed ones.
    """

    segments: Sequence[Sequence[Segment]] = ()
    word: int = 1
    shared: bool = False
    description: PixelDescription | None = None


def split(source: Buffer, pixels: Pixels, values: Iterable[Place] = (), differing: Sequence[Segment] = ()) -> bytes:
    """Make the remainder of `source`.

    Args:
        source: the whole file.
        pixels: where its frames are.
        values: where its long values are, in ascending order.
        differing: what isn't in what is stored as it was, in ascending order; it is kept in the remainder.
    """
    view = memoryview(source) if isinstance(source, bytes) else source
    pieces: list[Piece] = []
    rest: list[bytes | memoryview] = []
    position = 0
    frames, bulk = _frames(pixels), (_Run(sha256, 0, offset, length) for sha256, offset, length in values)
    runs = (left for run in merge(frames, bulk, key=_offset) for left in _without(run, differing))
    for which, start, offset, length in runs:
        if offset < position:
            return whole(source)
        if offset > position:
            pieces.append((0, offset - position))
            rest.append(view[position:offset])
        pieces.append((which, start, length))
        position = offset + length
    if position < len(source):
        pieces.append((0, len(source) - position))
        rest.append(view[position : len(source)])
    return b"".join((_recipe(pieces, pixels), *rest))


class _Run(NamedTuple):
    """Bytes of the source that something stored gives back: which frame or value, where in it, where in the source."""

    which: int | str
    start: int
    offset: int
    length: int


_offset = attrgetter("offset")


def _frames(pixels: Pixels) -> Iterator[_Run]:
    for number, segments in enumerate(pixels.segments, start=1):
        start = 0
        for offset, length in segments:
            yield _Run(number, start, offset, length)
            start += length


def _without(run: _Run, holes: Sequence[Segment]) -> Iterator[_Run]:
    """Yield what is left of a run."""
    if not holes:
        yield run
        return
    which, start, offset, length = run
    end, start = offset + length, start - offset
    first = bisect_right(holes, offset, key=lambda hole: hole[0] + hole[1])
    for hole, hole_length in islice(holes, first, None):
        if hole >= end:
            break
        if hole > offset:
            yield _Run(which, start + offset, offset, hole - offset)
        offset = hole + hole_length
    if offset < end:
        yield _Run(which, start + offset, offset, end - offset)


def whole(source: Buffer) -> bytes:
    """A remainder that needs no frames."""
    return b"".join((_recipe([(0, len(source))], Pixels()), source[: len(source)]))


def _recipe(pieces: Sequence[Piece], pixels: Pixels) -> bytes:
    recipe = {"pieces": pieces, "word": pixels.word, "shared": pixels.shared, "pixels": pixels.description}
    return orjson.dumps(recipe) + b"\n"


@dataclass(frozen=True, slots=True)
class Remainder:
    """A remainder taken apart."""

    pieces: list[Any]
    pixels: Pixels
    rest: memoryview

    @classmethod
    def of(cls, data: bytes) -> "Remainder":
        """Read what `split` or `whole` made.

        Raises:
            Corrupt: if it has no recipe, or one with a piece of a kind that isn't known.
        """
        try:
            end = data.index(b"\n")
            recipe = orjson.loads(data[:end])
            description = PixelDescription(**recipe["pixels"]) if recipe["pixels"] else None
            pixels = Pixels(word=recipe["word"], shared=recipe["shared"], description=description)
            if not all(map(_is_piece, recipe["pieces"])):
                raise Corrupt("a remainder's recipe has pieces of an unknown kind")
            return cls(recipe["pieces"], pixels, memoryview(data)[end + 1 :])
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"remainder without a recipe: {error}") from error

    def join(self, take: Callable[[int | str, int, int], bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Yield the original file, piece by piece.

        Args:
            take: gives `length` bytes at `start` of a frame, by its number from 1, as it was in the source, or of a
                value, by its digest. It is asked for one after the other, and for the bytes of each in ascending order.

        Raises:
            Corrupt: if there are fewer.
        """
        rest = self.rest
        for piece in self.pieces:
            if piece[0] == 0:
                yield rest[: piece[1]]
                rest = rest[piece[1] :]
                continue
            which, begin, length = piece
            for start in range(begin, begin + length, _CHUNK_BYTES):
                wanted = min(_CHUNK_BYTES, begin + length - start)
                taken = take(which, start, wanted)
                if len(taken) != wanted:
                    what = "a value" if isinstance(which, str) else f"frame {which}"
                    raise Corrupt(f"{what} as it is stored is shorter than it was")
                yield taken


def _is_piece(piece: Any) -> bool:
    match piece:
        case [0, int(length)]:
            return length >= 0
        case [int(which), int(start), int(length)]:
            return which > 0 and min(start, length) >= 0
        case [str(), int(start), int(length)]:
            return min(start, length) >= 0
        case _:
            return False


def rebuild(record: Record, remainder: bytes, read: Callable[[str], Buffer]) -> Iterator[bytes | memoryview]:
    """The original file of a record, piece by piece; one frame is held at a time, and no long value.

    Args:
        record: of the instance.
        remainder: of the record.
        read: gives the stored bytes of one of the record's blobs by its path, see `source_frames.stored_in`.

    Raises:
        Corrupt: if a blob isn't what it should be; compare the whole with `record.source` all the same.
    """
    parts = Remainder.of(remainder)
    pixels = parts.pixels
    frames = SourceFrames(record, read, pixels.description, word=pixels.word, shared=pixels.shared)
    yield from parts.join(frames.take)


def matches(source_sha256: str, pieces: Iterable[bytes | memoryview]) -> bool:
    """Whether the pieces are the file of this digest."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest() == source_sha256


def differences(source: Buffer, pieces: Iterable[bytes | memoryview]) -> list[Segment]:
    """Where the pieces of a rebuilt file differ from the source that they should be, roughly, in ascending order.

    Raises:
        Corrupt: if it is longer or shorter.
    """
    found: list[Segment] = []
    position = 0
    for piece in pieces:
        expected = bytes(source[position : position + len(piece)])
        if bytes(piece) != expected:  # memoryviews are compared byte by byte
            for start in range(0, len(piece), _COMPARED_BYTES):
                part = piece[start : start + _COMPARED_BYTES]
                if part != expected[start : start + _COMPARED_BYTES]:
                    found.append((position + start, len(part)))
        position += len(piece)
    if position != len(source):
        raise Corrupt("a rebuilt file isn't as long as its source")
    return found
