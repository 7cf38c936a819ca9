"""Small files of which a power cut leaves the old or the new one, and directories whose names are on the disk."""

import hashlib
import os
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all; that its name is on the disk is for `sync`.

    Raises:
        OSError: if that isn't possible.
    """
    temporary = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def sync(directory: Path) -> None:
    """Have what was renamed into a directory, or removed from it, on the disk.

    Raises:
        OSError: if that isn't possible.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove what `write` left in a directory when it was cut off; nobody writes there now.

    Raises:
        OSError: if that isn't possible.
    """
    for path in directory.glob(".*.tmp"):
        path.unlink(missing_ok=True)
