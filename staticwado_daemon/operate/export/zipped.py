"""The export as a zip archive, into a file or a pipe."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from staticwado_daemon.errors import Corrupt, StaticwadoError
from staticwado_daemon.operate.export.files import Exported, done, failed
from staticwado_daemon.operate.export.originals import Originals, Piece
from staticwado_daemon.operate.export.selection import Named
from staticwado_daemon.operate.export.zip_stream import ZipStream

HELD_BYTES = 64 << 20
"""A file up to this length is held until it is proven; a longer one is made twice, to be proven and to be written."""


def to_zip(
    originals: Originals, chosen: Iterable[Named], write: Callable[[bytes | memoryview], object]
) -> Iterator[Exported]:
    """Write original files into a zip archive, each of them proven before it gets into it.

    Args:
        originals: of the tree.
        chosen: what is exported.
        write: takes the next bytes of the archive.

    Raises:
        StaticwadoError: if a file changes between its proof and its writing; the archive is no good then.
    """
    archive = ZipStream(write)
    for each in chosen:
        try:
            length, checksum, held = _prove(originals.pieces(each.version))
        except (Corrupt, OSError) as why:
            yield failed(each, why)
            continue
        pieces = originals.pieces(each.version) if held is None else iter(held)
        try:
            archive.add(each.path, length, checksum, pieces)
        except Corrupt as why:
            raise StaticwadoError(
                f"the zip archive is incomplete: {each.path} changed meanwhile; export it again"
            ) from why
        yield done(originals, each, Path(each.path), length)
    archive.finish()


def _prove(pieces: Iterator[Piece]) -> tuple[int, int, list[Piece] | None]:
    """The length and CRC-32 of a file, and its pieces if it isn't too long."""
    length = checksum = 0
    held: list[Piece] | None = []
    for piece in pieces:
        length += len(piece)
        checksum = zlib.crc32(piece, checksum)
        if length > HELD_BYTES:
            held = None
        if held is not None:
            held.append(piece)
    return length, checksum, held
