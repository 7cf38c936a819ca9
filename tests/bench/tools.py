"""The archive's tools on a study of CT slices: giving the originals back, and proving that all is whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import corpus
from tests.bench.processes import create, run
from tests.bench.table import Row


def measure(files: Sequence[Path], scratch: Path) -> Iterator[Row]:
    """Export and verify, as commands, start-up included."""
    scratch.mkdir()
    root = scratch / "root"
    create(files, root)
    stored = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    usage = run("export", "--root", root, "-o", scratch / "out", corpus.uid("ct"), output=scratch / "export.txt")
    yield Row(f"export of {len(files):,} instances, HTJ2K: instances per second", f"{len(files) / usage.wall:.0f}")
    usage = run("verify", "--json", "--root", root, output=scratch / "verify.json")
    yield Row(f"verify of {stored / 1e6:,.0f} MB: MB per second", f"{stored / 1e6 / usage.wall:.0f}")
    usage = run("verify", "--json", "--restore", "--root", root, output=scratch / "restore.json")
    yield Row("the same with every original rebuilt: MB per second", f"{stored / 1e6 / usage.wall:.0f}")
