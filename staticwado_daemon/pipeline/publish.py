"""The files of a study, written from what its records say.

Two tiers: *hot* files are what a viewer needs to see the new instances; *cold* ones wait until the study has been
quiet for a moment. Each is a pure function of the study's records (`archive.summary`), and is left alone if it
already says the same.
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import PurePath
from typing import TypeVar

import structlog

from staticwado_daemon.archive import gzipped, holdings, layout, record, summary
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.pack import from_pack, to_pack
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.pipeline.studies import Study

_log = structlog.get_logger(__name__)

_Item = TypeVar("_Item")

MAXIMUM_FILES = 8
"""A study's record files and packs are merged into one each when there are more of them than this."""

LARGEST_PACK = 16 * 1024 * 1024
"""Bytes of a pack that is merged with others: what is merged is all in memory at once."""

LARGEST_THUMBNAIL = 16 * 1024 * 1024
"""Bytes of a picture that are worth copying: what a worker calls a thumbnail may be anything."""


def publish_hot(store: Store, study: Study, changed: Collection[UID], index: StudiesIndex) -> None:
    """Write the files of the changed series, then the study's own, and list the study in `index`."""
    listed = study.series()
    for series in listed:
        if series.uid in changed:
            _put(store, layout.series_dir(study.uid, series.uid), series.files())
    _put(store, layout.study_dir(study.uid), summary.hot_files(listed))
    index.put(study.uid, summary.study_query(listed))


def publish_cold(store: Store, study: Study) -> None:
    """Write the study's files that no viewer waits for: whole metadata, instances, thumbnails of series and study."""
    listed = study.series()
    directory = layout.study_dir(study.uid)
    _put(store, directory, summary.cold_files(listed))
    for series in listed:
        _put_thumbnail(store, f"{layout.series_dir(study.uid, series.uid)}/thumbnail", series.thumbnail())
    _put_thumbnail(store, f"{directory}/thumbnail", summary.study_thumbnail(listed))


def publish_index(store: Store, index: StudiesIndex) -> None:
    """Write the list of all studies."""
    store.put(layout.STUDIES_INDEX, index.to_file())


def read_index(store: Store) -> StudiesIndex | None:
    """The list of all studies as last written; None if it must be made anew."""
    data = store.read(layout.STUDIES_INDEX)
    try:
        return StudiesIndex.from_file(data) if data is not None else None
    except Corrupt as why:
        _log.error("studies_index_unreadable", reason=str(why))
        return None


def rebuild_index(store: Store) -> tuple[StudiesIndex, list[UID]]:
    """Make the list of all studies from each study's own answer.

    Returns:
        the list, and the studies that have no readable answer and must be published anew.
    """
    index, unreadable = StudiesIndex(), []
    for study in _studies(store, "studies"):
        try:
            data = store.read(f"{layout.study_dir(study)}/index.json.gz")
            index.put_all(summary.objects(gzipped.unpack(data or b"")))
        except (Corrupt, OSError) as why:
            _log.error("study_answer_unreadable", study=study, reason=str(why))
            unreadable.append(study)
    return index, unreadable


def marked(store: Store) -> list[UID]:
    """The studies that are marked dirty."""
    return _studies(store, layout.DIRTY)


def mark(store: Store, study: UID) -> None:
    """Mark a study dirty, unless it is: a mark may name records that are yet to be compared with the disk."""
    path = layout.dirty_mark(study)
    if store.read(path) is None:
        store.put(path, b"")


def _studies(store: Store, directory: str) -> list[UID]:
    """The entries of a directory that are Study Instance UIDs; whatever else got there is none of ours."""
    found = []
    for name in store.names(directory):
        try:
            found.append(UID(name))
        except Rejected:
            if name != PurePath(layout.STUDIES_INDEX).name:
                _log.warning("foreign_file", directory=directory)
    return found


def group(store: Store, study: UID, most: int = MAXIMUM_FILES) -> None:
    """Merge a study's record files into one, and its packs, where there have come to be more than `most` of them.

    The union of what they hold stays the same. The old files go only when the new one is on the disk, and only those
    that could be read.
    """
    files = holdings.record_files(store.root, study)
    if len(files) > most:
        readable = {path: held for path in files if (held := _read(store, path, record.from_file))}
        name, data = record.to_file({each for held in readable.values() for each in held})
        _supersede(store, readable, f"{layout.records_dir(study)}/{name}", data)
    sizes = {path: (store.root / path).stat().st_size for path in holdings.pack_files(store.root, study)}
    files = [path for path, size in sizes.items() if size <= LARGEST_PACK]
    if len(files) > most:
        packs = {path: remainders for path in files if (remainders := _read(store, path, from_pack))}
        name, data = to_pack(dict(each for remainders in packs.values() for each in remainders).values())
        _supersede(store, packs, f"{layout.restore_dir(study)}/{name}", data)


def _supersede(store: Store, old: Collection[str], path: str, data: bytes) -> None:
    """Let one file take the place of several; of one that has the right name already it would be the same again."""
    if old and [*old] != [path]:
        store.supersede(old, path, data)


def _read(store: Store, path: str, parse: Callable[[bytes], Iterable[_Item]]) -> list[_Item]:
    """What a file holds; nothing if it can't be read."""
    try:
        return list(parse(store.read(path) or b""))
    except Corrupt as why:
        _log.error("not_grouped", file=path, reason=str(why))
        return []


def _put(store: Store, directory: str, files: summary.Files) -> None:
    for name, content in files.items():
        store.put(f"{directory}/{name}", gzipped.pack(content()))


def _put_thumbnail(store: Store, path: str, chosen: Identity | None) -> None:
    if chosen is None:
        if (store.root / path).exists():
            store.remove(path)
        return
    data = store.read(f"{layout.instance_dir(chosen)}/{layout.THUMBNAIL}", LARGEST_THUMBNAIL)
    if data is not None:
        store.put(path, data)
