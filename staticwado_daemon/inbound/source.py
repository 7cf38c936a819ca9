"""One input file as it was seen, and its content if it still is what was seen."""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from staticwado_daemon.errors import Rejected, Transient
from staticwado_daemon.inbound.content import CHANGED, Content

AfterIngest = Literal["keep", "delete"]

# O_NONBLOCK: opening a FIFO that nobody writes to must not wait. O_NOFOLLOW: a link may lead anywhere.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

WHOLE_BYTES = 64 << 20
"""Files up to this size are held in memory while they are worked on, which is quicker."""

NO_PERMISSION = "no permission to read the file"

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a directory",
}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a file from another without reading it (`os.stat_result` fields).

    `ctime_ns` sees what the others don't: a change after which mtime was set back. It also sees a chmod, which changes
    nothing for us, so it is no part of the state; it matters while a file is being followed, read or removed.
    """

    device: int
    inode: int
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int | None = field(default=None, compare=False)  # None: not known, or not to be relied upon

    @classmethod
    def of(cls, status: os.stat_result, *, ctime: bool = False) -> Self:
        """Take the stamp of a stat result, with its ctime or without."""
        ctime_ns = status.st_ctime_ns if ctime else None
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, ctime_ns)

    def is_untouched(self, status: os.stat_result) -> bool:
        """Whether the file is in this state and, as far as is known, was in no other since."""
        return self == Stamp.of(status) and self.ctime_ns in {None, status.st_ctime_ns}

    def same_content(self, other: "Stamp") -> bool:
        """Whether two stamps, which may be years apart, are of one file whose content didn't change in between.

        The device is left out: its number may be another one after every reboot (NFS, device mapper).
        """
        return self.inode == other.inode and self.is_like(other)

    def is_like(self, other: "Stamp") -> bool:
        """Whether size and time are the same: all that stays of a file after a copy to a new disk."""
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that seemed complete when its stamp was taken."""

    path: Path
    stamp: Stamp
    after_ingest: AfterIngest = "keep"
    requested: str | None = None  # id of the request that asked for it, None for found files
    final: bool = False  # it did not change for long: if it is incomplete now, that is its receipt
    tries: int = 0  # how often it came back in this state, through no fault of its own
    force: bool = False  # to be taken also if its content is known, or was deleted or rejected
    by: str = ""  # who wants that, if it isn't the user this process works for


@contextmanager
def opened(source: Source, look: Callable[[bytes, int], None] | None = None) -> Iterator[bytes | Content]:
    """Give the content of the file, provided that it is still in the state its stamp describes, and stays in it.

    A file of up to `WHOLE_BYTES` is read and closed at once. A larger one is read as its slices are asked for; whether
    it is the same to the end is found when the context is left, so nothing of it counts before.

    Args:
        source: the file.
        look: shown the first kilobyte and the file's size; what it raises spares reading the rest.

    Raises:
        Rejected: if it is not a regular file or may not be read.
        Transient: if it vanished or changed before or while it was read, or the storage failed. Of a file that changed
            this is said, too, in place of what was made of it.
    """
    descriptor = _open(source.path)
    try:
        size = _begin(descriptor, source, look)
        content = Content(descriptor, size)
        try:
            if size > WHOLE_BYTES:
                yield content
            else:
                whole = content[:]
        finally:
            # Also in place of another error: what a file was taken for while it changed is no news.
            if not source.stamp.is_untouched(os.fstat(descriptor)):
                raise Transient(CHANGED)
    finally:
        os.close(descriptor)
    if size <= WHOLE_BYTES:
        yield whole


def _begin(descriptor: int, source: Source, look: Callable[[bytes, int], None] | None) -> int:
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Rejected(not_a_file(status.st_mode))
        if not source.stamp.is_untouched(status):
            raise Transient("the file changed before it was read")
        if look:
            look(os.pread(descriptor, 1024, 0), status.st_size)
    except OSError as error:
        raise Transient(f"the file can't be read: {error.strerror}") from error
    return status.st_size


def not_a_file(mode: int) -> str:
    """Word the reason why something of this st_mode is no input."""
    return f"not a regular file but {_KINDS.get(stat.S_IFMT(mode), 'something else')}"


def being_written(path: str) -> bool:
    """Whether some process on this machine has the file open for writing, as far as the kernel tells us.

    The kernel grants a read lease only on a file that nobody has open for writing (fcntl(2), F_SETLEASE). False
    also where it can't be told: on network file systems, or for other users' files without CAP_LEASE.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except OSError:
        return False
    try:
        # Should a writer come while we hold the lease, the kernel's signal must be one that is ignored by default;
        # the default, SIGIO, would end the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    else:
        return False
    finally:
        os.close(descriptor)


def remove(source: Source) -> bool:
    """Unlink the file if it is still in the state its stamp describes; say whether it is gone.

    Raises:
        Transient: if it can't be removed now.
    """
    name = source.path.name
    try:
        # By its directory, not by its path: another may be put in that one's place after the look.
        directory = os.open(source.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not source.stamp.is_untouched(os.stat(name, dir_fd=directory, follow_symlinks=False)):
                return False
            os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise Transient(f"a source can't be removed: {error.strerror}") from error
    return True


def _open(path: Path) -> int:
    try:
        return os.open(path, _OPEN_FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Rejected(not_a_file(stat.S_IFLNK)) from error
        if error.errno in {errno.ENXIO, errno.ENODEV}:  # a socket, or a device without a driver
            raise Rejected("not a regular file but a socket or device") from error
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise Rejected(NO_PERMISSION) from error
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise Transient("the file is gone") from error
        raise Transient(f"the file can't be opened: {error.strerror}") from error
