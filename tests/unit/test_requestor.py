"""Associations that we request: whom we mean, and in words why there is none."""

import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association import command, pdata
from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.peers import Peer, is_title, named
from staticwado_daemon.dimse.statuses import is_passing, is_warning, words
from staticwado_daemon.dimse.tls import client_context
from staticwado_daemon.dimse.verification.echo import echo
from staticwado_daemon.errors import ConfigError, StaticwadoError, Transient
from tests.system import dcmtk, peers
from tests.system.by_hand import resident
from tests.system.certificates import authority

LOCAL = Local("STATICWADO", connect_seconds=5, associate_seconds=5, answer_seconds=5)
REJECT, ABORT = 3, 7
KNOWN = {"PACS": Peer("PACS", "10.1.2.3", 104, description="the archive")}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("ARCHIVE@pacs.example.org:104", "pacs.example.org", 104),
        ("ARCHIVE@10.1.2.3:11112", "10.1.2.3", 11112),
        ("ARCHIVE@[fe80::1%eth0]:104", "fe80::1%eth0", 104),
        ("ARCHIVE@[::1]:65535", "::1", 65535),
    ],
)
def test_a_peer_is_written_out(text: str, host: str, port: int) -> None:
    assert named(text, {}, tls=True) == Peer("ARCHIVE", host, port, tls=True)


def test_a_peer_that_is_known_is_called_by_its_title() -> None:
    assert named("PACS", KNOWN, tls=True) == KNOWN["PACS"]
    assert str(KNOWN["PACS"]) == "PACS at 10.1.2.3:104"
    assert str(named("A@[::1]:104", {})) == "A at [::1]:104"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pacs", "'pacs' is not in aeConfig: it has PACS; add it there, or give TITLE@host:port"),
        ("PACS@", "no address"),
        ("PACS@host", "no address"),
        ("PACS@host:0", "no address"),
        ("PACS@host:65536", "no address"),
        ("PACS@a host:104", "no address"),
        ("PACS@a@b:104", "no address"),
        ("@host:104", "AE title"),
        ("   @host:104", "AE title"),
        ("SEVENTEEN_LETTERS@host:104", "AE title"),
        ("BACK\\SLASH@host:104", "AE title"),
        ("ÄRZTE@host:104", "AE title"),
    ],
)
def test_what_means_nobody_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        named(text, KNOWN)


def test_titles_are_those_of_the_standard() -> None:
    assert is_title("A")
    assert is_title("SIXTEEN LETTERS!")
    assert not any(map(is_title, ("", " ", "SEVENTEEN LETTERS", "TAB\t", "NEW\nLINE", "A\\B", "\x7f")))


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[Peer]:
    """Somebody who does this with the one connection that comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def attend() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=attend, daemon=True)
        thread.start()
        yield Peer("ARCHIVE", "127.0.0.1", listener.getsockname()[1])
        thread.join(10)


def replying(kind: int, *values: int) -> Callable[[socket.socket], None]:
    """Answer a request with one short PDU."""

    def answer(connection: socket.socket) -> None:
        length = struct.unpack(">xxI", connection.recv(6, socket.MSG_WAITALL))[0]
        connection.recv(length, socket.MSG_WAITALL)
        connection.sendall(struct.pack(">BxI4B", kind, 4, *values))
        connection.recv(1)

    return answer


@pytest.mark.parametrize(
    ("source", "reason", "sentence"),
    [
        (1, 1, "it gives no reason"),
        (1, 2, "it doesn't know the application context name"),
        (1, 3, "it does not know us as STATICWADO (calling AE title not recognised)"),
        (1, 7, "it isn't called ARCHIVE (called AE title not recognised)"),
        (2, 1, "it gives no reason"),
        (2, 2, "it doesn't support our version of the protocol"),
        (3, 1, "it is too busy now (temporary congestion)"),
        (3, 2, "it has as many associations as it allows (local limit exceeded)"),
    ],
)
@pytest.mark.parametrize("result", [1, 2])
def test_a_rejection_is_told_in_words(result: int, source: int, reason: int, sentence: str) -> None:
    """Every reason of PS3.8 table 9-21; only what passes is worth another try."""
    with answering(replying(REJECT, 0, result, source, reason)) as peer, pytest.raises(StaticwadoError) as caught:
        echo(LOCAL, peer)
    assert str(caught.value) == f"{peer} rejected the association: {sentence}"
    assert isinstance(caught.value, Transient) == (result == 2 or source == 3)


def test_an_abort_is_told() -> None:
    with answering(replying(ABORT, 0, 0, 0, 0)) as peer, pytest.raises(Transient, match="aborted the association"):
        echo(LOCAL, peer)


def test_a_connection_that_is_closed_is_told() -> None:
    with answering(lambda _: None) as peer, pytest.raises(Transient, match="closed the connection"):
        echo(LOCAL, peer)


def test_silence_is_told() -> None:
    hurried = Local("STATICWADO", associate_seconds=0.2)
    ended = threading.Event()
    with answering(lambda _: ended.wait(5) and None) as peer:
        with pytest.raises(Transient, match=r"didn't answer our association request within 0\.2 s"):
            echo(hurried, peer)
        ended.set()


def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Transient, match=rf"PACS at 127\.0\.0\.1:{port} can't be reached: the connection was refused"):
        echo(LOCAL, Peer("PACS", "127.0.0.1", port))
    with pytest.raises(Transient, match="there is no host of this name"):
        echo(LOCAL, Peer("PACS", "nobody.invalid", 104))


def test_a_service_that_is_not_offered_is_told() -> None:
    with peers.archive(offers=[]) as archive:
        peer = Peer("ARCHIVE", "127.0.0.1", archive.port)
        proposed = contexts.messages([contexts.STUDY_ROOT_FIND])
        with (
            pytest.raises(StaticwadoError, match="accepts nothing of what we proposed"),
            associated(LOCAL, peer, proposed),
        ):
            pass
        assert echo(LOCAL, peer) < 5


def test_nobody_waits_for_an_answer_once_the_connection_is_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it ended by."""

    def break_down() -> None:
        raise RuntimeError

    patient = replace(LOCAL, answer_seconds=60)
    with peers.archive() as archive:
        peer = Peer("ARCHIVE", "127.0.0.1", archive.port)
        with associated(patient, peer, contexts.messages([contexts.VERIFICATION])) as association:
            monkeypatch.setattr(association.dul, "_read_pdu_data", break_down)
            began = time.monotonic()
            assert not association.send_c_echo()
            assert time.monotonic() - began < 10


