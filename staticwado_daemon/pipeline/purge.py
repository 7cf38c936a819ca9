"""What was deleted long ago goes for good: blobs, remainders and records; the tombstones stay.

Blobs go first and records last, so that an interrupted purge knows what is left to do, and is begun anew.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from staticwado_daemon.archive import audit, holdings, layout, record
from staticwado_daemon.archive.pack import from_pack, to_pack
from staticwado_daemon.archive.record import Held, Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.pipeline.notes import Notes
from staticwado_daemon.pipeline.studies import Studies, Study

_log = structlog.get_logger(__name__)

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Doomed:
    """What is to go of a study: contents, and every record of them."""

    contents: frozenset[tuple[Identity, str]]
    records: tuple[Record, ...]
    left: tuple[Record, ...]

    @property
    def remainders(self) -> set[str]:
        """What no other record needs."""
        return {each.remainder[0] for each in self.records} - {each.remainder[0] for each in self.left}

    @property
    def bulk(self) -> set[str]:
        """Bulk data that no other record speaks of."""
        return _bulk(self.records) - _bulk(self.left)


def purge_due(store: Store, studies: Studies, notes: Notes, before: str) -> None:
    """Remove for good what was deleted before a moment, in all studies that have something of the kind.

    Args:
        store: the tree.
        studies: what is known.
        notes: which say what study has.
        before: as tombstones have it.

    Raises:
        OSError: if the disk doesn't let it; then it is to be tried again.
    """
    for uid in notes.due(before):
        store.check()
        gone = purge(store, studies, uid, before)
        # After a power cut a record could stand again, without its blobs, and no note would say that it is to go.
        store.sync()
        notes.note(studies.get(uid))
        _log.info("purged", study=uid, contents=gone)


def purge(store: Store, studies: Studies, uid: UID, before: str) -> int:
    """Remove for good what of a study was deleted before a moment.

    Args:
        store: the tree.
        studies: what is known.
        uid: the study's.
        before: as tombstones have it.

    Returns:
        how many contents are gone.

    Raises:
        OSError: if the disk doesn't let it; then it is to be tried again.
    """
    doomed = _doomed(store, studies.get(uid), before)
    if not doomed.contents:
        return 0
    counts = {"instances": len({identity for identity, _ in doomed.contents}), "contents": len(doomed.contents)}
    audit.append(store.root, audit.Entry("purge", [f"studies/{uid}"], counts, f"deleted before {before}"))
    for identity, content in doomed.contents:
        store.discard(layout.kept_dir(identity, content))
        store.discard(layout.originals_dir(content))
    for path in doomed.bulk:
        store.remove(f"{layout.kept_study_dir(uid)}/{path}")
    packs, remainders = holdings.pack_files(store.root, uid), doomed.remainders
    _rewrite(store, packs, from_pack, lambda each: each[0] not in remainders, _pack_of(uid))
    files = holdings.record_files(store.root, uid)
    _rewrite(store, files, record.from_file, lambda each: not _is_doomed(each, doomed.contents), _record_file_of(uid))
    studies.forget(uid)
    return len(doomed.contents)


def _doomed(store: Store, study: Study, before: str) -> _Doomed:
    contents = frozenset(
        (each.record.identity, each.record.content)
        for versions in study.instances()
        for each in versions.covered
        if each.tombstone.action == "delete" and each.tombstone.at < before
    )
    every = holdings.records(store.root, study.uid) if contents else []
    return _Doomed(
        contents,
        tuple(each for each in every if _is_doomed(each, contents)),
        tuple(each for each in every if not _is_doomed(each, contents)),
    )


def _is_doomed(held: Held, contents: Collection[tuple[Identity, str]]) -> bool:
    return isinstance(held, Record) and (held.identity, held.content) in contents


def _rewrite(
    store: Store,
    paths: Iterable[str],
    parse: Callable[[bytes], Iterable[_Item]],
    stays: Callable[[_Item], bool],
    file_of: Callable[[Sequence[_Item]], tuple[str, bytes]],
) -> None:
    """Let each file that has something that is to go be followed by one without it; a damaged one is left alone."""
    for path in paths:
        try:
            found = list(parse(store.read(path) or b""))
        except Corrupt:
            continue
        left = [each for each in found if stays(each)]
        if len(left) == len(found):
            continue
        if left:
            name, data = file_of(left)
            store.supersede([path], name, data)
        else:
            store.remove(path)


def _pack_of(uid: UID) -> Callable[[Sequence[tuple[str, bytes]]], tuple[str, bytes]]:
    def make(remainders: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
        name, data = to_pack(each for _, each in remainders)
        return f"{layout.restore_dir(uid)}/{name}", data

    return make


def _record_file_of(uid: UID) -> Callable[[Sequence[Held]], tuple[str, bytes]]:
    def make(held: Sequence[Held]) -> tuple[str, bytes]:
        name, data = record.to_file(held)
        return f"{layout.records_dir(uid)}/{name}", data

    return make


def _bulk(records: Iterable[Record]) -> set[str]:
    return {blob.path for each in records for blob in each.blobs if layout.is_bulk(blob.path)}
