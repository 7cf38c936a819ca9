"""A study or series: what is published of it, what else it takes, and what of it was removed."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import orjson

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.merge import Versions
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.operate.study_records import StudyRecords

_MODALITY, _SERIES_DESCRIPTION, _SERIES_NUMBER = "00080060", "0008103E", "00200011"


class Usage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many files there are below a directory, and how many bytes they hold."""

    files: int = 0
    bytes: int = 0


class Conflict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An instance that came with several contents, and how many."""

    series: str
    instance: str
    versions: int


class Removal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was deleted or rejected, when, by whom and why, and how many instances that was done to."""

    what: str
    instances: int


class Series(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="series"):
    """A series as it is published.

    Attributes:
        study: whose it is.
        series: Series Instance UID.
        number: Series Number (0020,0011), None if it has none.
        modality: (0008,0060), "" if it has none.
        description: Series Description (0008,103E), "" if it has none.
        instances: how many are published.
        published: its published files.
        published_at: when its metadata were last written (Unix time); None if they aren't yet.
        conflicts: its instances of several versions.
        removed: what of it was deleted or rejected.
    """

    study: str
    series: str
    number: int | None
    modality: str
    description: str
    instances: int
    published: Usage
    published_at: float | None
    conflicts: tuple[Conflict, ...]
    removed: tuple[Removal, ...]


class Study(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="study"):
    """A study: what is published of it, what else it takes, and its series.

    Attributes:
        study: Study Instance UID.
        instances: how many are published.
        dirty: whether some file of it is yet to be written.
        published_at: when its list of series was last written (Unix time); None if it isn't yet.
        published: its files below `studies/`.
        records: its record files.
        restore: what belongs to the originals besides frames.
        kept: versions that are not shown.
        series: in the order of their numbers, then of their UIDs.
        removed: what of it was deleted or rejected.
        unreadable: record files that can't be read, each with the reason.
    """

    study: str
    instances: int
    dirty: bool
    published_at: float | None
    published: Usage
    records: Usage
    restore: Usage
    kept: Usage
    series: tuple[Series, ...]
    removed: tuple[Removal, ...]
    unreadable: tuple[str, ...]


def describe_series(held: StudyRecords, uid: UID) -> Series:
    """Describe one series of a study."""
    members = [versions for identity, versions in held.versions.items() if identity.series == uid]
    shown = [each.visible for each in members if each.visible]
    # What is deleted may still be described, by any of its versions, as long as there is one.
    described = next((record for each in members for record in each.records), None)
    dataset: dict[str, Any] = orjson.loads(described.dataset) if described else {}
    directory = held.root / layout.series_dir(held.study, uid)
    return Series(
        study=held.study,
        series=uid,
        number=_number(dataset, _SERIES_NUMBER),
        modality=first_text(dataset, _MODALITY),
        description=first_text(dataset, _SERIES_DESCRIPTION),
        instances=len(shown),
        published=_usage([directory]),
        published_at=_written_at(directory / layout.METADATA),
        conflicts=tuple(
            Conflict(series=uid, instance=each[0].identity.instance, versions=len(each))
            for each in shown
            if len(each) > 1
        ),
        removed=_removals(members),
    )


def describe(held: StudyRecords) -> Study:
    """Describe a study."""
    root, uid = held.root, held.study
    members = [describe_series(held, each) for each in {identity.series for identity in held.versions}]
    return Study(
        study=uid,
        instances=sum(each.instances for each in members),
        dirty=(root / layout.dirty_mark(uid)).exists(),
        published_at=_written_at(root / layout.study_dir(uid) / "series/index.json.gz"),
        published=_usage([root / layout.study_dir(uid)]),
        records=_usage([root / layout.records_dir(uid), root / layout.pending_dir(uid)]),
        restore=_usage([root / layout.restore_dir(uid)]),
        kept=_usage([root / layout.KEPT / uid]),
        series=tuple(sorted(members, key=lambda each: (each.number is None, each.number or 0, each.series))),
        removed=_removals(held.versions.values()),
        unreadable=tuple(held.unreadable),
    )


def _removals(instances: Iterable[Versions]) -> tuple[Removal, ...]:
    """What was deleted or rejected of instances, what was done to most of them first."""
    told = Counter(
        sentence
        for versions in instances
        for sentence in {each.sentence() for each in versions.tombstones if each.covers}
    )
    return tuple(Removal(what=what, instances=count) for what, count in told.most_common())


def _usage(directories: Iterable[Path]) -> Usage:
    files = size = 0
    for directory in directories:
        for place, _, names in os.walk(directory):
            for name in names:
                try:
                    size += os.lstat(f"{place}/{name}").st_size
                except FileNotFoundError:
                    continue  # replaced just now
                files += 1
    return Usage(files=files, bytes=size)


def _written_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _number(dataset: dict[str, Any], tag: str) -> int | None:
    values = dataset.get(tag, {}).get("Value")
    return int(values[0]) if values and isinstance(values[0], int | float) else None
