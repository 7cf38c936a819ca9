"""Staged instances become part of the archive: told from what is known, placed, recorded.

The order of the steps is what makes a crash harmless (`store` makes each of them one rename):

1. the studies are marked dirty, and the marks and the staged files synced to the disk;
2. instance directories, bulk data and packs take their places;
3. the record files take theirs: from here on the instances exist.

A crash before 3 leaves files without a record, which the next attempt replaces; after 3 the mark makes the next
start publish the study anew.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from staticwado_daemon.archive import layout, record, restore
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.inbound.receipt import Outcome, Receipt
from staticwado_daemon.pipeline.staged import Staged
from staticwado_daemon.pipeline.studies import Studies


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
    staged: Staged
    record: Record
    supersedes: str | None


def commit(store: Store, studies: Studies, batch: Sequence[Staged]) -> Commit:
    """Store what is new among the staged instances; they have been read in the order of their paths.

    Raises:
        OSError: if the disk doesn't take it; nothing that was there before is harmed, and the studies concerned
            are read anew from their records when next needed.
    """
    result = Commit()
    accepted: list[_Accepted] = []
    try:
        for staged in batch:
            _accept(studies, staged, result, accepted)
        if accepted:
            _store(store, accepted)
    except OSError:
        for staged in batch:
            studies.forget(staged.record.identity.study)
        raise
    sweep(batch)
    return result


def sweep(batch: Sequence[Staged]) -> None:
    """Remove what is left of the staging directories of a batch, also of the sources that it does not name."""
    for task in {staged.directory.parent for staged in batch}:
        shutil.rmtree(task)


def _accept(studies: Studies, staged: Staged, result: Commit, accepted: list[_Accepted]) -> None:
    """Decide what one instance is: known, new, or a new version of a known one."""
    identity, content = staged.record.identity, staged.record.content
    study = studies.get(identity.study)
    if study.knows(identity, content):
        result.receipts.append(_receipt(staged, "duplicate"))
        return
    winner = study.winner(identity)
    new = replace(staged.record, revision=study.next_revision(identity))
    study.add(new)
    accepted.append(_Accepted(staged, new, winner))
    result.receipts.append(_receipt(staged, "published"))
    result.dirty.setdefault(identity.study, set()).add(identity.series)
    if winner is not None:
        result.superseded.append((identity, winner))


def _store(store: Store, accepted: Sequence[_Accepted]) -> None:
    by_study: dict[UID, list[_Accepted]] = {}
    for each in accepted:
        by_study.setdefault(each.record.identity.study, []).append(each)
    for study in by_study:
        store.put(layout.dirty_mark(study), b"")
    store.sync()
    for each in accepted:
        _place(store, each)
    for study, members in by_study.items():
        name, data = restore.to_pack(each.staged.remainder for each in members)
        store.put(f"{layout.restore_dir(study)}/{name}", data)
        name, data = record.to_file(each.record for each in members)
        directory = layout.pending_dir(study) if len(members) == 1 else layout.records_dir(study)
        store.put(f"{directory}/{name}", data)


def _place(store: Store, accepted: _Accepted) -> None:
    staged, identity = accepted.staged, accepted.record.identity
    for name in staged.bulk:
        store.put_file(staged.directory / name, f"{layout.study_dir(identity.study)}/{name}")
    instance = staged.directory / "instance"
    if accepted.supersedes is None:
        store.put_instance(instance, layout.instance_dir(identity))
    else:
        store.replace_instance(
            instance,
            layout.instance_dir(identity),
            kept_new=layout.kept_dir(identity, accepted.record.content),
            kept_old=layout.kept_dir(identity, accepted.supersedes),
        )


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
