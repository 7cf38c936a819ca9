"""The files of a study, written from what its records say.

Two tiers: *hot* files are what a viewer needs to see the new instances; *cold* ones wait until the study has been
quiet for a moment. Each is a pure function of the study's records (`archive.summary`), and is left alone if it
already says the same.
"""

from collections.abc import Collection, Iterable

from staticwado_daemon.archive import gzipped, layout, record, restore, summary
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.summary import Series
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.pipeline.studies import Study

MAXIMUM_FILES = 8
"""A study's record files and packs are merged into one each when there are more of them than this."""


def publish_hot(store: Store, study: Study, changed: Collection[UID], index: StudiesIndex) -> None:
    """Write the files of the changed series, then the study's own, and list the study in `index`."""
    listed = study.series()
    for series in listed:
        if series.uid in changed:
            _publish_series(store, study.uid, series)
    directory = layout.study_dir(study.uid)
    query = summary.study_query(listed)
    _put(store, f"{directory}/series/index.json.gz", (series.query() for series in listed))
    _put(store, f"{directory}/index.json.gz", (query,))
    index.put(study.uid, query)


def _publish_series(store: Store, study: UID, series: Series) -> None:
    directory = layout.series_dir(study, series.uid)
    store.put(f"{directory}/metadata.gz", gzipped.pack(series.metadata()))
    store.put(f"{directory}/instances/index.json.gz", gzipped.pack(series.instances()))
    _put(store, f"{directory}/series-singleton.json.gz", (series.query(),))


def publish_cold(store: Store, study: Study) -> None:
    """Write the study's files that no viewer waits for: whole metadata, instances, thumbnails of series and study."""
    listed = study.series()
    directory = layout.study_dir(study.uid)
    _put(store, f"{directory}/metadata.gz", (each.dataset for series in listed for each in series.entries))
    _put(store, f"{directory}/instances/index.json.gz", (each.query for series in listed for each in series.entries))
    for series in listed:
        _put_thumbnail(store, f"{layout.series_dir(study.uid, series.uid)}/thumbnail", series.thumbnail())
    _put_thumbnail(store, f"{directory}/thumbnail", summary.study_thumbnail(listed))


def publish_index(store: Store, index: StudiesIndex) -> None:
    """Write the list of all studies."""
    store.put(layout.STUDIES_INDEX, index.to_file())


def read_index(store: Store) -> StudiesIndex:
    """The list of all studies as last written, or made from the studies where that can't be read."""
    data = store.read(layout.STUDIES_INDEX)
    try:
        return StudiesIndex.from_file(data) if data is not None else rebuild_index(store)
    except Corrupt:
        return rebuild_index(store)


def rebuild_index(store: Store) -> StudiesIndex:
    """Make the list of all studies from each study's own answer."""
    index = StudiesIndex()
    for name in store.names("studies"):
        data = store.read(f"studies/{name}/index.json.gz")
        if data is not None:
            index.put_all(gzipped.unpack(data)[2:-2].split(b",\n"))
    return index


def group(store: Store, study: UID) -> None:
    """Merge a study's record files into one, and its packs, where there have come to be many.

    The union of what they hold stays the same. The old files go only when the new one is on the disk.

    Raises:
        Corrupt: if one of them can't be read; then all stay as they are.
    """
    directories = (layout.records_dir(study), layout.pending_dir(study))
    files = [f"{directory}/{name}" for directory in directories for name in store.names(directory)]
    if len(files) > MAXIMUM_FILES:
        name, data = record.to_file({each for path in files for each in record.from_file(store.read(path) or b"")})
        _supersede_files(store, files, f"{layout.records_dir(study)}/{name}", data)
    directory = layout.restore_dir(study)
    files = [f"{directory}/{name}" for name in store.names(directory)]
    if len(files) > MAXIMUM_FILES:
        remainders = dict(each for path in files for each in restore.from_pack(store.read(path) or b""))
        name, data = restore.to_pack(remainders.values())
        _supersede_files(store, files, f"{directory}/{name}", data)


def _supersede_files(store: Store, old: Iterable[str], path: str, data: bytes) -> None:
    store.put(path, data)
    store.sync()
    for each in old:
        if each != path:
            store.remove(each)


def _put(store: Store, path: str, objects: Iterable[bytes]) -> None:
    store.put(path, gzipped.pack(summary.array(objects)))


def _put_thumbnail(store: Store, path: str, chosen: Identity | None) -> None:
    data = store.read(f"{layout.instance_dir(chosen)}/{layout.THUMBNAIL}") if chosen else None
    if data is not None:
        store.put(path, data)
