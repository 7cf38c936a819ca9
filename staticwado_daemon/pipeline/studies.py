"""What the writer knows of the studies it is working on, read from their records when first asked for."""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from staticwado_daemon.archive import holdings, summary
from staticwado_daemon.archive.merge import UNKNOWN, Versions, merge
from staticwado_daemon.archive.record import Held, Record
from staticwado_daemon.archive.summary import Entry, Series
from staticwado_daemon.dicom.uids import UID, Identity

_BESIDES = 1000
"""Bytes that a study or instance costs beside what is counted of it."""


class Study:
    """The versions of each instance of one study, and the published one's part in the summaries."""

    def __init__(self, uid: UID, held: Iterable[Held] = ()) -> None:
        self.uid = uid
        self.size = _BESIDES
        self._versions = merge(held)
        self._entries: dict[UID, dict[UID, Entry]] = {}
        self._series: dict[UID, Series] = {}
        self._remainders: set[str] | None = None
        self._added: set[str] = set()
        for identity, versions in self._versions.items():
            self.size += sum(len(each.dataset) for each in versions.records if each is not versions.winner)
            self._show(identity, versions.winner)

    def versions(self, identity: Identity) -> Versions:
        """What is known of an instance."""
        return self._versions.get(identity, UNKNOWN)

    def known(self, identity: Identity, content: str) -> Record | None:
        """The record of this content of an instance, if there is one, be it shown or not."""
        return next((each for each in self.versions(identity).records if each.content == content), None)

    def identities(self) -> Iterable[Identity]:
        """Every instance of which there are records or tombstones."""
        return self._versions.keys()

    def instances(self) -> Iterable[Versions]:
        """What is known of each of these."""
        return self._versions.values()

    def next_revision(self, identity: Identity) -> int:
        """The revision that a new content of this instance gets."""
        return max((each.revision for each in self.versions(identity).records), default=0) + 1

    def add(self, new: Held) -> None:
        """Take in a record or tombstone."""
        identity = new.identity
        self._versions[identity] = merge((*self.versions(identity).held, new))[identity]
        if isinstance(new, Record):
            self._added.add(new.remainder[0])
        self._show(identity, self._versions[identity].winner)

    def has_remainder(self, root: Path, version: Record) -> bool:
        """Whether a pack of the study has what restoring this version needs."""
        if self._remainders is None:
            self._remainders = {digest for digest, _ in holdings.remainders(root, self.uid)}
        return version.remainder[0] in self._remainders or version.remainder[0] in self._added

    def _show(self, identity: Identity, winner: Record | None) -> None:
        entries = self._entries.setdefault(identity.series, {})
        if winner:
            entry = summary.entry(winner)
            entries[identity.instance] = entry
            self.size += _size(entry)
        else:
            entries.pop(identity.instance, None)
        if not entries:
            del self._entries[identity.series]
        self._series.pop(identity.series, None)

    def series_uids(self) -> set[UID]:
        """The UIDs of all series that have something to show."""
        return set(self._entries)

    def series(self) -> list[Series]:
        """These series in published order."""
        for uid, entries in self._entries.items():
            if uid not in self._series:
                self._series[uid] = Series.of(uid, entries.values())
        return summary.in_order(self._series.values())


class Studies:
    """The studies last used, as many as fit into a number of bytes."""

    def __init__(self, root: Path, maximum_bytes: int) -> None:
        self._root = root
        self._maximum = maximum_bytes
        self._cache: OrderedDict[UID, tuple[Study, int]] = OrderedDict()  # with the size that is part of the total
        self._total = 0

    def get(self, uid: UID) -> Study:
        """A study as its records tell it; one without any is empty."""
        study = self._take_out(uid) or Study(uid, holdings.held(self._root, uid))
        self._cache[uid] = study, study.size
        self._total += study.size
        # Those longest unused, until the rest fits; the one just asked for stays.
        while self._total > self._maximum and len(self._cache) > 1:
            self._take_out(next(iter(self._cache)))
        return study

    def forget(self, uid: UID) -> None:
        """Read the study from its records when it is next asked for."""
        self._take_out(uid)

    def _take_out(self, uid: UID) -> Study | None:
        study, size = self._cache.pop(uid, (None, 0))
        self._total -= size
        return study


def _size(entry: Entry) -> int:
    return len(entry.dataset) + len(entry.query) + len(entry.series) + len(entry.study) + _BESIDES
