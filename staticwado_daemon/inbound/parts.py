"""Where receivers write what isn't whole yet: each process in a directory of its own below the drop folder's `.part/`.

The directory is locked for as long as its process lives, so that whoever starts next can tell what the dead have left.
"""

import errno
import fcntl
import itertools
import os
import re
import secrets
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from staticwado_daemon.inbound.drop import PART
from staticwado_daemon.inbound.mounts import mount_of

_DIRECTORY: Final = re.compile(r"receiver-[0-9a-f]{8}", re.ASCII)
_NAME: Final = re.compile(r"([0-9]{20})-[0-9a-f]{8}\.dcm", re.ASCII)
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Parts:
    """One process's directory for incomplete files, and the names of complete ones. Thread-safe.

    What processes that are no more have left is removed.

    Args:
        drop: the drop folder, prepared, a real path.

    Raises:
        OSError: if there can't be such a directory now.
    """

    def __init__(self, drop: Path) -> None:
        self._drop = drop
        self._own = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._last = _latest(drop)
        self._mount_point = mount_of(str(drop)).point
        self._directory, self._descriptor = self._claim()
        self._sweep()

    def new(self) -> tuple[Path, int]:
        """Make a new file; return its path and its descriptor, for reading and writing.

        Raises:
            OSError: if there can't be one.
        """
        path = self._directory / str(next(self._numbers))
        try:
            return path, os.open(path, _NEW_FILE, 0o640)
        except FileNotFoundError:
            with self._lock:
                self._renew()
            path = self._directory / path.name
            return path, os.open(path, _NEW_FILE, 0o640)

    def name(self) -> str:
        """The name of a file that is whole: new, and after those of all that were so before, whatever the clock does.

        Files of the drop folder are taken in the order of their names, and of two contents of an instance the later
        one wins.
        """
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            return f"{self._last:020}-{self._own}.dcm"

    def close(self) -> None:
        """Remove the directory with what is in it."""
        shutil.rmtree(self._directory, ignore_errors=True)
        os.close(self._descriptor)

    def _claim(self) -> tuple[Path, int]:
        """Make the directory and lock it."""
        directory = self._drop / PART / f"receiver-{self._own}"
        while True:
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Somebody may have swept it away before it was locked.
            with suppress(FileNotFoundError):
                if directory.stat().st_ino == os.fstat(descriptor).st_ino:
                    return directory, descriptor
            os.close(descriptor)

    def _renew(self) -> None:
        """Make the directory again if somebody has removed it.

        Raises:
            OSError: if it isn't the drop folder any more that it would be in: the daemon doesn't take anything there.
        """
        if self._directory.is_dir():
            return
        if os.path.realpath(self._drop) != str(self._drop):
            raise OSError(errno.ELOOP, "the drop folder is a link now")
        point = mount_of(str(self._drop)).point
        if len(point) < len(self._mount_point):
            raise OSError(errno.ENODEV, "the drop folder's disk isn't mounted")
        directory, descriptor = self._claim()
        os.close(self._descriptor)
        self._directory, self._descriptor, self._mount_point = directory, descriptor, point

    def _sweep(self) -> None:
        """Remove the directories of processes that have ended."""
        for path in self._directory.parent.iterdir():
            if path == self._directory or not _DIRECTORY.fullmatch(path.name):
                continue
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
                finally:
                    os.close(descriptor)


def _latest(drop: Path) -> int:
    """The number of the latest name that is there, should the clock have been set back since."""
    matches = (_NAME.fullmatch(path.name) for path in drop.iterdir())
    return max((int(match[1]) for match in matches if match), default=0)
