"""An association on which somebody asked and may wait for an event: when, and whether, it can be told there.

Requests of both sides may meet on one association, and pynetdicom takes whatever comes next for the answer to ours. So
nothing is sent on an association that is used for anything else, nor before it has been silent for a while: whoever
releases it does so at once.
"""

import threading
from weakref import ref

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, N_ACTION_RQ, N_EVENT_REPORT_RSP

from staticwado_daemon.dimse.association import provider
from staticwado_daemon.dimse.commitment import messages
from staticwado_daemon.dimse.node.observed import Observed

_HARMLESS = (C_ECHO_RQ, C_STORE_RQ, N_ACTION_RQ, N_EVENT_REPORT_RSP)
"""What an association that waits for events is used for besides; it is over when it is answered."""


class Waiting:
    """One association.

    Args:
        association: established, and we are its acceptor.
        observed: knows what is done on it.
    """

    def __init__(self, association: Association, observed: Observed) -> None:
        self._association = ref(association)  # who ends isn't kept
        self._observed = observed
        self._usable = True
        self._sending = threading.Lock()
        association.bind(evt.EVT_DIMSE_RECV, self._heard)

    @property
    def usable(self) -> bool:
        """Whether an event may be sent on it, if need be later."""
        association = self._association()
        return self._usable and association is not None and bool(association.is_established)

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing was done on it for so long."""
        association = self._association()
        return association is not None and self._observed.silence(association) >= seconds

    def report(self, event_type: int, information: Dataset) -> int | None:
        """Send an N-EVENT-REPORT; the status of its answer, None if there is none, and then not another one."""
        association = self._association()
        if association is None:
            return None
        with self._sending, provider.undisturbed(association):
            if provider.is_over(association) or not self.usable:
                return None
            status = messages.report(association, event_type, information)
            self._usable = status is not None
            if status is not None:
                self._observed.note(association, "N-EVENT-REPORT", status)
            return status

    def _heard(self, event: evt.Event) -> None:
        if not isinstance(event.message, _HARMLESS):
            self._usable = False
