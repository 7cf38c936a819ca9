"""One inbound folder: a thread that turns hints and scans into complete files.

Each folder has its own thread, so that a network mount that hangs holds up nobody else. All it does is done in small
portions in turn: hear hints, look at candidates that are due, scan on. Nothing in here is shared with other
threads but the queue of notes.
"""

import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import structlog

from staticwado_daemon.inbound import names
from staticwado_daemon.inbound.reconcile import Anchor, Found, anchor, is_unmounted, walk
from staticwado_daemon.inbound.settle import Sight, Timing, Tracker
from staticwado_daemon.inbound.source import AfterIngest, Source, Stamp, being_written
from staticwado_daemon.inbound.watch import Hint, Watcher

_log = structlog.get_logger()

_PORTION = 500  # hints, and looks, between two turns
_SLICE = 0.02  # seconds of scanning between two turns
_DEBOUNCE = 0.2  # seconds from a new directory to its scan: its siblings are coming too
_POLL_SHARE = 20  # a polled folder is scanned 1/20 of the time at most

Mode = Literal["starting", "inotify", "polling", "unavailable"]


@dataclass(frozen=True, slots=True)
class InboundDir:
    """A folder to take files from.

    `after_ingest` says what happens to a file once the archive holds it. `exclude` are directories below the
    folder that are none of it (its `rejected/`, the archive itself, another inbound folder).
    """

    dir: Path
    after_ingest: AfterIngest = "keep"
    exclude: frozenset[Path] = frozenset()


class Desk(Protocol):
    """Where a folder hands its files over."""

    def wants(self, path: str, stamp: Stamp, *, first_scan: bool) -> bool:
        """Whether this state of the file is new: without a receipt, and not on its way to one."""

    def offer(self, source: Source, folder: "Folder") -> None:
        """Take a complete file."""

    def has_room(self) -> bool:
        """Whether scanning on makes sense; files stay where they are until it does."""


class Folder:
    """Follows one inbound folder from `start` to `stop`."""

    def __init__(self, spec: InboundDir, timing: Timing, desk: Desk, clock: Callable[[], float] = time.monotonic) -> None:
        self.root = os.path.realpath(spec.dir)
        self.mode: Mode = "starting"
        self.scanned = False  # one full scan was completed
        self.unreadable: frozenset[str] = frozenset()  # directories that the last full scan could not list
        self._after_ingest: AfterIngest = spec.after_ingest
        self._exclude = frozenset(os.path.realpath(path) for path in spec.exclude)
        self._timing = timing
        self._desk = desk
        self._clock = clock
        self._tracker = Tracker(timing, clock)
        self._notes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._anchor: Anchor | None = None
        self._watcher: Watcher | None = None
        self._watch_error: str | None = None
        self._wanted: dict[str, float] = {self.root: clock()}  # directories to scan, and not before when
        self._walk: Iterator[Found] | None = None
        self._walking: list[str] = []  # tops of the walk under way
        self._walk_began = 0.0
        self._denied: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"inbound {self.root}", daemon=True)
