"""From received to durable: one sync of the drop folder serves all who need it at the same time.

A file's own bytes are synced by the thread that has received it: several at once share what the file system does for
them. The folder is synced for everybody: who comes while that is under way waits for the next time, together with all
others who come meanwhile. Who is alone never waits for anybody.
"""

import errno
import os
import threading
from pathlib import Path

from staticwado_daemon.archive import durably


class _Round:
    """One sync, and those who wait for it."""

    def __init__(self) -> None:
        self.taken = False
        self.done = threading.Event()
        self.error: OSError | None = OSError(errno.EIO, "the folder was not synced")


class Folder:
    """A folder into which complete files are moved for good. Thread-safe.

    Args:
        path: of the folder.

    Raises:
        OSError: if it isn't there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._next = _Round()

    def take(self, descriptor: int, file: Path, name: str) -> None:
        """Move a complete file here; on return it is on the disk under its name.

        Args:
            descriptor: of the open file.
            file: where it is, in the same file system.
            name: which nothing here has.

        Raises:
            OSError: if that isn't certain. The file may be there all the same.
        """
        os.fdatasync(descriptor)
        file.rename(self._path / name)
        self._sync()

    def _sync(self) -> None:
        """Return after a sync of the folder that began after this call."""
        with self._lock:
            mine = self._next
            leads, mine.taken = not mine.taken, True
        if leads:
            with self._syncing:
                with self._lock:
                    self._next = _Round()  # who comes from here on is too late for this one
                try:
                    # By its path: it may have been made anew, and then the old one's sync says nothing.
                    durably.sync(self._path)
                    mine.error = None
                except OSError as error:
                    mine.error = error
                finally:  # whatever it is, nobody may wait for it for ever
                    mine.done.set()
        mine.done.wait()
        if mine.error:
            raise OSError(mine.error.errno, mine.error.strerror)
