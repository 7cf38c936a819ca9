"""What is published of a study, as a pure function of its winning records: same records, same bytes.

The attributes of the query answers are those of Static DICOMweb's files, plus what PS3.18 section 10.6 requires
and OHIF filters by. Attributes without a value are left out of them: OHIF reads `Value[0]` unguarded.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.serialised import serialised
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt

Attribute: TypeAlias = dict[str, Any]
Files: TypeAlias = Mapping[str, Callable[[], bytes]]
"""Files by their names below the directory of a study or series, each with what makes its content before gzip."""

STUDY_ATTRIBUTES = (
    "00080005 00080020 00080030 00080050 00080090 00080201 00081030 00081060 00100010 00100020 00100021 00100030 "
    "00100032 00100040 00101002 00101010 00120062 00120064 0020000D 00200010 0032000A 0032000C"
).split()
SERIES_ATTRIBUTES = (
    "00080005 00080021 00080031 00080060 00080070 00080080 00080090 00080201 0008103E 00081010 00081050 00081070 "
    "00081090 00180015 00181030 0020000D 0020000E 00200011 00200060 00321060 00400244 00400245 00400275"
).split()
INSTANCE_ATTRIBUTES = (
    "00080005 00080013 00080016 00080018 00080022 00080023 00080032 00080033 00083002 0020000D 0020000E 00200012 "
    "00200013 00280002 00280004 00280006 00280008 00280010 00280011 00280100 00280101 00280102 00280103 00281050 "
    "00281051 00281055"
).split()

MODALITIES_IN_STUDY = "00080061"
STUDY_RELATED_SERIES = "00201206"
STUDY_RELATED_INSTANCES = "00201208"
SERIES_RELATED_INSTANCES = "00201209"

LONGEST_LISTED = 1024
"""Characters of one value (PS3.5 6.2 allows 64 where it limits them); the metadata have longer ones all the same."""

_LAST = float("inf")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the summaries take from one published instance.

    Attributes:
        identity: whose it is.
        order: Instance Number and UID; series and studies list their instances by it.
        series_order: Series Number and UID.
        modality: of its series.
        sop_class: SOP Class UID.
        dataset: DICOM JSON, serialised.
        query: the instance's answer to a query, serialised.
        series: its series' attributes, serialised; equal for almost all instances of a series.
        study: likewise, its study's.
        thumbnail: whether the instance has one.
    """

    identity: Identity
    order: tuple[float, str]
    series_order: tuple[float, str]
    modality: str
    sop_class: str
    dataset: bytes
    query: bytes
    series: bytes
    study: bytes
    thumbnail: bool


def entry(record: Record) -> Entry:
    """Read the parts of a winning record that its series' and study's files need."""
    dataset: dict[str, Attribute] = orjson.loads(record.dataset)
    identity = record.identity
    return Entry(
        identity=identity,
        order=(_number(dataset, "00200013"), identity.instance),
        series_order=(_number(dataset, "00200011"), identity.series),
        modality=str(_first(dataset, "00080060") or ""),
        sop_class=sys.intern(first_text(dataset, "00080016")),
        dataset=record.dataset,
        query=_select(dataset, INSTANCE_ATTRIBUTES),
        series=_select(dataset, SERIES_ATTRIBUTES),
        study=_select(dataset, STUDY_ATTRIBUTES),
        thumbnail=any(blob.path == "thumbnail" for blob in record.blobs),
    )


def array(objects: Iterable[bytes]) -> bytes:
    """A JSON array of serialised objects, one a line."""
    return b"".join((b"[\n", b",\n".join(objects), b"\n]"))


