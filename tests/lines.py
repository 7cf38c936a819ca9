"""What the tests give a line of their own for its publisher process."""

import functools
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.archive.lock import Role
from staticwado_daemon.archive.store import DISK
from staticwado_daemon.pipeline import publisher


def publishing(root: Path, disk: Disk = DISK, *, role: Role = "daemon") -> Callable[[Connection], None]:
    """The publisher of `root` on `disk`, which logs as its process happens to."""
    return functools.partial(publisher.run, root=root, group=None, role=role, prepare=_nothing, disk=disk)


def _nothing() -> None:
    """Prepares no logging."""
