"""What a receiver refused itself, for the daemon to put into the journal.

A receiver has told the sender that it doesn't take an object, and why. The object is kept among the drop folder's
rejected files all the same, where it can be looked at and tried again, and a note is left for the one process that
writes receipts. A note that is lost costs the receipt, and nothing else.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from staticwado_daemon.archive import durably
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Rejected, Transient
from staticwado_daemon.inbound import drop as folder
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Stamp

NOTES: Final = ".refused"
_SUFFIX: Final = ".json"
_AT_ONCE: Final = 500
"""Notes that are read in one go: a daemon that was away for long has other things to do as well."""
_LONGEST_NOTE: Final = 1 << 14
_BITS: Final = (64, 64, 63, 63)
"""Of a stamp's device, inode, size and mtime."""

_log = structlog.get_logger(__name__)


def keep(drop: Path, file: Path, name: str, reason: str, identity: Identity | None = None) -> None:
    """Keep a refused object with its reason, and leave the note.

    Args:
        drop: the drop folder, a real path.
        file: the object, in the same file system.
        name: what it would have been called in the drop folder; no other has it.
        reason: for people; it says neither patient nor sender.
        identity: as far as it is known, whole.

    Raises:
        OSError: if it can't be kept now.
        Transient: if somebody has put a link in the way.
    """
    receipt = Receipt(drop / name, Stamp.of(file.lstat()), "rejected", reason, identity, at=time.time())
    folder.set_aside(drop, file, receipt)
    notes = drop / NOTES
    notes.mkdir(mode=0o750, exist_ok=True)
    durably.write(notes / f"{name}{_SUFFIX}", _encoded(receipt))
    durably.sync(notes)


def take(drop: Path, journal: Journal) -> list[Receipt]:
    """Turn notes into receipts of the journal, a portion at a time; an unreadable one is logged and removed.

    Returns:
        the new receipts, oldest first. Their files are where rejected ones are.

    Raises:
        Transient: if notes or journal can't be read or written now.
    """
    try:
        found = {path: _decoded(drop, path) for path in _notes(drop)}
    except OSError as error:
        raise Transient(f"the notes of what was refused can't be read: {error.strerror}") from error
    receipts = [receipt for receipt in found.values() if receipt]
    # A note that could not be removed, or was not for a sudden end, is read again: no name comes twice.
    new = [receipt for receipt in receipts if not journal.find(receipt.path)]
    if new:
        journal.write(new)
    if receipts:
        journal.removed([receipt.path for receipt in receipts])
    try:
        for path in found:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Transient(f"the notes of what was refused can't be removed: {error.strerror}") from error
    return new


def _notes(drop: Path) -> Iterator[Path]:
    try:
        # Whoever may write in the drop folder may have put a FIFO there, on which one would wait for ever.
        names = sorted(entry.name for entry in os.scandir(drop / NOTES) if entry.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return
    # One with a dot is being written.
    notes = (name for name in names if name.endswith(_SUFFIX) and not name.startswith("."))
    for name, _ in zip(notes, range(_AT_ONCE), strict=False):
        yield drop / NOTES / name


def _encoded(receipt: Receipt) -> bytes:
    stamp, identity = receipt.stamp, receipt.identity
    note = {
        "reason": receipt.reason,
        "stamp": [stamp.device, stamp.inode, stamp.size, stamp.mtime_ns] if stamp else None,
        "identity": [identity.study, identity.series, identity.instance] if identity else None,
        "at": receipt.at,
    }
    return json.dumps(note).encode()


def _decoded(drop: Path, path: Path) -> Receipt | None:
    """The receipt that a note asks for; whoever may write in the drop folder may have written it."""
    with path.open("rb") as file:
        data = file.read(_LONGEST_NOTE)
    try:
        note = json.loads(data)
        identity = Identity(*map(UID, note["identity"])) if note["identity"] else None
        stamp = Stamp(*map(_number, note["stamp"], _BITS))
        reason, at = str(note["reason"]), float(note["at"])
        reason.encode()  # raises for what the journal can't hold
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, Rejected) as error:
        _log.warning("refusal_unreadable", error=type(error).__name__)
        return None
    return Receipt(drop / path.name.removesuffix(_SUFFIX), stamp, "rejected", reason, identity, at=at)


def _number(value: object, bits: int) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise ValueError("no number of a file")
    return value
