"""What the tests give a line of their own for its publisher process."""

import functools
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from staticwado_daemon.archive.disk import DISK, Disk
from staticwado_daemon.archive.lock import Role
from staticwado_daemon.pipeline import publishing as publisher_process


def publishing(root: Path, disk: Disk = DISK, *, role: Role = "daemon") -> Callable[[Connection], None]:
    """The publisher of `root` on `disk`, which logs as its process happens to."""
    return functools.partial(publisher_process.run, root=root, group=None, role=role, prepare=_nothing, disk=disk)


def _nothing() -> None:
    """Prepares no logging."""
