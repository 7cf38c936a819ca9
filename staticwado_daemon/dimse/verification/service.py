"""C-ECHO as a service: whoever asks is answered (PS3.4 annex A)."""

from collections.abc import Sequence

from pynetdicom import evt
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.dimse.association.provider import Handler
from staticwado_daemon.dimse.contexts import VERIFICATION, messages
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.statuses import SUCCESS


class Verification:
    """Answers C-ECHO.

    Args:
        observed: counts them.
    """

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self.contexts: Sequence[PresentationContext] = messages([VERIFICATION])
        self.handlers: Sequence[Handler] = ((evt.EVT_C_ECHO, self._answer),)

    def _answer(self, event: evt.Event) -> int:
        self._observed.note(event.assoc, "C-ECHO", SUCCESS)
        return SUCCESS
