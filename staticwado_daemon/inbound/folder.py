"""One inbound folder: a thread that turns hints and scans into complete files.

Each folder has a thread of its own, so that looking for files on a network mount that hangs holds up nobody else. The
thread does a little of each of its three jobs in turn: take the notes that others left, look at candidates that are
due, scan on.
"""

import os
import queue
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from staticwado_daemon.inbound import names
from staticwado_daemon.inbound.lookout import NO_WATCHES, Lookout
from staticwado_daemon.inbound.reconcile import Scans
from staticwado_daemon.inbound.settle import Sight, Timing, Tracker
from staticwado_daemon.inbound.source import AfterIngest, Source, Stamp, being_written
from staticwado_daemon.inbound.watch import Hint

_log = structlog.get_logger()

_PORTION = 500  # notes, or looks, in one turn
_SLICE = 0.02  # seconds of scanning in one turn
_DEBOUNCE = 0.2  # seconds from hearing of a directory to its scan
_POLL_SHARE = 20  # a polled folder rests this many times as long as its scan took, or until the usual next one
_RETURN = 5.0  # seconds after which an unavailable folder is asked for again
_AGAIN = 1.0  # seconds after which a folder is scanned of which some hints were not taken


@dataclass(frozen=True, slots=True)
class InboundDir:
    """A folder to take files from.

    `after_ingest` says what happens to a file once the archive holds it. `exclude` are directories below the
    folder that are none of it: its `rejected/`, the archive, another inbound folder; other paths there don't matter.
    `sets_aside` says that files which the archive doesn't hold leave the folder as well.
    """

    dir: Path
    after_ingest: AfterIngest = "keep"
    exclude: frozenset[Path] = frozenset()
    sets_aside: bool = False


class Desk(Protocol):
    """Where a folder hands its files over. Called from the folder's thread."""

    def wants(self, path: str, stamp: Stamp, folder: "Folder") -> bool:
        """Whether this state of the file is new: without a receipt, and not on its way to one."""

    def accept(self, source: Source, folder: "Folder") -> None:
        """Take a complete file over."""

    def has_room(self, folder: "Folder") -> bool:
        """Whether it makes sense to find more in a folder; what isn't found yet stays where it is."""

    def scanned(self, folder: "Folder") -> None:
        """A scan of the whole folder is through."""


