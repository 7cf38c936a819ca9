"""What happens on the network, counted: a line in the log for each association, and the report for `status`.

AE titles and addresses are told, and numbers; what was transferred, asked for or named is not.
"""

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import structlog
from pynetdicom.association import Association

from staticwado_daemon.dimse.node.acceptance import Refusal
from staticwado_daemon.dimse.statuses import CANCELLED, SUCCESS, is_pending, is_warning
from staticwado_daemon.operate.network import NetworkReport, Operation, Outcome, StatusClass

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Tally:
    """What was done on one association."""

    began: float
    changed: float
    done: Counter[tuple[Operation, StatusClass]] = field(default_factory=Counter)
    under_way: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0


class Observed:
    """Everything that was seen since the start. Every method may be called from any thread.

    Args:
        title: our AE title.
        host: that we listen on.
        tls: whether we speak TLS.

    Attributes:
        port: of TCP, once we listen.
    """

    def __init__(self, title: str, host: str, *, tls: bool) -> None:
        self.port = 0
        self._own = NetworkReport(running=True, pid=os.getpid(), title=title, host=host, port=0, tls=tls)
        self._lock = threading.Lock()
        self._open: dict[Association, _Tally] = {}
        self._outcomes: Counter[Outcome] = Counter()
        self._done: Counter[tuple[Operation, StatusClass]] = Counter()
        self._received_bytes = 0
        self._sent_bytes = 0

    def opened(self, association: Association) -> None:
        """An association was accepted."""
        with self._lock:
            self._open[association] = _Tally(now := time.monotonic(), now)

    def began(self, association: Association) -> None:
        """Something has begun that `note` will end, and that the end of the process should wait for a little."""
        with self._lock:
            if tally := self._open.get(association):
                tally.under_way += 1
                tally.changed = time.monotonic()

    def note(self, association: Association, operation: Operation, status: int, size: int = 0) -> None:
        """An operation ended.

        Args:
            association: on which it was.
            operation: what was done.
            status: that was answered (PS3.7 annex C); a pending one counts for nothing.
            size: bytes of the data set that was received, or for `sent` sent.
        """
        if (kind := status_class(status)) is None:
            return
        sent = size if operation == "sent" else 0
        received = size if operation == "C-STORE" else 0
        with self._lock:
            self._done[operation, kind] += 1
            self._sent_bytes += sent
            self._received_bytes += received
            if tally := self._open.get(association):
                tally.done[operation, kind] += 1
                tally.sent_bytes += sent
                tally.received_bytes += received
                if operation != "sent":  # which is part of what is under way
                    tally.under_way = max(0, tally.under_way - 1)
                tally.changed = time.monotonic()

    def is_busy(self, association: Association) -> bool:
        """Whether something has begun and not ended."""
        with self._lock:
            tally = self._open.get(association)
            return tally is not None and tally.under_way > 0

    def silence(self, association: Association) -> float:
        """For how many seconds nothing has begun or ended; 0 while something is under way."""
        with self._lock:
            tally = self._open.get(association)
            return time.monotonic() - tally.changed if tally and not tally.under_way else 0.0

    def closed(self, association: Association, peer: str, outcome: Outcome) -> None:
        """An association that was accepted has ended: the line of the log that sums it up."""
        with self._lock:
            tally = self._open.pop(association)
            self._outcomes[outcome] += 1
        counts = {f"{operation} {kind}": count for (operation, kind), count in sorted(tally.done.items())}
        _log.info(
            "association_ended",
            outcome=outcome,
            **_titles(association),
            peer=peer,
            seconds=round(time.monotonic() - tally.began, 2),
            done=counts,
            received_bytes=tally.received_bytes,
            sent_bytes=tally.sent_bytes,
        )

    def refused(self, association: Association, peer: str, refusal: Refusal) -> None:
        """An association was rejected, by the rule that the line in the log names."""
        with self._lock:
            self._outcomes["rejected"] += 1
        _log.warning("association_rejected", rule=refusal.rule, **_titles(association), peer=peer)

    def broken(self, peer: str, why: str) -> None:
        """A connection ended before it requested an association; who only looks whether we listen has no reason."""
        with self._lock:
            self._outcomes["broken"] += 1
        tell = _log.info if why else _log.debug
        tell("connection_without_association", peer=peer, reason=why)

    def report(self, *, running: bool = True) -> NetworkReport:
        """Everything as it is now."""
        with self._lock:
            operations: dict[Operation, dict[StatusClass, int]] = {}
            for (operation, kind), count in sorted(self._done.items()):
                operations.setdefault(operation, {})[kind] = count
            return msgspec.structs.replace(
                self._own,
                running=running,
                port=self.port,
                open=len(self._open),
                associations=dict(sorted(self._outcomes.items())),
                operations=operations,
                received_bytes=self._received_bytes,
                sent_bytes=self._sent_bytes,
            )


def status_class(status: int) -> StatusClass | None:
    """The class of a status (PS3.7 annex C); None for a pending one."""
    if is_pending(status):
        return None
    if status == SUCCESS:
        return "success"
    if status == CANCELLED:
        return "cancelled"
    return "warning" if is_warning(status) else "failure"


def _titles(association: Association) -> dict[str, str]:
    """The AE titles of a request, with what isn't printable made visible."""
    request = association.requestor.primitive
    return {
        "calling": ascii(getattr(request, "calling_ae_title", None) or "").strip("'"),
        "called": ascii(getattr(request, "called_ae_title", None) or "").strip("'"),
    }
