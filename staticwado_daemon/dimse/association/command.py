"""Command sets (PS3.7 section 6.3): those of which there is one for every object, or for every match of a query.

All other messages are left to pynetdicom. A command set is always in Implicit VR Little Endian.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from staticwado_daemon.dimse import statuses
from staticwado_daemon.dimse.association import negotiation

C_STORE_RQ: Final = 0x0001
N_EVENT_REPORT_RQ: Final = 0x0100
CANCELLABLE: Final = frozenset((0x0010, 0x0020, 0x0021))
"""Command Field of C-GET-RQ, C-FIND-RQ and C-MOVE-RQ."""
_C_STORE_RSP: Final = 0x8001
_C_FIND_RSP: Final = 0x8020

_GROUP_LENGTH: Final = 0x00000000
_AFFECTED_SOP_CLASS_UID: Final = 0x00000002
_COMMAND_FIELD: Final = 0x00000100
_MESSAGE_ID: Final = 0x00000110
_MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x00000120
_COMMAND_DATA_SET_TYPE: Final = 0x00000800
_STATUS: Final = 0x00000900
_OFFENDING_ELEMENT: Final = 0x00000901
_ERROR_COMMENT: Final = 0x00000902
_AFFECTED_SOP_INSTANCE_UID: Final = 0x00001000
_MOVE_DESTINATION: Final = 0x00000600
_PRIORITY: Final = 0x00000700
_MOVE_ORIGINATOR_AE_TITLE: Final = 0x00001030
_MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x00001031

_NO_DATA_SET: Final = 0x0101
_A_DATA_SET: Final = 0x0001
_MEDIUM: Final = 0x0000

_ELEMENT: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<H")

Elements = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What a C-STORE-RQ says of the object that follows (PS3.7 table 9.3-1).

    Attributes:
        message_id: to answer to.
        sop_class_uid: Affected SOP Class UID; of what was received as sent but for padding, and not validated.
        sop_instance_uid: Affected SOP Instance UID, likewise.
        originator: AE title and message ID of the C-MOVE request that this is a sub-operation of. None if it isn't one,
            and of what was received.
    """

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    originator: tuple[str, int] | None = None


def elements(command_set: bytes) -> Elements | None:
    """Take a command set apart, tag by tag; None if its lengths don't add up."""
    found: Elements = {}
    position = 0
    while position + _ELEMENT.size <= len(command_set):
        group, element, length = _ELEMENT.unpack_from(command_set, position)
        position += _ELEMENT.size
        found[group << 16 | element] = command_set[position : position + length]
        position += length
    return found if position == len(command_set) else None


def command_field(found: Elements) -> int | None:
    """Which message it is (PS3.7 annex E); None if that isn't said."""
    value = found.get(_COMMAND_FIELD, b"")
    return int(_US.unpack(value)[0]) if len(value) == _US.size else None


def store_request(found: Elements) -> StoreRequest | None:
    """Read a C-STORE-RQ that is followed by a data set; None if this isn't one, or lacks what makes it one."""
    numbers = [
        _US.unpack(value)[0]
        for value in map(found.get, (_COMMAND_FIELD, _COMMAND_DATA_SET_TYPE, _MESSAGE_ID))
        if value is not None and len(value) == _US.size
    ]
    if len(numbers) != 3 or numbers[0] != C_STORE_RQ or numbers[1] == _NO_DATA_SET:
        return None
    return StoreRequest(numbers[2], _uid(found, _AFFECTED_SOP_CLASS_UID), _uid(found, _AFFECTED_SOP_INSTANCE_UID))


def mended(command_set: bytes, found: Elements) -> bytes:
    """The same command set, in which a Move Destination is an AE title as pynetdicom takes it, if only `?`.

    Args:
        command_set: encoded.
        found: its elements.
    """
    destination = found.get(_MOVE_DESTINATION)
    if destination is None:
        return command_set
    plain = _padded(negotiation.plain_title(destination).decode("ascii"), b" ")
    return b"".join(_element(tag, plain if tag == _MOVE_DESTINATION else value) for tag, value in found.items())


