r"""Restore: the original Part 10 file, byte for byte, from its frames and a remainder.

The remainder is every byte of the source that isn't in a frame (header, item lengths, offset tables, padding),
preceded by a recipe that says how the two interleave. Where frames can't be found again in the source (a deflated
data set) the remainder is simply the whole file.

    remainder = recipe, b"\n", bytes
    recipe    = {"pieces": [...], "word": w, "shared": s, "pixels": {...} or null}

    pieces    [0, n] takes the next n bytes of the remainder;
              [k, start, n] takes n bytes at start of frame k (from 1) as it was in the source
    word      how many bytes of native pixel data were in reverse order together; 1 but for big endian
    shared    frame 1 stands for the value of all native frames, which share bytes or words with each other
    pixels    how native frames were read (`dicom.frames.PixelDescription`); null for compressed ones

Remainders are kept in packs (`archive.pack`).
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import orjson

from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.source_frames import SourceFrames
from staticwado_daemon.dicom.data_set import Buffer
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.errors import Corrupt

Segment = tuple[int, int]
"""(offset, length) of bytes in the source."""

_CHUNK_BYTES = 4 << 20
"""No more of a frame, which may be a video, is asked for at a time."""

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


def split(source: Buffer, pixels: Pixels, differing: Sequence[Segment] = ()) -> bytes:
    """Make the remainder of `source`.

    Args:
        source: the whole file.
        pixels: where its frames are.
        differing: what isn't in the stored frames as it was, in ascending order; it is kept in the remainder.
    """
    view = memoryview(source) if isinstance(source, bytes) else source
    pieces: list[tuple[int, ...]] = []
    rest: list[bytes | memoryview] = []
    position = 0
    for number, start, (offset, length) in _runs(pixels, differing):
        if offset < position:
            return whole(source)
        if offset > position:
            pieces.append((0, offset - position))
            rest.append(view[position:offset])
        pieces.append((number, start, length))
        position = offset + length
    if position < len(source):
        pieces.append((0, len(source) - position))
        rest.append(view[position : len(source)])
    return b"".join((_recipe(pieces, pixels), *rest))


def _runs(pixels: Pixels, differing: Sequence[Segment]) -> Iterator[tuple[int, int, Segment]]:
    """Yield what frames are good for: the frame's number, where in it, and which bytes of the source."""
    for number, segments in enumerate(pixels.segments, start=1):
        start = 0
        for offset, length in segments:
            for good, good_length in _without(offset, length, differing):
                yield number, start + good - offset, (good, good_length)
            start += length


def _without(offset: int, length: int, holes: Sequence[Segment]) -> Iterator[Segment]:
    """Yield what is left of a segment."""
    end = offset + length
    first = bisect_right(holes, offset, key=lambda hole: hole[0] + hole[1])
    for hole, hole_length in islice(holes, first, None):
        if hole >= end:
            break
        if hole > offset:
            yield offset, hole - offset
        offset = hole + hole_length
    if offset < end:
        yield offset, end - offset


def whole(source: Buffer) -> bytes:
    """A remainder that needs no frames."""
    return b"".join((_recipe([(0, len(source))], Pixels()), source[: len(source)]))


def _recipe(pieces: Sequence[tuple[int, ...]], pixels: Pixels) -> bytes:
    recipe = {"pieces": pieces, "word": pixels.word, "shared": pixels.shared, "pixels": pixels.description}
    return orjson.dumps(recipe) + b"\n"


@dataclass(frozen=True, slots=True)
class Remainder:
    """A remainder taken apart."""

    pieces: list[list[int]]
    pixels: Pixels
    rest: memoryview

    @classmethod
    def of(cls, data: bytes) -> "Remainder":
        """Read what `split` or `whole` made.

        Raises:
            Corrupt: if it has no recipe.
        """
        try:
            end = data.index(b"\n")
            recipe = orjson.loads(data[:end])
            description = PixelDescription(**recipe["pixels"]) if recipe["pixels"] else None
            pixels = Pixels(word=recipe["word"], shared=recipe["shared"], description=description)
            return cls(recipe["pieces"], pixels, memoryview(data)[end + 1 :])
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"remainder without a recipe: {error}") from error

    def join(self, take: Callable[[int, int, int], bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Yield the original file, piece by piece.

        Args:
            take: gives `length` bytes at `start` of frame `number`, from 1, as it was in the source. It is asked for
                one frame after the other, and for its bytes in ascending order.

        Raises:
            Corrupt: if there are fewer.
        """
        rest = self.rest
        for piece in self.pieces:
            if piece[0] == 0:
                yield rest[: piece[1]]
                rest = rest[piece[1] :]
                continue
            number, begin, length = piece
            for start in range(begin, begin + length, _CHUNK_BYTES):
                wanted = min(_CHUNK_BYTES, begin + length - start)
                taken = take(number, start, wanted)
                if len(taken) != wanted:
                    raise Corrupt(f"frame {number} as it is stored is shorter than it was")
                yield taken


def rebuild(record: Record, remainder: bytes, read: Callable[[str], Buffer]) -> Iterator[bytes | memoryview]:
    """The original file of a record, piece by piece; one frame is held at a time.

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
