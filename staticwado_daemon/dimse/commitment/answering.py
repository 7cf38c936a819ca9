"""One request from where it stands to its answer: what may be on its way is waited for, then it is decided and told.

It is told on the requestor's own association if that stands and is silent, else on a new one to the address that is
known of its AE title, again and again for a week.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import structlog
from pydicom.dataset import Dataset

from staticwado_daemon.dimse import contexts, statuses
from staticwado_daemon.dimse.association import requestor
from staticwado_daemon.dimse.association.provider import undisturbed
from staticwado_daemon.dimse.association.requestor import Local
from staticwado_daemon.dimse.commitment import messages
from staticwado_daemon.dimse.commitment.pending import Open
from staticwado_daemon.dimse.commitment.transactions import Transaction, Transactions
from staticwado_daemon.dimse.commitment.vouching import Archive
from staticwado_daemon.dimse.patience import pause_seconds
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.errors import StaticwadoError

_log = structlog.get_logger(__name__)


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


@dataclass(frozen=True, slots=True)
class Answering:
    """What it takes to answer.

    Attributes:
        transactions: the files of what was asked.
        archive: what is asked about the instances.
        local: we, when we tell others.
        peers: by AE title, where those are told who don't wait on their association.
        terms: how long things are waited for.
    """

    transactions: Transactions
    archive: Archive
    local: Local
    peers: Mapping[str, Peer]
    terms: Terms

    def go_on(self, entry: Open) -> bool:
        """Do what can be done now, and say when to go on; True if nothing is left to be done. Never raises."""
        entry.due = time.monotonic() + self.terms.again
        try:
            done = self._is_answered(entry)
        except (StaticwadoError, OSError) as why:
            if entry.delayed_by != str(why):  # every two seconds the same would be said
                _log.info("commitment_delayed", reason=str(why))
            entry.delayed_by = str(why)
            return False
        except Exception:  # noqa: BLE001 - one request's trouble is no other's
            _log.exception("commitment_failed")
            entry.due = time.monotonic() + self.terms.longest
            return False
        entry.delayed_by = ""
        return done

    def _is_answered(self, entry: Open) -> bool:
        try:
            transaction = self.transactions.read(entry.name)
        except FileNotFoundError:
            _log.warning("commitment_given_up", peer=entry.peer, reason="somebody has removed its file")
            return True
        if transaction.failures is None:
            if not self._may_be_decided(entry, transaction):
                return False
            transaction = self._decided(transaction)
        waiting = entry.waiting
        if waiting is not None and waiting.usable and not waiting.is_silent(self.terms.silence):
            entry.due = time.monotonic() + self.terms.silence
            return False
        event_type, information = messages.event(transaction, self.local.title)
        if waiting is not None and waiting.report(event_type, information) == statuses.SUCCESS:
            return True
        if entry.waiting is waiting:  # it may have been asked again meanwhile, on another one
            entry.waiting = None
        return self._is_told(entry, transaction, event_type, information)

    def _may_be_decided(self, entry: Open, transaction: Transaction) -> bool:
        """Whether all is known, or what isn't won't come any more."""
        now = time.monotonic()
        if self.archive.has_all(transaction.references) or now - entry.since > self.terms.missing:
            return True
        if self.archive.is_under_way():
            entry.quiet_since = None
            return False
        entry.quiet_since = entry.quiet_since or now
        return now - entry.quiet_since >= self.terms.quiet

    def _decided(self, transaction: Transaction) -> Transaction:
        """The same with what isn't committed to, as it is kept from now on."""
        failures = self.archive.failures(transaction.references)
        decided = msgspec.structs.replace(transaction, failures=failures)
        self.transactions.keep(decided)
        instances = len(transaction.references)
        _log.info("commitment_decided", peer=transaction.peer, instances=instances, failed=len(failures))
        return decided

    def _is_told(self, entry: Open, transaction: Transaction, event_type: int, information: Dataset) -> bool:
        """Tell the requestor on an association of ours; True also if that is given up."""
        terms = self.terms
        entry.tries += 1
        entry.due = time.monotonic() + pause_seconds(entry.tries, terms.retry, terms.longest)
        peer = self.peers.get(transaction.peer)
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
        asked = requestor.associated(self.local, peer, proposed, provides=[contexts.COMMITMENT])
        with asked as association, undisturbed(association):
            return messages.report(association, event_type, information)
