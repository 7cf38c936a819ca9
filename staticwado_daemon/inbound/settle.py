"""When is a file complete? Pure bookkeeping over what was heard and seen, with a clock that is handed in.

A file is complete when a writer was heard to close it, or to rename it into place, and nothing came after that for
a moment; or, where no such event is known (a scan found it, events were lost, the folder is on the network), when
size, mtime and inode did not change for the settle time. Completeness is a guess until the parser has found the end of
the file: one that came back incomplete waits until it changes, or until it has been still for so long that being
incomplete is what it is.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from staticwado_daemon.inbound.source import Stamp

_LONGEST_PAUSE = 60.0  # seconds; unless the settle time is longer
_SHORTEST_PAUSE = 0.5  # seconds; a settle time of 0 must not make a busy loop

Verdict = Literal["gone", "wait", "ready", "final"]


@dataclass(frozen=True, slots=True)
class Timing:
    """The four waits of an inbound folder, in seconds."""

    settle: float = 2.0  # unchanged for so long = complete, if no close was heard
    reconcile: float = 60.0  # between two full scans
    incomplete: float = 600.0  # unchanged for so long = an incomplete file is given up
    quiet: float = 0.1  # after a close: time for the writer to think again (touch, chmod, a second open)


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a file: its stamp, and for how many seconds its file system says it has not been touched."""

    stamp: Stamp
    still: float = 0.0  # 0 where the file system's clock can't be compared with ours
    regular: bool = True


@dataclass(slots=True)
class _Candidate:
    stamp: Stamp | None  # as last seen; None until the first look
    since: float  # when that stamp began, as far as we know
    due: float  # when to look again; a heap entry with another time is void
    closed: bool = False
    incomplete: bool = False  # the parser met its end too early, in the state of `stamp`
    tries: int = 0  # how often it came back for other reasons, in the state of `stamp`


class Tracker:
    """The files of one inbound folder that have been noticed but not yet handed over. Not thread-safe."""

    def __init__(self, timing: Timing, clock: Callable[[], float] = time.monotonic) -> None:
        self._timing = timing
        self._clock = clock
        self._candidates: dict[str, _Candidate] = {}
        self._agenda: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, path: str) -> bool:
        return path in self._candidates

    @property
    def waiting(self) -> int:
        """How many of them have come back incomplete and wait for a change."""
        # The list is one step for the interpreter: another thread may ask while candidates come and go.
        return sum(candidate.incomplete for candidate in list(self._candidates.values()))

    @property
    def next_due(self) -> float | None:
        """The clock time of the next look that is due; None if no file is being followed."""
        while self._agenda:
            due, path = self._agenda[0]
            candidate = self._candidates.get(path)
            if candidate is not None and candidate.due == due:
                return due
            heapq.heappop(self._agenda)
        return None

    def heard(self, path: str, *, closed: bool) -> None:
        """Take note of an event: the file was closed or renamed into place, or (not `closed`) merely appeared."""
        now = self._clock()
        candidate = self._candidates.get(path)
        if candidate is None:
            candidate = self._candidates[path] = _Candidate(None, now, now)
        elif not closed:
            return  # that it exists is no news
        candidate.closed = closed
        candidate.incomplete = False
        self._schedule(path, candidate, now + self._timing.quiet)

    def found(self, path: str, sight: Sight) -> None:
        """Take note of a file met by a scan."""
        followed = self._candidates.get(path)
        # One that rests between two tries begins anew as soon as it is another.
        if followed is None or (followed.tries and followed.stamp != sight.stamp):
            now = self._clock()
            candidate = self._candidates[path] = _Candidate(sight.stamp, now - sight.still, now)
            self._schedule(path, candidate, candidate.since + self._timing.settle if sight.regular else now)

    def returned(self, path: str, stamp: Stamp, *, incomplete: bool, tries: int = 0) -> None:
        """Take a file back that was handed over in the state `stamp`, and could not be finished.

        Args:
            path: the file's.
            stamp: as it was handed over.
            incomplete: it ends too early: then it waits for a change.
            tries: if it isn't incomplete, how often it had come back in this state before; each time it rests for
                twice as long as the time before, so that what can't be read or stored is no burden.
        """
        now = self._clock()
        followed = self._candidates.get(path)
        # A scan may have met it just before the news came that it is back; anything else known of it is newer.
        if followed is not None and (followed.closed or followed.stamp != stamp):
            return
        candidate = _Candidate(stamp, now, now, incomplete=incomplete, tries=0 if incomplete else tries + 1)
        self._candidates[path] = candidate
        self._schedule(path, candidate, now + (self._timing.settle if incomplete else self._pause(tries)))

    def tries(self, path: str) -> int:
        """How often a followed file has come back in the state in which it was last seen."""
        return self._candidates[path].tries

    def due(self) -> str | None:
        """The path to look at next, if one is due; report back through `look`."""
        due = self.next_due
        if due is None or due > self._clock():
            return None
        return heapq.heappop(self._agenda)[1]

    def look(self, path: str, sight: Sight | None) -> Verdict:
        """Judge a file by how it looks now.

        Args:
            path: a path that `due` named.
            sight: None if there is no such file any more.

        Returns:
            "gone": no longer followed. "wait": `due` will name it again. "ready" or, after the incomplete time,
            "final": complete; the caller answers with `drop` (handed over) or `postpone` (it knows better).
        """
        candidate = self._candidates[path]
        if sight is None:
            self.drop(path)
            return "gone"
        now = self._clock()
        if sight.stamp == candidate.stamp and sight.stamp.ctime_ns == candidate.stamp.ctime_ns:
            candidate.since = min(candidate.since, now - sight.still)
        else:
            candidate.stamp, candidate.since = sight.stamp, now - sight.still
            candidate.incomplete, candidate.tries = False, 0
        unchanged = now - candidate.since
        if unchanged >= self._timing.incomplete:
            return "final"
        if not candidate.incomplete and (candidate.closed or not sight.regular or unchanged >= self._timing.settle):
            return "ready"
        self.postpone(path)
        return "wait"

    def drop(self, path: str) -> None:
        """Follow the file no longer."""
        self._candidates.pop(path, None)

    def postpone(self, path: str) -> None:
        """Look again after the settle time (or sooner, if it will have settled sooner)."""
        candidate = self._candidates[path]
        now = self._clock()
        settled_at = candidate.since + self._timing.settle
        self._schedule(path, candidate, settled_at if settled_at > now else now + self._timing.settle)

    def _pause(self, tries: int) -> float:
        settle = self._timing.settle
        doubled = max(settle, _SHORTEST_PAUSE) * 2.0 ** min(tries, 10)
        return max(settle, min(doubled, _LONGEST_PAUSE))

    def _schedule(self, path: str, candidate: _Candidate, due: float) -> None:
        candidate.due = due
        heapq.heappush(self._agenda, (due, path))
