"""How far a tree is: as its daemon says, or as its files say while none is running."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.store import lock_holder
from staticwado_daemon.inbound.journal import JournalReader
from staticwado_daemon.inbound.receipt import STORED
from staticwado_daemon.pipeline.daemon import STATUS


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a tree and of what is on its way to it.

    Attributes:
        running: whether a daemon is at work.
        backlog: sources without a receipt; after a daemon has ended, those that it knew of.
        published: sources whose content is in the tree.
        instances: visible now.
        studies: visible now.
        rejected: sources that could not be stored.
        idle: nothing is on its way, and every file of the tree is written.
    """

    running: bool
    backlog: int
    published: int
    instances: int
    studies: int
    rejected: int
    idle: bool


def read(root: Path, state_dir: Path, journal: Path) -> Status:
    """Say how far the tree at `root` is.

    Raises:
        Transient: if the journal can't be read now.
        Corrupt: if the journal or the list of studies is damaged.
    """
    told = _told(state_dir)
    locked = lock_holder(root)
    if locked and told and told["running"] and _lives(told["pid"]):
        return Status(**{name: told[name] for name in Status.__slots__})
    counts = _counts(journal)
    index = _index(root)
    backlog = told["backlog"] if told else 0
    return Status(
        running=False,
        backlog=backlog,
        published=sum(counts.get(outcome, 0) for outcome in STORED),
        instances=index.instances,
        studies=len(index),
        rejected=counts.get("rejected", 0),
        idle=not locked and not backlog and not _dirty(root),
    )


def _told(state_dir: Path) -> dict[str, Any] | None:
    """What the latest daemon last said of itself."""
    try:
        told: dict[str, Any] = orjson.loads((state_dir / STATUS).read_bytes())
    except FileNotFoundError:
        return None
    return told


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
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


def _index(root: Path) -> StudiesIndex:
    try:
        return StudiesIndex.from_file((root / layout.STUDIES_INDEX).read_bytes())
    except FileNotFoundError:
        return StudiesIndex()


def _dirty(root: Path) -> bool:
    marks = root / layout.DIRTY
    return marks.is_dir() and any(marks.iterdir())
