"""The calls by which a tree changes and by which its changes become durable: the one seam below the one writer.

Nobody else makes them, so whoever wants to know what the writer asks of a file system, or to refuse it something,
stands in for `Disk`. Reading isn't among them: it changes nothing.
"""

import errno
import grp
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from staticwado_daemon import libc

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276, "riscv64": 276}
"""By its number: musl has no function of that name before 1.2.6."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

LACKS_EXCHANGE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What `Disk.exchange` fails with where a file system has no such thing: NFS, ZFS before 2.2, old overlays."""


class SyncFailed(OSError):
    """What was written since the last sync may be lost, and nobody knows which part of it."""


class Disk:
    """A file system as the kernel offers it; it has no state, so that it can be handed to other processes.

    Each method but the last two is one step after which the process may find its end. All raise OSError.
    """

    def write(self, path: Path, parts: Iterable[bytes | memoryview]) -> None:
        """Make a new file of these bytes, one after the other."""
        with os.fdopen(os.open(path, _NEW_FILE, 0o666), "wb", buffering=0) as file:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    rest = rest[file.write(rest) or 0 :]

    def mkdir(self, path: Path) -> None:
        """Make a directory."""
        path.mkdir()

    def rename(self, path: Path, target: Path) -> None:
        """Give a file or directory another name; an existing file, or empty directory, of that name is replaced."""
        path.rename(target)

    def exchange(self, one: Path, other: Path) -> None:
        """Let two names swap what they stand for in one step, so that neither is ever missing (renameat2(2)).

        The error is one of `LACKS_EXCHANGE` where that can't be had.
        """
        number = _RENAMEAT2.get(libc.machine())
        if number is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(one), None, str(other))
        libc.syscall(number, _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with all that it holds; interrupted, it leaves some of that."""
        shutil.rmtree(path)

    def utime(self, path: Path, second: int) -> None:
        """Set when a file was last changed, in whole seconds since the epoch."""
        os.utime(path, (second, second))

    def give(self, directory: Path, group: str) -> None:
        """Let a directory, and what will be made in it, belong to a group; KeyError if there is no such group."""
        wanted, now = grp.getgrnam(group).gr_gid, directory.stat()
        # What is right is left alone: a confined service may not be allowed to touch it.
        if (now.st_gid, stat.S_IMODE(now.st_mode)) != (wanted, 0o2750):
            os.chown(directory, -1, wanted)
            directory.chmod(0o2750)

    def syncfs(self, descriptor: int) -> None:
        """Have everything on the disk that was written to the file system of an open directory so far (syncfs(2)).

        Since Linux 5.8 a write that failed in the meantime is told here, but only once to each open directory.
        """
        libc.call("syncfs", descriptor)

    def make_directories(self, path: Path) -> None:
        """Make a directory and what is missing above it; it may be there already."""
        try:
            self._make_directory(path)
        except FileNotFoundError:
            self.make_directories(path.parent)
            # Not from the beginning again: there are places, such as /proc, that say so of whatever is made there.
            self._make_directory(path)

    def _make_directory(self, path: Path) -> None:
        try:
            self.mkdir(path)
        except FileNotFoundError:
            raise
        except OSError:
            if not path.is_dir():
                raise

    def swap(self, one: Path, other: Path, spare: Path) -> None:
        """Let two names swap what they stand for, if need be in three steps by way of a spare one.

        Then `other` is missing for an instant, and what it stood for is found at `spare` after an interruption.
        """
        try:
            self.exchange(one, other)
        except OSError as error:
            if error.errno not in LACKS_EXCHANGE:
                raise
        else:
            return
        self.rename(other, spare)
        try:
            self.rename(one, other)
        except OSError:
            with suppress(OSError):
                self.rename(spare, other)
            raise
        self.rename(spare, one)


DISK = Disk()
"""The real one."""
