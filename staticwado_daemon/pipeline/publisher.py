"""The publisher's work: the only writer of the tree.

It takes batches of staged instances, stores them, publishes the studies they belong to, and answers when
everything is on the disk. Becoming visible doesn't wait for that; receipts do.
"""

import itertools
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from staticwado_daemon.archive import layout, query_tables
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.pipeline import publish, removal
from staticwado_daemon.pipeline.commit import commit, sweep
from staticwado_daemon.pipeline.listing import Listing
from staticwado_daemon.pipeline.messages import (
    Batch,
    Committed,
    Flush,
    Flushed,
    Progress,
    Purge,
    Reindex,
    Remove,
    Renew,
    Sweep,
    Tidy,
    received,
    together,
)
from staticwado_daemon.pipeline.notes import Notes
from staticwado_daemon.pipeline.obedience import Obedience
from staticwado_daemon.pipeline.recover import recover
from staticwado_daemon.pipeline.searchable import Searchable
from staticwado_daemon.pipeline.studies import Studies
from staticwado_daemon.pipeline.work import Agenda, Work, next_due

HOT_DUTY = 9
"""While instances keep coming, a study rests between two publications this many times as long as the last took."""

RETRY_SECONDS = 1.0
"""How long to wait after the disk refused a file."""

LOOK_SECONDS = 2.0
"""At the latest it is seen then that somebody has removed or replaced the query index."""

MAXIMUM_CACHE = 256 * 1024 * 1024


