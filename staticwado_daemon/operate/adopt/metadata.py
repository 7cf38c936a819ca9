"""What a study of Static DICOMweb says of its instances, in all places where it says it.

One converter has deduplicated records, from which it makes the metadata of the series; the other has metadata in each
instance's directory. Where both were at work, or one of them more than once, the places may contradict each other.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.operate.adopt import deduplicated, spellings
from staticwado_daemon.operate.adopt.deduplicated import DataSet
from staticwado_daemon.operate.adopt.elements import Dialect

OURS: Final = b"[\n"
"""What our own JSON files begin with, and theirs never do."""

_PIXEL_DATA: Final = ("7FE00008", "7FE00009", "7FE00010")
_SAID: Final = ("0020000D", "0020000E", "00080018")
_MOST_NAMED: Final = 8


class _Version(NamedTuple):
    """What one place says."""

    dialect: Dialect
    data_set: DataSet
    place: str


@dataclass(frozen=True, slots=True)
class Found:
    """An instance as one place describes it.

    Attributes:
        identity: by its path where it has one.
        dialect: what the strings of `dataset` hold.
        dataset: DICOM JSON as it was found.
        notes: what other places contradict.
        rejected: it isn't to be shown.
    """

    identity: Identity
    dialect: Dialect
    dataset: bytes
    notes: tuple[str, ...] = ()
    rejected: bool = False


def to_json(instances: Iterable[Found]) -> bytes:
    """What was found, for `from_json`."""
    return orjson.dumps(
        [
            [_uids(each.identity), each.dialect, orjson.Fragment(each.dataset), each.notes, each.rejected]
            for each in instances
        ]
    )


def from_json(data: bytes) -> list[Found]:
    """Read it back.

    Raises:
        Corrupt: if it isn't what `to_json` made.
    """
    try:
        return [
            Found(Identity(*map(UID, uids)), dialect, orjson.dumps(data_set), tuple(notes), rejected)
            for uids, dialect, data_set, notes, rejected in orjson.loads(data)
        ]
    except (orjson.JSONDecodeError, Rejected, TypeError, ValueError):
        raise Corrupt("not the notes of an adoption under way") from None


def read(root: Path, study: UID, directory: Path, record_files: list[Path]) -> list[Found]:
    """Collect what is said of a study's instances.

    Args:
        root: of the tree.
        study: its UID.
        directory: where it stands below the root.
        record_files: deduplicated ones, as `deduplicated.load` wants them.

    Raises:
        Corrupt: naming a file that is damaged.
    """
    records = deduplicated.load(root / directory, record_files)
    said: dict[Identity, list[_Version]] = {}
    for identity, version in _said(root / directory, study, records):
        said.setdefault(identity, []).append(version)
    try:
        return [
            _reconciled(identity, versions, rejected=identity.instance in records.rejected)
            for identity, versions in sorted(said.items())
        ]
    except (RecursionError, orjson.JSONEncodeError):
        raise Corrupt(f"{root / directory}: the metadata of an instance are nested too deeply") from None


def _said(directory: Path, study: UID, records: deduplicated.Deduplicated) -> Iterator[tuple[Identity, _Version]]:
    """Everything that is said, the place that counts most first."""
    own = [*_own(directory, study)]
    lacking: list[tuple[Identity, _Version]] = []
    yield from (each for each in own if each[1].dialect == "characters")
    for uid, data_set in records.instances.items():
        identity = _identity_said(data_set, study, uid)
        if identity and uid not in records.lacking:
            yield identity, _Version("bytes", data_set, "records")
        elif identity:
            lacking.append((identity, _Version("bytes", data_set, "records that lack an extract")))
    yield from (each for each in own if each[1].dialect == "bytes")
    for series in _uid_names(directory / "series"):
        for data_set in _foreign_objects(directory / "series" / series / layout.METADATA):
            dialect: Dialect = "bytes" if deduplicated.is_marked(data_set) else "characters"
            identity = _identity_said(data_set, study, first_text(data_set, "00080018"), series)
            if identity:
                yield identity, _Version(dialect, deduplicated.without_marks(data_set), "series metadata")
    yield from lacking


def _own(directory: Path, study: UID) -> Iterator[tuple[Identity, _Version]]:
    """What stands in the directories of instances: under one name of each converter."""
    for series in _uid_names(directory / "series"):
        for instance in _uid_names(directory / "series" / series / "instances"):
            own = directory / "series" / series / "instances" / instance
            identity = Identity(study, series, instance)
            for data_set in _foreign_objects(own / layout.METADATA):
                yield identity, _Version("characters", data_set, "instance metadata")
            for data_set in _foreign_objects(own / "metadata" / "index.json.gz"):
                yield identity, _Version("bytes", deduplicated.without_marks(data_set), "instance metadata")


def _identity_said(data_set: DataSet, study: UID, instance: str, series: UID | None = None) -> Identity | None:
    """The identity, by the path as far as there is one; None if it can't be one."""
    try:
        return Identity(study, series or UID(first_text(data_set, "0020000E")), UID(instance))
    except Rejected:
        return None


def _reconciled(identity: Identity, versions: list[_Version], *, rejected: bool) -> Found:
    """One description of several, and in which attributes the others contradict it."""
    dialect, data_set, place = versions[0]
    notes = []
    own = _comparable(data_set)
    for other_dialect, other, other_place in versions[1:]:
        theirs = _comparable(other)
        if other_dialect != dialect or own == theirs:
            # Two converters spell everything in two ways: only one of them can be compared with itself.
            continue
        tags = sorted(tag for tag in own.keys() | theirs.keys() if own.get(tag) != theirs.get(tag))
        more = f" and {len(tags) - _MOST_NAMED} more" if len(tags) > _MOST_NAMED else ""
        notes.append(f"the {other_place} contradict the {place}, which hold: {', '.join(tags[:_MOST_NAMED])}{more}")
    expected = (identity.study, identity.series, identity.instance)
    for tag, uid in zip(_SAID, expected, strict=True):
        if tag in data_set and first_text(data_set, tag) != uid:
            notes.append(f"({tag[:4]},{tag[4:]}) isn't what the path says, which holds")
        data_set[tag] = {"vr": "UI", "Value": [uid]}
    return Found(identity, dialect, orjson.dumps(data_set), tuple(notes), rejected)


def _comparable(value: Any) -> Any:
    """A data set without what differs between its places by design: where URIs start from, and pixel data's."""
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    if not isinstance(value, dict):
        return value
    if isinstance(uri := value.get("BulkDataURI"), str):
        return {**value, "BulkDataURI": uri[max(uri.find("bulkdata/"), 0) :]}
    return {key: _comparable(each) for key, each in value.items() if key not in _PIXEL_DATA}


def _foreign_objects(path: Path) -> list[DataSet]:
    """The objects of a JSON file, unless it is ours or there is none."""
    return [] if is_ours(path) is not False else spellings.read_json(path)


def is_ours(path: Path) -> bool | None:
    """Whether a gzipped JSON file was written by us; None if there is none."""
    try:
        head = spellings.read_bytes(path, 512)
        return zlib.decompressobj(31).decompress(head, len(OURS)) == OURS
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (Corrupt, zlib.error):
        return False


def _uid_names(directory: Path) -> list[UID]:
    found = []
    for name in spellings.names(directory):
        try:
            found.append(UID(name))
        except Rejected:
            continue
    return found


def _uids(identity: Identity) -> tuple[str, str, str]:
    return identity.study, identity.series, identity.instance
