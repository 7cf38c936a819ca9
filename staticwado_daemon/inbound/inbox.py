"""All inbound folders together: complete files to take, each exactly once.

A file goes through three states: followed by its folder until it is complete, *ready* until it is taken, *in flight*
until its receipt is in the journal. What happens to a file in flight is remembered, and followed up afterwards. A file
that vanishes before it was read was no input, and gets no receipt.
"""

import heapq
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from staticwado_daemon.inbound.folder import Folder, InboundDir
from staticwado_daemon.inbound.receipt import STORED, Outcome, Receipt
from staticwado_daemon.inbound.settle import Timing
from staticwado_daemon.inbound.source import NO_PERMISSION, Source, Stamp

_log = structlog.get_logger()

Known = Callable[[str, Stamp], Outcome | None]

_LONGEST_PAUSE = 3600.0  # seconds between two tries to remove a file that can't be removed
# Beyond so many files a folder finds no more: a million waiting files need no million objects.
_MOST_READY = 20_000
_MOST_KNOWN = 200_000  # with those that have come back, and rest or wait for a change


@dataclass(frozen=True, slots=True)
class _Entry:
    source: Source
    folder: Folder


@dataclass(frozen=True, slots=True)
class _LeftOver:
    """A file that is done with and was to go, but could not be removed."""

    stamp: Stamp
    folder: Folder
    pause: float  # seconds
    until: float  # the clock time from which on it is taken again, to be removed this time


