"""The query index: which studies, series and instances a tree has, to be asked by many processes at once.

It is derived from the published files, and never the truth: it may be deleted at any time, and is made anew by the
tree's one writer (`archive.query_writer`). Here is how it is read.

An answer never keeps the file busy: a question is first asked for the numbers of all rows, then, a portion at a time,
for the rows themselves. So a slow peer costs nobody anything, and sees at worst that a study has left meanwhile.
"""

import sqlite3
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import orjson

from staticwado_daemon.archive import query_narrowing, sqlite
from staticwado_daemon.archive.query_narrowing import ANYTHING, Condition
from staticwado_daemon.archive.query_tables import NAME, VERSION, packed
from staticwado_daemon.dicom.matching import Key
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Transient

_BUSY_SECONDS: Final = 5.0
_PORTION: Final = 256
"""Rows that are in memory at once."""

_PROGRESS: Final = "SELECT complete, expected FROM progress"
_COUNT: Final = "SELECT count(*) FROM studies"
_STUDIES: Final = "SELECT studies.id FROM studies WHERE"
_STUDY_ROWS: Final = """
SELECT id, uid, answer FROM studies JOIN study_answers USING (id) WHERE id IN (SELECT value FROM json_each(?))
"""
_SERIES: Final = "SELECT series.id FROM series JOIN studies ON studies.id = series.study WHERE"
_SERIES_ROWS: Final = """
SELECT series.id, studies.uid, series.uid, study_answers.answer, series_answers.answer FROM series
JOIN studies ON studies.id = series.study
JOIN study_answers ON study_answers.id = series.study
JOIN series_answers ON series_answers.id = series.id
WHERE series.id IN (SELECT value FROM json_each(?))
"""
_PATIENTS: Final = "SELECT studies.patient FROM studies WHERE"
_PATIENT_STUDIES: Final = """
SELECT patient, patient_name, birth_date, id, series, instances FROM studies
WHERE patient IN (SELECT value FROM json_each(?)) ORDER BY date DESC, time DESC, uid DESC
"""
_INSTANCES: Final = """
SELECT studies.uid, series.uid FROM instances
JOIN series ON series.id = instances.series JOIN studies ON studies.id = series.study
WHERE instances.uid = ? ORDER BY studies.uid, series.uid
"""
_CLASSES: Final = """
SELECT DISTINCT classes.uid FROM studies JOIN series ON series.study = studies.id
JOIN instances ON instances.series = series.id JOIN classes ON classes.id = instances.class
WHERE studies.uid = ? AND classes.uid <> '' ORDER BY classes.uid
"""
_NEWEST_FIRST: Final = "ORDER BY studies.date DESC, studies.time DESC, studies.uid DESC"
_SORTED: Final = "ORDER BY +studies.date DESC, studies.time DESC, studies.uid DESC"
"""The same order, but made at the end, and not by looking at every study in that order, which is slow for few."""


class StudyRow(NamedTuple):
    """A study that may be what is asked for.

    Attributes:
        uid: Study Instance UID.
        answer: its query answer, serialised DICOM JSON as in `studies/index.json.gz`.
    """

    uid: UID
    answer: bytes


class SeriesRow(NamedTuple):
    """A series that may be what is asked for.

    Attributes:
        study: Study Instance UID.
        uid: Series Instance UID.
        study_answer: its study's query answer, serialised DICOM JSON.
        answer: its own.
    """

    study: UID
    uid: UID
    study_answer: bytes
    answer: bytes


class PatientRow(NamedTuple):
    """A patient that may be who is asked for: whose studies have the same Patient ID and issuer.

    Attributes:
        answers: query answers of studies, serialised DICOM JSON: the newest one for each name and date of birth that
            the patient has in some study, newest first.
        studies, series, instances: how many the patient has in all.
    """

    answers: tuple[bytes, ...]
    studies: int
    series: int
    instances: int


