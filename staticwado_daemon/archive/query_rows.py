"""A study as the query index has it: from what is about to be published, or from what has been. Both say the same."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import orjson

from staticwado_daemon.archive import gzipped, layout, summary
from staticwado_daemon.archive.query_writer import SeriesRows, StudyRows
from staticwado_daemon.archive.summary import Series
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected

Read: TypeAlias = Callable[[str], bytes | None]
"""What gives a file of the tree; None if there is no such file."""


def of_records(uid: UID, answer: bytes, series: Sequence[Series], changed: Collection[UID] | None) -> StudyRows:
    """A study as its records tell it.

    Args:
        uid: Study Instance UID.
        answer: the study's query answer.
        series: all of it, in published order.
        changed: of which something may have changed; None for all of them.
    """
    rows = [
        SeriesRows(each.uid, changed is None or each.uid in changed, each.query, partial(_sop_classes, each))
        for each in series
    ]
    return StudyRows(uid, answer, rows)


def of_files(uid: UID, read: Read) -> StudyRows:
    """A study as its published files tell it.

    Raises:
        Corrupt: if one of them is missing or damaged.
        OSError: if one can't be read.
    """
    directory = layout.study_dir(uid)
    answers = _objects(read, f"{directory}/index.json.gz")
    if len(answers) != 1:
        raise Corrupt(f"{directory}/index.json.gz holds {len(answers)} answers")
    rows = [_series_rows(uid, answer, read) for answer in _objects(read, f"{directory}/series/index.json.gz")]
    return StudyRows(uid, answers[0], rows)


def _series_rows(study: UID, answer: bytes, read: Read) -> SeriesRows:
    series = _uid(_decoded(answer), "0020000E")
    path = f"{layout.series_dir(study, series)}/instances/index.json.gz"
    found = [*map(_decoded, _objects(read, path))]
    instances = {_uid(each, "00080018"): first_text(each, "00080016") for each in found}
    return SeriesRows(series, changed=True, answer=lambda: answer, instances=lambda: instances)


def _sop_classes(series: Series) -> Mapping[UID, str]:
    return {each.identity.instance: each.sop_class for each in series.entries}


def _objects(read: Read, path: str) -> list[bytes]:
    data = read(path)
    if data is None:
        raise Corrupt(f"{path} is missing")
    return summary.objects(gzipped.unpack(data, gzipped.LONGEST))


def _decoded(answer: bytes) -> dict[str, Any]:
    try:
        decoded = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise Corrupt(f"not a query answer: {error}") from error
    if not isinstance(decoded, dict):
        raise Corrupt("not a query answer: no object")
    return decoded


def _uid(attributes: Mapping[str, Any], tag: str) -> UID:
    try:
        return UID(first_text(attributes, tag))
    except Rejected as error:
        raise Corrupt(f"not a query answer: {error}") from error
