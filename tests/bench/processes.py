"""Running `staticwado` under observation: CPU time, memory and bytes written, process by process."""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROLES = ("main", "publisher", "worker")
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run has used.

    Attributes:
        cpu: seconds of all processes, user and system.
        wall: seconds.
        peaks: role of a process to the most memory that one of that role had, in bytes (VmHWM).
        written: bytes that reached the disk, or will (write_bytes of proc(5), io).
    """

    cpu: float
    wall: float
    peaks: dict[str, int]
    written: int


@dataclass(slots=True)
class _Watched:
    """The last that was seen of each process; those that end leave nothing else behind."""

    peaks: dict[int, tuple[str, int]] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)  # of those that write for themselves

    def look(self, main: int) -> None:
        for pid in _descendants(main):
            try:
                role = "main" if pid == main else _role(pid, main)
                peak = peak_memory(pid)
                written = _number(pid, "io", "write_bytes")
            except OSError:
                continue
            if peak:  # one that has ended, but wasn't waited for yet, has none
                self.peaks[pid] = (role, peak)
            if role in ROLES:  # the fork server's figure is that of its ended children once more
                self.written[pid] = written


def run(*arguments: str | Path, output: Path, codes: Collection[int] = (0,)) -> Usage:
    """Run a command of staticwado to its end, with what it prints in a file.

    Raises:
        SystemExit: if it ends with another exit code than these.
    """
    command = [sys.executable, "-m", "staticwado_daemon.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HOME": "/nonexistent"}
    # Worker processes outlive their parent by a moment; as their new parent we are told what they used.
    _adopt_orphans(adopt=True)
    before, started, watched = _used(), time.perf_counter(), _Watched()
    errors = output.with_suffix(".err")
    with output.open("wb") as file, errors.open("wb") as complaints:
        process = subprocess.Popen(command, stdout=file, stderr=complaints, env=environment)
        while True:
            watched.look(process.pid)
            try:
                code = process.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            break
    wall = time.perf_counter() - started
    if code not in codes:
        raise SystemExit(f"{' '.join(command[3:6])} … failed:\n{errors.read_text(errors='replace')[-2000:]}")
    _wait_for_orphans()
    _adopt_orphans(adopt=False)
    peaks: dict[str, int] = {}
    for role, peak in watched.peaks.values():
        peaks[role] = max(peak, peaks.get(role, 0))
    return Usage(_used() - before, wall, peaks, sum(watched.written.values()))


def create(files: Sequence[Path], root: Path, content_type: str = "htj2k") -> Usage:
    """Ingest files into a new tree."""
    output = root.with_name(f"{root.name}.json")
    arguments = ("create", "--json", "--root", root, "-t", content_type)
    usage = run(*arguments, *files, output=output)
    if json.loads(output.read_bytes())["published"] != len(files):
        raise SystemExit(f"not all {len(files)} instances were published")
    return usage


def _descendants(main: int) -> list[int]:
    found = [main]
    for pid in found:
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (thread / "children").read_text(encoding="ascii").split())
        except OSError:
            continue
    return found


def _role(pid: int, main: int) -> str:
    """What a process is: the fork server is the main one's child; of its own, workers have their data limited."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    if b"multiprocessing.forkserver" not in command:
        return "other"
    if _number(pid, "status", "PPid") == main:
        return "fork server"
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    data = next(line for line in limits.splitlines() if line.startswith("Max data size"))
    return "publisher" if data.split()[3] == "unlimited" else "worker"


def peak_memory(pid: int) -> int:
    """The most memory that a running process has had so far, in bytes (VmHWM)."""
    return _number(pid, "status", "VmHWM") * 1024


def _number(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    return 0


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _adopt_orphans(*, adopt: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def _wait_for_orphans() -> None:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def best(files: Sequence[Path], root: Path, mode: str, rounds: int) -> Usage:
    """Run `create` a few times; the lower figures are the program's, the difference the machine's."""
    usages = [create(files, root.with_name(f"{root.name}-{turn}"), mode) for turn in range(rounds)]
    last = usages[-1]
    return Usage(min(each.cpu for each in usages), min(each.wall for each in usages), last.peaks, last.written)
