"""What the writer knows of the studies it is working on, read from their records when first asked for."""

from collections import OrderedDict
from collections.abc import Iterable

import structlog

from staticwado_daemon.archive import layout, record, summary
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.summary import Entry, Series
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt

_log = structlog.get_logger(__name__)


class Study:
    """The versions known of each instance of one study, and the published one's part in the summaries."""

    def __init__(self, uid: UID, records: Iterable[Record] = ()) -> None:
        self.uid = uid
        self.size = 0
        self._contents: dict[Identity, dict[str, int]] = {}
        self._winners: dict[Identity, str] = {}
        self._entries: dict[UID, dict[UID, Entry]] = {}
        self._series: dict[UID, Series] = {}
        for identity, versions in merge(records).items():
            self._contents[identity] = {each.content: each.revision for each in versions}
            self._publish(versions[0])

    def knows(self, identity: Identity, content: str) -> bool:
        """Whether this content was ever stored for this instance."""
        return content in self._contents.get(identity, ())

    def winner(self, identity: Identity) -> str | None:
        """The published content of an instance."""
        return self._winners.get(identity)

    def next_revision(self, identity: Identity) -> int:
        """The revision that a new content of this instance gets."""
        return max(self._contents.get(identity, {}).values(), default=0) + 1

    def add(self, new: Record) -> None:
        """Take in a record of new content with the next revision, which makes it the winner."""
        self._contents.setdefault(new.identity, {})[new.content] = new.revision
        self._publish(new)

    def _publish(self, winner: Record) -> None:
        entry = summary.entry(winner)
        entries = self._entries.setdefault(winner.identity.series, {})
        replaced = entries.get(winner.identity.instance)
        self.size += _size(entry) - (_size(replaced) if replaced else 0)
        entries[winner.identity.instance] = entry
        self._winners[winner.identity] = winner.content
        self._series.pop(winner.identity.series, None)

    def series_uids(self) -> set[UID]:
        """The UIDs of all series."""
        return set(self._entries)

    def series(self) -> list[Series]:
        """All series in published order."""
        for uid, entries in self._entries.items():
            if uid not in self._series:
                self._series[uid] = Series.of(uid, entries.values())
        return summary.in_order(self._series.values())


class Studies:
    """The studies last used, as many as fit into a number of bytes."""

    def __init__(self, store: Store, maximum_bytes: int) -> None:
        self._store = store
        self._maximum = maximum_bytes
        self._cache: OrderedDict[UID, Study] = OrderedDict()

    def get(self, uid: UID) -> Study:
        """A study as its records tell it; one without any is empty."""
        study = self._cache.pop(uid, None) or Study(uid, read_records(self._store, uid))
        self._cache[uid] = study
        return study

    def forget(self, uid: UID) -> None:
        """Read the study from its records when it is next asked for."""
        self._cache.pop(uid, None)

    def trim(self) -> None:
        """Forget the studies longest unused until the rest fits."""
        total = sum(study.size for study in self._cache.values())
        while total > self._maximum and len(self._cache) > 1:
            _, study = self._cache.popitem(last=False)
            total -= study.size


def read_records(store: Store, uid: UID) -> list[Record]:
    """Every readable record of a study; an unreadable file is reported and left where it is."""
    found: list[Record] = []
    for directory in (layout.records_dir(uid), layout.pending_dir(uid)):
        for name in store.names(directory):
            data = store.read(f"{directory}/{name}")
            try:
                found.extend(record.from_file(data or b""))
            except Corrupt as why:
                _log.error("record_file_unreadable", study=uid, file=name, reason=str(why))
    return found


def _size(entry: Entry) -> int:
    return len(entry.dataset) + len(entry.query) + len(entry.series) + len(entry.study) + 1000
