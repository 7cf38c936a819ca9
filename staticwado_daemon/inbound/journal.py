"""The receipts, on disk: what became of every input file.

The journal is a cache. Without it every file is read once more and found to be a duplicate; so a damaged one is set
aside and a new one begun. What it must never do is say that a file was dealt with when it was not: hence synchronous
commits, made after the archive's own.
"""

import hashlib
import os
import sqlite3
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound import database as tables
from staticwado_daemon.inbound.journal_reader import JournalReader, counted
from staticwado_daemon.inbound.receipt import Outcome, Receipt
from staticwado_daemon.inbound.source import NO_PERMISSION, Stamp

HISTORY_DAYS = 90
"""For how long the receipts of files that were removed are kept."""

_SUPERSEDED = "a newer version of the instance was received"

_CURRENT = "SELECT device, inode, size, mtime_ns, outcome, content FROM receipts WHERE path = ? AND removed = 0"
_KNOWN = """
SELECT path, device, inode, size, mtime_ns, outcome FROM receipts
WHERE removed = 0 AND inode IS NOT NULL AND reason IS NOT ?
"""
# Left to itself, SQLite takes the index over the outcome, and with it every file ever published.
_PUBLISHED = """
SELECT id, path, removed, device, inode, size, mtime_ns FROM receipts INDEXED BY receipts_instance
WHERE study = ? AND series = ? AND instance = ? AND content = ? AND outcome = 'published'
"""
_REMOVED = """
SELECT id, outcome FROM receipts WHERE path = ? AND removed = 1 AND inode = ? AND size = ? AND mtime_ns = ?
"""
_PACK = struct.Struct("<qqq").pack


@dataclass(slots=True)
class _Change:
    """What a transaction changes of what is kept in memory: taken over once it is on the disk."""

    known: dict[bytes, Outcome | None] = field(default_factory=dict)
    counts: Counter[Outcome] = field(default_factory=Counter)


