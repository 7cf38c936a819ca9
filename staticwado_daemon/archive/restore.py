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

Remainders are kept in packs, one per study and commit, each named by the SHA-256 of its uncompressed bytes:

    pack = gzip of: JSON array of [sha256, length], b"\n", the remainders
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import orjson

from staticwado_daemon.archive import gzipped, multipart
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.transcode import native_bytes, native_value
from staticwado_daemon.errors import Corrupt

Segment = tuple[int, int]
"""(offset, length) of bytes in the source."""


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


def split(source: bytes, pixels: Pixels) -> bytes:
    """Make the remainder of `source`."""
    pieces: list[tuple[int, ...]] = []
    rest: list[memoryview] = []
    view = memoryview(source)
    position = 0
    for number, segments in enumerate(pixels.segments, start=1):
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
    return b"".join((_recipe(pieces, pixels), *rest))


def whole(source: bytes) -> bytes:
    """A remainder that needs no frames."""
    return _recipe([(0, len(source))], Pixels()) + source


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

    def join(self, frame: Callable[[int], bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """The original file, piece by piece; `frame` gives frame k, from 1, as it was in the source."""
        rest = self.rest
        current, number = memoryview(b""), 0
        for piece in self.pieces:
            if piece[0] == 0:
                yield rest[: piece[1]]
                rest = rest[piece[1] :]
                continue
            if piece[0] != number:
                number = piece[0]
                current = memoryview(frame(number))
            yield current[piece[1] : piece[1] + piece[2]]


def rebuild(record: Record, remainder: bytes, read: Callable[[str], bytes]) -> Iterator[bytes | memoryview]:
    """The original file of a record, piece by piece.

    Args:
        record: of the instance.
        remainder: of the record.
        read: gives the stored bytes of one of the record's blobs by its path.

    Raises:
        Corrupt: if a blob isn't what it should be; compare the whole with `record.source` all the same.
    """
    parts = Remainder.of(remainder)
    pixels = parts.pixels
    frames = {number: blob.path for blob in record.blobs if (number := _frame_number(blob.path))}

    def stored(number: int) -> tuple[str, bytes | memoryview]:
        """The transfer syntax of a stored frame (none for a video) and its payload."""
        if number not in frames:
            raise Corrupt(f"the record has no frame {number}")
        data, path = read(frames[number]), frames[number]
        if path.startswith("rendered/"):
            return "", data
        content_type, payload = multipart.unwrap(gzipped.unpack(data) if path.endswith(".gz") else data)
        return content_type.rpartition("=")[2], payload

    def frame(number: int) -> bytes | memoryview:
        syntax, payload = stored(number)
        if pixels.description is None:
            return payload
        if pixels.shared:
            payloads = (stored(each)[1] for each in sorted(frames))
            return b"".join(native_value(payloads, syntax, pixels.description, word=pixels.word))
        return native_bytes(payload, syntax, pixels.description, word=pixels.word)

    yield from parts.join(frame)


def _frame_number(path: str) -> int:
    """The frame that a blob holds; a video is frame 1, anything else 0."""
    if path.startswith("rendered/index.") and not path.endswith(".pdf"):
        return 1
    return int(PurePosixPath(path).name.partition(".")[0]) if path.startswith("frames/") else 0


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
