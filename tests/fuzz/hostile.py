"""Files that mean harm, or look as if: made from real ones and by hand, the same for the same seed and number.

Each kind is a function that makes the bytes of one file from a source of chance. `file_of` makes any single one of
them again, from the numbers that its name consists of.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

from tests.fuzz import by_hand, mutations
from tests.fuzz.seeds import Chance, renamed, seeds

Maker = Callable[[Chance], bytes]

KINDS: dict[Maker, int] = {
    mutations.cut_at_a_percentage: 12,
    mutations.cut_between_elements: 12,
    mutations.bits_flipped: 16,
    mutations.lying_length: 16,
    mutations.crossed: 4,
    mutations.another_transfer_syntax: 6,
    mutations.without_meta: 4,
    mutations.foreign_preamble: 4,
    mutations.lying_offset_table: 5,
    mutations.lying_codestream: 8,
    mutations.damaged_codestream: 8,
    by_hand.no_dicom: 6,
    by_hand.nested: 5,
    by_hand.many_private_elements: 1,
    by_hand.odd_character_sets: 5,
    by_hand.hostile_uid: 8,
    by_hand.hostile_name: 5,
    by_hand.number_of_frames: 6,
    by_hand.impossible_size: 6,
    by_hand.lying_fragments: 4,
    by_hand.codestream_bomb: 4,
    by_hand.deflate_bomb: 1,
    by_hand.hostile_palette: 5,
    by_hand.hostile_window: 3,
}
"""How often each kind is made."""

GOOD_EVERY = 20


@dataclass(frozen=True, slots=True)
class Made:
    """One file: its name says how to make it again; `good` if it must be published."""

    name: str
    data: bytes
    good: bool = False


def files(seed: int, count: int) -> Iterator[Made]:
    """Make that many files, every twentieth of them a good one."""
    return (file_of(seed, number) for number in range(count))


def file_of(seed: int, number: int) -> Made:
    """Make one file."""
    chance = random.Random(f"{seed}/{number}")
    if number % GOOD_EVERY == 0:
        _, data = chance.choice(seeds())
        return Made(f"{seed}-{number:06}-good.dcm", renamed(data, chance.getrandbits(40)), good=True)
    (maker,) = chance.choices(list(KINDS), cum_weights=_weights())
    data = maker(chance)
    if chance.random() < 0.7:  # the others fight over identities
        data = renamed(data, chance.getrandbits(40))
    return Made(f"{seed}-{number:06}-{maker.__name__}.dcm", data)


def write(seed: int, count: int, directory: Path) -> list[Made]:
    """Make files below a directory."""
    directory.mkdir(parents=True)
    made = []
    for each in files(seed, count):
        (directory / each.name).write_bytes(each.data)
        made.append(each)
    return made


@cache
def _weights() -> list[int]:
    return list(accumulate(KINDS.values()))
