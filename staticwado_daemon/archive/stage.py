"""Files while they are made, out of everybody's sight."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from staticwado_daemon.archive.disk import DISK, Disk


class Stage:
    """Files while they are made, in a private directory that comes with the first of them."""

    def __init__(self, directory: Path, disk: Disk = DISK) -> None:
        """Begin in `directory`, whose parent may be missing as well, but not what is above."""
        self._disk = disk
        self._directory = directory
        self._made = {directory.parent.parent}

    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Write one file, whose path is relative to the stage."""
        path = self._directory / name
        self._make(path.parent)
        self._disk.write(path, parts)

    def remove(self, name: str) -> None:
        """Remove a file again."""
        self._disk.unlink(self._directory / name)

    def _make(self, directory: Path) -> None:
        if directory not in self._made:
            self._make(directory.parent)
            with suppress(FileExistsError):
                self._disk.mkdir(directory)
            self._made.add(directory)