class Inbound:
    """Finds the files of all inbound folders.

    Args:
        dirs: the folders; one that lies in another is left out of the outer one.
        known: the journal's answer whether a file in this state has a receipt; called from other threads; be quick.
        timing: the waits.
        wake: called, from other threads, when `take` has something after it had nothing.
    """

    def __init__(
        self,
        dirs: Sequence[InboundDir],
        known: Known,
        timing: Timing,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known
        self._wake = wake
        self._lock = threading.Lock()
        self._ready: dict[str, _Entry] = {}
        self._in_flight: dict[str, _Entry] = {}
        self._later: dict[str, _Entry] = {}  # complete again while in flight
        self._left_over: dict[str, _LeftOver] = {}
        self._denied: set[str] = set()  # rejected for want of permission: wanted as soon as that is granted
        self._reconcile = timing.reconcile
        self._clock = clock
        self._folders = [Folder(spec, timing, self, clock) for spec in _disjoint(dirs)]
        self._orders: dict[Folder, list[str]] = {folder: [] for folder in self._folders}  # heaps of the paths in _ready

    def start(self) -> None:
        """Begin to watch and scan."""
        for folder in self._folders:
            folder.start()

    def stop(self, timeout: float = 2.0) -> None:
        """End all threads, waiting up to `timeout` seconds; files in flight can still be finished afterwards."""
        for folder in self._folders:
            folder.stop()
        until = time.monotonic() + timeout
        for folder in self._folders:
            if not folder.join(max(0.0, until - time.monotonic())):
                _log.warning("inbound_thread_hangs", folder=folder.root)

    def take(self, limit: int) -> list[Source]:
        """Take up to `limit` complete files, in path order; answer each with `done` or `retry`.

        Each folder that has some gives as many as any other, as far as it has them: the drop folder doesn't wait for
        the end of an archive that is being taken over.
        """
        taken: list[Source] = []
        with self._lock:
            # The fewest first: what they leave of their share is the others'.
            orders = sorted((order for order in self._orders.values() if order), key=len)
            for number, order in enumerate(orders):
                share = math.ceil((limit - len(taken)) / (len(orders) - number))
                taken += self._take_from(order, share)
        return sorted(taken, key=lambda source: str(source.path))

    def done(self, receipt: Receipt) -> None:
        """Note that a file has its receipt: once that is in the journal, and the file removed if it was to be."""
        path = str(receipt.path)
        with self._lock:
            entry = self._in_flight.get(path)
        # The file system is asked without the lock: it may take its time.
        stays = entry is not None and _was_to_go(entry, receipt) and _is_there(entry.source)
        with self._lock:
            self._in_flight.pop(path, None)
            before = self._left_over.pop(path, None)
            if receipt.reason == NO_PERMISSION:
                self._denied.add(path)
            if entry is not None and stays:
                self._left_over[path] = self._next_try(entry, before)
            again = self._follow_up(path)
        if again:
            self._wake()

    def retry(self, source: Source, *, incomplete: bool) -> None:
        """Give back a file that could not be finished.

        Args:
            source: as taken.
            incomplete: it ends too early, so wait for a change; otherwise try again after the settle time, and each
                further time after twice as long. A source marked `final` isn't given back as incomplete: that is its
                receipt.
        """
        path = str(source.path)
        with self._lock:
            entry = self._in_flight.pop(path, None)
            if entry is not None and path not in self._later:
                entry.folder.take_back(source, incomplete=incomplete)
            again = self._follow_up(path)
        if again:
            self._wake()

    def look_again(self, path: Path) -> bool:
        """Look at one file now, say because its receipt was withdrawn; False if no inbound folder takes it."""
        for folder in self._folders:
            if folder.is_input(str(path)):
                with self._lock:
                    self._left_over.pop(str(path), None)
                    self._denied.discard(str(path))
                folder.hear("appeared", str(path))
                return True
        return False

    @property
    def backlog(self) -> int:
        """How many files are known of and not taken, those that came back and wait for their rest included."""
        with self._lock:
            return len(self._ready) + len(self._later) + sum(folder.backlog for folder in self._folders)

    @property
    def waiting(self) -> int:
        """How many files of the backlog came back incomplete and wait until they change, or long enough."""
        return sum(folder.tracker.waiting for folder in self._folders)

    @property
    def idle(self) -> bool:
        """Whether every file that is there has its receipt; false until the first scan is through."""
        with self._lock:  # so that none comes from a folder or goes back to one meanwhile
            taken_over = self._ready or self._later or self._in_flight
            return not taken_over and all(folder.idle for folder in self._folders)

    @property
    def alive(self) -> bool:
        """Whether every folder's thread is running."""
        return all(folder.alive for folder in self._folders)

    @property
    def modes(self) -> dict[str, str]:
        """How each folder is followed: "inotify", "polling", "unavailable" or (before the first look) "starting"."""
        return {folder.root: folder.lookout.mode for folder in self._folders}

    @property
    def degraded(self) -> list[str]:
        """One sentence for each thing that isn't as it should be with a folder."""
        with self._lock:
            counts = Counter(each.folder.root for each in self._left_over.values())
        return [complaint for folder in self._folders if (complaint := folder.complaint) is not None] + [
            f"{root} can't be emptied, files left over: {count}; check permissions and free space"
            for root, count in counts.items()
        ]

    # The folders' side: called from their threads.

    def wants(self, path: str, stamp: Stamp, folder: Folder) -> bool:
        """Whether this state of the file is new: without a receipt, and not on its way to one."""
        with self._lock:
            known_entry = self._later.get(path) or self._in_flight.get(path) or self._ready.get(path)
            if known_entry is not None and known_entry.source.stamp == stamp:
                return False
            if not self._is_unknown(path, stamp, folder):
                return False
            denied = path in self._denied
        # Only the folder's own thread asks its file system, and without the lock: the answer may never come.
        if denied and not os.access(path, os.R_OK):
            return False
        with self._lock:
            self._denied.discard(path)
        return True

    def accept(self, source: Source, folder: Folder) -> None:
        """Take a complete file over from its folder."""
        path, entry = str(source.path), _Entry(source, folder)
        with self._lock:
            in_flight = self._in_flight.get(path)
            if in_flight is not None:
                if in_flight.source.stamp != source.stamp:
                    self._later[path] = entry
                return
            was_empty = not self._ready
            self._make_ready(path, entry)
        if was_empty:
            self._wake()

    def has_room(self, folder: Folder) -> bool:
        """Whether it makes sense to find more in a folder."""
        ready = len(self._orders[folder])
        return ready < _MOST_READY and ready + folder.backlog < _MOST_KNOWN

    def scanned(self, folder: Folder) -> None:
        """Forget what was remembered of files of the folder that are gone: all that was there has been seen."""
        with self._lock:
            remembered = [path for path in {*self._left_over, *self._denied} if folder.holds(path)]
        gone = [path for path in remembered if not os.path.lexists(path)]
        with self._lock:
            for path in gone:
                self._left_over.pop(path, None)
                self._denied.discard(path)

    # With the lock held.

    def _make_ready(self, path: str, entry: _Entry) -> None:
        if path not in self._ready:
            heapq.heappush(self._orders[entry.folder], path)
        self._ready[path] = entry

    def _take_from(self, order: list[str], limit: int) -> list[Source]:
        taken: list[Source] = []
        while order and len(taken) < limit:
            path = heapq.heappop(order)
            entry = self._ready.pop(path)
            if self._is_unknown(path, entry.source.stamp, entry.folder):
                self._in_flight[path] = entry
                taken.append(entry.source)
        return taken

    def _next_try(self, entry: _Entry, before: _LeftOver | None) -> _LeftOver:
        """Each time twice as long after the last: what can't be removed is read again each time."""
        pause = self._reconcile
        if before is not None and before.stamp == entry.source.stamp:
            pause = max(pause, min(2 * before.pause, _LONGEST_PAUSE))
        return _LeftOver(entry.source.stamp, entry.folder, pause, self._clock() + pause)

    def _follow_up(self, path: str) -> bool:
        entry = self._later.pop(path, None)
        if entry is None:
            return False
        self._make_ready(path, entry)
        return True

    def _is_unknown(self, path: str, stamp: Stamp, folder: Folder) -> bool:
        left_over = self._left_over.get(path)
        if left_over is not None and left_over.stamp == stamp and self._clock() < left_over.until:
            return False
        outcome = self._known(path, stamp)
        # A file with a receipt in a folder to be emptied was to go when the daemon was interrupted: take it again.
        return outcome is None or folder.sets_aside or (outcome in STORED and folder.after_ingest == "delete")


def _was_to_go(entry: _Entry, receipt: Receipt) -> bool:
    return entry.source.after_ingest == "delete" and (receipt.outcome in STORED or entry.folder.sets_aside)


def _is_there(source: Source) -> bool:
    try:
        return Stamp.of(source.path.lstat()) == source.stamp
    except OSError:
        return False


def _disjoint(dirs: Sequence[InboundDir]) -> list[InboundDir]:
    """Exclude from each folder the others, in case they lie in it."""
    every = frozenset(spec.dir for spec in dirs)
    return [replace(spec, exclude=spec.exclude | every) for spec in dirs]
