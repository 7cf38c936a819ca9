"""Where the bytes of a study, series or instance are, and which versions of an instance there are.

Only the study in question is read, never the whole tree, and nothing is written; so a daemon may be at work meanwhile.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.merge import UNKNOWN, Versions
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.operate.sender import sender
from staticwado_daemon.operate.study_records import StudyRecords
from staticwado_daemon.operate.verify import packs
from staticwado_daemon.operate.verify.reading import Reader, Unreadable

_MODALITY, _SERIES_DESCRIPTION, _SERIES_NUMBER = "00080060", "0008103E", "00200011"
_AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"


class StoredFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One file of a version: its path below the root, its length in bytes, and whether it is there in that length."""

    path: str
    bytes: int
    there: bool


class Received(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A source that brought a version: its path, what became of it, and when (Unix time)."""

    path: str
    outcome: str
    at: float | None


class Version(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One content of an instance.

    Attributes:
        revision: the highest one is published, unless it is deleted or rejected.
        published: whether it is the one that is shown; the others are kept.
        removed: that it was deleted or rejected, when, by whom and why, in one sentence; None if it wasn't.
        content: SHA-256 of the data set.
        source: SHA-256 of the file that came in.
        source_transfer_syntax: Transfer Syntax UID of that file.
        stored_transfer_syntax: of the frames as they are stored.
        directory: of its files, below the root.
        files: what it consists of.
        record: the record's file, below the root; None if that has just been replaced.
        exact: whether what is stored was meant to give the source back; not where its frames lost something, as asked.
        remainder: the pack with what the source held besides its frames; None if it is missing.
        original: the source kept whole, if it is.
        sender: AE titles of who sent it to whom, if it came by C-STORE.
        received: the sources that brought it, newest first, as far as the journal remembers.
    """

    revision: int
    published: bool
    removed: str | None
    content: str
    source: str
    source_transfer_syntax: str
    stored_transfer_syntax: str
    directory: str
    files: tuple[StoredFile, ...]
    record: str | None
    exact: bool
    remainder: str | None
    original: str | None
    sender: str | None
    received: tuple[Received, ...]


class Instance(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="instance"):
    """An instance: its identity and all its versions, the published one first.

    Attributes:
        tombstones: what was deleted, rejected or brought back, in one sentence each, the latest first.
    """

    study: str
    series: str
    instance: str
    versions: tuple[Version, ...]
    tombstones: tuple[str, ...]
    unreadable: tuple[str, ...]


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


def instance(held: StudyRecords, identity: Identity, receipts: Iterable[Receipt]) -> Instance:
    """Describe an instance.

    Args:
        held: its study.
        identity: which one.
        receipts: those that name it, newest first.
    """
    versions = held.versions.get(identity, UNKNOWN)
    packs = _packs(held.root, held.study, {each.remainder[0] for each in versions.records})
    mine = [each for each in receipts if each.identity == identity]
    return Instance(
        study=identity.study,
        series=identity.series,
        instance=identity.instance,
        versions=tuple(_version(held, each, packs.get(each.remainder[0]), mine) for each in versions.records),
        tombstones=tuple(
            each.sentence() for each in sorted(versions.tombstones, key=lambda each: each.at, reverse=True)
        ),
        unreadable=tuple(held.unreadable),
    )


def series(held: StudyRecords, uid: UID) -> Series:
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


def study(held: StudyRecords) -> Study:
    """Describe a study."""
    root, uid = held.root, held.study
    members = [series(held, each) for each in {identity.series for identity in held.versions}]
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


def _version(held: StudyRecords, of: Record, pack: str | None, receipts: Iterable[Receipt]) -> Version:
    versions = held.versions[of.identity]
    tombstone = versions.tombstone(of.content)
    published = of is versions.winner
    directory = holdings.place(of, published=published)
    dataset: dict[str, Any] = orjson.loads(of.dataset)
    original = layout.original(of.content, of.source)
    return Version(
        revision=of.revision,
        published=published,
        removed=tombstone.sentence() if tombstone and tombstone.covers else None,
        content=of.content,
        source=of.source,
        source_transfer_syntax=of.source_transfer_syntax,
        stored_transfer_syntax=first_text(dataset, _AVAILABLE_TRANSFER_SYNTAX_UID) or of.source_transfer_syntax,
        directory=directory,
        files=tuple(_stored_files(held, of, directory)),
        record=held.record_file(of),
        exact=of.is_exact,
        remainder=pack if of.is_exact else None,
        original=original if (held.root / original).exists() else None,
        sender=sender(held.root, of, published=published),
        received=tuple(
            Received(path=str(each.path), outcome=each.outcome, at=each.at)
            for each in receipts
            if each.content == of.content
        ),
    )


def _stored_files(held: StudyRecords, of: Record, directory: str) -> Iterator[StoredFile]:
    yield _metadata(held.root, f"{directory}/{layout.METADATA}")
    homes = [layout.study_dir(held.study), layout.kept_study_dir(held.study)]
    for blob in of.blobs:
        paths = [f"{home}/{blob.path}" for home in (homes if layout.is_bulk(blob.path) else [directory])]
        found = next((path for path in paths if _has_length(held.root / path, blob.length)), None)
        yield StoredFile(path=found or paths[0], bytes=blob.length, there=found is not None)


def _metadata(root: Path, path: str) -> StoredFile:
    """The instance's metadata, whose length no record says."""
    try:
        return StoredFile(path=path, bytes=(root / path).stat().st_size, there=True)
    except OSError:
        return StoredFile(path=path, bytes=0, there=False)


def _has_length(path: Path, length: int) -> bool:
    try:
        return path.stat().st_size == length
    except OSError:
        return False


def _packs(root: Path, study: UID, wanted: set[str]) -> dict[str, str]:
    """The packs in which the wanted remainders are, by digest."""
    found: dict[str, str] = {}
    for path in holdings.pack_files(root, study):
        if wanted <= found.keys():
            break
        try:
            _, held = packs.look_through(Reader(root), path)
        except (Corrupt, Unreadable, OSError):
            continue  # what is in it counts as missing, and is told so
        found |= dict.fromkeys(wanted.intersection(held), path)
    return found


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
