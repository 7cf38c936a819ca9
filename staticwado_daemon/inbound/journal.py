"""The receipts, on disk: what became of every input file.

The journal is a cache. Without it every file is read once more and found to be a duplicate; so a damaged one is set
aside and a new one begun. What it must never do is say that a file was dealt with when it was not: hence synchronous
commits, made after the archive's own.
"""

import hashlib
import os
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Transient
from staticwado_daemon.inbound.receipt import OUTCOMES, Outcome, Receipt
from staticwado_daemon.inbound.source import NO_PERMISSION, Stamp

_log = structlog.get_logger()

_VERSION = 1
_BUSY_TIMEOUT = 10.0  # seconds to wait for another process that has the journal open

# A path may be used again once the file was removed: then the old row stays as history, and a new one is current.
_SCHEMA = f"""
CREATE TABLE receipts (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL,          -- the bytes of the name, whatever their encoding
    device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER,
    outcome TEXT NOT NULL,
    reason TEXT,
    study TEXT, series TEXT, instance TEXT,
    content TEXT,                -- SHA-256 of the data set
    source TEXT,                 -- SHA-256 of the file
    at REAL NOT NULL,            -- Unix time, for people
    removed INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX receipts_current ON receipts (path) WHERE removed = 0;
CREATE INDEX receipts_instance ON receipts (instance, content);
CREATE INDEX receipts_outcome ON receipts (outcome);
PRAGMA user_version = {_VERSION};
"""

# The same content from the same path stays "published": a file that is read again has not become another's duplicate.
_UPSERT = """
INSERT INTO receipts
    (path, device, inode, size, mtime_ns, outcome, reason, study, series, instance, content, source, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) WHERE removed = 0 DO UPDATE SET
    outcome = CASE WHEN excluded.outcome = 'duplicate' AND outcome = 'published' AND content = excluded.content
        THEN 'published' ELSE excluded.outcome END,
    device = excluded.device, inode = excluded.inode, size = excluded.size, mtime_ns = excluded.mtime_ns,
    reason = excluded.reason, study = excluded.study, series = excluded.series, instance = excluded.instance,
    content = excluded.content, source = excluded.source, at = excluded.at
"""

_SELECT = """
SELECT path, device, inode, size, mtime_ns, outcome, reason, study, series, instance, content, source, at FROM receipts
"""
_KNOWN = """
SELECT path, device, inode, size, mtime_ns, outcome FROM receipts
WHERE removed = 0 AND inode IS NOT NULL AND reason IS NOT ?
"""
_SUPERSEDE = """
UPDATE receipts SET outcome = 'superseded', reason = 'a newer version of the instance was received'
WHERE study = ? AND series = ? AND instance = ? AND content = ? AND outcome IN ('published', 'duplicate')
"""
_UINT64 = (1 << 64) - 1
_PACK = struct.Struct("<qqq").pack
_OUTCOMES: dict[str, Outcome] = {outcome: outcome for outcome in OUTCOMES}


