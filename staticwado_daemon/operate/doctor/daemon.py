"""The daemon and its journal."""

from contextlib import closing
from pathlib import Path

from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.journal import JournalReader
from staticwado_daemon.operate.doctor.finding import Finding, attention, fine
from staticwado_daemon.operate.status import Status


def running(now: Status) -> Finding:
    """Whether the daemon runs and is content."""
    if now.running is None:
        return attention("a daemon holds the tree but says nothing: wait if it is starting, else restart it")
    if not now.running:
        return attention("not running: systemctl start staticwado (or `staticwado run`); the log says why it ended")
    if now.degraded:
        return attention("; ".join(now.degraded))
    return fine(f"running, {now.published:,} published, {now.rejected:,} rejected, {now.backlog:,} waiting")


def journal(path: Path) -> Finding:
    """Whether the journal is whole; reads all of it."""
    if not path.exists():
        return fine("none yet")
    try:
        with closing(JournalReader(path)) as reader:
            reader.check()
            begun = reader.begun
    except Corrupt:
        return attention(
            f"{path} is damaged: stop the daemon, remove it with its -wal and -shm, and start again; "
            "the files in the inbound folders are then read once more"
        )
    if not begun:
        return attention(f"{path} is another version's: the next start of the daemon begins a new one")
    return fine(f"{path} is whole")
