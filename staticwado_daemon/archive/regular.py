"""Opening what should be a regular file: a FIFO isn't waited for, and a device, which has no end, not read."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

NOT_ONE: Final = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
"""The errors that say that something else stands where a file belongs."""


def opened(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a file for reading.

    Args:
        path: the file's.
        follow: it may be a symbolic link to one.

    Raises:
        OSError: if it can't be read; one of `NOT_ONE` if it isn't a regular file.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))

    file = open(path, "rb", opener=opener)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.ENXIO, "No regular file", str(path))
    return file