class JournalReader:
    """Questions to the journal of a daemon that may be running. Thread-safe.

    Raises (all methods):
        Transient: if the file can't be read now (absent, locked, no permission).
        Corrupt: if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = self._open(path)

    @property
    def begun(self) -> bool:
        """Whether the journal has its tables; for an instant after it was created it hasn't."""
        return bool(self._ask("PRAGMA user_version")[0][0])

    def counts(self) -> dict[Outcome, int]:
        """Count the files by outcome; every outcome is there, the content of the first three is in the archive."""
        counts = dict.fromkeys(OUTCOMES, 0)
        for outcome, count in self._ask("SELECT outcome, count(*) FROM receipts GROUP BY outcome"):
            counts[_OUTCOMES[outcome]] = count
        return counts

    def find(self, what: Path | UID) -> list[Receipt]:
        """Find the receipts of a file, by its path, or of a study, series or instance, by its UID; newest first."""
        if isinstance(what, Path):
            return self._receipts("WHERE path = ? ORDER BY id DESC", (os.fsencode(what),))
        return self._receipts("WHERE instance = ? OR series = ? OR study = ? ORDER BY id DESC", (what,) * 3)

    def having(self, outcome: Outcome) -> list[Receipt]:
        """List the receipts of one outcome, in path order."""
        return self._receipts("WHERE outcome = ? ORDER BY path, id", (outcome,))

    def _open(self, path: Path) -> sqlite3.Connection:
        with _translated():
            return _connect(path, "ro")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _receipts(self, condition: str, values: tuple[Any, ...]) -> list[Receipt]:
        return [_receipt(row) for row in self._ask(_SELECT + condition, values)]

    def _ask(self, question: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _translated():
            return self._database.execute(question, values).fetchall()


class Journal(JournalReader):
    """The receipts of one daemon, which is the only one to write them. Thread-safe.

    Args:
        path: the SQLite file; created, with its directory, if absent. A damaged one is renamed to end in `.damaged-N`,
            with a warning, and so is one of another version.
        now: the wall clock.

    Raises (the constructor and all methods):
        Transient: if the file can't be opened or written now (permissions, disk full, locked).
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        # One 16-byte digest of path and stamp for each file: a fraction of what paths and numbers would take.
        self._known: dict[bytes, Outcome] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path)

    def known(self, path: str, stamp: Stamp) -> Outcome | None:
        """Say what became of a file in this state; None if it has no receipt. Takes a microsecond, and no lock."""
        return self._known.get(_key(os.fsencode(path), stamp))

    def write(self, receipts: Sequence[Receipt]) -> None:
        """Keep receipts, each in place of an earlier one for the same path; on return they are on the disk."""
        at = self._now()

        def insert(database: sqlite3.Connection) -> None:
            for receipt in receipts:
                self._forget_state(database, os.fsencode(receipt.path))
            database.executemany(_UPSERT, [_row(receipt, at) for receipt in receipts])

        self._commit(insert)
        for receipt in receipts:
            # A file that may not be read today may be tomorrow, and its stamp will be the same.
            if receipt.stamp is not None and receipt.reason != NO_PERMISSION:
                self._known[_key(os.fsencode(receipt.path), receipt.stamp)] = receipt.outcome

    def supersede(self, losers: Iterable[tuple[Identity, str]]) -> None:
        """Note that these contents of these instances have lost to a newer one."""
        rows = [(instance.study, instance.series, instance.instance, content) for instance, content in losers]
        self._commit(lambda database: database.executemany(_SUPERSEDE, rows))

    def removed(self, paths: Iterable[Path]) -> None:
        """Note that these sources were removed: their receipts become history, the paths may be used again."""
        encoded = [os.fsencode(path) for path in paths]

        def remove(database: sqlite3.Connection) -> None:
            for path in encoded:
                self._forget_state(database, path)
            database.executemany(
                "UPDATE receipts SET removed = 1 WHERE path = ? AND removed = 0", [(path,) for path in encoded]
            )

        self._commit(remove)

    def forget(self, path: Path) -> None:
        """Withdraw a file's receipt, so that the file is taken again."""
        encoded = os.fsencode(path)

        def delete(database: sqlite3.Connection) -> None:
            self._forget_state(database, encoded)
            database.execute("DELETE FROM receipts WHERE path = ? AND removed = 0", (encoded,))

        self._commit(delete)

    def _forget_state(self, database: sqlite3.Connection, path: bytes) -> None:
        question = "SELECT device, inode, size, mtime_ns FROM receipts WHERE path = ? AND removed = 0"
        for stamp in database.execute(question, (path,)):
            if stamp[1] is not None:
                self._known.pop(_key(path, _stamp(stamp)), None)

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            return self._prepared(path)
        except Corrupt as damage:
            _set_aside(path, str(damage))
            self._known.clear()
            return self._prepared(path)

    def _prepared(self, path: Path) -> sqlite3.Connection:
        """Open the file for writing, with its schema, and load what is known."""
        with _translated():
            database = _connect(path, "rwc")
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                _create_or_check(database)
                for name, *stamp, outcome in database.execute(_KNOWN, (NO_PERMISSION,)):
                    self._known[_key(name, _stamp(stamp))] = _OUTCOMES[outcome]
            except BaseException:
                database.close()
                raise
        return database

    def _commit(self, change: Callable[[sqlite3.Connection], object]) -> None:
        with self._lock:
            try:
                with _translated(), self._database as database:
                    change(database)
            except Corrupt as damage:
                self._database.close()
                _set_aside(self._path, str(damage))
                self._database = self._open(self._path)
                with _translated(), self._database as database:
                    change(database)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level="IMMEDIATE",  # begin with the write lock: one that is upgraded later can't wait for others
        check_same_thread=False,
    )


def _create_or_check(database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    elif version != _VERSION:
        raise Corrupt(f"the journal is of version {version}, not {_VERSION}")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise Corrupt(f"the journal is damaged: {error}") from error
        if isinstance(error, sqlite3.OperationalError):
            raise Transient(f"the journal can't be used now: {error}") from error
        raise


def _set_aside(path: Path, why: str) -> None:
    """Rename the journal and what SQLite keeps beside it; the next one begins empty."""
    number = 1
    while (aside := path.with_name(f"{path.name}.set-aside-{number}")).exists():
        number += 1
    _log.warning("journal_set_aside", reason=why, renamed_to=str(aside))
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))


def _key(path: bytes, stamp: Stamp) -> bytes:
    """Digest what tells one state of a file from another.

    The device is left out: its number may be another one after every reboot (NFS, device mapper), and a whole archive
    would be read again.
    """
    packed = _PACK(_signed(stamp.inode), stamp.size, stamp.mtime_ns)
    return hashlib.blake2b(packed + path, digest_size=16).digest()


def _signed(number: int) -> int:
    """Fold an unsigned 64-bit number (inodes of CIFS, say) into what SQLite stores."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _stamp(columns: Sequence[int]) -> Stamp:
    device, inode, size, mtime_ns = columns
    return Stamp(device & _UINT64, inode & _UINT64, size, mtime_ns)


def _row(receipt: Receipt, at: float) -> tuple[Any, ...]:
    stamp, identity = receipt.stamp, receipt.identity
    return (
        os.fsencode(receipt.path),
        *((_signed(stamp.device), _signed(stamp.inode), stamp.size, stamp.mtime_ns) if stamp else (None,) * 4),
        receipt.outcome,
        receipt.reason,
        *((identity.study, identity.series, identity.instance) if identity else (None,) * 3),
        receipt.content,
        receipt.source,
        at,
    )


def _receipt(row: Sequence[Any]) -> Receipt:
    path, *stamp = row[:5]
    outcome, reason, study, series, instance, content, source, at = row[5:]
    return Receipt(
        path=Path(os.fsdecode(path)),
        stamp=_stamp(stamp) if stamp[1] is not None else None,
        outcome=_OUTCOMES[outcome],
        reason=reason,
        identity=Identity(UID(study), UID(series), UID(instance)) if study is not None else None,
        content=content,
        source=source,
        at=at,
    )
