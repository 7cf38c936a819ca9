"""A whole root becomes ours: its list of studies first, then study after study, then what belongs to none.

While it lasts the root is marked, for a daemon would publish studies of which it knows no records. The list is ours
from the beginning and has every study in it, as its own program listed it until it is ours.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import DISK, Disk
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.serialised import serialised
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.operate.adopt import deduplicated, metadata, rest, spellings, study, tree
from staticwado_daemon.operate.adopt.study import Adoption, Told
from staticwado_daemon.operate.adopt.tree import Candidate
from staticwado_daemon.pipeline import publish
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.notes import Notes
from staticwado_daemon.pipeline.studies import Studies

_INDEX_DUTY: Final = 20
"""The list is written again no sooner than this many times its last writing time."""

_MAXIMUM_CACHE: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class Report:
    """What became of a root, or would.

    Attributes:
        studies: those that weren't ours.
        aside: files that belong to no study and were put aside.
    """

    studies: list[Told] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many studies were left as they are."""
        return sum(each.left is not None for each in self.studies)


def candidates(root: Path) -> list[Candidate]:
    """The studies that aren't ours."""
    return list(tree.candidates(root))


def look(root: Path, found: Sequence[Candidate]) -> Report:
    """What adopting would do; nothing is changed, and no frame is read."""
    return Report([study.look(root, each) for each in found], rest.of_root(root).theirs)


def adopt(
    root: Path,
    group: str | None,
    rules: Rules,
    found: Sequence[Candidate],
    on_instance: Callable[[], None],
    disk: Disk = DISK,
) -> Report:
    """Adopt studies, in the order in which they are given, and put aside what belongs to none.

    Killed at any moment it goes on from there the next time.

    Args:
        root: of the tree.
        group: that the tree's files shall belong to, or None.
        rules: how instances are stored.
        found: the studies that aren't ours.
        on_instance: called for each instance that is read.
        disk: what takes the changes.

    Raises:
        ConfigError: if the root can't be written to.
        Transient: if another process is writing there.
        OSError: if the disk refuses something; what is done is done.
    """
    resumed = (root / layout.ADOPTING).exists()
    _begin(root, disk)
    report = Report()
    with Store(root, group, role="adopt", disk=disk) as store:
        index = _index(store, found, resumed=resumed)
        publish.publish_index(store, index)
        _forget_marks(store, found)
        adoption = Adoption(store, Studies(root, _MAXIMUM_CACHE), Notes(store), index, rules, on_instance)
        due = 0.0
        for each in found:
            report.studies.append(adoption.adopt(each))
            started = time.monotonic()
            if started >= due:
                publish.publish_index(store, index)
                ended = time.monotonic()
                due = ended + _INDEX_DUTY * (ended - started)
        publish.publish_index(store, index)
        report.aside = rest.of_root(root).theirs
        for path in report.aside:
            rest.put_aside(store, path)
        for path in rest.empty_directories(root):
            store.discard(path)
        store.sync()
        store.discard(layout.ADOPTING)
        store.sync()
    return report


def _begin(root: Path, disk: Disk) -> None:
    """Mark the root, in one step where nothing of ours stands there: a root without the mark is theirs or ours."""
    if (root / layout.PRIVATE).exists():
        disk.make_directories(root / layout.ADOPTING)
        return
    beginning = root / f"{layout.PRIVATE}.new"
    disk.make_directories(beginning / Path(layout.ADOPTING).name)
    disk.rename(beginning, root / layout.PRIVATE)


def _forget_marks(store: Store, found: Sequence[Candidate]) -> None:
    """Remove the dirty marks of studies that an interrupted adoption didn't come to record: nothing there is ours."""
    for each in found:
        if store.read(layout.dirty_mark(each.uid)) is not None and not tree.own_identities(store.root, each.uid):
            store.remove(layout.dirty_mark(each.uid))


def _index(store: Store, found: Sequence[Candidate], *, resumed: bool) -> StudiesIndex:
    """The list of all studies: ours as it is, and of the others what their own lists say."""
    path = store.root / layout.STUDIES_INDEX
    ours = publish.read_index(store) if metadata.is_ours(path) else None
    index = ours or StudiesIndex()
    if ours is None:
        _list(index, path)
    if ours is None or resumed:
        # Studies that were finished before an interruption may be listed as they were before.
        for name in spellings.names(store.root / "studies"):
            own = store.root / "studies" / name / "index.json.gz"
            _list(index, own, anew=bool(metadata.is_ours(own)))
    for each in found:
        _list(index, store.root / each.directory / "index.json.gz")
    return index


def _list(index: StudiesIndex, path: Path, *, anew: bool = False) -> None:
    """List the studies of a file, theirs or ours, that aren't listed, or all anew; a damaged one lists none."""
    try:
        answers = spellings.read_json(path) if path.exists() else []
    except Corrupt:
        return
    for answer in answers:
        query = {tag: each for tag, each in deduplicated.without_marks(answer).items() if _has_value(each)}
        try:
            uid = UID(str(query["0020000D"]["Value"][0]))
            if anew or uid not in index:
                index.put(uid, serialised(query))
        except (Rejected, KeyError, ValueError, TypeError, AttributeError):
            continue


def _has_value(attribute: Any) -> bool:
    """Whether an attribute has a first value; viewers stumble over those that have none."""
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return isinstance(values, list) and bool(values) and values[0] is not None
