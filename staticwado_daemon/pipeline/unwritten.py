"""Sources that have left the line, held until the journal has their receipts."""

from collections.abc import Iterable

import structlog

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.pipeline.staged import Finished

_PASSING = f"/{layout.REBUILD}/"

_log = structlog.get_logger(__name__)


class Unwritten:
    """What the journal is yet to take.

    Args:
        journal: where receipts go.

    Attributes:
        failure: why the journal doesn't take them; None while it does.
    """

    def __init__(self, journal: Journal) -> None:
        self.failure: str | None = None
        self._journal = journal
        self._finished: list[Finished] = []
        self._superseded: list[tuple[Identity, str]] = []

    def __len__(self) -> int:
        """How many sources are held."""
        return len(self._finished)

    def hold(self, finished: Finished) -> None:
        """Take a source that has left the line."""
        self._finished.append(finished)

    def supersede(self, losers: Iterable[tuple[Identity, str]]) -> None:
        """Take note of contents that are published no more."""
        self._superseded.extend(losers)

    def write(self) -> list[Finished]:
        """Give back the sources, once the journal has their receipts; none as long as it doesn't take them."""
        if not self._finished:
            return []
        # What comes out of the tree itself, to be stored anew, is nobody's file: it gets no receipt that lasts.
        lasting = (each for each in self._finished if _PASSING not in str(each.source.path))
        receipts = [each.result for each in lasting if isinstance(each.result, Receipt)]
        try:
            if receipts:
                self._journal.write(receipts)
            if self._superseded:
                self._journal.supersede(self._superseded)
        except Transient as why:
            if str(why) != self.failure:
                _log.error("journal_refused", reason=str(why))
            self.failure = str(why)
            return []
        self.failure = None
        finished = self._finished
        self._finished, self._superseded = [], []
        return finished
