"""Tidying at once, because somebody asks: what nothing speaks of is set aside, and record files are merged.

Who asks has looked at the tree a while ago, and may be anybody who can write a request. So each path is looked at once
more: what a record has come to speak of since then stays, and so does what a link would lead out of the tree.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from staticwado_daemon.archive import gzipped, holdings, layout, record
from staticwado_daemon.archive.pack import from_pack
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.pipeline import publish
from staticwado_daemon.pipeline.messages import Tidy
from staticwado_daemon.pipeline.removal import SERIES_FILES, STUDY_FILES
from staticwado_daemon.pipeline.studies import Studies, Study

ORPHANS = f"{layout.KEPT}/orphans"


def obey(store: Store, studies: Studies, order: Tidy) -> tuple[list[str], list[OSError]]:
    """Set aside and merge, one after the other: one that is refused costs no other.

    Returns:
        what it was done to, which is on the disk then; and what the disk refused.
    """
    done: list[str] = []
    failures: list[OSError] = []
    aside = Aside(store, studies)
    steps = (
        *((each, partial(aside.move, each)) for each in sorted(order.aside)),
        *((str(Target(each)), partial(group, store, each)) for each in order.grouped),
    )
    for what, step in steps:
        try:
            store.check()
            if step():
                done.append(what)
        except OSError as error:
            failures.append(error)
    try:
        store.sync()
    except OSError as error:
        done.clear()
        failures.append(error)
    return done, failures


def group(store: Store, study: UID) -> bool:
    """Merge the record files and packs of a study into one each, so that each has the name of what it holds.

    Returns:
        whether that changed anything.

    Raises:
        OSError: if the disk doesn't take it.
    """
    before = _files(store.root, study)
    publish.group(store, study, most=0)
    return _files(store.root, study) != before


def _files(root: Path, study: UID) -> list[str]:
    return [*holdings.record_files(root, study), *holdings.pack_files(root, study)]


class Aside:
    """Where things are moved out of the way for one order; what the records of a study speak of is read once for it.

    Args:
        store: the tree.
        studies: what is known.
    """

    def __init__(self, store: Store, studies: Studies) -> None:
        self._store = store
        self._studies = studies
        self._study: UID | None = None
        self._known: frozenset[str] = frozenset()

    def move(self, path: str) -> bool:
        """Move a file or directory out of the way, to its own path below `ORPHANS`; it isn't deleted.

        Args:
            path: below the root. Those of a study are best named one after the other.

        Returns:
            whether it is there now; not if it is gone, or of use.

        Raises:
            OSError: if the disk doesn't let it.
        """
        root = self._store.root
        if not layout.is_by_study(path) or not _is_inside(root, path) or self._is_of_use(path):
            return False
        target = f"{ORPHANS}/{path}"
        number = 0
        while os.path.lexists(root / target):
            number += 1
            target = f"{ORPHANS}/{path}.{number}"
        self._store.move(path, target)
        return True

    def _is_of_use(self, path: str) -> bool:
        top, name, *below = path.split("/")
        try:
            study = UID(name)
        except Rejected:
            return path == layout.STUDIES_INDEX
        if top == "studies":
            if study != self._study:
                self._known = _with_directories(_known(self._store.root, self._studies.get(study)))
                self._study = study
            return path in self._known
        if not below:
            return (self._store.root / path).is_dir()
        return _is_whole(self._store, path)


def _is_inside(root: Path, path: str) -> bool:
    """Whether there is something of this path, and no link on the way to it."""
    above = [*(root / path).relative_to(root).parents][:-1]
    return os.path.lexists(root / path) and not any((root / each).is_symlink() for each in above)


def _with_directories(files: Iterable[str]) -> frozenset[str]:
    """Files and every directory on the way to one."""
    found: set[str] = set()
    for each in files:
        path = each
        while path and path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return frozenset(found)


def _known(root: Path, study: Study) -> Iterator[str]:
    """Every file that belongs into a study's published directory."""
    home = layout.study_dir(study.uid)
    if shown := study.series_uids():
        yield from (f"{home}/{name}" for name in STUDY_FILES)
    for series in shown:
        yield from (f"{layout.series_dir(study.uid, series)}/{name}" for name in SERIES_FILES)
    visible = {(each.identity, each.content) for versions in study.instances() for each in versions.visible}
    for versions in study.instances():
        if versions.winner:
            directory = layout.instance_dir(versions.winner.identity)
            yield f"{directory}/{layout.METADATA}"
            yield from (f"{directory}/{each.path}" for each in versions.winner.blobs if not layout.is_bulk(each.path))
    # Bulk data also of records whose place others of the same content have taken.
    for each in holdings.records(root, study.uid):
        if (each.identity, each.content) in visible:
            yield from (f"{home}/{blob.path}" for blob in each.blobs if layout.is_bulk(blob.path))


def _is_whole(store: Store, path: str) -> bool:
    """Whether this is a record file or pack that holds what its name says."""
    data = store.read(path) if (store.root / path).is_file() else None
    parse = from_pack if path.startswith(f"{layout.RESTORE}/") else record.from_file
    try:
        whole = data is not None and bool([*parse(data)])
        digest = hashlib.sha256(gzipped.unpack(data or b"", gzipped.LONGEST)).hexdigest() if whole else None
    except Corrupt:
        return False
    return digest is not None and path.rpartition("/")[2].startswith(f"{digest}.")
