import hashlib

from hypothesis import given
from hypothesis import strategies as st

from staticwado_daemon.archive import restore


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
    remainder = restore.split(source, restore.Pixels(frames))
    assert b"".join(restore.Remainder.of(remainder).join(lambda number: stored[number - 1])) == source
    assert restore.matches(hashlib.sha256(source).hexdigest(), [source])


@given(st.binary(min_size=10, max_size=50))
def test_overlapping_frames_are_kept_whole(source) -> None:
    remainder = restore.split(source, restore.Pixels([[(0, 6)], [(5, 5)]]))

    def no_frame(number: int) -> bytes:
        raise AssertionError(number)

    assert b"".join(restore.Remainder.of(remainder).join(no_frame)) == source


@given(st.lists(st.binary(max_size=50)))
def test_a_pack_gives_back_every_remainder_whatever_their_order(remainders) -> None:
    name, data = restore.to_pack(remainders)
    assert (name, data) == restore.to_pack(list(reversed(remainders)))
    assert sorted(remainder for _, remainder in restore.from_pack(data)) == sorted(remainders)
    for digest, remainder in restore.from_pack(data):
        assert hashlib.sha256(remainder).hexdigest() == digest
