"""How far a tree is: as its daemon says, or as its files say while none is running."""

import os
import time
from pathlib import Path

import msgspec

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.store import lock_holder
from staticwado_daemon.inbound.journal import JournalReader, Reason
from staticwado_daemon.inbound.receipt import STORED
from staticwado_daemon.pipeline.daemon import STATUS

_FRESH_SECONDS = 30.0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a tree and of what is on its way to it.

    Attributes:
        running: whether a daemon is at work; None if there is one that hasn't said anything, say because it is just
            starting: then the rest is what the files say.
        backlog: sources without a receipt; after a daemon has ended, those that it knew of.
        waiting: those of the backlog that ended too early and wait for the rest.
        published: sources whose content is in the tree.
        instances: visible now.
        studies: visible now.
        rejected: sources that could not be stored.
        idle: nothing is on its way, and every file of the tree is written.
        degraded: one sentence for each thing that isn't as it should be.
    """

    running: bool | None
    backlog: int
    waiting: int = 0
    published: int
    instances: int
    studies: int
    rejected: int
    idle: bool
    degraded: tuple[str, ...] = ()


class _Told(Status, frozen=True, kw_only=True):
    """What a daemon says of itself."""

    pid: int


def read(root: Path, state_dir: Path, journal: Path) -> Status:
    """Say how far the tree at `root` is.

    Raises:
        Transient: if the journal can't be read now.
        Corrupt: if the journal or the list of studies is damaged.
    """
    told = _told(state_dir)
    holder = lock_holder(root)
    if holder == "daemon" and told and told.running and _lives(told.pid) and _is_fresh(state_dir):
        return Status(**{name: getattr(told, name) for name in Status.__struct_fields__})
    counts = _counts(journal)
    index = studies_index(root)
    backlog = told.backlog if told else 0
    return Status(
        running=None if holder == "daemon" else False,
        backlog=backlog,
        waiting=told.waiting if told else 0,
        published=sum(counts.get(outcome, 0) for outcome in STORED),
        instances=index.instances,
        studies=len(index),
        rejected=counts.get("rejected", 0),
        idle=holder is None and not backlog and not _dirty(root),
    )


def studies_index(root: Path) -> StudiesIndex:
    """The list of all studies as it is published; empty if there is none.

    Raises:
        Corrupt: if it is damaged.
    """
    try:
        return StudiesIndex.from_file((root / layout.STUDIES_INDEX).read_bytes())
    except FileNotFoundError:
        return StudiesIndex()


def rejections(journal: Path, limit: int) -> list[Reason]:
    """List the most frequent reasons for which files were rejected, at most `limit` of them.

    Raises:
        Transient: if the journal can't be read now.
        Corrupt: if it is damaged.
    """
    if not journal.exists():
        return []
    reader = JournalReader(journal)
    try:
        return reader.reasons("rejected", limit) if reader.begun else []
    finally:
        reader.close()


def _told(state_dir: Path) -> _Told | None:
    """What the latest daemon last said of itself; None if that can't be made out (a full disk, an older version)."""
    try:
        return msgspec.json.decode((state_dir / STATUS).read_bytes(), type=_Told)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _is_fresh(state_dir: Path) -> bool:
    """Whether the daemon still keeps its report up to date; on a full disk it can't."""
    return time.time() - (state_dir / STATUS).stat().st_mtime < _FRESH_SECONDS


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _counts(journal: Path) -> dict[str, int]:
    if not journal.exists():
        return {}
    reader = JournalReader(journal)
    try:
        return {str(outcome): count for outcome, count in reader.counts().items()} if reader.begun else {}
    finally:
        reader.close()


def _dirty(root: Path) -> bool:
    marks = root / layout.DIRTY
    return marks.is_dir() and any(marks.iterdir())
