"""The writer's notes on what is stored but not shown: kept beside the studies, and summed up."""

from staticwado_daemon.archive import hidden, layout
from staticwado_daemon.archive.hidden import NOTHING, Hidden
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline.studies import Study


class Notes:
    """The notes of a tree.

    Args:
        store: of the tree.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._notes = hidden.read(store.root)
        self._total: Hidden | None = None

    @property
    def total(self) -> Hidden:
        """Their sum; made when it is asked for, because a thousand studies may change together."""
        if self._total is None:
            self._total = hidden.total(self._notes.values())
        return self._total

    def note(self, study: Study) -> None:
        """Write the note of a study; where there is nothing to note, none stands."""
        now = Hidden.of(study.instances())
        before = self._notes.get(study.uid, NOTHING)
        if now != NOTHING:
            # Also if it says the same: what was written before a sync that failed may be lost, which the store knows.
            self._store.put(layout.hidden_note(study.uid), now.to_file())
            self._notes[study.uid] = now
        elif before != NOTHING:
            self._store.remove(layout.hidden_note(study.uid))
            del self._notes[study.uid]
        if now != before:
            self._total = None

    def due(self, before: str) -> list[UID]:
        """The studies of which something was deleted before a moment, as tombstones have it."""
        return [uid for uid, note in self._notes.items() if note.oldest and note.oldest < before]
