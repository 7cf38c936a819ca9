"""gzip as the tree uses it: no time, no name, one engine, one level, so that equal input means equal bytes."""

from collections.abc import Iterable, Iterator

import deflate
from isal import isal_zlib

from staticwado_daemon.errors import Corrupt

ENGINE = "libdeflate"
LEVEL = 6
SETTINGS = {"engine": ENGINE, "level": LEVEL}
PIECES_LEVEL = 2
"""isal's fastest that is worth it."""
WINDOW = 31
"""zlib's way to say: a gzip member with the largest window."""
MINIMUM_SAVING = 0.1
"""Bulk data is gzipped only where that saves at least this share of it."""


def pack(data: bytes) -> bytes:
    """Compress `data` into one gzip member (browsers read only the first)."""
    return bytes(deflate.gzip_compress(data, LEVEL))


def pack_pieces(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yield one gzip member of what is too long to be held, by an engine that takes it piece by piece."""
    compressor = isal_zlib.compressobj(PIECES_LEVEL, isal_zlib.DEFLATED, WINDOW)
    yield from filter(None, map(compressor.compress, pieces))
    yield compressor.flush()


def pack_if_smaller(data: bytes) -> bytes | None:
    """The compressed data, or None where compressing isn't worth it (a PDF, a JPEG)."""
    packed = pack(data)
    return packed if len(packed) <= len(data) * (1 - MINIMUM_SAVING) else None


def length_mark(data: bytes) -> bytes:
    """What `pack(data)` ends with: the length of `data`, by which `unpack` takes its memory."""
    return (len(data) & 0xFFFFFFFF).to_bytes(4, "little")


def unpack(data: bytes) -> bytes:
    """Undo `pack`.

    Raises:
        Corrupt: if the data is damaged or cut short.
    """
    try:
        return bytes(deflate.gzip_decompress(data))
    except (deflate.DeflateError, ValueError) as error:
        raise Corrupt(f"damaged gzip data: {error}") from error
