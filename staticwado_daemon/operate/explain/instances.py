"""An instance: which versions of it there are, and where their bytes are."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.merge import UNKNOWN
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.operate.sender import sender
from staticwado_daemon.operate.study_records import StudyRecords
from staticwado_daemon.operate.verify import packs
from staticwado_daemon.operate.verify.reading import Reader, Unreadable

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


def describe(held: StudyRecords, identity: Identity, receipts: Iterable[Receipt]) -> Instance:
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
