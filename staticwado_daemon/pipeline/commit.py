"""Staged instances become part of the archive: told from what is known, placed, recorded.

The order of the steps is what makes a crash harmless (`store` makes each of them one rename):

1. the studies are marked dirty; marks, staged files, and the packs and records to be, are synced to the disk;
2. blobs take their places: a new instance its published one, a new version of a known instance one among the kept;
3. packs and then records get their names: from here on the instances exist;
4. a new version changes places with the published one (`arrange`).

A crash before 3 leaves files without a record, which the next attempt replaces. After 3 the mark makes the next start
arrange and publish the study, without the source. What a power cut takes from it is found by the mark, too (`recover`).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from staticwado_daemon.archive import audit, gzipped, holdings, layout, record
from staticwado_daemon.archive.pack import to_pack
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Tombstone, moment
from staticwado_daemon.dicom.data_set import Buffer
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Rejected, Transient
from staticwado_daemon.inbound.receipt import Outcome, Receipt
from staticwado_daemon.inbound.source import opened
from staticwado_daemon.pipeline.arrange import arrange, arrange_if_needed, is_whole
from staticwado_daemon.pipeline.staged import Staged
from staticwado_daemon.pipeline.studies import Studies, Study

_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Commit:
    """The outcome of committing staged instances.

    Attributes:
        receipts: one for each, in their order; None for those whose source was to be kept whole and isn't there as it
            was read: nothing is stored of them.
        superseded: identities and contents that are published no more.
        dirty: the series that have changed, by study.
    """

    receipts: list[Receipt | None] = field(default_factory=list)
    superseded: list[tuple[Identity, str]] = field(default_factory=list)
    dirty: dict[UID, set[UID]] = field(default_factory=dict)


class _SourceLostError(Exception):
    """A source has changed, or is gone, before it could be kept."""


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What is to be stored of a staged instance.

    `record` is None for one that is known but of which something was missing on the disk; `target` is where its
    blobs belong; `undone` takes back that it was deleted or rejected.
    """

    staged: Staged
    record: Record | None
    target: str
    undone: Tombstone | None = None


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
            try:
                _decide(store, studies.get(staged.record.identity.study), staged, result, accepted)
            except _SourceLostError:
                result.receipts.append(None)
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


def _decide(store: Store, study: Study, staged: Staged, result: Commit, accepted: list[_Accepted]) -> None:
    """Tell what one instance is: known, new, a new version of a known one, or one that isn't wanted any more."""
    identity, content = staged.record.identity, staged.record.content
    versions = study.versions(identity)
    tombstone = versions.tombstone(content)
    known = study.known(identity, content)
    if tombstone and tombstone.covers:
        if not staged.source.force:
            result.receipts.append(replace(_receipt(staged, "ignored"), reason=tombstone.sentence()))
            return
        if known is not None:
            _keep_what_would_be_lost(store, staged, known)
        accepted.append(_uncovered(study, staged, known, tombstone))
    elif known is not None:
        result.receipts.append(_receipt(staged, _decide_known(store, study, staged, known, result, accepted)))
        return
    else:
        new = replace(staged.record, revision=study.next_revision(identity))
        accepted.append(_Accepted(staged, new, holdings.place(new, published=not versions.records)))
        study.add(new)
    result.dirty.setdefault(identity.study, set()).add(identity.series)
    winner = study.versions(identity).winner
    outcome: Outcome = "published" if winner and winner.content == content else "superseded"
    result.receipts.append(_receipt(staged, outcome))
    if versions.winner and outcome == "published":
        result.superseded.append((identity, versions.winner.content))


def _decide_known(
    store: Store, study: Study, staged: Staged, known: Record, result: Commit, accepted: list[_Accepted]
) -> Outcome:
    """Find out whether anything is to be stored of an instance whose content is known, and visible."""
    identity, versions = known.identity, study.versions(known.identity)
    if known is versions.winner:
        # An attempt that got so far and no further hasn't told.
        result.superseded.extend((identity, each.content) for each in versions.visible[1:])
    else:
        arrange(store, versions)
    _keep_what_would_be_lost(store, staged, known)
    if any(each.record is known for each in accepted):
        return "duplicate"
    anew = known is versions.winner and _is_to_be_stored_anew(staged, known)
    if anew or not is_whole(store, study, known):
        _mend(study, staged, known, accepted)
        result.dirty.setdefault(identity.study, set()).add(identity.series)
    return "published" if anew else "duplicate"