def encoded_request(request: StoreRequest) -> bytes:
    """Encode a C-STORE-RQ that is followed by a data set."""
    values = [
        (_AFFECTED_SOP_CLASS_UID, _padded(request.sop_class_uid, b"\0")),
        (_COMMAND_FIELD, _US.pack(C_STORE_RQ)),
        (_MESSAGE_ID, _US.pack(request.message_id)),
        (_PRIORITY, _US.pack(_MEDIUM)),
        (_COMMAND_DATA_SET_TYPE, _US.pack(_A_DATA_SET)),
        (_AFFECTED_SOP_INSTANCE_UID, _padded(request.sop_instance_uid, b"\0")),
    ]
    if request.originator:
        title, number = request.originator
        values += [
            (_MOVE_ORIGINATOR_AE_TITLE, _padded(title, b" ")),
            (_MOVE_ORIGINATOR_MESSAGE_ID, _US.pack(number)),
        ]
    return _command_set(values)


def store_response(request: StoreRequest, status: int, comment: str = "") -> bytes:
    """Encode the C-STORE-RSP.

    Args:
        request: which it answers.
        status: (0000,0900), PS3.4 table B.2-1.
        comment: for a failure, in ASCII; what exceeds 64 characters is cut off.
    """
    values = [
        (_AFFECTED_SOP_CLASS_UID, _padded(request.sop_class_uid, b"\0")),
        (_COMMAND_FIELD, _US.pack(_C_STORE_RSP)),
        (_MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(request.message_id)),
        (_COMMAND_DATA_SET_TYPE, _US.pack(_NO_DATA_SET)),
        (_STATUS, _US.pack(status)),
        (_ERROR_COMMENT, _padded(statuses.comment(comment), b" ")),
        (_AFFECTED_SOP_INSTANCE_UID, _padded(request.sop_instance_uid, b"\0")),
    ]
    return _command_set(values)


def find_response(
    message_id: int, sop_class_uid: str, status: int, comment: str = "", offending: int | None = None
) -> bytes:
    """Encode a C-FIND-RSP; an identifier follows where the status is a pending one.

    Args:
        message_id: of the request.
        sop_class_uid: Affected SOP Class UID of the request.
        status: (0000,0900), PS3.4 C.4.1.1.4.
        comment: for a failure, in ASCII; what exceeds 64 characters is cut off.
        offending: tag of the key that is at fault.
    """
    data_set = _A_DATA_SET if statuses.is_pending(status) else _NO_DATA_SET
    return _command_set(
        [
            (_AFFECTED_SOP_CLASS_UID, _padded(sop_class_uid, b"\0")),
            (_COMMAND_FIELD, _US.pack(_C_FIND_RSP)),
            (_MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(message_id)),
            (_COMMAND_DATA_SET_TYPE, _US.pack(data_set)),
            (_STATUS, _US.pack(status)),
            (_OFFENDING_ELEMENT, struct.pack("<HH", offending >> 16, offending & 0xFFFF) if offending else b""),
            (_ERROR_COMMENT, _padded(statuses.comment(comment), b" ")),
        ]
    )


def _command_set(values: Iterable[tuple[int, bytes]]) -> bytes:
    """Encode elements, of which empty ones are left out, with the group's length before them."""
    body = b"".join(_element(tag, value) for tag, value in values if value)
    return _element(_GROUP_LENGTH, struct.pack("<I", len(body))) + body


def _uid(found: Elements, tag: int) -> str:
    return found.get(tag, b"").rstrip(b"\0 ").decode("latin-1")


def _padded(text: str, padding: bytes) -> bytes:
    encoded = text.encode("ascii", "replace")
    return encoded + padding * (len(encoded) % 2)


def _element(tag: int, value: bytes) -> bytes:
    return _ELEMENT.pack(tag >> 16, tag & 0xFFFF, len(value)) + value