def objects(body: bytes) -> list[bytes]:
    """The serialised objects of an array made by `array`.

    Raises:
        Corrupt: if it isn't one.
    """
    if not (body.startswith(b"[\n") and body.endswith(b"\n]")):
        raise Corrupt("not a JSON array of this tree")
    return body[2:-2].split(b",\n") if len(body) > len(array([])) else []


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series in published order, and the files made of them, not yet compressed."""

    uid: UID
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, uid: UID, entries: Iterable[Entry]) -> "Series":
        """Put the instances of a series in order."""
        return cls(uid, tuple(sorted(entries, key=lambda each: each.order)))

    @property
    def order(self) -> tuple[float, str]:
        """Where the series stands in its study."""
        return min(each.series_order for each in self.entries)

    def metadata(self) -> bytes:
        """`series/X/metadata`: every instance's data set (PS3.18 section 10.4.1.1.2)."""
        return array(each.dataset for each in self.entries)

    def instances(self) -> bytes:
        """`series/X/instances`: the instances' query answers (PS3.18 section 10.6)."""
        return array(each.query for each in self.entries)

    def query(self) -> bytes:
        """The series' own query answer."""
        attributes = _first_of(each.series for each in self.entries)
        attributes[SERIES_RELATED_INSTANCES] = {"vr": "IS", "Value": [len(self.entries)]}
        return _dump(attributes)

    def files(self) -> Files:
        """The series' own files."""
        return {
            "metadata.gz": self.metadata,
            "instances/index.json.gz": self.instances,
            "series-singleton.json.gz": lambda: array((self.query(),)),
        }

    def thumbnail(self) -> Identity | None:
        """The instance whose thumbnail stands for the series: the middle one of those that have one."""
        candidates = [each.identity for each in self.entries if each.thumbnail]
        return candidates[len(candidates) // 2] if candidates else None


def in_order(series: Iterable[Series]) -> list[Series]:
    """The series of a study as they are listed: by Series Number, then UID."""
    return sorted(series, key=lambda each: each.order)


def hot_files(series: Sequence[Series]) -> Files:
    """The study's own files that viewers wait for; `series` are all of it, in order."""
    return {
        "series/index.json.gz": lambda: array(each.query() for each in series),
        "index.json.gz": lambda: array((study_query(series),)),
    }


def cold_files(series: Sequence[Series]) -> Files:
    """Those that no viewer waits for, the thumbnail left out."""
    return {
        "metadata.gz": lambda: array(each.dataset for one in series for each in one.entries),
        "instances/index.json.gz": lambda: array(each.query for one in series for each in one.entries),
    }


def study_query(series: Sequence[Series]) -> bytes:
    """The study's query answer; `series` are all of it, in order."""
    attributes = _first_of(each.study for one in series for each in one.entries)
    modalities = dict.fromkeys(one.entries[0].modality for one in series if one.entries[0].modality)
    attributes[STUDY_RELATED_SERIES] = {"vr": "IS", "Value": [len(series)]}
    attributes[STUDY_RELATED_INSTANCES] = {"vr": "IS", "Value": [sum(len(one.entries) for one in series)]}
    if modalities:
        attributes[MODALITIES_IN_STUDY] = {"vr": "CS", "Value": list(modalities)}
    return _dump(attributes)


def study_thumbnail(series: Sequence[Series]) -> Identity | None:
    """The instance whose thumbnail stands for the study: that of the middle series which has one."""
    candidates = [chosen for one in series if (chosen := one.thumbnail())]
    return candidates[len(candidates) // 2] if candidates else None


def _dump(attributes: dict[str, Attribute]) -> bytes:
    return serialised(attributes, orjson.OPT_SORT_KEYS)


def _select(dataset: dict[str, Attribute], tags: Sequence[str]) -> bytes:
    """The named attributes that have a value to list, serialised in ascending order of their tags."""
    return serialised({tag: dataset[tag] for tag in tags if tag in dataset and _is_listable(dataset[tag])})


def _is_listable(attribute: Attribute) -> bool:
    """Whether it has values, none of which is so long that every client of every list would suffer from it."""
    values = attribute.get("Value") or []
    return bool(values) and all(
        len(text) <= LONGEST_LISTED
        for value in values
        for text in (value.values() if isinstance(value, dict) else (value,))
        if isinstance(text, str)
    )


def _first_of(parts: Iterable[bytes]) -> dict[str, Attribute]:
    """The first value of each attribute among serialised parts, of which most are equal."""
    merged: dict[str, Attribute] = {}
    for part in dict.fromkeys(parts):
        for tag, attribute in orjson.loads(part).items():
            merged.setdefault(tag, attribute)
    return merged


def _first(dataset: dict[str, Attribute], tag: str) -> Any:
    values = dataset.get(tag, {}).get("Value")
    return values[0] if values else None


def _number(dataset: dict[str, Attribute], tag: str) -> float:
    """A number to sort by; what has none stands last."""
    value = _first(dataset, tag)
    return float(value) if isinstance(value, int | float) else _LAST
