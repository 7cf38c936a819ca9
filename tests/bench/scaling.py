"""Whether cost stays proportional: one study that grows, and many that are small."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from tests.bench.processes import best, create
from tests.bench.table import Row, at_most

GROWTH = 15.0
"""Per cent by which an instance may cost more in a study four times as large."""


def one_study(files: Sequence[Path], counts: tuple[int, int, int], scratch: Path, rounds: int) -> Iterator[Row]:
    """CPU per instance between three sizes of one study, which leaves start-up out."""
    spent = [(count, best(files[:count], scratch / f"study-{count}", "htj2k", rounds).cpu) for count in counts]
    slopes = []
    for (few, little), (many, much) in pairwise(spent):
        slopes.append((much - little) / (many - few) * 1e3)
        yield Row(f"one study, {few:,} → {many:,} instances: CPU ms per instance", f"{slopes[-1]:.2f}")
    yield at_most("the second as compared with the first, % more", (slopes[1] / slopes[0] - 1) * 100, GROWTH, ".0f")


def many_studies(files: Sequence[Path], studies: int, scratch: Path) -> Iterator[Row]:
    """CPU and rate for many small studies."""
    usage = create(files, scratch / "small")
    name = f"{studies} studies of {len(files) // studies} small instances"
    yield Row(f"{name}: CPU ms each, start-up included", f"{usage.cpu / len(files) * 1e3:.2f}")
    yield Row(f"{name}: instances per second", f"{len(files) / usage.wall:.0f}")
