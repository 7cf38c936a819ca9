"""Storage commitment, provided (PS3.4 annex J, Push Model): a request is kept, looked into, and answered.

What is promised is kept in a file before the request is answered with success, so it outlives this program.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakKeyDictionary

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association

from staticwado_daemon.dimse import contexts, statuses
from staticwado_daemon.dimse.association.provider import Handler
from staticwado_daemon.dimse.association.requestor import Local
from staticwado_daemon.dimse.commitment import messages
from staticwado_daemon.dimse.commitment.answering import Answering, Terms
from staticwado_daemon.dimse.commitment.messages import Refused
from staticwado_daemon.dimse.commitment.pending import Pending
from staticwado_daemon.dimse.commitment.transactions import Reference, Transaction, Transactions
from staticwado_daemon.dimse.commitment.vouching import Archive
from staticwado_daemon.dimse.commitment.waiting import Waiting
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.peers import Peer

_log = structlog.get_logger(__name__)

_WORKERS: Final = 8
"""They wait more than they work: for disks, and for peers that don't answer."""
_END_SECONDS: Final = 2.0
"""For what is just being decided or told; it is begun again by the next start."""

_TERMS: Final = Terms()


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
        transactions = Transactions(state_dir)
        self._pending = Pending(transactions, peers)
        self._answering = Answering(transactions, archive, local, peers, terms)
        self._observed = observed
        self._waiting: WeakKeyDictionary[Association, Waiting] = WeakKeyDictionary()
        # A peer that doesn't answer, or a request for thousands of instances, keeps no process from ending.
        self._workers = [threading.Thread(target=self._work, name="commitment", daemon=True) for _ in range(_WORKERS)]

    def __enter__(self) -> Self:
        """Take up what was kept, and begin."""
        self._pending.load()
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; what isn't answered is kept for the next time."""
        self._pending.end()
        deadline = time.monotonic() + _END_SECONDS
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def _asked(self, event: evt.Event) -> tuple[Dataset, None]:
        """Answer an N-ACTION request (PS3.7 10.1.4)."""
        peer, answer = str(event.assoc.requestor.ae_title), Dataset()
        self._observed.began(event.assoc)
        try:
            uid, references = _read(event)
            asked = Transaction(peer=peer, uid=uid, at=time.time(), references=references)
            self._pending.take(asked, self._waiting_on(event.assoc))
        except Refused as why:
            answer.Status, answer.ErrorComment = why.status.code, statuses.comment(str(why))
            _log.warning("commitment_refused", peer=peer, status=f"0x{why.status.code:04X}", reason=str(why))
        else:
            answer.Status = messages.ACCEPTED.code
            _log.info("commitment_requested", peer=peer, instances=len(references))
        self._observed.note(event.assoc, "N-ACTION", answer.Status)
        return answer, None

    def _waiting_on(self, association: Association) -> Waiting:
        """What is known of an association on which is asked; called by that one's own thread."""
        waiting = self._waiting.get(association)
        if waiting is None:
            waiting = self._waiting[association] = Waiting(association, self._observed)
        return waiting

    def _work(self) -> None:
        while entry := self._pending.next():
            self._pending.give_back(entry, done=self._answering.go_on(entry))


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