class Folder:
    """Follows one inbound folder from `start` to `stop`."""

    def __init__(
        self, spec: InboundDir, timing: Timing, desk: Desk, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.root = os.path.realpath(spec.dir)
        excluded = [os.path.realpath(path) for path in spec.exclude]
        below = frozenset(path for path in excluded if path.startswith(f"{self.root}/"))
        self.scans = Scans(self.root, below, clock)
        self.lookout = Lookout(self.root, self.hear, clock)
        # Of what was handed over for good no more will come.
        self.tracker = Tracker(replace(timing, incomplete=timing.settle) if spec.sets_aside else timing, clock)
        self._exclude = tuple(f"{path}/" for path in below)
        self.after_ingest: AfterIngest = spec.after_ingest
        self.sets_aside = spec.sets_aside
        self._timing = timing
        self._desk = desk
        self._clock = clock
        self._notes: queue.Queue[Callable[[], None]] = queue.Queue()
        self._next_scan = clock()
        self._doubted = 0  # as many full scans had begun when something came of which only a later one will tell
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"inbound {self.root}", daemon=True)

    @property
    def idle(self) -> bool:
        """Whether all that was there is known, and nothing of it is being followed. From any thread."""
        # In the direction in which files go, so that one that moves on meanwhile is met at its next place.
        return not self._notes.unfinished_tasks and self.surveyed and not len(self.tracker)

    @property
    def backlog(self) -> int:
        """How many files (and notes about files) are being followed."""
        # Notes first: what moves from there to the tracker in the meantime counts twice rather than not at all.
        return self._notes.unfinished_tasks + len(self.tracker)

    @property
    def surveyed(self) -> bool:
        """Whether all that was there is known: no scan is outstanding, the first one included."""
        if self.lookout.mode == "unavailable":
            return True
        return self.scans.completed > self._doubted and not self.scans.pending

    @property
    def alive(self) -> bool:
        """Whether the thread runs; if it ended without being told to, nothing comes from this folder any more."""
        return self._thread.is_alive()

    @property
    def complaint(self) -> str | None:
        """One sentence on what is not as it should be with this folder, and what to do; None if all is well."""
        mode, reason = self.lookout.state
        if mode == "unavailable":
            return f"{self.root} is unavailable: {reason}"
        if mode == "polling":
            return f"{self.root} is polled: {reason}"
        if unwatched := self.lookout.unwatched:
            return f"{self.root} is polled in part ({unwatched} directories): {NO_WATCHES}"
        if self.scans.unreadable:
            return f"{self.root} has {len(self.scans.unreadable)} directories that can't be listed; check permissions"
        return None

    def start(self) -> None:
        """Begin; the first full scan comes at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._stopping.set()
        self._notes.put(_wake_up)

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, which a mount that hangs may prevent; say whether it did."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def holds(self, path: str) -> bool:
        """Whether a path lies in this folder."""
        return path.startswith(f"{self.root}/") and not f"{path}/".startswith(self._exclude)

    def hear(self, hint: Hint, path: str) -> None:
        """Take note of what happened to a path. From any thread."""
        if hint == "lost":
            self._notes.put(self._on_lost)
        elif hint == "directory":
            self._notes.put(partial(self._on_directory, path))
        else:
            self._notes.put(partial(self._on_file, path, hint == "closed"))

    def take_back(self, source: Source, *, incomplete: bool) -> None:
        """Follow a file again that could not be finished. From any thread."""
        path, stamp, tries = str(source.path), source.stamp, source.tries
        self._notes.put(partial(self.tracker.returned, path, stamp, incomplete=incomplete, tries=tries))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._read_notes()
            self._look()
            self._scan()
        self.scans.forget()
        self.lookout.stop()

    def _read_notes(self) -> None:
        """Sleep until there is something to do; then do what the notes say."""
        try:
            note = self._notes.get(timeout=self._patience())
            for _ in range(_PORTION):
                note()
                self._notes.task_done()
                note = self._notes.get_nowait()
            note()
            self._notes.task_done()
        except queue.Empty:
            return

    def _patience(self) -> float:
        times = [self._next_scan, self.tracker.next_due]
        if self._desk.has_room(self):
            times.append(self.scans.next_due)
        due = min(when for when in times if when is not None)
        return max(0.0, min(due - self._clock(), 1.0))

    def _on_lost(self) -> None:
        _log.warning("inotify_overflow", folder=self.root)
        self._doubt(0.0)

    def _doubt(self, delay: float) -> None:
        """Have the whole folder scanned, `delay` seconds from now or earlier, as something came that was not noted."""
        self._doubted = self.scans.begun
        self._next_scan = min(self._next_scan, self._clock() + delay)

    def _on_directory(self, path: str) -> None:
        if self.is_input(path):
            self.scans.want(path, _DEBOUNCE)

    def _on_file(self, path: str, closed: bool) -> None:
        if not self.is_input(path):
            return
        if path in self.tracker or self._desk.has_room(self):
            self.tracker.heard(path, closed=closed)
        else:
            self._doubt(_AGAIN)  # as with a scan: a million waiting files need no million objects

    def is_input(self, path: str) -> bool:
        """Whether a file of this path would be taken."""
        return self.holds(path) and not names.skip_path(path[len(self.root) + 1 :])

    def _look(self) -> None:
        """Look at the candidates that are due, and hand over those that are complete."""
        for _ in range(_PORTION):
            path = self.tracker.due()
            if path is None:
                return
            sight = self._see(path)
            verdict = self.tracker.look(path, sight)
            if sight is None or verdict == "wait":
                continue
            if not self._desk.wants(path, sight.stamp, self):
                self.tracker.drop(path)
            elif (verdict == "ready" or self.sets_aside) and sight.regular and being_written(path):
                self.tracker.postpone(path)
            else:
                final = verdict == "final"
                tries = self.tracker.tries(path)
                self._desk.accept(Source(Path(path), sight.stamp, self.after_ingest, final=final, tries=tries), self)
                self.tracker.drop(path)

    def _see(self, path: str) -> Sight | None:
        try:
            status = os.lstat(path)
        except OSError:
            # Gone, or out of reach; in the latter case a scan reports the directory, and finds the file again.
            return None
        return None if stat.S_ISDIR(status.st_mode) else self._sight(status)

    def _sight(self, status: os.stat_result) -> Sight:
        # Nobody but the kernel sets ctime, so on a local disk it dates the last change, whatever mtime claims.
        local = not self.lookout.remote
        still = max(0.0, time.time() - status.st_ctime) if local else 0.0
        return Sight(Stamp.of(status, ctime=local), still, stat.S_ISREG(status.st_mode))

    def _scan(self) -> None:
        """Begin a full scan if it is time, and go on with the one under way."""
        if self._clock() >= self._next_scan:
            self._survey()
        if not self._desk.has_room(self):
            return
        completed = self.scans.completed
        for path, status in self.scans.portion(_SLICE):
            if self._desk.wants(path, Stamp.of(status), self):
                self.tracker.found(path, self._sight(status))
        if self.scans.completed > completed:
            self._after_full_scan()

    def _survey(self) -> None:
        """See that the folder is there and watched, and have all of it scanned."""
        watches = self.lookout.watches
        if not self.lookout.check():
            self.scans.forget()
            self._doubted = self.scans.begun
            self._next_scan = self._clock() + min(_RETURN, self._timing.reconcile)
            return
        self._next_scan = self._clock() + self._timing.reconcile
        if self.lookout.watches != watches:
            self._doubted = self.scans.begun
        # A scan that takes longer than the time between two isn't followed by another without a pause.
        if self.scans.begun in {self.scans.completed, self._doubted}:
            self.scans.want(self.root)

    def _after_full_scan(self) -> None:
        self._desk.scanned(self)
        pause = self._timing.reconcile
        if self.lookout.scans_only:
            pause = min(pause, max(self._timing.settle, self.scans.seconds * _POLL_SHARE))
        if self.scans.completed <= self._doubted:
            pause = min(pause, _AGAIN)
        self._next_scan = self._clock() + pause


def _wake_up() -> None:
    """Do nothing: a note whose only purpose is that it comes."""
