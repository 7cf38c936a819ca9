"""What one CT instance costs: `create` on a few and on many of them; the slope between the two leaves start-up out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import floor
from tests.bench.processes import ROLES, best
from tests.bench.table import Row, at_least, at_most

START_UP_SECONDS = 2.0
PROCESS_BYTES = 300e6


@dataclass(frozen=True, slots=True)
class Budget:
    """CPU milliseconds per instance, and instances per second on two cores."""

    milliseconds: float
    rate: float


BUDGETS = {"none": Budget(5.0, 350), "htj2k": Budget(7.5, 240), "jls": Budget(13.5, 135)}
_PARTS = ("studies", "instances", "deduplicated", "restore", ".staticwado")


def measure(mode: str, files: Sequence[Path], few: int, scratch: Path, rounds: int) -> Iterator[Row]:
    """For one way to store frames: cost and rate, both next to the straight line's, memory and bytes."""
    root = scratch / f"{mode}-{len(files)}"
    start = best(files[:few], scratch / f"{mode}-{few}", mode, rounds)
    end = best(files, root, mode, rounds)
    least = floor.milliseconds(mode, files[:few], scratch / f"{mode}-floor")
    more, budget = len(files) - few, BUDGETS[mode]
    cost = (end.cpu - start.cpu) / more * 1e3
    yield at_most(f"{mode}: CPU ms per instance", cost, budget.milliseconds)
    yield Row(f"{mode}: CPU ms per instance of the straight line", f"{least:.2f}")
    yield Row(f"{mode}: ours as a multiple of it", f"{cost / least:.2f}")
    yield at_least(f"{mode}: instances per second", more / (end.wall - start.wall), budget.rate)
    yield at_most(f"{mode}: start-up, CPU s", start.cpu - few * cost / 1e3, START_UP_SECONDS)
    for role in ROLES:
        yield at_most(f"{mode}: peak memory, {role}, MB", end.peaks[role] / 1e6, PROCESS_BYTES / 1e6, ".0f")
    source = sum(path.stat().st_size for path in files)
    yield Row(f"{mode}: bytes written, % of the source", f"{end.written / source:.1%}")
    for part in _PARTS:
        yield Row(f"{mode}: {part}/, % of the source", f"{_size(root.with_name(f'{root.name}-0') / part) / source:.2%}")


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
