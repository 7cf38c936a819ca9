"""What can be searched for, as the publisher keeps it: the query index, brought up to date with what is published."""

import time
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import structlog

from staticwado_daemon.archive import query_index, query_rows, query_writer
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.query_writer import QueryIndexWriter
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Transient
from staticwado_daemon.pipeline.studies import Studies

_log = structlog.get_logger(__name__)

PORTION_SECONDS: Final = 0.05
"""For how long, in one go, studies are written that have not just changed."""


class Searchable:
    """The query index of a tree.

    Two kinds of studies are to be written: those that have just been published, all at once; and those of which the
    index says something else than the list of all studies, or nothing, a few at a time. The latter are all of them
    where the index is new, and what changed while nobody of us was looking.

    Args:
        store: the tree.
        path: of the index.
        index: the list of all studies; `remake` tells of another.
    """

    def __init__(self, store: Store, path: Path, index: StudiesIndex) -> None:
        self._store = store
        self._path = path
        self._index = index
        self._writer: QueryIndexWriter | None = None
        self._file: tuple[int, int] | None = None
        self._changed: dict[UID, set[UID] | None] = {}
        self._left: dict[UID, None] = {}
        self._is_void = False
        self._not_before = 0.0

    @property
    def due(self) -> float | None:
        """When something is to be written; None if nothing is."""
        return self._not_before if self._changed or self._left or not self._stands() else None

    @property
    def owed(self) -> AbstractSet[UID]:
        """The studies that were published and aren't in the index as they are now."""
        return self._changed.keys()

    def change(self, study: UID, series: Collection[UID] | None) -> None:
        """Note that series of a study have been published, or all of it."""
        before = self._changed.get(study, set())
        if series is None or before is None or study in self._left:
            self._changed[study] = None
            self._left.pop(study, None)
        else:
            self._changed[study] = before | {*series}

    def remake(self, index: StudiesIndex) -> None:
        """Have all of it made anew: nothing that was written is to be believed.

        Args:
            index: the list of all studies.
        """
        self._index = index
        self._is_void = True
        self.close()

    def put_off(self, seconds: float) -> None:
        """Write no sooner than that."""
        self._not_before = time.monotonic() + seconds

    def write(self, studies: Studies) -> list[UID]:
        """Write what has just been published, and a portion of what else is left.

        Returns:
            studies whose published files can't be read, though they are listed: they must be published anew.

        Raises:
            Transient, OSError: if the index can't be written now.
        """
        try:
            writer = self._open()
            with writer.transaction():
                for study, series in self._changed.items():
                    self._write_published(writer, studies, study, series)
                done, unreadable = self._write_left(writer)
                if len(done) == len(self._left) and not writer.is_complete:
                    writer.finish()
            writer.trim()
        except Corrupt as why:
            _log.warning("query_index_made_anew", reason=str(why))
            self.remake(self._index)
            return []
        # Those are written once they are published anew; until then the index isn't made.
        self._changed = dict.fromkeys(unreadable)
        for study in done:
            del self._left[study]
        return unreadable

    def make_durable(self) -> None:
        """Have on the disk what was written; where that isn't certain, all of it is made anew."""
        try:
            if self._writer:
                self._writer.make_durable()
        except (OSError, Corrupt, Transient) as why:
            _log.error("query_index_made_anew", reason=str(why))
            self.remake(self._index)

    def close(self) -> None:
        """Close the index."""
        if self._writer:
            self._writer.close()
            self._writer = None

    def _open(self) -> QueryIndexWriter:
        """The open index, compared with the list of all studies."""
        if self._writer and not self._stands():
            # Deleted, or replaced by one of which nobody knows anything. What is written to a file without a name,
            # nobody reads.
            _log.warning("query_index_made_anew", reason="somebody has removed or replaced it")
            self.remake(self._index)
        if self._is_void:
            query_writer.remove(self._path)
            self._is_void = False
        if self._writer is None:
            writer = QueryIndexWriter(self._path)
            try:
                self._compare(writer)
            except BaseException:
                writer.close()
                raise
            self._writer, self._file = writer, query_index.file_identity(self._path)
        return self._writer

    def _stands(self) -> bool:
        """Whether the open index is the one that others find."""
        return self._writer is not None and query_index.file_identity(self._path) == self._file

    def _compare(self, writer: QueryIndexWriter) -> None:
        """Find the studies that the index has otherwise than they are listed."""
        listed = self._index.queries()
        gone, same = [], set()
        for study, answer in writer.answers():
            if study not in listed:
                gone.append(UID(study))
            elif listed[UID(study)] == answer:
                same.add(study)
        # Of one that has just been published more may be another than what was changed last.
        self._changed = dict.fromkeys(self._changed)
        self._left = dict.fromkeys(
            study for study in (*listed, *gone) if study not in same and study not in self._changed
        )
        if not writer.is_complete:
            with writer.transaction():
                writer.begin(len(listed))

    def _write_published(self, writer: QueryIndexWriter, studies: Studies, uid: UID, series: set[UID] | None) -> None:
        """Write a study as it has just been published."""
        answer = self._index.query(uid)
        if answer is None:
            writer.remove(uid)
        else:
            writer.put(query_rows.of_records(uid, answer, studies.get(uid).series(), series))

    def _write_left(self, writer: QueryIndexWriter) -> tuple[list[UID], list[UID]]:
        """Write a portion of what else there is; returns the studies done, and those of them that can't be read."""
        done: list[UID] = []
        unreadable = []
        until = time.monotonic() + PORTION_SECONDS
        for uid in self._left:
            if done and time.monotonic() > until:
                break
            done.append(uid)
            if uid not in self._index:
                writer.remove(uid)
                continue
            try:
                rows = query_rows.of_files(uid, self._store.read)
            except (Corrupt, OSError) as why:
                _log.error("study_not_searchable", study=uid, reason=str(why))
                unreadable.append(uid)
            else:
                writer.put(rows)
        return done, unreadable