class Journal(JournalReader):
    """The receipts of one daemon, which is the only one to write them. Thread-safe.

    Args:
        path: the SQLite file; created, with its directory, if absent. A damaged one is renamed to end in
            `.set-aside-N`, with a warning, and so is one of another version.
        now: the wall clock.

    Raises (the constructor and all methods):
        Transient: if the file can't be opened or written now (permissions, disk full, locked).
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._now = now
        # One 16-byte digest of path and stamp for each file: a fraction of what paths and numbers would take.
        self._known: dict[bytes, Outcome] = {}
        self._counts: dict[Outcome, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path)

    def known(self, path: str, stamp: Stamp) -> Outcome | None:
        """Say what became of a file in this state; None if it has no receipt. Takes a microsecond, and no lock."""
        return self._known.get(_key(os.fsencode(path), stamp))

    def counts(self) -> dict[Outcome, int]:
        """Count the files by outcome, as any reader does, but without asking the disk."""
        with self._lock:
            return dict(self._counts)

    def write(self, receipts: Sequence[Receipt]) -> None:
        """Keep receipts, each in place of an earlier one for the same path; on return they are on the disk."""
        at = self._now()

        def insert(database: sqlite3.Connection) -> _Change:
            change = _Change()
            for given in receipts:
                path = os.fsencode(given.path)
                receipt = _unless_the_same(given, _withdraw(database, path, change))
                database.execute(tables.UPSERT, tables.row_of(receipt, at))
                change.counts[receipt.outcome] += 1
                # A file that may not be read today may be tomorrow, and its stamp will be the same.
                if receipt.stamp is not None and receipt.reason != NO_PERMISSION:
                    change.known[_key(path, receipt.stamp)] = receipt.outcome
            return change

        self._commit(insert)

    def supersede(self, losers: Iterable[tuple[Identity, str]]) -> None:
        """Note that these contents of these instances have lost to a newer one.

        The files that brought them are superseded; those that brought them again were duplicates and remain so.
        """
        keys = [(instance.study, instance.series, instance.instance, content) for instance, content in losers]

        def update(database: sqlite3.Connection) -> _Change:
            change = _Change()
            for key in keys:
                for number, path, removed, *stamp in database.execute(_PUBLISHED, key).fetchall():
                    database.execute(
                        "UPDATE receipts SET outcome = 'superseded', reason = ? WHERE id = ?", (_SUPERSEDED, number)
                    )
                    change.counts.update({"published": -1, "superseded": 1})
                    if not removed and stamp[1] is not None:
                        change.known[_key(path, tables.stamp_of(stamp))] = "superseded"
            return change

        self._commit(update)

    def removed(self, paths: Iterable[Path]) -> None:
        """Note that these sources were removed: their receipts become history, the paths may be used again.

        It is on the disk with whatever is written next. Where a power cut takes it, receipts of files that are gone
        stay current, which is as harmless as a power cut just before.
        """
        encoded = [os.fsencode(path) for path in paths]

        def remove(database: sqlite3.Connection) -> _Change:
            change = _Change()
            for path in encoded:
                _withdraw(database, path, change)
                database.execute("UPDATE receipts SET removed = 1 WHERE path = ? AND removed = 0", (path,))
            return _Change(change.known)  # they count as before

        self._commit(remove, durable=False)

    def forget(self, path: Path, removed: Stamp | None = None) -> None:
        """Withdraw a file's receipt, so that the file is taken again.

        Args:
            path: the file's.
            removed: instead of the file that is there, one that was removed (or set aside) in this state.
        """
        encoded = os.fsencode(path)

        def delete(database: sqlite3.Connection) -> _Change:
            change = _Change()
            if removed is None:
                _withdraw(database, encoded, change)
                database.execute("DELETE FROM receipts WHERE path = ? AND removed = 0", (encoded,))
                return change
            state = (encoded, tables.signed(removed.inode), removed.size, removed.mtime_ns)
            for number, outcome in database.execute(_REMOVED, state).fetchall():
                database.execute("DELETE FROM receipts WHERE id = ?", (number,))
                change.counts[tables.outcome_of(outcome)] -= 1
            return change

        self._commit(delete)

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            return self._prepared(path)
        except Corrupt as damage:
            tables.set_aside(path, str(damage))
            return self._prepared(path)

    def _prepared(self, path: Path) -> sqlite3.Connection:
        """Open the file for writing, with its tables, and load what is known."""
        with tables.translated():
            database = tables.connect(path, "rwc")
            try:
                tables.prepare(database)
                tables.prune(database, self._now() - HISTORY_DAYS * 86_400)
                self._known = {
                    _key(name, tables.stamp_of(stamp)): tables.outcome_of(outcome)
                    for name, *stamp, outcome in database.execute(_KNOWN, (NO_PERMISSION,))
                }
                self._counts = counted(database.execute(tables.COUNT))
            except BaseException:
                database.close()
                raise
        return database

    def _ask(self, question: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._rows(question, values)
        except Corrupt as damage:
            with self._lock:
                self._begin_anew(damage)
        return self._rows(question, values)

    def _begin_anew(self, damage: Corrupt) -> None:
        self._database.close()
        tables.set_aside(self._path, str(damage))
        self._database = self._open(self._path)

    def _commit(self, work: Callable[[sqlite3.Connection], _Change], *, durable: bool = True) -> None:
        with self._lock:
            try:
                change = self._transact(work, durable=durable)
            except Corrupt as damage:
                self._begin_anew(damage)
                change = self._transact(work, durable=durable)
            for key, outcome in change.known.items():
                if outcome is None:
                    self._known.pop(key, None)
                else:
                    self._known[key] = outcome
            for counted, difference in change.counts.items():
                self._counts[counted] += difference

    def _transact(self, work: Callable[[sqlite3.Connection], _Change], *, durable: bool) -> _Change:
        with tables.translated():
            self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._database as database:
                return work(database)


def _withdraw(database: sqlite3.Connection, path: bytes, change: _Change) -> tuple[str, str | None] | None:
    """Note that a path's current receipt no longer holds; return its outcome and content, if there is one."""
    row = database.execute(_CURRENT, (path,)).fetchone()
    if row is None:
        return None
    *stamp, outcome, content = row
    change.counts[tables.outcome_of(outcome)] -= 1
    if stamp[1] is not None:
        change.known[_key(path, tables.stamp_of(stamp))] = None
    return outcome, content


def _unless_the_same(receipt: Receipt, before: tuple[str, str | None] | None) -> Receipt:
    """Leave published what was: a file that is read again has not become another's duplicate."""
    if receipt.outcome == "duplicate" and before == ("published", receipt.content):
        return replace(receipt, outcome="published")
    return receipt


def _key(path: bytes, stamp: Stamp) -> bytes:
    """Digest what tells one state of a file from another.

    The device is left out: its number may be another one after every reboot (NFS, device mapper), and a whole archive
    would be read again.
    """
    packed = _PACK(tables.signed(stamp.inode), stamp.size, stamp.mtime_ns)
    return hashlib.blake2b(packed + path, digest_size=16).digest()
