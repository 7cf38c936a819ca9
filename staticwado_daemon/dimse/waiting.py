"""An association on which somebody asked and may wait for an event: when, and whether, it can be told there.

Requests of both sides may meet on one association, and pynetdicom takes whatever comes next for the answer to ours. So
nothing is sent on an association that is used for anything else, nor before it has been silent for a while: whoever
releases it does so at once.
"""

import threading
import time

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_ECHO_RQ, N_ACTION_RQ, N_EVENT_REPORT_RSP

from staticwado_daemon.dimse import contexts, provider

_HARMLESS = (C_ECHO_RQ, N_ACTION_RQ, N_EVENT_REPORT_RSP)
"""What an association that waits for events is used for besides: all are answered at once."""


class Waiting:
    """One association.

    Args:
        association: established, and we are its acceptor.
    """

    def __init__(self, association: Association) -> None:
        self._association = association
        self._usable = True
        self._spoken_at = time.monotonic()
        self._sending = threading.Lock()
        association.bind(evt.EVT_DIMSE_RECV, self._heard)

    @property
    def usable(self) -> bool:
        """Whether an event may be sent on it, if need be later."""
        return self._usable and bool(self._association.is_established)

    def answered(self) -> None:
        """Note that the peer's request is about to be answered: silence begins."""
        self._spoken_at = time.monotonic()

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing was said for so long."""
        return time.monotonic() - self._spoken_at >= seconds

    def report(self, event_type: int, information: Dataset) -> int | None:
        """Send an N-EVENT-REPORT; the status of its answer, None if there is none, and then not another one."""
        with self._sending, provider.undisturbed(self._association):
            if provider.is_over(self._association) or not self.usable:
                return None
            try:
                answer, _ = self._association.send_n_event_report(
                    information, event_type, contexts.COMMITMENT, contexts.COMMITMENT_INSTANCE
                )
            except (RuntimeError, ValueError):  # it has just ended
                answer = Dataset()
            self.answered()
            status: int | None = answer.get("Status")
            self._usable = status is not None
            return status

    def _heard(self, event: evt.Event) -> None:
        self._spoken_at = time.monotonic()
        if not isinstance(event.message, _HARMLESS):
            self._usable = False
