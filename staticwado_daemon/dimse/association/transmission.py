"""One object on its way out: a C-STORE request, its data set and the answer (PS3.7 9.3.1, PS3.8 9.3.5).

The data set goes out as it stands, in portions of many PDUs, so that an object costs a few system calls however small
the PDUs are that the receiver takes; and never more than two portions ahead of the connection, however long it is.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from staticwado_daemon.dicom.data_set import Buffer
from staticwado_daemon.dimse.association import command, pdata
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.association.messages import Answer
from staticwado_daemon.dimse.association.provider import is_over, send_parcel
from staticwado_daemon.dimse.association.upper_layer import Parcel

_PORTION_BYTES: Final = 1 << 20
_UNDER_WAY: Final = 2
_LOOK_SECONDS: Final = 1.0


def store(association: Association, context_id: int, request: StoreRequest, data_set: Buffer) -> Answer | None:
    """Send an object and wait for the answer; None, and an end of the association, if there is none.

    Args:
        association: that isn't used by anybody else meanwhile, see `provider.undisturbed`.
        context_id: of the accepted presentation context that the data set is encoded for.
        request: what it is.
        data_set: as it is to arrive.
    """
    head = command.encoded_request(request)
    maximum = int(association.dimse.maximum_pdu_size)
    under_way: deque[Parcel] = deque()
    first = b"".join(pdata.pdus(context_id, head, maximum, kind=pdata.COMMAND))
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
    fragment = pdata.fragment_length(maximum)
    portion = max(1, _PORTION_BYTES // fragment) * fragment
    length = len(data_set)
    for start in range(0, max(length, 1), portion):
        read = memoryview(data_set[start : start + portion])
        pdus = pdata.pdus(context_id, read, maximum, is_last=start + len(read) >= length)
        yield b"".join((first, *pdus))
        first = b""


def _answer(association: Association, request: StoreRequest) -> Answer | None:
    if is_over(association):
        return None
    _, response = association.dimse.get_msg(block=True)
    if (
        isinstance(response, C_STORE)
        and response.is_valid_response
        and response.MessageIDBeingRespondedTo == request.message_id
    ):
        status: Any = response.Status
        return Answer(status, str(response.ErrorComment or "").strip())
    if not is_over(association):  # no answer in time, or none to what was asked
        association.abort()
    return None
