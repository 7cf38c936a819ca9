"""SQLite files as they are used here: how they are opened, and their errors in our words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from staticwado_daemon.errors import Corrupt, Transient

BESIDE: Final = ("-wal", "-shm")
"""What SQLite keeps beside a file, by the ends of their names."""

_DAMAGE: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT))
"""Our statements keep every constraint, so one that is broken was damaged before."""


def connect(path: Path, mode: str, busy_seconds: float) -> sqlite3.Connection:
    """Open a file; any thread may use the connection, one at a time.

    Args:
        path: of the file.
        mode: one of SQLite's URI modes ("ro", "rwc"), with further parameters of the URI if need be.
        busy_seconds: how long to wait for another process that keeps the file locked.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_seconds,
        isolation_level="IMMEDIATE",  # begin with the write lock: one that is upgraded later can't wait for others
        check_same_thread=False,
    )


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise SQLite's errors as ours, with the name of the file for people: Corrupt for a damaged one, else Transient.

    What the module finds wrong with its use, and not the library with the file, is a mistake of ours and stays.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        # What the module finds has no code.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            raise Corrupt(f"{name} is damaged: {error}") from error
        if isinstance(error, sqlite3.OperationalError):
            raise Transient(f"{name} can't be used now: {error}") from error
        raise
