"""The sub-operations of one C-GET or C-MOVE: how many are done, and what the requestor hears of it (PS3.4 C.4.2.1)."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.events import Event

from staticwado_daemon.dicom import recode
from staticwado_daemon.dicom.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse import statuses
from staticwado_daemon.dimse.association.provider import is_over, respond
from staticwado_daemon.dimse.sending.operations import Sent
from staticwado_daemon.dimse.statuses import CANCELLED, CANNOT_PERFORM, PENDING, SOME_FAILED, SUCCESS

_FAILED_SOP_INSTANCE_UID_LIST: Final = 0x00080058
_LONGEST_LIST: Final = 0xFFFE
"""Bytes of a UI value in explicit VR; what doesn't fit is counted all the same."""

_PACE_SECONDS: Final = 0.2
_ALIVE_SECONDS: Final = 5.0
"""Seconds between pending responses: while objects are sent, and while one is prepared that takes long."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """Numbers of sub-operations (0000,1020) to (0000,1023)."""

    remaining: int
    completed: int
    failed: int
    warning: int


class SubOperations:
    """Counts, and answers.

    Args:
        event: the request, by which it can be cancelled.
    """

    def __init__(self, event: Event) -> None:
        self._event = event
        self._total = 0
        self._done = 0
        self._completed = 0
        self._warnings = 0
        self._failed: list[UID] = []
        self._reason = ""
        self._bytes = 0
        self._answered = 0.0

    def begin(self, total: int) -> None:
        """So many are to be done."""
        self._total = total

    def note(self, sent: Sent) -> None:
        """One is done; the requestor hears of it unless it did a moment ago."""
        self._done += 1
        self._bytes += sent.length
        if sent.is_failed:
            self._failed.append(sent.chosen.identity.instance)
            self._reason = self._reason or sent.reason
        elif sent.is_warning:
            self._warnings += 1
        else:
            self._completed += 1
        self._tell_of_progress(_PACE_SECONDS)

    def keep_alive(self) -> None:
        """Let the requestor hear that work goes on, if it heard nothing for long."""
        self._tell_of_progress(_ALIVE_SECONDS)

    def rest(self, seconds: float) -> bool:
        """Wait, no longer than a few seconds; True if nobody waits for the rest."""
        time.sleep(seconds)
        self.keep_alive()
        return self.is_stopped()

    def is_stopped(self) -> bool:
        """Whether the requestor has cancelled, or is gone."""
        return bool(self._event.is_cancelled) or is_over(self._event.assoc)

    def finish(self) -> int:
        """Give the final answer, if there is somebody to hear it; returns its status."""
        if self._done < self._total and self.is_stopped():
            self._answer(CANCELLED, self._counts())
            return CANCELLED
        if self._failed and len(self._failed) == self._total:
            status = CANNOT_PERFORM
        else:
            status = SOME_FAILED if self._failed or self._warnings else SUCCESS
        self._answer(status, self._counts(), self._reason)
        return status

    def refuse(self, status: int, comment: str, tag: int | None) -> None:
        """Answer that nothing is done, and why."""
        self._answer(status, None, comment, tag)

    def summary(self) -> dict[str, int | str]:
        """The same for the log; nothing in it tells a patient."""
        counts = {"completed": self._completed, "warnings": self._warnings, "failed": len(self._failed)}
        reason = {"reason": self._reason} if self._reason else {}
        return {**counts, "sent_bytes": self._bytes, **reason}

    def _counts(self) -> _Counts:
        return _Counts(self._total - self._done, self._completed, len(self._failed), self._warnings)

    def _tell_of_progress(self, seconds: float) -> None:
        if self._done < self._total and time.monotonic() >= self._answered + seconds:
            self._answer(PENDING, self._counts())

    def _answer(self, status: int, counts: _Counts | None, comment: str = "", tag: int | None = None) -> None:
        if is_over(self._event.assoc):
            return
        request, context = self._event.request, self._event.context
        response: Any = C_GET() if isinstance(request, C_GET) else C_MOVE()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.AffectedSOPClassUID
        response.Status = status
        if counts is not None:
            if status in {PENDING, CANCELLED}:
                response.NumberOfRemainingSuboperations = counts.remaining
            response.NumberOfCompletedSuboperations = counts.completed
            response.NumberOfFailedSuboperations = counts.failed
            response.NumberOfWarningSuboperations = counts.warning
        if comment and status != SUCCESS:
            response.ErrorComment = statuses.comment(comment)
        if tag is not None:
            response.OffendingElement = [tag]
        if status != PENDING and self._failed:
            implicit = context.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
            response.Identifier = BytesIO(_failed_list(self._failed, implicit=implicit))
        respond(self._event.assoc, response, context.context_id)
        self._answered = time.monotonic()


def _failed_list(failed: Iterable[UID], *, implicit: bool) -> bytes:
    """The Failed SOP Instance UID List (0008,0058) as a data set, as much of it as an element can hold."""
    value = "\\".join(failed).encode()
    if len(value) > _LONGEST_LIST:
        value = value[: value.rindex(b"\\", 0, _LONGEST_LIST)]
    value += bytes(len(value) % 2)
    return recode.header(_FAILED_SOP_INSTANCE_UID_LIST, "UI", len(value), implicit=implicit) + value
