"""gzip as the tree uses it: no time, no name, one engine, one level, so that equal input means equal bytes."""

import zlib
from collections.abc import Iterable, Iterator
from typing import cast

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
MOST = 1 << 30
"""Bytes that anything but the tree's own lists may unpack to: a few megabytes of a hostile file could fill memory."""
LONGEST = (1 << 32) - 1
"""Bytes that the length at the end of gzip data can speak of: for lists that grow with a study or the whole tree."""
MINIMUM_SAVING = 0.1
"""Bulk data is gzipped only where that saves at least this share of it."""
_DAMAGED = cast("type[Exception]", isal_zlib.error)  # of which the library's own types make an instance
_INFLATED_BYTES = 16 * 1024
"""Compressed bytes that are unpacked at once: a thousand times as many come of them at most."""


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


def unpack_pieces(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Undo `pack` or `pack_pieces` for what is too long to be held.

    Raises:
        Corrupt: if the data is damaged, cut short, or goes on behind its end, when that is reached.
    """
    inflater = zlib.decompressobj(WINDOW)
    try:
        for piece in pieces:
            for start in range(0, len(piece), _INFLATED_BYTES):
                yield inflater.decompress(piece[start : start + _INFLATED_BYTES])
                if inflater.unused_data:
                    raise Corrupt("gzip data goes on behind its end")
    except zlib.error as error:
        raise Corrupt(f"damaged gzip data: {error}") from error
    if not inflater.eof:
        raise Corrupt("gzip data is cut short")


def length_mark(data: bytes) -> bytes:
    """What `pack(data)` ends with: the length of `data`, beyond which `unpack` takes no memory."""
    return (len(data) & 0xFFFFFFFF).to_bytes(4, "little")


def unpack(data: bytes, most: int = MOST) -> bytes:
    """Undo `pack`.

    Args:
        data: what was packed.
        most: how many bytes may come of it; the expected length where that is known.

    Raises:
        Corrupt: if the data is damaged or cut short, or holds more than that.
    """
    # Data that is cut short ends with any number: memory is taken up to that, but not before it is needed.
    length = int.from_bytes(data[-4:], "little")
    if length > most:
        raise Corrupt(f"gzip data says that it holds {length:,} bytes, but no more than {most:,} can be right")
    inflater = isal_zlib.decompressobj(WINDOW)
    try:
        inflated: bytes = inflater.decompress(data, length + 1)
    except _DAMAGED as error:
        raise Corrupt(f"damaged gzip data: {error}") from error
    if not inflater.eof or inflater.unused_data or len(inflated) != length:
        raise Corrupt("gzip data is cut short, or isn't as long as it says")
    return inflated
