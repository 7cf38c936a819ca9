"""Writers that do as they please: however a file comes about, it is published whole, and none is given up."""

import ctypes
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.victim import Site, exported
from tests.system.fire import Template, started, until_all_published

SETTLE = 0.2
INCOMPLETE = 600
PAUSE = 2.5 * SETTLE
LONG_AGO = 1_000_000_000.0

_FALLOC_FL_KEEP_SIZE = 1
_libc = ctypes.CDLL(None, use_errno=True)

counts = pytest.mark.parametrize("files", [120, pytest.param(1_000, marks=pytest.mark.soak)])

Write = Callable[[Path, bytes, random.Random], None]


def pieces(data: bytes, number: int) -> Iterator[bytes]:
    size = -(-len(data) // number)
    return (data[start : start + size] for start in range(0, len(data), size))


def pause(chance: random.Random) -> None:
    """More often than not, longer than the settle time."""
    time.sleep(chance.uniform(0, PAUSE * 2))


def dribble(path: Path, data: bytes, chance: random.Random) -> None:
    with path.open("wb", buffering=0) as file:
        for piece in pieces(data, 6):
            file.write(piece)
            pause(chance)


def open_and_append(path: Path, data: bytes, chance: random.Random) -> None:
    for piece in pieces(data, 4):
        with path.open("ab") as file:
            file.write(piece)
        pause(chance)


def truncate_then_fill(path: Path, data: bytes, chance: random.Random) -> None:
    with path.open("wb", buffering=0) as file:
        file.truncate(len(data))
        pause(chance)
        for piece in pieces(data, 3):
            file.write(piece)
            pause(chance)


def allocate_then_fill(path: Path, data: bytes, chance: random.Random) -> None:
    with path.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, len(data))
        pause(chance)
        file.write(data)


def allocate_without_size(path: Path, data: bytes, chance: random.Random) -> None:
    """As Samba does with `strict allocate`: blocks first, the size grows with what is written."""
    with path.open("wb", buffering=0) as file:
        _libc.fallocate(file.fileno(), _FALLOC_FL_KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(len(data)))
        for piece in pieces(data, 3):
            pause(chance)
            file.write(piece)


def fill_backwards(path: Path, data: bytes, chance: random.Random) -> None:
    """The end first: by its size the file is whole at once."""
    with path.open("wb", buffering=0) as file:
        position = len(data)
        for piece in reversed(list(pieces(data, 4))):
            position -= len(piece)
            os.pwrite(file.fileno(), piece, position)
            pause(chance)


def rename_into_place(path: Path, data: bytes, chance: random.Random) -> None:
    temporary = path.with_name(chance.choice([f".{path.name}.aXbYcZ", f"{path.name}.part", f"~{path.name}"]))
    with temporary.open("wb", buffering=0) as file:
        for piece in pieces(data, 2):
            file.write(piece)
            pause(chance)
    temporary.rename(path)


def preserve_the_time(path: Path, data: bytes, chance: random.Random) -> None:
    """As `cp -p` and `rsync -t` do: the last thing that happens is that it looks old."""
    with path.open("wb", buffering=0) as file:
        for piece in pieces(data, 3):
            file.write(piece)
            os.utime(file.fileno(), (LONG_AGO, LONG_AGO))
            pause(chance)
    os.utime(path, (LONG_AGO, LONG_AGO))


def rewrite(path: Path, data: bytes, chance: random.Random) -> None:
    """Begin, lose heart, begin again."""
    path.write_bytes(data[: chance.randrange(len(data))])
    pause(chance)
    path.write_bytes(data)


def link_into_place(path: Path, data: bytes, chance: random.Random) -> None:
    """As `maildir` does it: no event tells that the second name is of a whole file."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(data)
    pause(chance)
    path.hardlink_to(temporary)
    temporary.unlink()


WRITERS: list[Write] = [
    dribble,
    open_and_append,
    truncate_then_fill,
    allocate_then_fill,
    allocate_without_size,
    fill_backwards,
    rename_into_place,
    preserve_the_time,
    rewrite,
    link_into_place,
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site").prepare(settleSeconds=SETTLE, incompleteSeconds=INCOMPLETE, reconcileSeconds=1)


@counts
def test_writers_of_every_kind_at_a_time(tmp_path: Path, site: Site, files: int) -> None:
    template = Template.make(tmp_path / "template")
    expected = Counter(template.instance(number) for number in range(files))

    def write(number: int) -> None:
        path = site.inbound / f"{number % 7}" / f"IM{number:04}.dcm"
        path.parent.mkdir(exist_ok=True)
        WRITERS[number % len(WRITERS)](path, template.instance(number), random.Random(number))

    with started(site) as victim, ThreadPoolExecutor(20) as writers:
        list(writers.map(write, range(files)))
        until_all_published(victim, expected)
        assert exported(site, tmp_path / "exported") == expected
