"""gzip data that is damaged is told from any other, and costs no memory."""

import resource
from pathlib import Path

import pytest

from staticwado_daemon.archive import gzipped
from staticwado_daemon.errors import Corrupt

DATA = bytes(range(256)) * 400
PACKED = gzipped.pack(DATA)
MUCH = 256 << 20


def unlike(length: int) -> bytes:
    """The packed data with another length at its end."""
    return PACKED[:-4] + length.to_bytes(4, "little")


@pytest.mark.parametrize("data", [b"", b"a", DATA, bytes(10_000_000)])
def test_what_is_packed_comes_back(data: bytes) -> None:
    assert gzipped.unpack(gzipped.pack(data)) == data
    assert gzipped.unpack(b"".join(gzipped.pack_pieces([data]))) == data


@pytest.mark.parametrize("cut", [0, 1, 9, 10, 100, len(PACKED) - 9, len(PACKED) - 4, len(PACKED) - 1])
def test_what_is_cut_short_is_corrupt(cut: int) -> None:
    with pytest.raises(Corrupt):
        gzipped.unpack(PACKED[:cut])


@pytest.mark.parametrize("after", [b"x", bytes(1 << 16), PACKED])
@pytest.mark.parametrize("size", [1, 100, len(PACKED), 1 << 20])
def test_what_goes_on_behind_its_end_is_corrupt(after: bytes, size: int) -> None:
    data = PACKED + after
    with pytest.raises(Corrupt):
        gzipped.unpack(data)
    with pytest.raises(Corrupt, match="goes on"):
        list(gzipped.unpack_pieces(data[start : start + size] for start in range(0, len(data), size)))


@pytest.mark.parametrize("length", [0, 1, len(DATA) - 1, len(DATA) + 1, 0xFFFFFFFF])
def test_a_wrong_length_is_damage(length: int) -> None:
    with pytest.raises(Corrupt):
        gzipped.unpack(unlike(length))


@pytest.mark.parametrize("data", [unlike(0xFFFFFFFF), unlike(4), gzipped.pack(bytes(2 * MUCH))[:-4] + bytes(4)])
def test_no_memory_is_taken_by_what_damaged_data_says(data: bytes) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + MUCH, before[1]))
    try:
        with pytest.raises(Corrupt):
            gzipped.unpack(data)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """What this process holds at present, as RLIMIT_DATA counts it."""
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = (each for each in status.splitlines() if each.startswith("VmData"))
    return int(line.split()[1]) << 10


def test_no_more_is_unpacked_than_can_be_right() -> None:
    assert gzipped.unpack(PACKED, len(DATA)) == DATA
    with pytest.raises(Corrupt, match=r"holds 102,400 bytes, but no more than 102,399 can be right"):
        gzipped.unpack(PACKED, len(DATA) - 1)
    with pytest.raises(Corrupt, match="can be right"):
        gzipped.unpack(unlike(gzipped.MOST + 1))
