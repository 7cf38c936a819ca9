"""Peers by hand, good and hostile: bytes of the upper layer (PS3.8 9.3) and of DIMSE messages (PS3.7 9.3)."""

import random
import socket
import struct
from pathlib import Path

VERIFICATION = b"1.2.840.10008.1.1"
CT_STORAGE = b"1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1"
ELSEWHERE = "127.0.0.6"
"""Another machine's address, as far as the node can tell."""

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 2, 3, 4, 5, 6, 7

_C_MOVE_RQ = 0x0021
_ASKED = (
    (0x0020, b"1.2.840.10008.5.1.4.1.2.2.1"),
    (_C_MOVE_RQ, b"1.2.840.10008.5.1.4.1.2.2.2"),
    (0x0010, b"1.2.840.10008.5.1.4.1.2.2.3"),
)
"""C-FIND, C-MOVE and C-GET of the Study Root model, by their command fields (PS3.7 annex E)."""

_LENGTHS = (0, 1, 2, 3, 0xFF, 0x7FFF, 0x8000, 0xFFFF)


def connect(port: int, source: str = ELSEWHERE) -> socket.socket:
    """A connection to a node of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU, which may say another length than it has."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def associate_request(called: bytes = b"STATICWADO", calling: bytes = b"HOSTILE") -> bytes:
    """A good A-ASSOCIATE-RQ for C-ECHO, C-STORE of CT, C-FIND, C-MOVE and C-GET (PS3.8 9.3.2)."""
    items = _item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract_syntax in enumerate((VERIFICATION, CT_STORAGE, *(sop_class for _, sop_class in _ASKED))):
        syntaxes = _item(0x30, abstract_syntax) + _item(0x40, EXPLICIT_LITTLE_ENDIAN)
        items += _item(0x20, bytes((2 * number + 1, 0, 0, 0)) + syntaxes)
    items += _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3.4"))
    return pdu(1, struct.pack(">HH16s16s32x", 1, 0, called.ljust(16), calling.ljust(16)) + items)


def excessive_request() -> bytes:
    """An A-ASSOCIATE-RQ of almost a megabyte: sixteen times the same class, each in five thousand transfer syntaxes."""
    syntaxes = b"".join(_item(0x40, b"1.2.%d" % number) for number in range(5000))
    contexts = [
        _item(0x20, bytes((number, 0, 0, 0)) + _item(0x30, CT_STORAGE) + syntaxes) for number in range(1, 33, 2)
    ]
    return pdu(1, associate_request()[6:74] + b"".join(contexts))


def mutated_session(seed: int) -> list[bytes]:
    """The PDUs of an association on which an object is stored and others are asked for, with something wrong in them.

    It may be a PDU that is there twice, or isn't, or is mutated.
    """
    chance = random.Random(seed)
    pdus = [
        associate_request(),
        _p_data(3, _command(0x0001, CT_STORAGE, _element(0x1000, UID))),
        _p_data(0, OBJECT[:40]),
        _p_data(2, OBJECT[40:]),
    ]
    for number, (field, sop_class) in enumerate(_ASKED):
        more = _element(0x0600, b"NOBODY") if field == _C_MOVE_RQ else b""
        pdus += [_p_data(3, _command(field, sop_class, more), 5 + 2 * number), _p_data(2, _KEYS, 5 + 2 * number)]
    pdus.append(pdu(RELEASE_RQ, bytes(4)))
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(pdus))
        match chance.randrange(4):
            case 0:
                del pdus[at]
            case 1:
                pdus.insert(chance.randrange(len(pdus)), pdus[at])
            case _:
                pdus[at] = bytes(_mutated(bytearray(pdus[at]), chance))
    return pdus


def mutated_request(seed: int) -> bytes:
    """An A-ASSOCIATE-RQ with one to four things wrong: bits, lengths, ends, pieces that are there twice or not."""
    return bytes(_mutated(bytearray(associate_request()), random.Random(seed)))


def _mutated(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(6):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at : at + 2] = struct.pack(">H", chance.choice(_LENGTHS))
            case 2:
                data[2:6] = struct.pack(">I", chance.choice((0, 4, 67, 68, len(data), 0xFFFF, 0x100000, 0xFFFFFFFF)))
            case 3:
                del data[max(7, at) :]
            case 4:
                data[at:at] = data[at : at + chance.randrange(1, 64)]
            case _:
                data[at : at + 8] = chance.randbytes(8)
    return data


def established(port: int, source: str = ELSEWHERE) -> socket.socket:
    """A connection with an association on it."""
    connection = connect(port, source)
    connection.sendall(associate_request())
    kind, _ = read_pdu(connection)
    assert kind == ASSOCIATE_AC, f"an association was answered with a PDU of type {kind}"
    return connection


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """The type of the next PDU and its body; 0 if the connection ends instead."""
    header = connection.recv(6, socket.MSG_WAITALL)
    if not header:
        return 0, b""
    kind, length = struct.unpack(">BxI", header)
    return kind, connection.recv(length, socket.MSG_WAITALL)


def store(connection: socket.socket, data: bytes | None = None) -> int:
    """Store an object as a good peer does; the status that is answered (PS3.7 9.3.1.2)."""
    connection.sendall(store_begun(UID, b"") + data_end(OBJECT if data is None else data))
    kind, body = read_pdu(connection)
    assert kind == P_DATA
    (status,) = struct.unpack("<H", body.partition(_element(0x0900, b"\0\0")[:8])[2][:2])
    return int(status)


def release(connection: socket.socket) -> None:
    """End an association as a good peer does."""
    connection.sendall(pdu(RELEASE_RQ, bytes(4)))
    assert read_pdu(connection)[0] == RELEASE_RP
    connection.close()


def store_begun(uid: bytes, data: bytes) -> bytes:
    """A C-STORE-RQ with the first bytes of its data set, in PDUs (PS3.7 9.3.1)."""
    return _p_data(3, _command(0x0001, CT_STORAGE, _element(0x1000, uid))) + _p_data(0, data)


def _command(field: int, sop_class: bytes, more: bytes) -> bytes:
    command = _element(0x0002, sop_class) + _element(0x0100, struct.pack("<H", field)) + _element(0x0110, b"\x01\0")
    command += _element(0x0700, b"\0\0") + _element(0x0800, b"\0\0") + more
    return _element(0x0000, struct.pack("<I", len(command))) + command


def _p_data(control: int, data: bytes, context: int = 3) -> bytes:
    return pdu(4, struct.pack(">IBB", len(data) + 2, context, control) + data)


def fragment_begun(length: int) -> bytes:
    """The headers of a fragment of a data set that has so many bytes."""
    return pdu(4, struct.pack(">IBB", length + 2, 3, 0), length + 6)


def data_end(data: bytes = b"") -> bytes:
    """The last fragment of a data set."""
    return _p_data(2, data)


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


def _element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def _data_element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


UID = b"1.2.3.4.5.6"
OBJECT = (
    _data_element(0x08, 0x16, b"UI", CT_STORAGE + b"\0")
    + _data_element(0x08, 0x18, b"UI", UID + b"\0")
    + _data_element(0x20, 0x0D, b"UI", b"1.2\0")
    + _data_element(0x20, 0x0E, b"UI", b"1.2.3\0")
)
"""The data set of the smallest object that is stored."""

_KEYS = (
    _data_element(0x08, 0x52, b"CS", b"STUDY ")
    + _data_element(0x10, 0x10, b"PN", b"*a*^?*")
    + _data_element(0x20, 0x0D, b"UI", b"1.2\0")
)


def resident(process: int) -> int:
    """Bytes of memory that a process has in use."""
    fields = Path(f"/proc/{process}/statm").read_text().split()
    return int(fields[1]) * 4096


def descriptors(process: int) -> int:
    """How many files and connections a process has open."""
    return sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())


def threads(process: int) -> int:
    """How many threads a process has."""
    return sum(1 for _ in Path(f"/proc/{process}/task").iterdir())
