"""The lock of a root: one process at a time writes there, and others can see what kind of process it is."""

import fcntl
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from staticwado_daemon.archive import layout
from staticwado_daemon.errors import Transient

Role = Literal["daemon", "create", "adopt"]
"""Who holds a root's lock: a daemon takes requests, anyone else is to be waited for."""


def take(root: Path, role: Role, wait_seconds: float) -> int:
    """Hold the root's lock for as long as the descriptor that is returned stays open.

    A daemon that was killed may need a moment to let go of it.

    Raises:
        Transient: if another process holds it.
        OSError: if there can be no lock file.
    """
    lock = hold(root / layout.LOCK, wait_seconds)
    if lock is None:
        raise Transient(f"another staticwado is writing to {root}")
    with ExitStack() as undo:
        undo.callback(os.close, lock)
        os.ftruncate(lock, 0)
        os.pwrite(lock, role.encode(), 0)
        undo.pop_all()
    return lock


def hold(path: Path, wait_seconds: float = 0.0) -> int | None:
    """Hold a lock file for as long as the descriptor that is returned stays open; None if another process does.

    Raises:
        OSError: if there can be no such file.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    with ExitStack() as undo:
        undo.callback(os.close, lock)
        if not _is_ours(lock, wait_seconds):
            return None
        undo.pop_all()
    return lock


def _is_ours(lock: int, wait_seconds: float) -> bool:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def lock_holder(root: Path) -> Role | None:
    """Who is writing to this root at the moment; None if nobody is."""
    try:
        lock = os.open(root / layout.LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Shared, so that two who ask at once don't take each other for a writer.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "create" if os.pread(lock, 16, 0) in {b"create", b"adopt"} else "daemon"
    finally:
        os.close(lock)
    return None
