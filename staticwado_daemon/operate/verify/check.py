"""The whole look: study after study, and what changes meanwhile once more.

It reads and writes nothing, so a daemon may be at work. A study that it changes is looked at again when it has come to
rest, and what seems wrong while somebody writes is believed only when it is seen twice.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.lock import lock_holder
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.verify import study, tree
from staticwado_daemon.operate.verify.finding import Finding
from staticwado_daemon.operate.verify.reading import Reader
from staticwado_daemon.operate.verify.study import State, StudyFound, Wish

PATIENCE_SECONDS = 60.0
"""How long studies that somebody writes to are waited for once all others are done."""

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Watch:
    """Who wants to know how far it is.

    Attributes:
        on_studies: told how many studies are done, and of how many.
        on_read: told how many bytes were read in each step.
    """

    on_studies: Callable[[int, int], None] = lambda _done, _total: None
    on_read: Callable[[int], None] = lambda _: None


_NOBODY = Watch()


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at and what was found.

    Attributes:
        studies, instances: how many were looked at.
        files, bytes: how many were read.
        seconds: how long it took.
        findings: what isn't as it should be.
        busy: the studies that didn't come to rest, so that nothing can be said of them.
    """

    studies: int
    instances: int
    files: int
    bytes: int
    seconds: float
    findings: tuple[Finding, ...]
    busy: tuple[UID, ...]


@dataclass(slots=True)
class _Round:
    """What has been found so far."""

    findings: list[Finding] = field(default_factory=list)
    queries: dict[UID, tuple[bytes, ...]] = field(default_factory=dict)
    instances: int = 0


def verify(
    root: Path,
    wish: Wish,
    *,
    rate: float | None = None,
    watch: Watch = _NOBODY,
    patience: float = PATIENCE_SECONDS,
) -> Verified:
    """Compare a tree with its records.

    Args:
        root: of the tree.
        wish: how closely to look.
        rate: bytes read a second, at most.
        watch: who wants to know how far it is.
        patience: seconds to wait for studies that are being written, once all others are done.

    Raises:
        OSError: if the tree can't be read now.
    """
    started = time.monotonic()
    reader = Reader(root, rate, watch.on_read)
    whole = not wish.targets
    uids = tree.studies(root) if whole else sorted(wish.by_study)
    found = _Round()
    busy = _studies(reader, wish, uids, found, watch, patience)
    if whole:
        found.findings[:0] = [*tree.format_findings(reader), *tree.foreign(root), *tree.leftovers(root)]
        found.findings += tree.originals(reader, wish.sample)
    found.findings += _index(reader, wish, found, patience, whole=whole)
    return Verified(
        studies=len(uids) - len(busy),
        instances=found.instances,
        files=reader.files,
        bytes=reader.bytes,
        seconds=time.monotonic() - started,
        findings=tuple(each for each in found.findings if whole or _is_meant(each, wish)),
        busy=tuple(busy),
    )


def _is_meant(finding: Finding, wish: Wish) -> bool:
    """Whether a finding belongs to what was asked for."""
    return finding.study is not None and any(
        each.series is None
        or finding.where == str(each)
        or finding.where.startswith(f"{each}/")
        or (finding.identity is not None and each.names(finding.identity))
        for each in wish.by_study.get(finding.study, ())
    )


def _studies(
    reader: Reader, wish: Wish, uids: Sequence[UID], found: _Round, watch: Watch, patience: float
) -> list[UID]:
    """Look at studies, those that are being written last; returns those that didn't come to rest."""
    left, later = deque(uids), list[UID]()
    deadline, done = float("inf"), 0
    while left:
        uid = left.popleft()
        settled = settled_look(reader, uid, wish)
        if settled is None:
            later.append(uid)
        else:
            done += 1
            found.findings += settled.findings
            found.instances += settled.instances
            # Only what tells answers apart is kept: of a hundred thousand studies that is little.
            found.queries[uid] = tuple(map(tree.digest, settled.queries))
            watch.on_studies(done, len(uids))
        if not left and later:
            deadline = min(deadline, time.monotonic() + patience)
            if time.monotonic() >= deadline:
                return later
            time.sleep(_POLL_SECONDS)
            left, later = deque(later), []
    return []


def settled_look(reader: Reader, uid: UID, wish: Wish) -> StudyFound | None:
    """What is found of a study while nobody writes to it; None if somebody does."""
    first = _one_look(reader, uid, wish)
    if first is None or not first.findings or lock_holder(reader.root) is None:
        return first
    second = _one_look(reader, uid, wish)
    if second is None:
        return None
    return replace(second, findings=tuple(each for each in second.findings if each in first.findings))


def _one_look(reader: Reader, uid: UID, wish: Wish) -> StudyFound | None:
    before = State.of(reader, uid)
    if before.marked:
        if lock_holder(reader.root) is not None:
            return None
        # What is half done now the next writer completes or withdraws: nothing else can be said of it before.
        return StudyFound((Finding("unfinished", layout.dirty_mark(uid), uid),), 0, ())
    try:
        found = study.look(reader, uid, wish)
    except FileNotFoundError:
        if State.of(reader, uid) == before:
            raise
        return None
    return found if State.of(reader, uid) == before else None


def _index(reader: Reader, wish: Wish, found: _Round, patience: float, *, whole: bool) -> Iterator[Finding]:
    """What is wrong with the list of all studies, as far as it speaks of the studies that were looked at."""
    unfinished = {each.study for each in found.findings if each.kind == "unfinished"}
    studies_list = _StudiesList(reader)
    told, fault = studies_list.read()
    if told is None:
        if fault and any(found.queries.values()):
            yield fault
        return
    for uid in sorted({*found.queries, *(told if whole else ())} - unfinished):
        if tree.index_finding(uid, told, found.queries.get(uid, ())) is None:
            continue
        now = _index_finding_at_rest(studies_list, uid, wish, patience)
        if now is not None:
            yield now


@dataclass(slots=True)
class _StudiesList:
    """The list of all studies, which is long: it is read again only when there is another one."""

    reader: Reader
    _stamp: tuple[int, int, int] | None = None
    _last: tuple[dict[UID, bytes] | None, Finding | None] | None = None

    def read(self) -> tuple[dict[UID, bytes] | None, Finding | None]:
        """What it says now, as `tree.listed` has it; or else what is wrong with it."""
        stamp = self._stamp_now()
        if self._last is None or stamp != self._stamp:
            self._stamp, self._last = stamp, self._read()
        return self._last

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            status = (self.reader.root / layout.STUDIES_INDEX).lstat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _read(self) -> tuple[dict[UID, bytes] | None, Finding | None]:
        try:
            return tree.listed(self.reader), None
        except FileNotFoundError:
            return None, Finding("summary_missing", layout.STUDIES_INDEX)
        except Corrupt as why:
            return None, Finding("summary_unreadable", layout.STUDIES_INDEX, detail=str(why))


def _index_finding_at_rest(studies_list: _StudiesList, uid: UID, wish: Wish, patience: float) -> Finding | None:
    """Compare study and list once more, both as they are while nobody writes to the study."""
    reader = studies_list.reader
    own = tuple(wish.by_study.get(uid, ()))
    quick = replace(wish, sample=replace(wish.sample, percent=0), restore=False, targets=own)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = State.of(reader, uid)
        found = _one_look(reader, uid, quick)
        told, fault = studies_list.read()
        if found is not None and State.of(reader, uid) == before:
            return fault if told is None else tree.index_finding(uid, told, tuple(map(tree.digest, found.queries)))
        time.sleep(_POLL_SECONDS)
    return None
