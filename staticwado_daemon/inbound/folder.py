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
from staticwado_daemon.inbound.lookout import Lookout
from staticwado_daemon.inbound.reconcile import Scans
from staticwado_daemon.inbound.settle import Sight, Timing, Tracker
from staticwado_daemon.inbound.source import AfterIngest, Source, Stamp, being_written
from staticwado_daemon.inbound.watch import Hint

_log = structlog.get_logger()

_PORTION = 500  # notes, or looks, in one turn
_SLICE = 0.02  # seconds of scanning in one turn
_DEBOUNCE = 0.2  # seconds from hearing of a directory to its scan
_POLL_SHARE = 20  # a polled folder is scanned 1/20 of the time at most
_RETURN = 5.0  # seconds after which an unavailable folder is asked for again


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

    def has_room(self) -> bool:
        """Whether it makes sense to find more; what isn't found yet stays where it is."""

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
        self._doubtful = True  # something may be in the folder of which only a full scan will tell
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"inbound {self.root}", daemon=True)

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
        return not (self._doubtful or self.scans.pending)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; if it ended without being told to, nothing comes from this folder any more."""
        return self._thread.is_alive()

    @property
    def complaint(self) -> str | None:
        """One sentence on what is not as it should be with this folder, and what to do; None if all is well."""
        if self.lookout.mode == "unavailable":
            return f"{self.root} is unavailable: {self.lookout.reason}"
        if self.lookout.mode == "polling":
            return f"{self.root} is polled: {self.lookout.reason}"
        if self.lookout.unwatched:
            return f"{self.root} is polled in part ({self.lookout.unwatched} directories): {self.lookout.reason}"
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
        if self._desk.has_room():
            times.append(self.scans.next_due)
        due = min(when for when in times if when is not None)
        return max(0.0, min(due - self._clock(), 1.0))

    def _on_lost(self) -> None:
        _log.warning("inotify_overflow", folder=self.root)
        self._doubtful = True
        self._next_scan = self._clock()

    def _on_directory(self, path: str) -> None:
        if self.is_input(path):
            self.scans.want(path, _DEBOUNCE)

    def _on_file(self, path: str, closed: bool) -> None:
        if self.is_input(path):
            self.tracker.heard(path, closed=closed)

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
            elif verdict == "ready" and sight.regular and being_written(path):
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
            self._next_scan = self._clock() + self._timing.reconcile
            if self.lookout.check():
                self.scans.want(self.root)
            else:
                self.scans.forget()
                self._next_scan = self._clock() + min(_RETURN, self._timing.reconcile)
        if not self._desk.has_room():
            return
        completed = self.scans.completed
        for path, status in self.scans.portion(_SLICE):
            if self._desk.wants(path, Stamp.of(status), self):
                self.tracker.found(path, self._sight(status))
        if self.scans.completed > completed:
            self._after_full_scan()

    def _after_full_scan(self) -> None:
        self._doubtful = False
        self._desk.scanned(self)
        pause = self._timing.reconcile
        if self.lookout.scans_only:
            pause = min(pause, max(self._timing.settle, self.scans.seconds * _POLL_SHARE))
        self._next_scan = self._clock() + pause


def _wake_up() -> None:
    """Do nothing: a note whose only purpose is that it comes."""
