"""Staged instances become part of the archive: told from what is known, placed, recorded.

The order of the steps is what makes a crash harmless (`store` makes each of them one rename):

1. the studies are marked dirty; marks, staged files, and the packs and records to be, are synced to the disk;
2. blobs take their places: a new instance its published one, a new version of a known instance one among the kept;
3. packs and then records get their names: from here on the instances exist;
4. a new version changes places with the published one (`arrange`).

A crash before 3 leaves files without a record, which the next attempt replaces. After 3 the mark makes the next start
arrange and publish the study, without the source. What a power cut takes from it is found by the mark, too (`recover`).
"""

import errno
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from staticwado_daemon.archive import gzipped, holdings, layout, record, restore
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Rejected, Transient
from staticwado_daemon.inbound.receipt import Outcome, Receipt
from staticwado_daemon.inbound.source import read
from staticwado_daemon.pipeline.staged import Staged
from staticwado_daemon.pipeline.studies import Studies, Study


@dataclass(slots=True)
class Commit:
    """The outcome of committing staged instances.

    Attributes:
        receipts: one for each, in their order.
        superseded: identities and contents that are published no more.
        dirty: the series that have changed, by study.
    """

    receipts: list[Receipt] = field(default_factory=list)
    superseded: list[tuple[Identity, str]] = field(default_factory=list)
    dirty: dict[UID, set[UID]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What is to be stored of a staged instance.

    `record` is None for one that is known but of which something was missing on the disk; `target` is where its
    blobs belong.
    """

    staged: Staged
    record: Record | None
    target: str


def commit(store: Store, studies: Studies, batch: Sequence[Staged]) -> Commit:
    """Store what is new among the staged instances; they are in the order of their paths.

    Raises:
        OSError: if the disk doesn't take it; nothing that was there before is harmed, and the studies concerned
            are read anew from their records when next needed.
    """
    result = Commit()
    accepted: list[_Accepted] = []
    try:
        store.check()
        for task in _tasks(batch):
            store.check_staged(task)
        for staged in batch:
            _decide(store, studies.get(staged.record.identity.study), staged, result, accepted)
        if accepted:
            _store(store, studies, accepted)
    except OSError:
        for staged in batch:
            studies.forget(staged.record.identity.study)
        raise
    return result


def sweep(store: Store, batch: Sequence[Staged]) -> None:
    """Remove what is left of the staging directories of a batch, also of the sources that it does not name."""
    for task in _tasks(batch):
        store.sweep(task)


def _tasks(batch: Sequence[Staged]) -> Iterable[Path]:
    """The staging directories, each shared by instances that were ingested together."""
    return dict.fromkeys(staged.directory.parent for staged in batch)


def arrange(store: Store, versions: Sequence[Record]) -> None:
    """Let the winner of an instance stand where it is published, and each loser among the kept.

    Whatever an interrupted attempt left, each version is where one of them belongs; told apart by their digests.
    """
    winner, *losers = versions
    published = layout.instance_dir(winner.identity)
    kept = [layout.kept_dir(winner.identity, each.content) for each in versions]
    spares = [f"{path}-exchanged" for path in kept]

    def find(version: Record) -> str | None:
        return next((path for path in (*kept, *spares) if holdings.holds(store.root / path, version)), None)

    if not holdings.holds(store.root / published, winner) and (place := find(winner)):
        if (store.root / published).exists():
            store.replace(published, place, spares)
        else:
            store.move(place, published)
    for loser in losers:
        own = layout.kept_dir(loser.identity, loser.content)
        if holdings.holds(store.root / own, loser) or not (place := find(loser)):
            continue
        if (store.root / own).exists():
            # It may be the only place of another version.
            store.replace(own, place, spares)
        else:
            store.move(place, own)
    if holdings.holds(store.root / published, winner):
        store.discard(layout.kept_dir(winner.identity, winner.content))


def _decide(store: Store, study: Study, staged: Staged, result: Commit, accepted: list[_Accepted]) -> None:
    """Tell what one instance is: known, new, or a new version of a known one."""
    identity, content = staged.record.identity, staged.record.content
    versions = study.versions(identity)
    known = study.known(identity, content)
    result.receipts.append(_receipt(staged, "published" if known is None else "duplicate"))
    if known is not None:
        if known is versions[0]:
            # An attempt that got so far and no further hasn't told.
            result.superseded.extend((identity, each.content) for each in versions[1:])
        elif len(versions) > 1:
            arrange(store, versions)
        if staged.source.after_ingest == "delete" and known.source != staged.record.source:
            _keep_original(store, staged)
        under_way = any(each.record is known for each in accepted)
        if not under_way and not is_whole(store, study, known, published=known is versions[0]):
            _mend(study, staged, known, accepted)
            result.dirty.setdefault(identity.study, set()).add(identity.series)
        return
    new = replace(staged.record, revision=study.next_revision(identity))
    accepted.append(_Accepted(staged, new, holdings.place(new, published=not versions)))
    result.dirty.setdefault(identity.study, set()).add(identity.series)
    if versions:
        result.superseded.append((identity, versions[0].content))
    study.add(new)


def _mend(study: Study, staged: Staged, known: Record, accepted: list[_Accepted]) -> None:
    """Put back what is missing of a known instance, from the staged files of the same content."""
    published = known is study.versions(known.identity)[0]
    if staged.record.blobs == known.blobs:
        accepted.append(_Accepted(staged, None, holdings.place(known, published=published)))
    elif published:
        # Other settings made other blobs of the same content: they need a record of their own.
        new = replace(staged.record, revision=study.next_revision(known.identity))
        study.add(new)
        accepted.append(_Accepted(staged, new, holdings.place(new, published=True)))


def is_whole(store: Store, study: Study, known: Record, *, published: bool) -> bool:
    """Whether everything that a record speaks of is there."""
    return (
        holdings.holds(store.root / holdings.place(known, published=published), known)
        and holdings.holds_bulk(store.root, known)
        and study.has_remainder(store.root, known)
    )


def _keep_original(store: Store, staged: Staged) -> None:
    """Keep a source whole that is to be deleted although only its data set, not its file meta information, is known.

    It is read again: to rebuild it from staged frames, the one writer would have to decode what a worker has made.
    """
    try:
        data = read(staged.source)
    except (Rejected, Transient) as why:
        raise OSError(errno.ESTALE, str(why), str(staged.source.path)) from why
    store.put(layout.original(hashlib.sha256(data).hexdigest()), gzipped.pack(data))


def _store(store: Store, studies: Studies, accepted: Sequence[_Accepted]) -> None:
    prepared: list[tuple[Path, str]] = []
    try:
        _prepare(store, accepted, prepared)
        store.sync()
        for each in accepted:
            _place(store, each)
        for path, name in prepared:
            store.publish(path, name)
    except OSError:
        for path, _ in prepared:
            store.sweep(path)
        raise
    for identity in dict.fromkeys(each.staged.record.identity for each in accepted):
        versions = studies.get(identity.study).versions(identity)
        if len(versions) > 1:
            arrange(store, versions)


def _prepare(store: Store, accepted: Sequence[_Accepted], prepared: list[tuple[Path, str]]) -> None:
    """Mark the studies dirty, and write their new packs and record files, to be named in this order later."""
    by_study: dict[UID, list[_Accepted]] = {}
    for each in accepted:
        by_study.setdefault(each.staged.record.identity.study, []).append(each)
    for study, members in by_study.items():
        name, data = restore.to_pack(each.staged.remainder for each in members)
        prepared.append((store.prepare(data), f"{layout.restore_dir(study)}/{name}"))
        directories = layout.records_dir(study), layout.pending_dir(study)
        unsynced = store.unsynced(*directories)
        records = [each.record for each in members if each.record]
        if records:
            name, data = record.to_file(records)
            path = f"{directories[len(records) == 1]}/{name}"
            prepared.append((store.prepare(data), path))
            unsynced.append(path)
        # With the mark stand the records whose blobs a power cut may keep from their places (`recover`).
        store.put(layout.dirty_mark(study), "\n".join(unsynced).encode())


def _place(store: Store, accepted: _Accepted) -> None:
    staged = accepted.staged
    study = layout.study_dir(staged.record.identity.study)
    for name in staged.bulk:
        store.publish(staged.bulk_directory / name, f"{study}/{name}")
    store.publish(staged.directory, accepted.target)


def _receipt(staged: Staged, outcome: Outcome) -> Receipt:
    return Receipt(
        path=staged.source.path,
        stamp=staged.source.stamp,
        outcome=outcome,
        reason="; ".join(staged.warnings) or None,
        identity=staged.record.identity,
        content=staged.record.content,
        source=staged.record.source,
    )
