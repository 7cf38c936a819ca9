"""A tree to be searched, without pixels: series metadata and a query index, made of a few attributes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from pydicom.dataset import Dataset

from staticwado_daemon.archive import gzipped, layout, query_rows, summary
from staticwado_daemon.archive.query_tables import FILE
from staticwado_daemon.archive.query_writer import QueryIndexWriter
from staticwado_daemon.archive.summary import Series
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from staticwado_daemon.dicom.uids import UID
from tests.records import make_record

SYNTAXES = {
    IMPLICIT_VR_LITTLE_ENDIAN: (True, True),
    EXPLICIT_VR_LITTLE_ENDIAN: (False, True),
    EXPLICIT_VR_BIG_ENDIAN: (False, False),
}
"""Transfer syntaxes of identifiers, and how pynetdicom is told of them: implicit VR, little endian."""


def instance(study: str, series: str, uid: str, **attributes: Any) -> Dataset:
    """An instance of a CT; attributes by keyword. A list of data sets is a sequence."""
    made = Dataset()
    named = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": uid}
    for keyword, value in ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"} | named | attributes).items():
        setattr(made, keyword, value)
    return made


def make_tree(root: Path, instances: Iterable[Dataset]) -> Path:
    """Write the files of instances that a search reads; returns the path of the query index."""
    studies: dict[str, dict[str, list[summary.Entry]]] = {}
    for each in instances:
        study, series, uid = each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID
        dataset = orjson.dumps(each.to_json_dict(), option=orjson.OPT_SORT_KEYS)
        entry = summary.entry(make_record(study, series, uid, dataset=dataset))
        studies.setdefault(study, {}).setdefault(series, []).append(entry)
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = QueryIndexWriter(path)
    with writer.transaction():
        for uid, by_series in studies.items():
            listed = summary.in_order(Series.of(UID(series), entries) for series, entries in by_series.items())
            for one in listed:
                for name, content in one.files().items():
                    file = root / layout.series_dir(UID(uid), one.uid) / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(gzipped.pack(content()))
            writer.put(query_rows.of_records(UID(uid), summary.study_query(listed), listed, None))
        writer.finish()
    writer.close()
    return path
