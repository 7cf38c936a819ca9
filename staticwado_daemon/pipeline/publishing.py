"""The publisher process from inside: it takes the tree's lock, works, and ends when nobody is left to work for."""

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import structlog

from staticwado_daemon.archive.disk import DISK, Disk
from staticwado_daemon.archive.lock import Role
from staticwado_daemon.archive.store import Store
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.pipeline.publisher import Publisher

_log = structlog.get_logger(__name__)

LOCK_SECONDS = 4.0
"""How long to wait for the publisher of a daemon that was killed to notice and let go."""


def run(
    connection: Connection,
    root: Path,
    group: str | None,
    role: Role,
    prepare: Callable[[], None],
    disk: Disk = DISK,
    query_index: Path | None = None,
) -> None:
    """Be the publisher of `root`, which is on `disk`, until told to end or until nobody is left at the other side."""
    # The main process ends this one: a terminal's Ctrl-C and a service manager's SIGTERM reach the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    prepare()
    try:
        store = Store(root, group, role=role, wait_seconds=LOCK_SECONDS, disk=disk)
    except StaticwadoError as error:
        with suppress(OSError):  # nobody may be left to read it
            connection.send(error)
        return
    with store:
        try:
            Publisher(store, connection, query_index).serve()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            # The daemon was killed. What was committed is marked dirty, so its next start goes on from here.
            _log.warning("publisher_left_alone")
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the process, but not unread
            # Logged here, where no one's name gets into the log, instead of by the interpreter.
            _log.exception("publisher_failed", kind=type(error).__name__)
            sys.exit(1)
