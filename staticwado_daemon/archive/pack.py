r"""Packs: the remainders of a study's originals, many in one file, named by the SHA-256 of its uncompressed bytes.

    pack = gzip of: JSON array of [sha256, length], b"\n", the remainders

The remainders of a series say nearly the same, and gzip finds that again only within 32 kB. So they stand in the order
of their bytes, which puts those of equal length and neighbouring UIDs side by side, and a header costs little more than
what sets it apart from the one before. Any order is read.
"""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec
import orjson

from staticwado_daemon.archive import gzipped
from staticwado_daemon.errors import Corrupt


def to_pack(remainders: Iterable[bytes]) -> tuple[str, bytes]:
    """A pack: its file name and its compressed bytes; the order in which the remainders are given doesn't matter."""
    neighbours = sorted(remainders)
    table = orjson.dumps([(hashlib.sha256(remainder).hexdigest(), len(remainder)) for remainder in neighbours])
    body = b"".join((table, b"\n", *neighbours))
    return hashlib.sha256(body).hexdigest() + ".pack.gz", gzipped.pack(body)


def from_pack(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The remainders in a pack, each with its SHA-256.

    Raises:
        Corrupt: if the pack isn't one.
    """
    body = gzipped.unpack(data, gzipped.LONGEST)
    try:
        end = body.index(b"\n")
        table = msgspec.json.decode(body[:end], type=list[tuple[str, int]])
    except ValueError as error:
        raise Corrupt(f"pack without a table: {error}") from error
    position = end + 1
    for digest, length in table:
        yield digest, body[position : position + length]
        position += length
