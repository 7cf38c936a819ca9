import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staticwado_daemon.archive import gzipped, restore
from staticwado_daemon.archive.pack import from_pack, to_pack
from staticwado_daemon.dicom.data_set import Place
from staticwado_daemon.errors import Corrupt


@st.composite
def sources(draw):
    """A source and the segments of its frames, in order, with gaps between."""
    pieces = draw(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=20)), max_size=12))
    source, frames = b"", [[] for _ in range(4)]
    number = 0
    for step, data in pieces:
        if step and number < 4:
            number += 1
        elif number and data:
            frames[number - 1].append((len(source), len(data)))
        source += data
    return source, [segments for segments in frames if segments]


@given(sources())
def test_what_is_split_is_joined_again(example) -> None:
    source, frames = example
    stored = [b"".join(source[offset : offset + length] for offset, length in segments) for segments in frames]

    def taken(number: int, start: int, length: int) -> bytes:
        return stored[number - 1][start : start + length]

    remainder = restore.split(source, restore.Pixels(frames))
    assert b"".join(restore.Remainder.of(remainder).join(taken)) == source
    assert restore.matches(hashlib.sha256(source).hexdigest(), [source])


@given(sources(), st.data())
def test_values_interleave_with_frames(example, data) -> None:
    """Some runs are of frames, some of values, of which the same may come twice; and some bytes of them differ."""
    source, frames = example
    stored = [b"".join(source[offset : offset + length] for offset, length in segments) for segments in frames]
    chosen = [data.draw(st.booleans()) for _ in frames]
    values, places = {}, []
    for offset, length in (
        segment for segments, is_it in zip(frames, chosen, strict=True) if is_it for segment in segments
    ):
        value = source[offset : offset + length]
        name = hashlib.sha256(value).hexdigest()
        values[name] = value
        places.append(Place(name, offset, length))
    pixels = restore.Pixels([[] if is_it else segments for segments, is_it in zip(frames, chosen, strict=True)])
    differing = [(at, 1) for at in range(0, len(source), 3) if data.draw(st.booleans())]

    def taken(which: int | str, start: int, length: int) -> bytes:
        whole = values[which] if isinstance(which, str) else stored[which - 1]
        return whole[start : start + length]

    for remainder in (restore.split(source, pixels, places), restore.split(source, pixels, places, differing)):
        assert b"".join(restore.Remainder.of(remainder).join(taken)) == source


@given(st.binary(min_size=10, max_size=50))
def test_overlapping_frames_are_kept_whole(source) -> None:
    remainder = restore.split(source, restore.Pixels([[(0, 6)], [(5, 5)]]))

    def no_frame(number: int, *_: int) -> bytes:
        raise AssertionError(number)

    assert b"".join(restore.Remainder.of(remainder).join(no_frame)) == source


@given(sources(), st.data())
def test_what_frames_do_not_give_back_is_mended(example, data) -> None:
    """Whatever is wrong with what was stored: the remainder that knows where it differs gives the source."""
    source, frames = example
    stored = [bytearray(b"".join(source[at : at + length] for at, length in segments)) for segments in frames]
    for frame in stored:
        for position in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=4)):
            frame[position] ^= 0xFF

    def taken(number: int, start: int, length: int) -> bytes:
        return bytes(stored[number - 1][start : start + length])

    def joined(remainder: bytes) -> list[bytes]:
        return list(restore.Remainder.of(remainder).join(taken))

    pixels = restore.Pixels(frames)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(restore, "_COMPARED_BYTES", data.draw(st.integers(1, 30)))
        differing = restore.differences(source, joined(restore.split(source, pixels)))
    mended = restore.split(source, pixels, differing=differing)
    assert b"".join(joined(mended)) == source
    assert not restore.differences(source, joined(mended))


def test_frames_that_are_too_short_are_corrupt() -> None:
    remainder = restore.split(b"0123456789", restore.Pixels([[(2, 5)]]))
    with pytest.raises(Corrupt, match="frame 1 as it is stored is shorter"):
        list(restore.Remainder.of(remainder).join(lambda *_: b"234"))


@pytest.mark.parametrize("body", [b"", b"[]", b"1\n", b"[1]\n", b'[["a"]]\n', b'[["a","b"]]\n', b"{}\n", b"\xff\n"])
def test_a_pack_without_its_table_is_corrupt(body) -> None:
    with pytest.raises(Corrupt, match="pack without a table"):
        list(from_pack(gzipped.pack(body)))


@given(st.lists(st.binary(max_size=50)))
def test_a_pack_gives_back_every_remainder_whatever_their_order(remainders) -> None:
    name, data = to_pack(remainders)
    assert (name, data) == to_pack(list(reversed(remainders)))
    assert sorted(remainder for _, remainder in from_pack(data)) == sorted(remainders)
    for digest, remainder in from_pack(data):
        assert hashlib.sha256(remainder).hexdigest() == digest
