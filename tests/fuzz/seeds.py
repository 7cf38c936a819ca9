"""The real files that hostile ones are made from, and where their elements begin."""

import random
import tomllib
import warnings
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal

from pydicom.filereader import data_element_generator
from pydicom.uid import UID

from tests import corpus

Chance = random.Random
Seed = tuple[str, bytes]

LARGEST = 150_000
"""Bytes: hostility is in the structure, and thousands of files are to be read in a minute."""

REFUSED = Path(__file__).parents[1] / "data/rejected.toml"

_SHORTEST_UID = 20
_SOP_INSTANCE_UIDS: tuple[tuple[bytes, Literal["little", "big"], int], ...] = (
    (b"\x08\0\x18\0UI", "little", 2),
    (b"\0\x08\0\x18UI", "big", 2),
    (b"\x08\0\x18\0", "little", 4),  # implicit VR
)


@cache
def seeds() -> tuple[Seed, ...]:
    """Real instances with a preamble, every one of them publishable, by name."""
    refused = tomllib.loads(REFUSED.read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the test files are odd on purpose
        instances = corpus.instances()
    return tuple(
        (name, path.read_bytes())
        for name, path in instances.items()
        if path.stat().st_size <= LARGEST
        and name not in refused["rejected"].keys() | refused["ignored"].keys()
        and len(_own_uid(path.read_bytes())) >= _SHORTEST_UID
        and path.read_bytes()[128:132] == b"DICM"
    )


@cache
def encapsulated() -> tuple[Seed, ...]:
    """Those with fragments."""
    return tuple((name, data) for name, data in seeds() if first_item(data) >= 0)


def renamed(data: bytes, number: int) -> bytes:
    """The same object with a SOP Instance UID of its own, of the same length, wherever it stood."""
    own = _own_uid(data)
    if len(own) < _SHORTEST_UID:
        return data
    return data.replace(own, b"2.25.1" + b"%0*d" % (len(own) - 6, number))


def first_item(data: bytes) -> int:
    """Where the encapsulated pixel data's first item is, -1 if there is none."""
    head = data.find(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff")
    return head + 12 if head >= 0 and data[head + 12 : head + 16] == b"\xfe\xff\x00\xe0" else -1


@cache
def boundaries(name: str) -> tuple[int, ...]:
    """Where the elements of a seed begin, those of the outermost level."""
    data = dict(seeds())[name]
    stream = BytesIO(data)
    stream.seek(dataset_start(data))
    syntax = UID(data[slice(*transfer_syntax(data))].decode().strip("\0"))
    found = [stream.tell()]
    # A deflated data set makes no sense to pydicom's generator; one place to cut it is enough.
    with warnings.catch_warnings(), suppress(EOFError, ValueError, OSError, NotImplementedError):
        warnings.simplefilter("ignore")
        for _ in data_element_generator(stream, syntax.is_implicit_VR, syntax.is_little_endian):
            found.append(stream.tell())  # noqa: PERF401 - what was found before an error counts
    return tuple(found)


def transfer_syntax(data: bytes) -> tuple[int, int]:
    """Where the Transfer Syntax UID begins and ends."""
    start = data.find(b"\x02\0\x10\0UI") + 8
    return start, start + int.from_bytes(data[start - 2 : start], "little")


def dataset_start(data: bytes) -> int:
    """Where group 0002 ends, by its group length."""
    if data[132:140] == b"\x02\0\0\0UL\x04\0":
        return 144 + int.from_bytes(data[140:144], "little")
    return 132


def _own_uid(data: bytes) -> bytes:
    """The SOP Instance UID of an explicit or implicit little-endian or a big-endian data set, as it stands there."""
    for head, order, width in _SOP_INSTANCE_UIDS:
        at = data.find(head)
        if at >= 0:
            start = at + len(head) + width
            length = int.from_bytes(data[start - width : start], order)
            uid = data[start : start + min(length, 64)].rstrip(b" \0")
            return uid if uid.replace(b".", b"").isdigit() else b""
    return b""
