"""Questions to the receipts on disk, from any process, while a daemon may be writing there."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound import database as tables
from staticwado_daemon.inbound.receipt import OUTCOMES, Outcome, Receipt

_REASONS = """
SELECT coalesce(reason, ''), count(*), min(CASE removed WHEN 0 THEN path END) FROM receipts
WHERE outcome = ? GROUP BY reason ORDER BY count(*) DESC, reason LIMIT ?
"""
_PUBLISHED_SINCE = "SELECT count(*), min(at) FROM receipts WHERE outcome = 'published' AND at > ?"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why files had an outcome: how many of them, and the first in path order of those that are still there."""

    text: str
    count: int
    example: Path | None


class JournalReader:
    """Questions to the journal of a daemon that may be running. Thread-safe.

    Raises (all methods):
        Transient: if the file can't be read now (absent, locked, no permission).
        Corrupt: if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database = self._open(path)

    @property
    def begun(self) -> bool:
        """Whether the journal has its tables: not for an instant after it was created, nor if it is an older one."""
        return bool(self._ask("PRAGMA user_version")[0][0] == tables.VERSION)

    def counts(self) -> dict[Outcome, int]:
        """Count the files by outcome; every outcome is there, the content of the first three is in the archive.

        Files that were removed since count as well.
        """
        return counted(self._ask(tables.COUNT))

    def find(self, what: Path | UID) -> list[Receipt]:
        """Find the receipts of a file, by its path, or of a study, series or instance, by its UID; newest first."""
        if isinstance(what, Path):
            path = (os.fsencode(what),)
            history = self._receipts("WHERE path = ? AND removed = 1 ORDER BY id DESC", path)
            return [*self._receipts("WHERE path = ? AND removed = 0", path), *history]
        return self._receipts("WHERE instance = ? OR series = ? OR study = ? ORDER BY id DESC", (what,) * 3)

    def having(self, outcome: Outcome) -> list[Receipt]:
        """List the receipts of one outcome, in path order."""
        return self._receipts("WHERE outcome = ? ORDER BY path, id", (outcome,))

    def reasons(self, outcome: Outcome, limit: int) -> list[Reason]:
        """List the most frequent reasons for an outcome, at most `limit` of them."""
        rows = self._ask(_REASONS, (outcome, limit))
        return [Reason(text, count, Path(os.fsdecode(path)) if path else None) for text, count, path in rows]

    def published_since(self, at: float) -> tuple[int, float]:
        """Count the receipts of published files after a Unix time, and say when the first of them was written."""
        ((count, first),) = self._ask(_PUBLISHED_SINCE, (at,))
        return count, first or at

    def check(self) -> None:
        """Read all of the file; raises Corrupt if some of it isn't as SQLite wrote it."""
        ((verdict,),) = self._ask("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise Corrupt(f"the journal is damaged: {verdict}")

    def _open(self, path: Path) -> sqlite3.Connection:
        with tables.translated():
            return tables.connect(path, "ro")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _receipts(self, condition: str, values: tuple[Any, ...]) -> list[Receipt]:
        return [tables.receipt_of(row) for row in self._ask(tables.SELECT + condition, values)]

    def _ask(self, question: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._rows(question, values)
        except Corrupt as why:
            raise Corrupt(f"{why} ({self._path}); the daemon sets it aside and begins a new one") from why

    def _rows(self, question: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock, tables.translated():
            return self._database.execute(question, values).fetchall()


@contextmanager
def opened(path: Path) -> Iterator[JournalReader | None]:
    """Open a journal to ask it; None if there is none as yet, or one of another version.

    Raises:
        Transient: if it can't be read now.
        Corrupt: if it is damaged.
    """
    if not path.exists():
        yield None
        return
    with closing(JournalReader(path)) as reader:
        yield reader if reader.begun else None


def counted(rows: Iterable[Sequence[Any]]) -> dict[Outcome, int]:
    """Make of rows of an outcome and a number what `counts` tells."""
    counts = dict.fromkeys(OUTCOMES, 0)
    for outcome, count in rows:
        counts[tables.outcome_of(outcome)] = count
    return counts
