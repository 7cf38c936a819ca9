"""The other side of an association, by hand: what a well-behaved library wouldn't send, or not in these pieces."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.node.acceptance import Rules
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.node.server import Node, Service, serve
from staticwado_daemon.dimse.receiving.service import Receiver
from staticwado_daemon.dimse.verification.service import Verification
from staticwado_daemon.inbound import drop
from staticwado_daemon.pipeline.space import Space

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"

ASSOCIATE_AC, P_DATA, RELEASE_RP, ABORT = 2, 4, 6, 7


@contextmanager
def receiving(
    folder: Path,
    *,
    limits: Limits | None = None,
    spaces: Sequence[Space] = (),
    maximum: int = 1 << 40,
    services: Sequence[Service] = (),
) -> Iterator[int]:
    """A node in this process that stores into a drop folder; its port."""
    drop.prepare(folder)
    observed = Observed("STATICWADO", "127.0.0.1", tls=False)
    receiver = Receiver(folder.resolve(), spaces, maximum, observed)
    node = Node("STATICWADO", "127.0.0.1", 0, Rules(), limits or Limits(), 30.0)
    try:
        with serve(node, [Verification(observed), receiver, *services], observed, receiver) as port:
            yield port
    finally:
        receiver.close()


def whole(folder: Path) -> list[Path]:
    """What was received into a drop folder and is complete, in the order in which the daemon takes it."""
    return sorted(folder.glob("*.dcm"))


def parts(folder: Path) -> list[Path]:
    """What is incomplete."""
    return [path for path in (folder / drop.PART).rglob("*") if path.is_file()]


@dataclass(frozen=True, slots=True)
class Peer:
    """An association that was accepted."""

    connection: socket.socket

    def pdu(self, kind: int, body: bytes) -> None:
        """Send a PDU."""
        self.connection.sendall(struct.pack(">BxI", kind, len(body)) + body)

    def fragment(self, context: int, control: int, data: bytes) -> None:
        """Send a P-DATA-TF PDU with one fragment."""
        self.pdu(P_DATA, struct.pack(">IBB", len(data) + 2, context, control) + data)

    def request(self, context: int, sop_class: str, instance: str, field: int = 1) -> None:
        """Send the command set of a C-STORE-RQ."""
        values = [
            (0x0002, _padded(sop_class)),
            (0x0100, struct.pack("<H", field)),
            (0x0110, struct.pack("<H", 7)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 1)),
            (0x1000, _padded(instance)),
        ]
        self.fragment(context, 3, b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in values))

    def store(self, sop_class: str, instance: str, data_set: bytes, *, piece: int = 16_000, context: int = 1) -> "Told":
        """Send an object in pieces of so many bytes; what is answered."""
        self.request(context, sop_class, instance)
        for start in range(0, len(data_set) or 1, piece):
            last = 2 if start + piece >= len(data_set) else 0
            self.fragment(context, last, data_set[start : start + piece])
        return self.told()

    def told(self) -> "Told":
        """Read a response."""
        kind, body = self.answer()
        assert kind == P_DATA, f"PDU of type {kind}"
        found, position = {}, 6
        while position < len(body):
            _, element, length = struct.unpack_from("<HHI", body, position)
            found[element] = body[position + 8 : position + 8 + length]
            position += 8 + length
        assert struct.unpack("<H", found[0x0120]) == (7,)
        return Told(struct.unpack("<H", found[0x0900])[0], found.get(0x0902, b"").decode("ascii").strip())

    def answer(self) -> tuple[int, bytes]:
        """Read a PDU; its type is 0 at the end of the connection."""
        header = _read(self.connection, 6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", header)
        return kind, _read(self.connection, length)

    def release(self) -> None:
        """End the association as one does."""
        self.pdu(5, bytes(4))
        assert self.answer()[0] == RELEASE_RP


@dataclass(frozen=True, slots=True)
class Told:
    """Status and Error Comment of a response."""

    status: int
    comment: str = ""


@contextmanager
def associated(port: int, contexts: Sequence[tuple[str, str]] = ((CT, EXPLICIT),), **titles: Any) -> Iterator[Peer]:
    """An association with these contexts, SOP class and transfer syntax, numbered 1, 3, 5 …"""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(connection)
        peer.pdu(1, request(contexts, **titles))
        kind, _ = peer.answer()
        assert kind == ASSOCIATE_AC, f"PDU of type {kind}"
        yield peer


def request(
    contexts: Sequence[tuple[str, str]], calling: str = "MODALITY", called: str = "STATICWADO", maximum: int = 16_384
) -> bytes:
    """The body of an A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    items = [_item(0x10, b"1.2.840.10008.3.1.1.1")]
    for number, (sop_class, syntax) in enumerate(contexts):
        inner = _item(0x30, sop_class.encode()) + _item(0x40, syntax.encode())
        items.append(_item(0x20, bytes((2 * number + 1, 0, 0, 0)) + inner))
    items.append(_item(0x50, _item(0x51, struct.pack(">I", maximum)) + _item(0x52, b"1.2.3.4")))
    return struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode()) + b"".join(items)


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


def _padded(uid: str) -> bytes:
    return uid.encode("latin-1") + b"\0" * (len(uid) % 2)


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length and (more := connection.recv(length - len(data))):
        data += more
    return data
