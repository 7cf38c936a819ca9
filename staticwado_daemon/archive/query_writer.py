"""The query index as the tree's one writer keeps it.

Commits aren't synchronous: after a power cut the file is whole, but may lack the last of them. Whoever must know that
they are on the disk calls `make_durable`.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from staticwado_daemon.archive import sqlite
from staticwado_daemon.archive.query_tables import NAME, SCHEMA, VERSION, StudyColumns, packed, text
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected, Transient

_BUSY_SECONDS: Final = 0.2
"""How long publishing may be kept by somebody who has locked the file; then it is tried again later."""

_LONGEST_LOG: Final = 16 << 20
"""Bytes of the write-ahead log beyond which it is brought into the file itself."""

_PUT_STUDY: Final = "INSERT OR REPLACE INTO studies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_COUNTS: Final = "UPDATE studies SET series = ?, instances = ? WHERE id = ?"
_PUT_STUDY_ANSWER: Final = "INSERT OR REPLACE INTO study_answers VALUES (?, ?)"
_PUT_SERIES_ANSWER: Final = "INSERT OR REPLACE INTO series_answers VALUES (?, ?)"
_PUT_INSTANCE: Final = "INSERT OR REPLACE INTO instances (series, uid, class) VALUES (?, ?, ?)"
_DELETE_INSTANCE: Final = "DELETE FROM instances WHERE series = ? AND uid = ?"
_DELETE_SERIES: Final = (
    "DELETE FROM instances WHERE series = ?",
    "DELETE FROM series_answers WHERE id = ?",
    "DELETE FROM series WHERE id = ?",
)
"""All that there is of a series."""


@dataclass(frozen=True, slots=True)
class SeriesRows:
    """A series as it is to be found; what is costly is made only if it is needed.

    Attributes:
        uid: Series Instance UID.
        changed: whether it may have changed since it was written last.
        answer: its query answer, serialised.
        instances: SOP Class UID of each of its instances, as they have it.
    """

    uid: UID
    changed: bool
    answer: Callable[[], bytes]
    instances: Callable[[], Mapping[UID, str]]


@dataclass(frozen=True, slots=True)
class StudyRows:
    """A study as it is to be found.

    Attributes:
        uid: Study Instance UID.
        answer: its query answer, serialised.
        series: all of them in published order.
    """

    uid: UID
    answer: bytes
    series: Sequence[SeriesRows]


class QueryIndexWriter:
    """An open index, which nobody else writes to.

    Args:
        path: of the file, which is created, empty and incomplete, if absent.

    Raises (the constructor and all methods):
        Corrupt: if the file is damaged, or of another version: then it is of no use, and to be removed.
        Transient: if it can't be used now (permissions, disk full, locked).
        OSError: likewise.
    """

    def __init__(self, path: Path) -> None:
        self._log = path.with_name(f"{path.name}-wal")
        self._classes: dict[str, int] = {}
        with sqlite.translated(NAME):
            self._database = sqlite.connect(path, "rwc", _BUSY_SECONDS)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise Corrupt(f"{NAME} is of version {version}, not {VERSION}")
        # Nothing is lost with an empty file, so nobody has to wait for it.
        self._database.execute("PRAGMA synchronous = OFF" if version == 0 else "PRAGMA synchronous = NORMAL")
        self._database.execute("PRAGMA journal_mode = WAL")
        # Bringing the log into the file waits for the disk, so it is done when that is waited for anyway.
        self._database.execute("PRAGMA wal_autocheckpoint = 0")
        self._database.execute("PRAGMA journal_size_limit = 0")
        if version == 0:
            self._database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            self._database.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):  # what was committed is there all the same
            self._database.close()

    @property
    def is_complete(self) -> bool:
        """Whether the file has said of itself that it knows the whole tree."""
        return bool(self._ask("SELECT complete FROM progress")[0][0])

    def begin(self, expected: int) -> None:
        """Say that the file doesn't know the whole tree, of so many studies, as yet; in a transaction."""
        self._do("UPDATE progress SET complete = 0, expected = ?", (expected,))

    def finish(self) -> None:
        """Say that it does."""
        self._do("UPDATE progress SET complete = 1")

    def answers(self) -> Iterator[tuple[str, bytes]]:
        """Every study's UID and query answer."""
        with sqlite.translated(NAME):
            yield from self._database.execute("SELECT uid, answer FROM studies JOIN study_answers USING (id)")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Let readers see all that is done in here at once, or, after an error, nothing of it."""
        with sqlite.translated(NAME):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                with self._database:
                    yield
            except BaseException:
                self._classes.clear()  # some may not have been kept
                raise

    def put(self, study: StudyRows) -> None:
        """Write a study, and of its series those that have changed or are new."""
        number, known = self._put_study(study)
        left = {uid: (found, position) for found, position, uid in known}
        for position, series in enumerate(study.series):
            found, before = left.pop(series.uid, (None, None))
            if found is None:
                insert = "INSERT INTO series (study, position, uid, modality) VALUES (?, ?, ?, '')"
                found = self._do(insert, (number, position, series.uid))
                self._put_series(found, series)
            elif series.changed:
                self._put_series(found, series)
            if before not in (None, position):
                self._do("UPDATE series SET position = ? WHERE id = ?", (position, found))
        for found, _ in left.values():
            self._remove_series(found)

    def remove(self, study: UID) -> None:
        """Write a study no more."""
        for (number,) in self._ask("SELECT id FROM studies WHERE uid = ?", (study,)):
            for (series,) in self._ask("SELECT id FROM series WHERE study = ?", (number,)):
                self._remove_series(series)
            self._do("DELETE FROM study_answers WHERE id = ?", (number,))
            self._do("DELETE FROM studies WHERE id = ?", (number,))

    def make_durable(self) -> None:
        """Have on the disk what was committed; a power cut takes none of it any more."""
        try:
            descriptor = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # nothing was written since the file itself was
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self.trim()

    def trim(self) -> None:
        """Bring the log into the file if it has become long; readers in the midst of it, or a full disk, keep it back.

        It goes on growing then, and what is in it is as safe there.
        """
        with suppress(FileNotFoundError, Transient):
            if self._log.stat().st_size > _LONGEST_LOG:
                self._ask("PRAGMA wal_checkpoint(PASSIVE)")

    def _put_study(self, study: StudyRows) -> tuple[int, list[tuple[Any, ...]]]:
        """The study's row and answer; returns its number, and id, position and UID of the series it had."""
        columns = StudyColumns.of(orjson.loads(study.answer))
        found = self._ask("SELECT * FROM studies WHERE uid = ?", (study.uid,))
        number, before = (found[0][0], found[0][2:]) if found else (0, ())
        if before[:-2] == columns[:-2]:
            # What a study is found by stays the same while it grows: of many indexes none is touched.
            self._do(_PUT_COUNTS, (columns.series, columns.instances, number))
        else:
            number = self._do(_PUT_STUDY, (number or None, study.uid, *columns))
        self._do(_PUT_STUDY_ANSWER, (number, study.answer))
        return number, self._ask("SELECT id, position, uid FROM series WHERE study = ?", (number,))

    def _put_series(self, number: int, series: SeriesRows) -> None:
        """A series' own columns and answer, and of its instances only what is another than before."""
        answer = series.answer()
        modality = text(orjson.loads(answer), "00080060")
        self._do("UPDATE series SET modality = ? WHERE id = ? AND modality <> ?", (modality, number, modality))
        self._do(_PUT_SERIES_ANSWER, (number, answer))
        now = {packed(uid): self._class(found) for uid, found in series.instances().items()}
        before = dict(self._ask("SELECT uid, class FROM instances WHERE series = ?", (number,)))
        self._do_all(_DELETE_INSTANCE, [(number, uid) for uid in before.keys() - now.keys()])
        self._do_all(_PUT_INSTANCE, [(number, *each) for each in sorted(now.items() - before.items())])

    def _remove_series(self, number: int) -> None:
        for deletion in _DELETE_SERIES:
            self._do(deletion, (number,))

    def _class(self, text: str) -> int:
        """The number of a SOP Class UID; whatever is none counts as ""."""
        if text not in self._classes:
            try:
                uid: str = UID(text.strip(" \0"))
            except Rejected:
                uid = ""
            self._do("INSERT OR IGNORE INTO classes (uid) VALUES (?)", (uid,))
            ((self._classes[text],),) = self._ask("SELECT id FROM classes WHERE uid = ?", (uid,))
        return self._classes[text]

    def _ask(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with sqlite.translated(NAME):
            return self._database.execute(question, values).fetchall()

    def _do(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Execute a statement; returns the id of what it inserted."""
        with sqlite.translated(NAME):
            return self._database.execute(statement, values).lastrowid or 0

    def _do_all(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with sqlite.translated(NAME):
            self._database.executemany(statement, rows)


def remove(path: Path) -> None:
    """Remove the file, so that the next one begins empty."""
    for suffix in ("", *sqlite.BESIDE):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
