"""The journal's file: its tables, how it is opened, and receipts as rows of it."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import structlog

from staticwado_daemon.archive import sqlite
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.receipt import OUTCOMES, Outcome, Receipt
from staticwado_daemon.inbound.source import Stamp

_log = structlog.get_logger()

VERSION = 2
_BUSY_TIMEOUT = 10.0  # seconds to wait for another process that has the journal open

# A path may be used again once the file was removed: then the old row stays as history, and a new one is current.
# Every row is in one of the two indexes over the path, so that both questions are quick and no row is indexed twice.
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
CREATE INDEX receipts_history ON receipts (path) WHERE removed = 1;
CREATE INDEX receipts_study ON receipts (study);
CREATE INDEX receipts_series ON receipts (series);
CREATE INDEX receipts_instance ON receipts (instance, content);
CREATE INDEX receipts_outcome ON receipts (outcome);
CREATE TABLE pruned (            -- how many rows of history were deleted, so that the counts remain true
    outcome TEXT PRIMARY KEY,
    count INTEGER NOT NULL
);
PRAGMA user_version = {VERSION};
"""

UPSERT = """
INSERT INTO receipts
    (path, device, inode, size, mtime_ns, outcome, reason, study, series, instance, content, source, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) WHERE removed = 0 DO UPDATE SET
    device = excluded.device, inode = excluded.inode, size = excluded.size, mtime_ns = excluded.mtime_ns,
    outcome = excluded.outcome, reason = excluded.reason,
    study = excluded.study, series = excluded.series, instance = excluded.instance,
    content = excluded.content, source = excluded.source, at = excluded.at
"""
SELECT = """
SELECT path, device, inode, size, mtime_ns, outcome, reason, study, series, instance, content, source, at FROM receipts
"""
COUNT = """
SELECT outcome, sum(count) FROM (
    SELECT outcome, count(*) AS count FROM receipts GROUP BY outcome UNION ALL SELECT outcome, count FROM pruned
) GROUP BY outcome
"""

_UINT64 = (1 << 64) - 1
_OUTCOMES: dict[str, Outcome] = {outcome: outcome for outcome in OUTCOMES}


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open the file in one of SQLite's URI modes ("ro", "rwc"); any thread may use the connection, one at a time."""
    return sqlite.connect(path, mode, _BUSY_TIMEOUT)


def prepare(database: sqlite3.Connection) -> None:
    """Make a file that was opened for writing durable with each commit, and create its tables if it has none.

    Raises:
        Corrupt: if it is of another version.
    """
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    elif version != VERSION:
        raise Corrupt(f"the journal is of version {version}, not {VERSION}")


def prune(database: sqlite3.Connection, before: float) -> None:
    """Delete the history (receipts of files that were removed) of before a Unix time; it stays in the counts."""
    with database:
        old = database.execute(
            "SELECT outcome, count(*) FROM receipts WHERE removed = 1 AND at < ? GROUP BY outcome", (before,)
        ).fetchall()
        if old:
            database.executemany(
                "INSERT INTO pruned VALUES (?, ?) ON CONFLICT (outcome) DO UPDATE SET count = count + excluded.count",
                old,
            )
            database.execute("DELETE FROM receipts WHERE removed = 1 AND at < ?", (before,))


def translated() -> AbstractContextManager[None]:
    """Raise SQLite's errors as ours: Corrupt for a damaged file, Transient for what may work another time."""
    return sqlite.translated("the journal")


def set_aside(path: Path, why: str) -> None:
    """Rename the journal and what SQLite keeps beside it; the next one begins empty."""
    number = 1
    while (aside := path.with_name(f"{path.name}.set-aside-{number}")).exists():
        number += 1
    _log.warning("journal_set_aside", reason=why, renamed_to=str(aside))
    path.rename(aside)
    for suffix in sqlite.BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))


def signed(number: int) -> int:
    """Fold an unsigned 64-bit number (inodes of CIFS, say) into what SQLite stores."""
    return number - (1 << 64) if number >= 1 << 63 else number


def outcome_of(column: str) -> Outcome:
    """The outcome that a column names."""
    return _OUTCOMES[column]


def stamp_of(columns: Sequence[int]) -> Stamp:
    """The stamp in the columns device, inode, size and mtime_ns."""
    device, inode, size, mtime_ns = columns
    return Stamp(device & _UINT64, inode & _UINT64, size, mtime_ns)


def row_of(receipt: Receipt, at: float) -> tuple[Any, ...]:
    """The values for `UPSERT`."""
    stamp, identity = receipt.stamp, receipt.identity
    return (
        os.fsencode(receipt.path),
        *((signed(stamp.device), signed(stamp.inode), stamp.size, stamp.mtime_ns) if stamp else (None,) * 4),
        receipt.outcome,
        receipt.reason,
        *((identity.study, identity.series, identity.instance) if identity else (None,) * 3),
        receipt.content,
        receipt.source,
        at,
    )


def receipt_of(row: Sequence[Any]) -> Receipt:
    """The receipt in a row of `SELECT`."""
    path, *stamp = row[:5]
    outcome, reason, study, series, instance, content, source, at = row[5:]
    return Receipt(
        path=Path(os.fsdecode(path)),
        stamp=stamp_of(stamp) if stamp[1] is not None else None,
        outcome=_OUTCOMES[outcome],
        reason=reason,
        identity=Identity(UID(study), UID(series), UID(instance)) if study is not None else None,
        content=content,
        source=source,
        at=at,
    )
