"""Deleting, rejecting and bringing back: tombstones are written, and what they cover leaves what is served.

First the tombstones are on the disk, then the summaries speak no more of what they cover, and only then it goes: each
instance by one rename to the kept versions, and with the last one its series and study. An undo goes the other way
round. The study's mark, which stands from the beginning, makes the next start finish what was interrupted.
"""

from collections.abc import Iterable, Iterator, Sequence

from staticwado_daemon.archive import audit, layout, record
from staticwado_daemon.archive.merge import Versions
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Action, Tombstone
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline.arrange import arrange, bring_bulk_back, put_aside, put_bulk_aside
from staticwado_daemon.pipeline.messages import Remove
from staticwado_daemon.pipeline.studies import Studies, Study

SERIES_FILES = ("metadata.gz", "instances/index.json.gz", "series-singleton.json.gz", "thumbnail")
STUDY_FILES = ("index.json.gz", "series/index.json.gz", "instances/index.json.gz", "metadata.gz", "thumbnail")


def concerned(action: Action, versions: Versions) -> list[str]:
    """The contents of an instance to which something is yet to be done.

    What is rejected can be deleted. What is deleted can only be brought back, as long as its files are there.
    """
    if action == "reject":
        return [each.content for each in versions.visible]
    if action == "undo":
        return [each.record.content for each in versions.covered]
    rejected = (each.record.content for each in versions.covered if each.tombstone.action == "reject")
    return [*(each.content for each in versions.visible), *rejected]


def remove(store: Store, studies: Studies, uid: UID, order: Remove) -> list[Target]:
    """Write the tombstones that an order means for one study, and take them into account.

    Returns:
        the instances of which something was deleted, rejected or brought back.

    Raises:
        OSError: if the disk doesn't take it; the study is read anew from its records when next needed.
    """
    study = studies.get(uid)
    targets = [each for each in order.targets if each.study == uid]
    new = list(_tombstones(study, targets, order))
    if not new:
        return []
    try:
        _write(store, uid, new, order)
    except OSError:
        studies.forget(uid)
        raise
    for each in new:
        study.add(each)
    bring_bulk_back(store, study)
    concerned_instances = dict.fromkeys(each.identity for each in new)
    for identity in concerned_instances:
        arrange(store, study.versions(identity))
    return [*map(Target.of, concerned_instances)]


def _tombstones(study: Study, targets: Sequence[Target], order: Remove) -> Iterator[Tombstone]:
    for identity in study.identities():
        if not any(each.names(identity) for each in targets):
            continue
        versions = study.versions(identity)
        for content in concerned(order.action, versions):
            last = versions.tombstone(content)
            number = last.number + 1 if last else 1
            yield Tombstone(identity, content, order.action, number, order.at, order.by, order.reason)


def _write(store: Store, uid: UID, new: Sequence[Tombstone], order: Remove) -> None:
    store.check()
    name, data = record.to_file(new)
    directories = layout.records_dir(uid), layout.pending_dir(uid)
    path = f"{directories[0]}/{name}"
    prepared = store.prepare(data)
    try:
        store.put(layout.dirty_mark(uid), "\n".join([*store.unsynced(*directories), path]).encode())
        store.sync()
        targets = [str(each) for each in order.targets if each.study == uid]
        counts = {"instances": len({each.identity for each in new}), "contents": len(new)}
        # Before it is done: nothing may be done that the log doesn't know of.
        audit.append(store.root, audit.Entry(order.action, targets, counts, order.reason or None, order.by))
        store.publish(prepared, path)
    except OSError:
        store.sweep(prepared)
        raise
    store.sync()


def clear(store: Store, study: Study) -> None:
    """Take out of what is served what the summaries no longer speak of. They must be written."""
    if not any(versions.tombstones for versions in study.instances()):
        return
    hidden = [versions for versions in study.instances() if versions.covered and not versions.visible]
    left = study.series_uids()
    gone = sorted({versions.records[0].identity.series for versions in hidden} - left)
    emptied: list[tuple[str, str, Sequence[str]]] = [
        (layout.series_dir(study.uid, series), "instances/*/", SERIES_FILES) for series in gone
    ]
    if not left:
        emptied.append((layout.study_dir(study.uid), "series/*/instances/*/", STUDY_FILES))
    for directory, _, summaries in reversed(emptied):
        _remove(store, directory, summaries)
    for versions in hidden:
        put_aside(store, versions)
    put_bulk_aside(store, study)
    # What no record speaks of is none of ours to throw away.
    empty = [
        directory
        for directory, instances, _ in emptied
        if (store.root / directory).exists() and not any((store.root / directory).glob(instances))
    ]
    if empty:
        # A power cut must not keep the directory's end and lose the way out of what was in it.
        store.sync()
    for directory in empty:
        store.discard(directory)


def _remove(store: Store, directory: str, names: Iterable[str]) -> None:
    """Remove the summaries of what is empty: those of the rest no longer lead there."""
    if (store.root / directory).exists():
        for name in names:
            store.remove(f"{directory}/{name}")
