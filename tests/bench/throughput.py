"""What one CT instance costs: `create` on 250 and on 1,000 of them; the slope between the two leaves start-up out.

Usage: python tests/bench/throughput.py [htj2k|jls|none ...]
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from tests import corpus  # noqa: E402  (a script of the repository, not of its package)

FEW, MANY = 250, 1000
ROUNDS = 2
MODES = ("none", "htj2k", "jls")
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds for one run."""

    cpu: float
    wall: float


def main(modes: Sequence[str]) -> None:
    """Print one line for each mode."""
    # Worker processes outlive their parent by a moment; as their new parent we are told what they used.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as scratch:
        study = corpus.ct_study(Path(scratch) / "study", instances=MANY)
        print(f"{'contentType':<12} {'CPU ms/instance':>16} {'instances/s':>12} {'start-up CPU s':>15}")
        for mode in modes:
            few, many = (_best(study.files[:count], mode, Path(scratch)) for count in (FEW, MANY))
            slope = (many.cpu - few.cpu) / (MANY - FEW)
            rate = (MANY - FEW) / (many.wall - few.wall)
            print(f"{mode:<12} {slope * 1e3:>16.2f} {rate:>12.0f} {few.cpu - FEW * slope:>15.2f}", flush=True)


def _best(files: Sequence[Path], mode: str, scratch: Path) -> Cost:
    """Run it twice; the lower figure is the program's, the difference the machine's."""
    runs = [_create(files, mode, scratch / f"{mode}-{len(files)}-{turn}") for turn in range(ROUNDS)]
    return Cost(min(run.cpu for run in runs), min(run.wall for run in runs))


def _create(files: Sequence[Path], mode: str, root: Path) -> Cost:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "staticwado_daemon.cli", "create", "--json", "--root", str(root), "-t", mode]
    before, started = _used(), time.perf_counter()
    ran = subprocess.run([*command, *map(str, files)], capture_output=True, check=True, env=environment)
    wall = time.perf_counter() - started
    _wait_for_orphans()
    if json.loads(ran.stdout)["published"] != len(files):
        raise SystemExit(f"not all {len(files)} instances were published")
    return Cost(_used() - before, wall)


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait_for_orphans() -> None:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main(sys.argv[1:] or MODES)