def _is_to_be_stored_anew(staged: Staged, known: Record) -> bool:
    """Whether a file that is to be taken in any case is stored in another way now than it was.

    Another file of the same content isn't: the file that came first could no longer be given back.
    """
    return staged.source.force and staged.record.source == known.source and not _is_the_same(staged.record, known)


def _is_the_same(one: Record, other: Record) -> bool:
    """Whether two records of one content say the same of how it is stored.

    What is left over of another source, with other file meta information, says nothing of that.
    """
    if one.source == other.source and one.remainder != other.remainder:
        return False
    return (one.blobs, one.dataset, one.source_attributes) == (other.blobs, other.dataset, other.source_attributes)


def _mend(study: Study, staged: Staged, known: Record, accepted: list[_Accepted]) -> None:
    """Put back what is missing of a known instance, from the staged files of the same content."""
    published = known is study.versions(known.identity).winner
    if _is_the_same(staged.record, known):
        accepted.append(_Accepted(staged, None, holdings.place(known, published=published)))
    elif published:
        accepted.append(_stored_anew(study, staged))


def _uncovered(study: Study, staged: Staged, known: Record | None, tombstone: Tombstone) -> _Accepted:
    """Take what was deleted or rejected, because somebody insists."""
    by = staged.source.by or audit.user()
    undone = replace(tombstone, action="undo", number=tombstone.number + 1, at=moment(), by=by, reason="create --force")
    study.add(undone)
    if known and _is_the_same(staged.record, known):
        return _Accepted(staged, None, holdings.place(known, published=False), undone)
    return replace(_stored_anew(study, staged), undone=undone)


def _stored_anew(study: Study, staged: Staged) -> _Accepted:
    """Give a content that is known another record, because other settings have made other blobs of it.

    It stands aside until that has its name: what is published must not be replaced by what no record speaks of.
    """
    new = replace(staged.record, revision=study.next_revision(staged.record.identity))
    study.add(new)
    return _Accepted(staged, new, holdings.place(new, published=False))


def _keep_what_would_be_lost(store: Store, staged: Staged, known: Record) -> None:
    """Keep a source whole that is to be deleted, where the record of its content gives back another file, or none."""
    if staged.source.after_ingest == "delete" and (known.source != staged.record.source or not known.is_exact):
        _keep_original(store, staged)


def _keep_original(store: Store, staged: Staged) -> None:
    """Keep a source whole although its data set is known, for its file meta information is not.

    It is read again: to rebuild it from staged frames, the one writer would have to decode what a worker has made.
    """
    digest = hashlib.sha256()
    prepared: Path | None = None
    try:
        with opened(staged.source) as content:
            prepared = store.prepare_pieces(gzipped.pack_pieces(_told(content, digest.update)))
    except (Rejected, Transient) as why:
        # Whether the file stayed what it was is known only when it was read to its end.
        if prepared:
            store.sweep(prepared)
        raise _SourceLostError from why
    try:
        store.publish(prepared, layout.original(staged.record.content, digest.hexdigest()))
    except OSError:
        store.sweep(prepared)
        raise


def _told(content: Buffer, tell: Callable[[bytes], None]) -> Iterator[bytes]:
    """Yield a file piece by piece, each once it was told."""
    for start in range(0, len(content), _CHUNK_BYTES):
        piece = bytes(content[start : start + _CHUNK_BYTES])
        tell(piece)
        yield piece


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
        arrange_if_needed(store, studies.get(identity.study).versions(identity))


def _prepare(store: Store, accepted: Sequence[_Accepted], prepared: list[tuple[Path, str]]) -> None:
    """Mark the studies dirty, and write their new packs and record files, to be named in this order later."""
    by_study: dict[UID, list[_Accepted]] = {}
    for each in accepted:
        by_study.setdefault(each.staged.record.identity.study, []).append(each)
    for study, members in by_study.items():
        name, data = to_pack(each.staged.remainder for each in members)
        prepared.append((store.prepare(data), f"{layout.restore_dir(study)}/{name}"))
        directories = layout.records_dir(study), layout.pending_dir(study)
        unsynced = store.unsynced(*directories)
        held = [one for each in members for one in (each.record, each.undone) if one]
        if held:
            name, data = record.to_file(held)
            path = f"{directories[len(held) == 1]}/{name}"
            prepared.append((store.prepare(data), path))
            unsynced.append(path)
        undone: dict[str, list[str]] = {}
        for tombstone in (each.undone for each in members if each.undone):
            undone.setdefault(tombstone.by, []).append(str(Target.of(tombstone.identity)))
        for by, targets in undone.items():
            counts = {"instances": len(targets), "contents": len(targets)}
            audit.append(store.root, audit.Entry("undo", targets, counts, "create --force", by))
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
