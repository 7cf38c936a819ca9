"""Storage commitment, provided (PS3.4 annex J, Push Model): a request is kept, looked into, and answered.

What is promised is kept in a file before the request is answered with success, so it outlives this program. Then
instances that may still be on their way are waited for, everything is read and compared, and the requestor is told: on
its own association if that stands and is silent, else on a new one to the address that is known of its AE title, again
and again for a week.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

import msgspec
import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association

from staticwado_daemon.dimse import contexts, statuses
from staticwado_daemon.dimse.association import requestor
from staticwado_daemon.dimse.association.provider import Handler, undisturbed
from staticwado_daemon.dimse.association.requestor import Local
from staticwado_daemon.dimse.commitment import messages
from staticwado_daemon.dimse.commitment.messages import Refused
from staticwado_daemon.dimse.commitment.transactions import (
    MAXIMUM_OPEN,
    MAXIMUM_OPEN_OF_PEER,
    MAXIMUM_REFERENCES,
    Reference,
    Transaction,
    Transactions,
)
from staticwado_daemon.dimse.commitment.vouching import Archive
from staticwado_daemon.dimse.commitment.waiting import Waiting
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.patience import pause_seconds
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.errors import Corrupt, StaticwadoError, Transient

_log = structlog.get_logger(__name__)

_WORKERS = 8
"""They wait more than they work: for disks, and for peers that don't answer."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things are waited for, in seconds.

    Attributes:
        missing: for instances that may be on their way; a failure calls for people, who find nothing wrong.
        quiet: for them once nothing seems to be on its way any more: an index may be a little late.
        again: between two looks for them.
        silence: an association has to have been silent for so long before an event is sent on it.
        retry: before the second attempt to tell the requestor; each wait is twice as long as the one before.
        longest: at most between two attempts.
        kept: from the request until it is given up.
    """

    missing: float = 3600.0
    quiet: float = 5.0
    again: float = 2.0
    silence: float = 0.5
    retry: float = 10.0
    longest: float = 3600.0
    kept: float = 7 * 86_400.0


_TERMS = Terms()


@dataclass(slots=True)
class _Open:
    """A transaction that isn't answered yet; what it says is in its file.

    Attributes:
        name: its file's.
        peer: the AE title of who asked.
        count: of its references.
        since: when this program learned of it (monotonic seconds).
        due: when to go on with it (monotonic seconds).
        waiting: the association on which it was asked; None if that can't be used.
        quiet_since: since when nothing has been on its way (monotonic seconds); None while something is.
        tries: of telling the requestor on an association of ours.
        busy: whether a worker has it.
    """

    name: str
    peer: str
    count: int
    since: float
    due: float = 0.0
    waiting: Waiting | None = None
    quiet_since: float | None = None
    tries: int = 0
    busy: bool = False


class Commitment:
    """The service; a context manager, between whose beginning and end requests are looked into.

    Args:
        state_dir: where requests are kept.
        archive: what is asked about the instances.
        local: we, when we tell others.
        peers: by AE title, where those are told who don't wait on their association.
        observed: counts requests.
        terms: how long things are waited for.

    Raises:
        OSError: if there can be no directory for the requests.
    """

    def __init__(
        self,
        state_dir: Path,
        archive: Archive,
        local: Local,
        peers: Mapping[str, Peer],
        observed: Observed,
        terms: Terms = _TERMS,
    ) -> None:
        self.contexts = contexts.messages([contexts.COMMITMENT])
        self.handlers: Sequence[Handler] = [(evt.EVT_N_ACTION, self._asked)]
        self._transactions = Transactions(state_dir)
        self._archive = archive
        self._local = local
        self._peers = peers
        self._observed = observed
        self._terms = terms
        self._open: dict[str, _Open] = {}
        self._waiting: WeakKeyDictionary[Association, Waiting] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = False
        self._pool = ThreadPoolExecutor(_WORKERS, "commitment")
        self._scheduler = threading.Thread(target=self._schedule, name="commitments", daemon=True)

    def __enter__(self) -> Self:
        """Take up what was kept, and begin."""
        for name in self._transactions.names():
            try:
                kept = self._transactions.read(name)
            except (Corrupt, OSError) as why:
                _log.warning("commitment_unreadable", reason=str(why))
            else:
                entry = _Open(name, kept.peer, len(kept.references), time.monotonic())
                with self._lock:
                    self._open.setdefault(name, entry)  # it may have been asked again before this
        self._scheduler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; what isn't answered is kept for the next time."""
        self._ending = True
        self._wake.set()
        self._scheduler.join()
        self._pool.shutdown(cancel_futures=True)

    def _asked(self, event: evt.Event) -> tuple[Dataset, None]:
        """Answer an N-ACTION request (PS3.7 10.1.4)."""
        peer, answer = str(event.assoc.requestor.ae_title), Dataset()
        self._observed.began(event.assoc)
        try:
            uid, references = _read(event)
            asked = Transaction(peer=peer, uid=uid, at=time.time(), references=references)
            self._take(asked, event.assoc)
        except Refused as why:
            answer.Status, answer.ErrorComment = why.status.code, statuses.comment(str(why))
            _log.warning("commitment_refused", peer=peer, status=f"0x{why.status.code:04X}", reason=str(why))
        else:
            answer.Status = messages.ACCEPTED.code
            _log.info("commitment_requested", peer=peer, instances=len(references))
            self._wake.set()
        self._observed.note(event.assoc, "N-ACTION", answer.Status)
        return answer, None

    def _take(self, asked: Transaction, association: Association) -> None:
        """Keep a request; one that is repeated is the same one, and is answered where it was asked last."""
        with self._lock:
            entry = self._open.get(asked.name)
            try:
                if entry is None:
                    self._make_room(asked.peer, len(asked.references))
                    self._transactions.keep(asked)
                    entry = _Open(asked.name, asked.peer, len(asked.references), time.monotonic())
                elif self._transactions.read(asked.name).references != asked.references:
                    raise Refused(messages.INVALID, "the Transaction UID is that of another open request")
            except (OSError, Transient, Corrupt) as error:
                raise Refused(messages.FAILED, "the request can't be kept now") from error
            waiting = self._waiting.get(association)
            if waiting is None:
                waiting = self._waiting[association] = Waiting(association, self._observed)
            entry.waiting, entry.due = waiting, 0.0
            self._open[entry.name] = entry

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

    def _is_out_of_reach(self, entry: _Open) -> bool:
        """Whether nobody would know where to tell the answer now."""
        return entry.peer not in self._peers and (entry.waiting is None or not entry.waiting.usable)

    def _schedule(self) -> None:
        while not self._ending:
            now = time.monotonic()
            with self._lock:
                due = [each for each in self._open.values() if not each.busy and each.due <= now]
                for each in due:
                    each.busy = True
                idle = not self._open
            for each in due:
                self._pool.submit(self._work, each)
            self._wake.wait(None if idle else _POLL_SECONDS)
            self._wake.clear()

    def _work(self, entry: _Open) -> None:
        """Go on with a transaction."""
        entry.due = time.monotonic() + self._terms.again
        try:
            done = self._is_answered(entry)
        except (StaticwadoError, OSError) as why:
            _log.info("commitment_delayed", reason=str(why))
            done = False
        except Exception:  # noqa: BLE001 - one request's trouble is no other's
            _log.exception("commitment_failed")
            entry.due, done = time.monotonic() + self._terms.longest, False
        with self._lock:
            entry.busy = False
            if done and entry.due:  # else somebody has just asked once more
                self._forget(entry)

    def _forget(self, entry: _Open) -> None:
        """Have done with a transaction; what can't be removed now is answered once more by the next start."""
        del self._open[entry.name]
        try:
            self._transactions.forget(entry.name)
        except OSError as error:
            _log.warning("commitment_not_forgotten", reason=error.strerror)

    def _is_answered(self, entry: _Open) -> bool:
        try:
            transaction = self._transactions.read(entry.name)
        except FileNotFoundError:
            _log.warning("commitment_given_up", peer=entry.peer, reason="somebody has removed its file")
            return True
        if transaction.failures is None:
            if not self._may_be_decided(entry, transaction):
                return False
            failures = self._archive.failures(transaction.references)
            transaction = msgspec.structs.replace(transaction, failures=failures)
            self._transactions.keep(transaction)
            instances = len(transaction.references)
            _log.info("commitment_decided", peer=transaction.peer, instances=instances, failed=len(failures))
        waiting = entry.waiting
        if waiting is not None and waiting.usable and not waiting.is_silent(self._terms.silence):
            entry.due = time.monotonic() + self._terms.silence
            return False
        event_type, information = messages.event(transaction, self._local.title)
        if waiting is not None and waiting.report(event_type, information) == statuses.SUCCESS:
            return True
        if entry.waiting is waiting:  # it may have been asked again meanwhile, on another one
            entry.waiting = None
        return self._is_told(entry, transaction, event_type, information)

    def _may_be_decided(self, entry: _Open, transaction: Transaction) -> bool:
        """Whether all is known, or what isn't won't come any more."""
        now = time.monotonic()
        if self._archive.has_all(transaction.references) or now - entry.since > self._terms.missing:
            return True
        if self._archive.is_under_way():
            entry.quiet_since = None
            return False
        entry.quiet_since = entry.quiet_since or now
        return now - entry.quiet_since >= self._terms.quiet

    def _is_told(self, entry: _Open, transaction: Transaction, event_type: int, information: Dataset) -> bool:
        """Tell the requestor on an association of ours; True also if that is given up."""
        terms = self._terms
        entry.tries += 1
        entry.due = time.monotonic() + pause_seconds(entry.tries, terms.retry, terms.longest)
        peer = self._peers.get(transaction.peer)
        try:
            if peer is None:
                why = "aeConfig has no such AE title: add it with its host and port, and start scp again"
            else:
                status = self._report(peer, event_type, information)
                if status == statuses.SUCCESS:
                    return True
                why = "no answer" if status is None else statuses.words(status)
        except StaticwadoError as error:
            why = str(error)
        if time.time() - transaction.at > terms.kept:
            _log.warning("commitment_given_up", peer=transaction.peer, reason=why)
            return True
        if entry.tries == 1:  # the others would say the same
            _log.warning("commitment_not_told", peer=transaction.peer, reason=why)
        return False

    def _report(self, peer: Peer, event_type: int, information: Dataset) -> int | None:
        proposed = contexts.messages([contexts.COMMITMENT])
        asked = requestor.associated(self._local, peer, proposed, provides=[contexts.COMMITMENT])
        with asked as association, undisturbed(association):
            return messages.report(association, event_type, information)


def _read(event: evt.Event) -> tuple[str, tuple[Reference, ...]]:
    """The Transaction UID and the references of a request.

    Raises:
        Refused: if it isn't one that is taken.
    """
    request: Any = event.request  # pynetdicom says that it may be of any kind
    if request.ActionTypeID != messages.REQUEST:
        raise Refused(messages.NO_ACTION, "storage commitment knows action type 1 only")
    if request.RequestedSOPInstanceUID != contexts.COMMITMENT_INSTANCE:
        raise Refused(messages.NO_INSTANCE, "not the well-known SOP instance of storage commitment")
    information = request.ActionInformation
    if information is None:
        raise Refused(messages.INVALID, "there is no Action Information")
    return messages.read(information.getvalue(), str(event.context.transfer_syntax))