def test_tls_is_spoken_where_it_is_wanted(tmp_path: Path) -> None:
    own, stranger = authority(tmp_path / "own"), authority(tmp_path / "stranger")
    ours = client_context(*own.sign("client"), own.certificate)
    unknown = client_context(*stranger.sign("stranger"), own.certificate)
    certificate, key = own.sign("server", "rsa")
    secured = ("+tls", str(key), str(certificate), "+cf", str(own.certificate), "-rc")
    with dcmtk.storescp(tmp_path / "out", *secured, title="ARCHIVE") as storescp:
        secure = Peer("ARCHIVE", "127.0.0.1", storescp.port, tls=True)
        assert echo(_speaking(ours), secure) < 5
        with pytest.raises(StaticwadoError, match=r"TLS, and dicomWebScpConfig\.tls isn't configured"):
            echo(LOCAL, secure)
        with pytest.raises(StaticwadoError, match="certificate that isn't trusted"):
            echo(_speaking(client_context(authorities=stranger.certificate)), secure)
        with pytest.raises(StaticwadoError, match=r"does it accept our certificate\?"):
            echo(_speaking(unknown), secure)
        with pytest.raises(StaticwadoError, match="does it expect TLS"):
            echo(LOCAL, replace(secure, tls=False))


def test_tls_is_not_spoken_with_who_does_not(tmp_path: Path) -> None:
    own = authority(tmp_path / "own")
    ours = client_context(authorities=own.certificate)
    abort = bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, 2, 1))
    with answering(lambda each: each.sendall(abort)) as peer, pytest.raises(StaticwadoError, match="TLS with ARCHIVE"):
        echo(_speaking(ours), replace(peer, tls=True))


def _speaking(context: ssl.SSLContext) -> Local:
    return replace(LOCAL, tls=context)


_ACCEPTANCE = (
    struct.pack(">HH16s16s32x", 1, 0, b"ARCHIVE".ljust(16), b"STATICWADO".ljust(16))
    + struct.pack(">BxH21s", 0x10, 21, b"1.2.840.10008.3.1.1.1")
    + struct.pack(">BxH4BBxH19s", 0x21, 27, 1, 0, 0, 0, 0x40, 19, b"1.2.840.10008.1.2.1")
    + struct.pack(">BxHBxHIBxH7s", 0x50, 19, 0x51, 4, 16_384, 0x52, 7, b"1.2.3.4")
)
_MEGABYTES = 128


def _accept(connection: socket.socket) -> None:
    length = struct.unpack(">xxI", connection.recv(6, socket.MSG_WAITALL))[0]
    connection.recv(length, socket.MSG_WAITALL)
    connection.sendall(struct.pack(">BxI", 2, len(_ACCEPTANCE)) + _ACCEPTANCE)


def test_an_answer_that_nobody_waits_for_does_no_harm() -> None:
    late = command.find_response(7, contexts.VERIFICATION, 0x0000)

    def answer(connection: socket.socket) -> None:
        _accept(connection)
        connection.sendall(b"".join(pdata.pdus(1, late, 16_384, kind=pdata.COMMAND)))
        connection.recv(10, socket.MSG_WAITALL)
        connection.sendall(struct.pack(">BxI4x", 6, 4))

    with answering(answer) as peer:
        with associated(LOCAL, peer, contexts.messages([contexts.VERIFICATION])) as association:
            time.sleep(0.2)
            assert association.is_established
        assert association.is_released


def test_what_comes_after_we_have_said_good_bye_is_not_kept() -> None:
    """A peer may still have something to say (PS3.8 AR-6), and it may be without end."""
    much = struct.pack(">BxIIBB", 4, 65_542, 65_538, 1, 1) + bytes(65_536)

    def answer(connection: socket.socket) -> None:
        _accept(connection)
        connection.recv(10, socket.MSG_WAITALL)  # A-RELEASE-RQ
        for _ in range(16 * _MEGABYTES):
            connection.sendall(much)
        connection.sendall(struct.pack(">BxI4x", 6, 4))

    with answering(answer) as peer:
        with associated(LOCAL, peer, contexts.messages([contexts.VERIFICATION])) as association:
            before = resident(os.getpid())
        assert resident(os.getpid()) - before < _MEGABYTES << 18
        assert association.is_released


def test_statuses_have_words() -> None:
    assert words(0xA700) == "refused: out of resources (0xA700)"
    assert words(0xC123, "no such patient") == "failed: cannot understand or process it (0xC123, “no such patient”)"
    assert words(0x4711) == "unknown status (0x4711)"
    assert [each for each in (0, 0xB000, 0xB007, 0x0107, 0xA700, 0xC000, 0x0110) if is_warning(each)] == [
        *(0xB000, 0xB007, 0x0107),
    ]
    assert is_passing(0xA712)
    assert not is_passing(0xA900)
