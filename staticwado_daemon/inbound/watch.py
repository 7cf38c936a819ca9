"""What the kernel tells of an inbound folder at once. Hints only: losing all of them costs seconds, never data.

watchdog reads inotify and keeps one watch per directory. Three of its habits are adjusted here, all in one place:
a recursive watch that fails because the limit is reached must be known (watchdog passes over it), so must a queue
overflow (watchdog rebuilds its watches and tells nobody what was lost), and a rename must be reported at once
(watchdog holds it back for half a second, hoping to pair it).
"""

import errno
import os
from collections.abc import Callable
from typing import Literal

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

# closed: written and closed, or renamed into place. appeared: exists, maybe unfinished. directory: scan it.
# lost: the queue overflowed, scan everything.
Hint = Literal["closed", "appeared", "directory", "lost"]
Hear = Callable[[Hint, str], None]

# The kernel is asked only for what these need: a copied file is 3 events instead of 8.
_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


class Watcher:
    """Watches one folder with all below it, from construction until `stop`.

    Args:
        root: an absolute path without symbolic links.
        hear: called from watchdog's threads with each hint and its path; it must only take note, and never block.

    Raises:
        OSError: if the folder can't be watched (no such directory, no inotify instance or watch left).
    """

    def __init__(self, root: str, hear: Hear) -> None:
        self._inotify = _Inotify(lambda: hear("lost", root))
        self._observer = _Observer(self._inotify)
        self._observer.schedule(_Handler(hear), root, recursive=True, event_filter=_EVENTS)
        try:
            self._inotify.start()
            self._observer.start()
        except BaseException:
            self._inotify.stop()
            self._inotify.join()
            raise

    @property
    def alive(self) -> bool:
        """Whether hints can still come; not so when the folder was deleted or a thread has died."""
        threads = [self._inotify, self._observer, *self._observer.emitters]
        return len(threads) > 2 and all(thread.is_alive() for thread in threads)

    @property
    def unwatched(self) -> frozenset[str]:
        """Directories from which no hints come because the limit of inotify watches is reached."""
        return frozenset(self._inotify.refused)

    def stop(self, timeout: float = 1.0) -> None:
        """Stop hearing; wait for the threads, up to `timeout` seconds."""
        self._observer.stop()
        self._inotify.stop()
        self._observer.join(timeout)
        self._inotify.join(timeout)


class _Handler(FileSystemEventHandler):
    """Translates watchdog's events into hints."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear

    def dispatch(self, event: FileSystemEvent) -> None:
        moved = isinstance(event, (FileMovedEvent, DirMovedEvent))
        path = os.fsdecode(event.dest_path if moved else event.src_path)
        if event.is_directory:
            self._hear("directory", path)
        else:
            self._hear("appeared" if isinstance(event, FileCreatedEvent) else "closed", path)


class _Inotify(InotifyFD):
    """The inotify instance: remembers refused watches and reports overflows."""

    def __init__(self, lost: Callable[[], None]) -> None:
        super().__init__()
        self._lost = lost
        self.refused: set[str] = set()

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """Watch a directory, as the base class does, except that watching it again isn't worth a warning.

        watchdog registers nested new directories twice, and its warning spells out every watch there is: with 10,000
        directories a megabyte of text for each one.
        """
        name = os.fsdecode(path)
        try:
            with self._lock:
                watch = self._get_or_create_watch(path, mask)
                watch.callbacks[id_] = callback
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.refused.add(name)
            raise
        self.refused.discard(name)
        return watch.wd

    def handle_event(self, event: InotifyEvent) -> None:
        """Handle an event; report an overflow once the watches are rebuilt, so that a scan from then on is complete."""
        super().handle_event(event)
        if event.is_queue_overflow:
            self._lost()


class _Emitter(InotifyFullEmitter):
    """Reports files moved in from anywhere as moved."""

    def get_event_mask_from_filter(self) -> Mask:
        """Leave out departures: pairing them with arrivals is what watchdog waits for, and only arrivals matter."""
        return Mask(super().get_event_mask_from_filter() & ~InotifyConstants.IN_MOVED_FROM)


class _Observer(BaseObserver):
    """An observer over our own inotify instance."""

    def __init__(self, inotify: InotifyFD) -> None:
        super().__init__(_Emitter, inotify_fd=inotify)
