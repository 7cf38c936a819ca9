"""Association requests as programs of the field send them, all of which dcmtk takes as well."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from staticwado_daemon.dimse.association import command, negotiation
from tests.unit.dimse_peer import ABORT, ASSOCIATE_AC, Peer, receiving

_VERIFICATION, _IMPLICIT = b"1.2.840.10008.1.1", b"1.2.840.10008.1.2"
_CALLED, _CALLING = b"STATICWADO      ", b"MODALITY        "


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


_MAXIMUM = _item(0x51, struct.pack(">I", 16_384))
_CLASS_UID = _item(0x52, b"1.2.3.4")
_CONTEXT = _item(0x20, bytes((1, 0, 0, 0)) + _item(0x30, _VERIFICATION) + _item(0x40, _IMPLICIT))


def _request(
    user: bytes | None = _MAXIMUM + _CLASS_UID, called: bytes = _CALLED, calling: bytes = _CALLING, more: bytes = b""
) -> bytes:
    """The body of an A-ASSOCIATE-RQ for Verification; without user information if that is None."""
    head = struct.pack(">HH16s16s32x", 1, 0, called, calling)
    items = _item(0x10, b"1.2.840.10008.3.1.1.1") + _CONTEXT + more
    return head + items + (_item(0x50, user) if user is not None else b"")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("drop")
    with receiving(folder) as listening:
        yield listening


_SLOPPY = {
    "titles end with NUL": _request(called=b"STATICWADO".ljust(16, b"\0"), calling=b"MOD\0\0garbage"),
    "no called title": _request(called=b" " * 16),
    "no calling title": _request(calling=bytes(16)),
    "a title that isn't ASCII": _request(calling="RÖNTGEN".encode("latin-1").ljust(16)),
    "a title with a backslash": _request(calling=b"A\\B".ljust(16)),
    "no maximum length": _request(_CLASS_UID),
    "no user information": _request(None),
    "an empty one": _request(b""),
    "no implementation class": _request(_MAXIMUM),
    "a version name that is too long": _request(_MAXIMUM + _CLASS_UID + _item(0x55, b"ACME TOOLKIT 2024.1.7 (x64)")),
    "an item that nobody knows": _request(more=_item(0x60, b"abc")),
    "user information that nobody knows": _request(_MAXIMUM + _CLASS_UID + _item(0x5F, b"abc")),
    "more operations at a time": _request(_MAXIMUM + _CLASS_UID + _item(0x53, struct.pack(">HH", 5, 0))),
    "a user with a password": _request(
        _MAXIMUM + _CLASS_UID + _item(0x58, bytes((2, 1)) + struct.pack(">H3sH3s", 3, b"bob", 3, b"abc"))
    ),
}


@pytest.mark.parametrize("kind", _SLOPPY)
def test_a_sloppy_request_is_accepted_and_served(port: int, kind: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        peer = Peer(connection)
        peer.pdu(1, _SLOPPY[kind])
        accepted, body = peer.answer()
        assert accepted == ASSOCIATE_AC
        assert not {0x53, 0x58, 0x59} & {*_user_items(body)}, "what isn't done here isn't agreed upon"
        echo = [(0x0002, _VERIFICATION + b"\0"), (0x0100, b"\x30\0"), (0x0110, b"\7\0"), (0x0800, b"\1\1")]
        peer.fragment(1, 3, b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in echo))
        assert peer.told().status == 0
        peer.release()


@pytest.mark.parametrize(("version", "answer"), [(1, ASSOCIATE_AC), (3, ASSOCIATE_AC), (0, 3), (2, 3)])
def test_of_the_versions_of_the_protocol_ours_is_what_counts(port: int, version: int, answer: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        peer = Peer(connection)
        peer.pdu(1, struct.pack(">H", version) + _request()[2:])
        kind, body = peer.answer()
        assert kind == answer
        assert kind == ASSOCIATE_AC or body == bytes((0, 1, 2, 2)), "permanent, provider, version not supported"


def _user_items(body: bytes) -> Iterator[int]:
    """The types of the sub-items of an acceptance's user information, which is its last item."""
    position = body.rindex(b"\x50\0" + struct.pack(">H", len(body) - body.index(b"\x51\0\0\4"))) + 4
    while position < len(body):
        kind, length = struct.unpack_from(">BxH", body, position)
        yield kind
        position += 4 + length


def test_a_request_that_cannot_be_read_is_aborted_and_logged(port: int) -> None:
    with capture_logs() as logged, socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        peer = Peer(connection)
        peer.pdu(1, _request()[:-3])
        assert peer.answer()[0] == ABORT
    assert ("association_not_understood", "127.0.0.1") in {(each["event"], each.get("peer")) for each in logged}


@pytest.mark.parametrize("length", [0, 3, 60, 90, 130])
def test_what_is_cut_off_stays_what_it_is(length: int) -> None:
    assert negotiation.mended(_request()[:length]) == _request()[:length]


def test_what_is_right_stays_what_it_is() -> None:
    assert negotiation.mended(_request()) == _request()


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"DEST", b"DEST"),
        (b"DEST\0\0", b"DEST"),
        (b" DEST           ", b"DEST"),
        (b"", b"? "),
        (b"    ", b"? "),
        (b"A\\B ", b"? "),
        (b"SEVENTEEN_LETTERS\0", b"? "),
    ],
)
def test_a_move_destination_is_a_title_whatever_it_is_filled_up_with(sent: bytes, read: bytes) -> None:
    values = [(0x0100, b"\x21\0"), (0x0110, b"\7\0"), (0x0600, sent), (0x0800, b"\1\0")]
    whole = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in values)
    found = command.elements(whole)
    assert found
    assert command.elements(command.mended(whole, found)) == {**found, 0x0600: read}
    del found[0x0600]
    assert command.mended(whole, found) == whole