class QueryIndex:
    """An open index. Thread-safe; to be closed when it is needed no more.

    Questions are answered newest study first, as `studies/index.json.gz` lists them, and series in published order.
    What comes may be more than was asked for: the keys' meaning is `dicom.matching`'s. Nothing that they match is
    missing.

    Args:
        path: of the file.

    Raises (the constructor and all methods):
        Transient: if the index isn't there, isn't complete as yet, or can't be read now.
        Unmatchable: if a key can't be matched with.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database, self._file = _opened(path)
        try:
            self._check()
        except Transient:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def studies(self, keys: Sequence[Key] = ()) -> Iterator[StudyRow]:
        """The studies that the keys of the levels patient and study may match."""
        where = query_narrowing.condition(keys, query_narrowing.STUDY)
        numbers = self._numbers(f"{_STUDIES} {where.sql} {_order(where)}", where.values)
        for _, uid, answer in self._rows(_STUDY_ROWS, numbers):
            yield StudyRow(UID(uid), answer)

    def series(self, keys: Sequence[Key] = ()) -> Iterator[SeriesRow]:
        """The series that the keys of the levels patient, study and series may match."""
        where = query_narrowing.condition(keys, query_narrowing.SERIES)
        numbers = self._numbers(f"{_SERIES} {where.sql} {_order(where)}, series.position", where.values)
        for _, study, uid, study_answer, answer in self._rows(_SERIES_ROWS, numbers):
            yield SeriesRow(UID(study), UID(uid), study_answer, answer)

    def patients(self, keys: Sequence[Key] = ()) -> Iterator[PatientRow]:
        """The patients of whom some study is one that the keys of the level patient may match."""
        where = query_narrowing.condition(keys, query_narrowing.STUDY)
        rows = self._ask(f"{_PATIENTS} {where.sql} {_order(where)}", where.values)
        found = list(dict.fromkeys(patient for (patient,) in rows))
        for start in range(0, len(found), _PORTION):
            patients = found[start : start + _PORTION]
            studies: dict[str, list[tuple[Any, ...]]] = {patient: [] for patient in patients}
            for patient, *study in self._ask(_PATIENT_STUDIES, (_list(patients),)):
                studies[patient].append(tuple(study))
            for each in studies.values():
                yield from self._patient(each)

    def instances(self, sop_instance_uid: UID) -> list[Identity]:
        """Where an instance is: in more than one series, or even study, if it came so."""
        rows = self._ask(_INSTANCES, (packed(sop_instance_uid),))
        return [Identity(UID(study), UID(series), sop_instance_uid) for study, series in rows]

    def sop_classes(self, study: UID) -> list[str]:
        """The SOP Class UIDs of a study's instances, each once."""
        return [uid for (uid,) in self._ask(_CLASSES, (study,))]

    def _patient(self, studies: Sequence[tuple[Any, ...]]) -> Iterator[PatientRow]:
        """A patient of the studies with these columns, newest first; nobody if they have left meanwhile."""
        spellings: dict[tuple[str, str], int] = {}
        for name, birth_date, number, _, _ in studies:
            spellings.setdefault((name, birth_date), number)
        answers = tuple(answer for _, _, answer in self._rows(_STUDY_ROWS, array("q", spellings.values())))
        if answers:
            series, instances = (sum(column) for column in zip(*(each[3:] for each in studies), strict=True))
            yield PatientRow(answers, len(studies), series, instances)

    def _numbers(self, question: str, values: Sequence[str]) -> "array[int]":
        """The ids of the rows that answer a question, in its order."""
        return array("q", [number for (number,) in self._ask(question, values)])

    def _rows(self, question: str, numbers: "array[int]") -> Iterator[tuple[Any, ...]]:
        """The rows with these ids, in their order; those that have left meanwhile are left out."""
        for start in range(0, len(numbers), _PORTION):
            portion = numbers[start : start + _PORTION]
            rows = {row[0]: row for row in self._ask(question, (_list(portion.tolist()),))}
            yield from (rows[number] for number in portion if number in rows)

    def _ask(self, question: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._lock:
            if file_identity(self._path) != self._file:
                # It was deleted or made anew. While it is open the new one can't be taken for it.
                database, file = _opened(self._path)
                self._database.close()
                self._database, self._file = database, file
            self._check()
            return _answered(self._database, question, values)

    def _check(self) -> None:
        """Raise Transient unless the index is complete."""
        ((complete, expected),) = _answered(self._database, _PROGRESS, ())
        if not complete:
            ((studies,),) = _answered(self._database, _COUNT, ())
            raise Transient(f"{NAME} is being made, {studies:,} of {expected:,} studies are in it: try again later")


def _order(where: Condition) -> str:
    return _NEWEST_FIRST if where == ANYTHING else _SORTED


def _opened(path: Path) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
    """A connection, and which file it was opened for."""
    file = file_identity(path)
    if file is None:
        raise Transient(f"there is no query index in {path.parent} as yet: start the daemon or run `staticwado index`")
    try:
        return _connected(path, "ro"), file
    except Transient:
        # Where nobody is writing, what SQLite keeps beside the file isn't there, and who may not write in the directory
        # can't make it. Then nothing changes, and should somebody begin to write, one answer at most is wrong or fails:
        # what is wrong is so for as long as the file lacks what that somebody has written.
        if path.with_name(f"{path.name}-wal").exists():
            raise
        return _connected(path, "ro&immutable=1"), file


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    with _translated():
        database = sqlite.connect(path, mode, _BUSY_SECONDS)
    try:
        _check_version(database)
    except Transient:
        database.close()
        raise
    return database


def _check_version(database: sqlite3.Connection) -> None:
    ((version,),) = _answered(database, "PRAGMA user_version", ())
    if version != VERSION:
        raise Transient(f"{NAME} is of another version: start the daemon or run `staticwado index`")


def _answered(database: sqlite3.Connection, question: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with _translated():
        return database.execute(question, values).fetchall()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise SQLite's errors as Transient: a damaged index is made anew."""
    try:
        with sqlite.translated(NAME):
            yield
    except Corrupt as why:
        raise Transient(f"{why}: run `staticwado index`") from why


def file_identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _list(values: Iterable[str] | Iterable[int]) -> str:
    """What SQLite's json_each takes apart again: any number of values for one question mark."""
    return orjson.dumps(list(values)).decode()
