"""The requests that aren't answered yet: which of them is due, and whether there is room for one more."""

import threading
import time
from collections.abc import Container
from dataclasses import dataclass

import structlog

from staticwado_daemon.dimse.commitment import messages
from staticwado_daemon.dimse.commitment.messages import Refused
from staticwado_daemon.dimse.commitment.transactions import (
    MAXIMUM_OPEN,
    MAXIMUM_OPEN_OF_PEER,
    MAXIMUM_REFERENCES,
    Transaction,
    Transactions,
)
from staticwado_daemon.dimse.commitment.waiting import Waiting
from staticwado_daemon.errors import Corrupt, Transient

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Open:
    """A transaction that isn't answered yet; what it says is in its file.

    Attributes:
        name: its file's.
        peer: the AE title of who asked.
        count: of its references.
        since: when this program learned of it (monotonic seconds).
        due: when to go on with it (monotonic seconds); 0 once somebody asks again.
        waiting: the association on which it was asked; None if that can't be used.
        quiet_since: since when nothing has been on its way (monotonic seconds); None while something is.
        tries: of telling the requestor on an association of ours.
        delayed_by: why it could not be gone on with the last time; empty if it could.
        busy: whether somebody is at it.
    """

    name: str
    peer: str
    count: int
    since: float
    due: float = 0.0
    waiting: Waiting | None = None
    quiet_since: float | None = None
    tries: int = 0
    delayed_by: str = ""
    busy: bool = False


class Pending:
    """All of them. Every method may be called from any thread.

    Args:
        transactions: their files.
        peers: AE titles that we know where to reach.
    """

    def __init__(self, transactions: Transactions, peers: Container[str]) -> None:
        self._transactions = transactions
        self._peers = peers
        self._open: dict[str, Open] = {}
        self._changed = threading.Condition()
        self._ended = False

    def load(self) -> None:
        """Take up what was kept, the oldest first."""
        found: list[Transaction] = []
        for name in self._transactions.names():
            try:
                found.append(self._transactions.read(name))
            except (Corrupt, OSError) as why:
                _log.warning("commitment_unreadable", reason=str(why))
        with self._changed:
            for each in sorted(found, key=lambda transaction: transaction.at):
                self._open.setdefault(each.name, _opened(each))  # it may have been asked again before this
            self._changed.notify_all()

    def take(self, asked: Transaction, waiting: Waiting) -> None:
        """Keep a request; one that is repeated is the same one, and is answered where it was asked last.

        Raises:
            Refused: if it can't be kept.
        """
        with self._changed:
            entry = self._open.get(asked.name)
            try:
                if entry is None:
                    self._make_room(asked.peer, len(asked.references))
                    self._transactions.keep(asked)
                    entry = _opened(asked)
                elif self._transactions.read(asked.name).references != asked.references:
                    raise Refused(messages.INVALID, "the Transaction UID is that of another open request")
            except (OSError, Transient, Corrupt) as error:
                raise Refused(messages.FAILED, "the request can't be kept now") from error
            entry.waiting, entry.due = waiting, 0.0
            self._open[entry.name] = entry
            self._changed.notify()

    def next(self) -> Open | None:
        """Wait for one that is due, and hand it over until it is given back; None when the end has come."""
        with self._changed:
            while not self._ended:
                entry = min((each for each in self._open.values() if not each.busy), key=_due, default=None)
                left = None if entry is None else entry.due - time.monotonic()
                if entry is not None and entry.due <= time.monotonic():
                    entry.busy = True
                    return entry
                self._changed.wait(left)
        return None

    def give_back(self, entry: Open, *, done: bool) -> None:
        """Somebody was at it, and has to go on when it is due, or is done with it."""
        with self._changed:
            entry.busy = False
            if done and entry.due:  # else it has just been asked once more
                self._forget(entry)
            self._changed.notify()

    def end(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _make_room(self, peer: str, references: int) -> None:
        """See to it that one more can be kept; what can't be answered as things are goes first, the oldest before all.

        Raises:
            Refused: if there are too many, of all or of this peer, which must not keep the others out.
            OSError: if what goes can't be removed.
        """
        if sum(1 for each in self._open.values() if each.peer == peer) >= MAXIMUM_OPEN_OF_PEER:
            raise Refused(messages.EXHAUSTED, "too many requests of this AE title wait for answers")
        lost = [each for each in self._open.values() if not each.busy and self._is_out_of_reach(each)]
        total = references + sum(each.count for each in self._open.values())
        while lost and (len(self._open) >= MAXIMUM_OPEN or total > MAXIMUM_REFERENCES):
            oldest = lost.pop(0)
            self._transactions.forget(oldest.name)
            del self._open[oldest.name]
            total -= oldest.count
            _log.warning("commitment_given_up", peer=oldest.peer, reason="others need the room")
        if len(self._open) >= MAXIMUM_OPEN or total > MAXIMUM_REFERENCES:
            raise Refused(messages.EXHAUSTED, "too many requests wait for their answers")

    def _is_out_of_reach(self, entry: Open) -> bool:
        """Whether nobody would know where to tell the answer now."""
        return entry.peer not in self._peers and (entry.waiting is None or not entry.waiting.usable)

    def _forget(self, entry: Open) -> None:
        """Have done with a transaction; what can't be removed now is answered once more by the next start."""
        del self._open[entry.name]
        try:
            self._transactions.forget(entry.name)
        except OSError as error:
            _log.warning("commitment_not_forgotten", reason=error.strerror)


def _opened(transaction: Transaction) -> Open:
    return Open(transaction.name, transaction.peer, len(transaction.references), time.monotonic())


def _due(entry: Open) -> float:
    return entry.due
