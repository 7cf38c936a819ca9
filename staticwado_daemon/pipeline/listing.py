"""The list of all studies as the publisher keeps it: in memory at once, on the disk a little later."""

import time

from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.pipeline import publish

INDEX_DUTY = 20
"""The studies index is written again no sooner than this many times its last writing time."""


class Listing:
    """The list of a tree's studies, and when it is to be written.

    Args:
        store: the tree.

    Attributes:
        index: the list.
        due: when it is to be written; None while it is.
        unreadable: studies that could not be listed and must be published anew.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rest = 0.0
        self.due: float | None = None
        self.unreadable: list[UID] = []
        index = publish.read_index(store)
        if index is None:
            self.remake()
        else:
            self.index: StudiesIndex = index

    def remake(self) -> None:
        """Make the list anew from the studies' own answers."""
        self.index, self.unreadable = publish.rebuild_index(self._store)
        self.due = 0.0

    def change(self) -> None:
        """Note that the list says something else now."""
        if self.due is None:
            self.due = self._rest

    def put_off(self, seconds: float) -> None:
        """Write it no sooner than that."""
        self.due = time.monotonic() + seconds

    def write(self, *, everything: bool) -> bool:
        """Write the list if that is due, or `everything` is; says whether there was anything to write.

        Raises:
            OSError: if the disk doesn't take it.
        """
        started = time.monotonic()
        if self.due is None or not (everything or started >= self.due):
            return False
        self._store.check()
        publish.publish_index(self._store, self.index)
        self.due = None
        ended = time.monotonic()
        self._rest = ended + INDEX_DUTY * (ended - started)
        return True
