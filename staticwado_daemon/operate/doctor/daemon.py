"""The daemon and its journal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.journal_reader import opened
from staticwado_daemon.operate import health, status
from staticwado_daemon.operate.doctor import folders, machine
from staticwado_daemon.operate.doctor.finding import Finding, attention, fine
from staticwado_daemon.operate.status import Status
from staticwado_daemon.pipeline.report import REPORT

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Traces:
    """By what a daemon is known.

    Attributes:
        root: of its tree.
        state_dir: where its report stands.
        journal: of its receipts.
    """

    root: Path
    state_dir: Path
    journal: Path


def works(traces: Traces, emptied: Sequence[Path], proc: Path = _PROC) -> Finding:
    """Whether the daemon runs, is content, and can write where it has to.

    Args:
        traces: of the daemon.
        emptied: the folders to which it has to write.
        proc: of the kernel.
    """
    finding = running(status.read(traces.root, traces.state_dir, traces.journal))
    process = health.judge(traces.state_dir / REPORT, traces.root).pid
    if not (finding.ok and process):
        return finding
    try:
        mounts = (proc / str(process) / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except PermissionError:
        return finding  # the kernel tells root alone how a process with rights of its own sees file systems
    within = folders.writable_within(mounts, emptied)
    return finding if within.ok else within


def running(now: Status) -> Finding:
    """Whether the daemon runs and is content."""
    if now.running is None:
        return attention("a daemon holds the tree but says nothing: wait if it is starting, else restart it")
    if not now.running:
        return attention("not running: systemctl start staticwado (or `staticwado run`); the log says why it ended")
    if now.degraded:
        return attention("; ".join(now.degraded))
    return fine(f"running, {now.published:,} published, {now.rejected:,} rejected, {now.backlog:,} waiting")


def port(number: int, traces: Traces) -> Finding:
    """Whether a port is free for the daemon, or is its own."""
    return machine.port(number, health.judge(traces.state_dir / REPORT, traces.root).pid)


def journal(path: Path) -> Finding:
    """Whether the journal is whole; reads all of it."""
    if not path.exists():
        return fine("none yet")
    try:
        with opened(path) as reader:
            if reader is None:
                return attention(f"{path} is another version's: the next start of the daemon begins a new one")
            reader.check()
    except Corrupt:
        return attention(
            f"{path} is damaged: stop the daemon, remove it with its -wal and -shm, and start again; "
            "the files in the inbound folders are then read once more"
        )
    return fine(f"{path} is whole")
