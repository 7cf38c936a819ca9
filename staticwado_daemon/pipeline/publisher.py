"""The publisher process: the only writer of the tree.

It takes batches of staged instances, stores them, publishes the studies they belong to, and answers when
everything is on the disk. Becoming visible doesn't wait for that; receipts do.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

import structlog

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import ConfigError, Corrupt
from staticwado_daemon.pipeline import publish
from staticwado_daemon.pipeline.commit import Commit, commit, sweep
from staticwado_daemon.pipeline.staged import Committed, Progress, Staged
from staticwado_daemon.pipeline.studies import Studies

_log = structlog.get_logger(__name__)

QUIET_SECONDS = 2.0
"""How long a study rests before its cold files are written."""

INDEX_DUTY = 20
"""The studies index is written again no sooner than this many times its last writing time."""

HOT_DUTY = 9
"""While instances keep coming, the pause between two publications is this many times as long as the last took."""

RETRY_SECONDS = 1.0
"""How long to wait after the disk refused a file."""

MAXIMUM_CACHE = 256 * 1024 * 1024

LOCK_SECONDS = 4.0
"""How long to wait for the publisher of a daemon that was killed to notice and let go."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Staged instances to store; the answer is a `Committed` of the same number."""

    number: int
    staged: tuple[Staged, ...]


@dataclass(frozen=True, slots=True)
class Reindex:
    """Make the studies index anew from the studies' own files."""


@dataclass(frozen=True, slots=True)
class Flush:
    """Write everything now, the cold files included."""


Message: TypeAlias = Batch | Reindex | Flush | None
"""What the publisher is told; None ends it."""

Reply: TypeAlias = Committed | Progress | ConfigError


def run(connection: Connection, root: Path, group: str | None, prepare: Callable[[], None]) -> None:
    """Be the publisher of `root` until told to end or until nobody is left at the other side."""
    # The main process ends this one: a terminal's Ctrl-C and a service manager's SIGTERM reach the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    prepare()
    try:
        store = Store(root, group, wait_seconds=LOCK_SECONDS)
    except ConfigError as error:
        connection.send(error)
        return
    with store:
        try:
            Publisher(store, connection).serve()
        except (EOFError, BrokenPipeError):
            # The daemon was killed. What was committed is marked dirty, so its next start goes on from here.
            _log.warning("publisher_left_alone")


class Publisher:
    """The loop of the publisher process and what it has yet to write."""

    def __init__(self, store: Store, connection: Connection) -> None:
        self._store = store
        self._connection = connection
        self._studies = Studies(store, MAXIMUM_CACHE)
        self._index = publish.read_index(store)
        # A new tree answers with an empty list, not with "not found".
        self._index_due: float | None = None if store.names("studies") else 0.0
        self._index_rest = 0.0
        self._hot: dict[UID, set[UID]] = {}
        self._hot_due = 0.0
        self._cold: dict[UID, float] = {}
        self._resume()

    def _resume(self) -> None:
        """Publish anew what an earlier process had marked and perhaps not finished."""
        for name in self._store.names(layout.DIRTY):
            study = UID(name)
            if series := self._studies.get(study).series_uids():
                self._touch(study, series)
            else:
                # The crash came between the mark and the first record: there is nothing to publish.
                self._store.remove(layout.dirty_mark(study))

    def serve(self) -> None:
        """Work until told to end.

        Raises:
            EOFError, BrokenPipeError: if the other side is gone.
        """
        self._report()
        while True:
            busy = self._connection.poll(self._pause())
            messages = [self._connection.recv()] if busy else []
            while self._connection.poll(0):
                messages.append(self._connection.recv())
            if not self._obey(messages):
                return

    def _obey(self, messages: list[Message]) -> bool:
        """Take messages that came together, so that they share their syncs; False ends the loop."""
        commits = [(each.number, self._commit(each)) for each in messages if isinstance(each, Batch)]
        if Reindex() in messages:
            self._index = publish.rebuild_index(self._store)
            self._index_due = 0.0
        flush = Flush() in messages or None in messages
        try:
            self._publish_hot(everything=flush)
            if commits:
                self._store.sync()
            for number, done in commits:
                self._connection.send(_committed(number, done))
            commits.clear()
            self._publish_index(everything=flush)
            self._publish_cold(everything=flush)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            _log.error("publishing_failed", reason=error.strerror)
            self._hot_due = time.monotonic() + RETRY_SECONDS
            for number, _ in commits:
                self._connection.send(Committed(number, failure=error.strerror or str(error)))
        self._studies.trim()
        self._report()
        return None not in messages

    def _commit(self, batch: Batch) -> Commit | OSError:
        try:
            done = commit(self._store, self._studies, batch.staged)
        except OSError as error:
            _log.error("commit_failed", reason=error.strerror)
            for staged in batch.staged:
                study = staged.record.identity.study
                self._touch(study, self._studies.get(study).series_uids())
            sweep(batch.staged)
            return error
        for study, series in done.dirty.items():
            self._touch(study, series)
        return done

    def _touch(self, study: UID, series: set[UID]) -> None:
        self._hot.setdefault(study, set()).update(series)
        self._cold[study] = time.monotonic() + QUIET_SECONDS

    def _publish_hot(self, *, everything: bool) -> None:
        started = time.monotonic()
        if not self._hot or not (everything or started >= self._hot_due):
            return
        for study, series in list(self._hot.items()):
            publish.publish_hot(self._store, self._studies.get(study), series, self._index)
            del self._hot[study]
        ended = time.monotonic()
        self._hot_due = ended + HOT_DUTY * (ended - started)
        if self._index_due is None:
            self._index_due = max(ended, self._index_rest)

    def _publish_index(self, *, everything: bool) -> None:
        started = time.monotonic()
        if self._index_due is None or not (everything or started >= self._index_due):
            return
        publish.publish_index(self._store, self._index)
        self._index_due = None
        ended = time.monotonic()
        self._index_rest = ended + INDEX_DUTY * (ended - started)

    def _publish_cold(self, *, everything: bool) -> None:
        """Write the cold files of the studies that have come to rest, and take their marks away."""
        now = time.monotonic()
        rested = [study for study, due in self._cold.items() if study not in self._hot and (everything or now >= due)]
        if not rested or self._index_due is not None:
            return
        for study in rested:
            publish.publish_cold(self._store, self._studies.get(study))
            try:
                publish.group(self._store, study)
            except Corrupt as why:
                _log.error("grouping_failed", study=study, reason=str(why))
        self._store.sync()
        for study in rested:
            del self._cold[study]
            self._store.remove(layout.dirty_mark(study))

    def _pause(self) -> float | None:
        """Seconds until something is due; None for as long as nothing comes. Hot files go before index before cold."""
        if self._hot:
            due = self._hot_due
        elif self._index_due is not None:
            due = self._index_due
        elif self._cold:
            due = min(self._cold.values())
        else:
            return None
        return max(0.0, due - time.monotonic())

    def _report(self) -> None:
        self._connection.send(Progress(self._index.instances, len(self._index), self._unwritten()))

    def _unwritten(self) -> int:
        return len(self._cold) + (self._index_due is not None)


def _committed(number: int, done: Commit | OSError) -> Committed:
    if isinstance(done, OSError):
        return Committed(number, failure=done.strerror or str(done))
    return Committed(number, tuple(done.receipts), tuple(done.superseded))
