"""All measurements, one after the other.

Usage: python -m tests.bench [--quick] [--write] [throughput scaling objects tools latency studies reconcile network
       queries]
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import (
    latency,
    machine,
    material,
    network,
    objects,
    queries,
    reconcile,
    scaling,
    studies,
    table,
    throughput,
    tools,
)
from tests.bench.processes import REPOSITORY
from tests.bench.table import Row, at_most

GROUPS = {
    "throughput": "1,000 CT slices of 512 x 512 x 16 bit in 4 series",
    "scaling": "growth",
    "objects": "one large object, thumbnails, and what each modality takes",
    "tools": "the archive's tools",
    "latency": "one instance more in a series of 1,000",
    "studies": "the list of studies",
    "reconcile": "many files in the inbound folder",
    "network": "the DICOM network, over loopback",
    "queries": "questions over the DICOM network",
}
PAGE = REPOSITORY / "docs" / "benchmarks.md"
RECONCILE_SECONDS = 1.0
_SERIES = 4  # of the study, one after the other file by file


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of everything."""

    few: int = 250
    some: int = 1000
    many: int = 4000
    small_studies: int = 200
    more: int = 20
    listed: int = 100_000
    sent: int = 1000
    large_frames: int = 2000
    known: int = 100_000
    test_files: int | None = None
    rounds: int = 2
    modes: tuple[str, ...] = ("none", "htj2k", "jls")


_TINY = {"small_studies": 2, "more": 2, "listed": 200, "sent": 16, "large_frames": 4, "known": 200, "test_files": 4}
QUICK = Counts(24, 32, 40, **_TINY, rounds=1, modes=("jls",))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each group, and write them all into the page if that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all if none is given")
    parser.add_argument("--quick", action="store_true", help="tiny counts: whether it works, not how fast")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(REPOSITORY)}")
    parser.add_argument("--scratch", type=Path, help="where to work, some 18 GB; by default a temporary directory")
    options = parser.parse_args(arguments)
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    if options.write and options.groups:
        parser.error("--write replaces the page's figures: measure everything for it, without naming groups")
    counts = QUICK if options.quick else Counts()
    with tempfile.TemporaryDirectory(
        prefix="staticwado-bench-", dir=options.scratch and options.scratch.resolve()
    ) as scratch:
        described = machine.describe(Path(scratch))
        print("\n".join(f"{name}: {value}" for name, value in described), end="\n\n", flush=True)
        measured: list[tuple[str, Sequence[Row]]] = []
        for group, rows in _measure(options.groups or list(GROUPS), counts, Path(scratch)):
            measured.append((GROUPS[group], rows))
            print(table.as_text(GROUPS[group], rows), flush=True)
    if options.write:
        table.write_into(PAGE, table.as_page(described, measured))


def _measure(groups: Sequence[str], counts: Counts, scratch: Path) -> Iterator[tuple[str, Sequence[Row]]]:
    """The rows of each group. Nothing is deleted in between: that makes ext4 slow for minutes."""
    needed = dict.fromkeys(("throughput", "objects", "tools"), counts.some)
    needed |= {"network": counts.sent, "scaling": counts.many, "latency": _SERIES * (counts.some + counts.more)}
    files = material.ct_files(scratch / "ct", max((needed.get(group, 0) for group in groups), default=0))
    measurements: Mapping[str, Iterator[Row]] = {
        "throughput": _throughput(files[: counts.some], counts, scratch),
        "scaling": _scaling(files, counts, scratch),
        "objects": _objects(files[: counts.some], counts, scratch / "objects"),
        "tools": tools.measure(files[: counts.some], scratch / "tools"),
        "latency": latency.measure(files[::_SERIES][: counts.some + counts.more], counts.more, scratch / "latency"),
        "studies": studies.measure(counts.listed, scratch / "studies"),
        "reconcile": _reconcile(counts.known),
        "network": network.measure(files[: counts.sent], counts.rounds, counts.large_frames, scratch / "network"),
        "queries": queries.measure(counts.listed, scratch / "queries"),
    }
    for group, rows in measurements.items():
        if group in groups:
            yield group, list(rows)


def _throughput(files: Sequence[Path], counts: Counts, scratch: Path) -> Iterator[Row]:
    for mode in counts.modes:
        yield from throughput.measure(mode, files, counts.few, scratch, counts.rounds)


def _scaling(files: Sequence[Path], counts: Counts, scratch: Path) -> Iterator[Row]:
    yield from scaling.one_study(files, (counts.few, counts.some, counts.many), scratch, counts.rounds)
    small = material.small_studies(scratch / "small-studies", counts.small_studies, 10)
    yield from scaling.many_studies(small, counts.small_studies, scratch)


def _objects(files: Sequence[Path], counts: Counts, scratch: Path) -> Iterator[Row]:
    yield from objects.multi_frame(files, scratch)
    yield from objects.thumbnails(files)
    yield from objects.modalities(scratch, counts.test_files)


def _reconcile(known: int) -> Iterator[Row]:
    yield at_most(f"scan of {known:,} known files, s", reconcile.warm_reconcile(known), RECONCILE_SECONDS)
    yield Row(f"start-up with {known:,} known files, s", f"{reconcile.start_up(known):.2f}")


if __name__ == "__main__":
    main()
