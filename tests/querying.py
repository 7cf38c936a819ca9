"""What a query index holds, whatever its rows are numbered by, and what it should hold."""

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from staticwado_daemon.archive import layout, query_rows
from staticwado_daemon.archive.query_tables import FILE
from staticwado_daemon.archive.query_writer import QueryIndexWriter, SeriesRows, StudyRows
from staticwado_daemon.dicom.uids import UID

Contents: TypeAlias = dict[str, list[tuple[object, ...]]]

_TABLES = {
    "progress": "SELECT complete FROM progress",
    "studies": "SELECT * FROM studies",
    "answers": "SELECT uid, answer FROM studies JOIN study_answers USING (id)",
    "series": """SELECT studies.uid, position, series.uid, modality, answer FROM studies
        JOIN series ON series.study = studies.id JOIN series_answers ON series_answers.id = series.id""",
    "instances": """SELECT studies.uid, series.uid, instances.uid, classes.uid FROM instances
        LEFT JOIN series ON series.id = instances.series LEFT JOIN studies ON series.study = studies.id
        LEFT JOIN classes ON classes.id = class""",
    "counts": """SELECT (SELECT count(*) FROM study_answers), (SELECT count(*) FROM series),
        (SELECT count(*) FROM series_answers), (SELECT count(*) FROM instances)""",
}


def unpacked(data: bytes) -> str:
    """The UID that `query_tables.packed` made this of."""
    return data.hex().rstrip("f").replace("a", ".")


def contents(path: Path) -> Contents:
    """All that an index says."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        found = {name: sorted(database.execute(question).fetchall()) for name, question in _TABLES.items()}
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found["studies"] = sorted(row[1:] for row in found["studies"])
    found["instances"] = [(*row[:2], unpacked(row[2]), row[3]) for row in found["instances"]]
    return found


def of_tree(root: Path) -> Contents:
    """What an index of the tree's published files should hold."""
    studies = root / "studies"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE
        with closing(QueryIndexWriter(path)) as writer, writer.transaction():
            for study in sorted(each.name for each in studies.iterdir() if each.is_dir()) if studies.exists() else ():
                writer.put(query_rows.of_files(UID(study), lambda name: (root / name).read_bytes()))
            writer.finish()
        return contents(path)


def assert_searchable(root: Path, path: Path | None = None) -> None:
    """What can be searched for is what is published."""
    assert contents(path or root / layout.PRIVATE / FILE) == of_tree(root)


def study_rows(uid: str, answer: bytes, series: Sequence[tuple[str, bytes, dict[str, str]]] = ()) -> StudyRows:
    """A study of series (UID, answer, SOP Class UIDs of instances), all of which may have changed."""
    return StudyRows(UID(uid), answer, [_series_rows(*each) for each in series])


def _series_rows(uid: str, answer: bytes, instances: dict[str, str]) -> SeriesRows:
    found = {UID(each): sop_class for each, sop_class in instances.items()}
    return SeriesRows(UID(uid), changed=True, answer=lambda: answer, instances=lambda: found)