class Publisher:
    """The loop of the publisher process and what it has yet to write.

    Args:
        store: the tree.
        connection: to the main process.
        query_index: where that is; among the tree's private files if not given.
    """

    def __init__(self, store: Store, connection: Connection, query_index: Path | None = None) -> None:
        self._store = store
        self._connection = connection
        self._studies = Studies(store.root, MAXIMUM_CACHE)
        self._notes = Notes(store)
        self._agenda = Agenda(self._doubt)
        self._work = self._agenda.studies
        self._obedience = Obedience(store, self._studies, self._notes, self._agenda)
        self._listing = Listing(store)
        query_index = query_index or store.root / layout.PRIVATE / query_tables.FILE
        self._searchable = Searchable(store, query_index, self._listing.index)
        self._taken = 0
        self._flushes: list[int] = []
        self._reindexing = False
        # An earlier process had marked studies and perhaps not finished.
        for study in (*self._listing.unreadable, *publish.marked(store)):
            self._agenda.note(study, None)

    def serve(self) -> None:
        """Work until told to end.

        Raises:
            EOFError, BrokenPipeError, ConnectionResetError: if the other side is gone.
        """
        with closing(self._searchable):
            self._serve()

    def _serve(self) -> None:
        self._report()
        while True:
            messages = received(self._connection, self._pause())
            commits = [done for batches in together(messages) for done in self._commit(batches)]
            for each in messages:
                if isinstance(each, Sweep):
                    self._store.sweep(each.directory)
                elif isinstance(each, Renew):
                    self._obedience.renew(each.studies)
                elif isinstance(each, Remove):
                    self._connection.send(self._obedience.remove(each))
                elif isinstance(each, Tidy):
                    self._connection.send(self._obedience.tidy(each))
                elif isinstance(each, Purge):
                    self._obedience.purge(each.before)
            if Reindex() in messages:
                self._reindex()
            flushes = [each.number for each in messages if isinstance(each, Flush)]
            ending = None in messages
            self._publish_hot(everything=bool(flushes) or ending)
            self._answer(commits)
            self._publish_searchable(everything=bool(flushes) or ending)
            self._publish_index(everything=bool(flushes) or ending)
            self._publish_cold(everything=bool(flushes) or ending)
            self._taken += len(messages)
            self._report()
            self._store.tidy()
            self._flushes.extend(flushes)
            self._answer_flushes(ending=ending)
            if ending:
                return

    def _commit(self, batches: Sequence[Batch]) -> list[Committed]:
        """Store batches as if they were one, study by study: a study that is refused costs no other."""
        receipts: list[Receipt | None] = []
        superseded: list[tuple[Identity, str]] = []
        failure = None
        everything = [staged for batch in batches for staged in batch.staged]
        for uid, members in itertools.groupby(everything, key=lambda staged: staged.record.identity.study):
            staged = tuple(members)
            try:
                done = commit(self._store, self._studies, staged)
            except OSError as error:
                failure = self._agenda.refused("commit", error)
                self._agenda.note(uid, None)
                receipts.extend([None] * len(staged))
                continue
            for study, series in done.dirty.items():
                self._agenda.note(study, series)
            receipts.extend(done.receipts)
            superseded.extend(done.superseded)
        if failure is None:
            self._agenda.succeeded("commit")
        sweep(self._store, everything)
        left = iter(receipts)
        *before, last = (
            Committed(each.number, tuple(itertools.islice(left, len(each.staged))), failure=failure) for each in batches
        )
        # Told with the last of them: what is superseded may be of any, and must have its receipt before.
        return [*before, replace(last, superseded=tuple(superseded))]

    def _answer(self, commits: list[Committed]) -> None:
        """Say what became of batches, once it is on the disk."""
        if not commits:
            return
        try:
            self._store.sync()
            self._agenda.succeeded("sync")
        except OSError as error:
            failure = self._agenda.refused("sync", error)
            commits = [Committed(each.number, (None,) * len(each.receipts), failure=failure) for each in commits]
        for each in commits:
            self._connection.send(each)

    def _answer_flushes(self, *, ending: bool) -> None:
        """Say that everything is written; to who had the index made anew once that is done, portion by portion."""
        self._reindexing &= self._searchable.due is not None
        if self._reindexing and not ending and self._agenda.failure is None:
            return
        for number in self._flushes:
            self._connection.send(Flushed(number, self._agenda.failure))
        self._flushes.clear()

    def _reindex(self) -> None:
        self._reindexing = True
        self._listing.remake()
        self._searchable.remake(self._listing.index)
        # What is just leaving the tree must not be listed again.
        for study in (*self._listing.unreadable, *self._work):
            self._agenda.note(study, None)

    def _publish_hot(self, *, everything: bool) -> None:
        for uid, work in list(self._work.items()):
            started = time.monotonic()
            if not work.is_hot or not (everything or started >= work.hot_due):
                continue
            try:
                self._store.check()
                self._publish_study(uid, work)
            except OSError as error:
                self._agenda.refused(uid, error)
                work.hot_due = time.monotonic() + RETRY_SECONDS
                continue
            self._agenda.succeeded(uid)
            ended = time.monotonic()
            work.hot_due = ended + HOT_DUTY * (ended - started)

    def _publish_study(self, uid: UID, work: Work) -> None:
        if work.changed is None:
            recover(self._store, self._studies, uid)
        study = self._studies.get(uid)
        if study.series_uids():
            publish.publish_hot(self._store, study, work.changed or study.series_uids(), self._listing.index)
            self._listing.change()
        elif uid in self._listing.index:
            self._listing.index.remove(uid)
            self._listing.change()
        self._searchable.change(uid, work.changed)
        work.changed = set()

    def _publish_searchable(self, *, everything: bool) -> None:
        """Bring the query index up to date; what can't be written there keeps nothing else from being published."""
        due = self._searchable.due
        if due is None or not (everything or time.monotonic() >= due):
            return
        behind = self._searchable.owed - self._work.keys()
        try:
            self._obedience.renew(self._searchable.write(self._studies))
        except (OSError, Transient) as error:
            self._agenda.refused("query index", error)
            self._searchable.put_off(RETRY_SECONDS)
            return
        # Their marks have stayed for this alone.
        for uid in behind - self._searchable.owed:
            self._agenda.note(uid, set())
        if not self._searchable.owed:
            self._agenda.succeeded("query index")

    def _publish_index(self, *, everything: bool) -> None:
        try:
            if self._listing.write(everything=everything):
                self._agenda.succeeded("index")
        except OSError as error:
            self._agenda.refused("index", error)
            self._listing.put_off(RETRY_SECONDS)

    def _publish_cold(self, *, everything: bool) -> None:
        """Write the cold files of the studies that have come to rest, and take their marks away."""
        if self._listing.due is not None:
            return
        written: list[UID] = []
        for uid, work in self._work.items():
            if work.is_hot or not (everything or time.monotonic() >= work.cold_due):
                continue
            try:
                self._store.check()
                study = self._studies.get(uid)
                if study.series_uids():
                    publish.publish_cold(self._store, study)
                publish.group(self._store, uid)
                removal.clear(self._store, study)
                self._notes.note(study)
            except OSError as error:
                self._agenda.refused(uid, error)
                work.cold_due = time.monotonic() + RETRY_SECONDS
            else:
                self._agenda.succeeded(uid)
                written.append(uid)
        # A sync that failed for a later study left the earlier ones to be written again.
        written = [uid for uid in written if not self._work[uid].is_hot]
        try:
            if written:
                self._store.sync()
                self._searchable.make_durable()
                # Also if what was refused before doesn't come again.
                self._agenda.succeeded("commit")
                self._agenda.succeeded("sync")
            for uid in written:
                # The mark of a study that can't be searched for as yet stays until it can.
                if uid not in self._searchable.owed:
                    self._store.remove(layout.dirty_mark(uid))
                del self._work[uid]
            self._agenda.succeeded("marks")
        except OSError as error:
            self._agenda.refused("marks", error)
            for uid in written:
                if uid in self._work:
                    self._work[uid].cold_due = time.monotonic() + RETRY_SECONDS

    def _doubt(self) -> None:
        """Have anew what is computed from all studies."""
        self._listing.change()
        self._searchable.remake(self._listing.index)

    def _pause(self) -> float | None:
        """Seconds until something is due, or is to be looked at."""
        due = (next_due(self._work.values(), self._listing.due), self._searchable.due)
        first = min((each for each in due if each is not None), default=None)
        return LOOK_SECONDS if first is None else min(LOOK_SECONDS, max(0.0, first - time.monotonic()))

    def _report(self) -> None:
        index = self._listing.index
        dirty = len(self._work.keys() | self._searchable.owed) + (self._listing.due is not None)
        progress = Progress(index.instances, len(index), dirty, self._agenda.failure, self._taken, self._notes.total)
        self._connection.send(progress)
