"""Responses to one C-FIND request on their way out (PS3.7 9.3.2.2): there may be a hundred thousand.

Those that are ready while others are being sent go together, and no message is cut into by another one.
"""

from typing import Final

from pynetdicom.association import Association

from staticwado_daemon.dimse.association import command, pdata
from staticwado_daemon.dimse.association.provider import is_over, send_parcel
from staticwado_daemon.dimse.association.upper_layer import Parcel

_MOST_WAITING: Final = 65_536
"""Bytes that are ready while others are being sent; a slow peer takes up no more memory than twice as many."""


class Responses:
    """The responses to one request.

    Args:
        association: on which it came.
        context_id: of its presentation context.
        message_id: of the request.
        sop_class_uid: Affected SOP Class UID of the request.
    """

    def __init__(self, association: Association, context_id: int, message_id: int, sop_class_uid: str) -> None:
        self._association = association
        self._context_id = context_id
        self._request = message_id, sop_class_uid
        self._maximum = int(association.dimse.maximum_pdu_size)
        self._heads: dict[int, bytes] = {}
        self._waiting = bytearray()
        self._under_way: Parcel | None = None

    def add(self, status: int, identifier: bytes) -> None:
        """Have a match sent: a response with a pending status and an identifier."""
        if status not in self._heads:
            self._heads[status] = self._command(command.find_response(*self._request, status))
        self._waiting += self._heads[status]
        for piece in pdata.pdus(self._context_id, identifier, self._maximum):
            self._waiting += piece

    def pass_on(self, seconds: float) -> bool:
        """Have what is ready sent as soon as nothing else is; False if there is too much, and so long no room for it.

        Args:
            seconds: to wait for room.
        """
        if self._under_way is not None and not self._under_way.gone.is_set():
            if len(self._waiting) < _MOST_WAITING:
                return True
            if not self._under_way.gone.wait(seconds):
                return False
        if self._waiting:
            self._send()
        return True

    def finish(self, status: int, comment: str = "", offending: int | None = None) -> None:
        """Have the last response sent, after all others.

        Args:
            status: of it.
            comment: for a failure.
            offending: tag of the key that is at fault.
        """
        self._waiting += self._command(command.find_response(*self._request, status, comment, offending))
        if not is_over(self._association):
            self._send()

    def _send(self) -> None:
        self._under_way = send_parcel(self._association, bytes(self._waiting))
        self._waiting.clear()

    def _command(self, encoded: bytes) -> bytes:
        return b"".join(pdata.pdus(self._context_id, encoded, self._maximum, kind=pdata.COMMAND))
