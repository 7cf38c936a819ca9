"""One object on its way out: a C-STORE request, its data set and the answer (PS3.7 9.3.1, PS3.8 9.3.5).

The data set goes out as it stands, in portions of many PDUs, so that an object costs a few system calls however small
the PDUs are that the receiver takes; and never more than two portions ahead of the connection, however long it is.
"""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from staticwado_daemon.dicom.data_set import Buffer
from staticwado_daemon.dimse.association import command
from staticwado_daemon.dimse.association.provider import Parcel, is_over, send_parcel

_HEADER: Final = struct.Struct(">BxIIBB")
_P_DATA: Final = 0x04
_LAST: Final = 2  # bit of the message control header (PS3.8 E.2)
_OVERHEAD: Final = 6
"""Bytes that a PDU's maximum length counts besides the fragment."""
_PORTION_BYTES: Final = 1 << 20
_LONGEST_FRAGMENT: Final = 1 << 20
"""Where the receiver sets no limit."""
_UNDER_WAY: Final = 2
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Store:
    """What a C-STORE request says of the object.

    Attributes:
        message_id: of the request.
        sop_class: SOP Class UID.
        sop_instance: SOP Instance UID.
        originator: AE title and message ID of the C-MOVE that it is for; None if there is none.
    """

    message_id: int
    sop_class: str
    sop_instance: str
    originator: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What the receiver answered: a status (PS3.7 annex C) and a comment for people."""

    status: int
    comment: str


def store(association: Association, context_id: int, request: Store, data_set: Buffer) -> Answered | None:
    """Send an object and wait for the answer; None, and an end of the association, if there is none.

    Args:
        association: that isn't used by anybody else meanwhile, see `provider.undisturbed`.
        context_id: of the accepted presentation context that the data set is encoded for.
        request: what it is.
        data_set: as it is to arrive.
    """
    head = command.encoded_request(request.message_id, request.sop_class, request.sop_instance, request.originator)
    maximum = int(association.dimse.maximum_pdu_size)
    under_way: deque[Parcel] = deque()
    first = b"".join(command.pdus(context_id, head, maximum))
    for portion in _portions(first, context_id, data_set, maximum):
        while len(under_way) == _UNDER_WAY:
            if under_way[0].gone.wait(_LOOK_SECONDS):
                under_way.popleft()
            elif is_over(association):
                return None
        under_way.append(send_parcel(association, portion))
    return _answer(association, request)


def _portions(first: bytes, context_id: int, data_set: Buffer, maximum: int) -> Iterator[bytes]:
    """Yield what goes over the wire: `first`, then the data set as P-DATA-TF PDUs."""
    fragment = max(1, maximum - _OVERHEAD) if maximum else _LONGEST_FRAGMENT
    portion = max(1, _PORTION_BYTES // fragment) * fragment
    length = len(data_set)
    for start in range(0, max(length, 1), portion):
        read = memoryview(data_set[start : start + portion])
        pieces: list[bytes | memoryview] = [first]
        for offset in range(0, max(len(read), 1), fragment):
            part = read[offset : offset + fragment]
            control = _LAST if start + offset + len(part) >= length else 0
            pieces += (_HEADER.pack(_P_DATA, len(part) + 6, len(part) + 2, context_id, control), part)
        yield b"".join(pieces)
        first = b""


def _answer(association: Association, request: Store) -> Answered | None:
    if is_over(association):
        return None
    _, response = association.dimse.get_msg(block=True)
    if (
        isinstance(response, C_STORE)
        and response.is_valid_response
        and response.MessageIDBeingRespondedTo == request.message_id
    ):
        status: Any = response.Status
        return Answered(status, str(response.ErrorComment or "").strip())
    if not is_over(association):  # no answer in time, or none to what was asked
        association.abort()
    return None
