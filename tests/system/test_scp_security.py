"""Who gets in and who doesn't: TLS with and without certificates, AE titles, addresses and limits, by real peers."""

import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association

from staticwado_daemon.cli import execute
from staticwado_daemon.cli import staticwado as cli
from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.node import server
from staticwado_daemon.dimse.node.acceptance import Rules, networks
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.node.server import serve
from staticwado_daemon.dimse.verification.service import Verification
from tests.system import by_hand, certificates, dcmtk, nodes
from tests.system.certificates import Authority
from tests.system.nodes import Node
from tests.system.servers import free_port

VERIFICATION = "1.2.840.10008.1.1"
QUICK_SECONDS = 5.0
"""In which a welcome peer has its answer, also while others do what they like; a slow machine included."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return certificates.authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return certificates.authority(tmp_path_factory.mktemp("tls") / "others")


@contextmanager
def _node(directory: Path, **scp: Any) -> Iterator[Node]:
    node = nodes.prepare(directory)
    settings = json.loads(node.config.read_text())
    settings["dicomWebScpConfig"] |= scp
    node.config.write_text(json.dumps(settings))
    with nodes.receiving(node):
        yield node


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, ours: Authority) -> Iterator[Node]:
    """Whoever comes, comes encrypted."""
    certificate, key = ours.sign("node", "rsa")
    tls = {"certificate": str(certificate), "key": str(key)}
    with _node(tmp_path_factory.mktemp("scp") / "encrypted", tls=tls, artimSeconds=3) as node:
        yield node


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, ours: Authority) -> Iterator[Node]:
    """Whoever comes shows a certificate."""
    certificate, key = ours.sign("mutual")
    tls = {
        "certificate": str(certificate),
        "key": str(key),
        "authorities": str(ours.certificate),
        "requireClientCertificate": True,
    }
    with _node(tmp_path_factory.mktemp("scp") / "mutual", tls=tls) as node:
        yield node


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Some are welcome."""
    lists = {"calledAeTitles": ["ARCHIVE", "OTHER NAME"], "callingAeTitles": ["CT1"], "peers": ["127.0.0.0/8"]}
    with _node(tmp_path_factory.mktemp("scp") / "guarded", **lists) as node:
        yield node


def _log(node: Node, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in node.scp_log.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def _logged(node: Node, event: str, count: int = 1) -> dict[str, Any]:
    """The last line of the log about this, of so many."""
    deadline = time.monotonic() + 10
    while len(found := _log(node, event)) < count:
        assert time.monotonic() < deadline, node.scp_log.read_text()
        time.sleep(0.02)
    return found[-1]


def _echo(node: Node, *options: str | Path, expect: int = 0) -> str:
    return dcmtk.run("echoscu", *options, "127.0.0.1", node.port, expect=expect, seconds=30)


def _associate(node: Node, called: str = "ARCHIVE") -> Association:
    entity = AE("CT1")
    entity.add_requested_context(VERIFICATION)
    return entity.associate("127.0.0.1", node.port, ae_title=called)


def _refusal(node: Node, called: str = "ARCHIVE", calling: str = "CT1") -> tuple[int, ...]:
    """Result, source and reason of the rejection.

    By hand: pynetdicom's requestor takes one that comes at once for a connection that failed.
    """
    with by_hand.connect(node.port, "127.0.0.1") as connection:
        connection.sendall(by_hand.associate_request(called.encode(), calling.encode()))
        kind, body = by_hand.read_pdu(connection)
    assert kind == by_hand.ASSOCIATE_RJ
    return tuple(body[1:])


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_tls_as_todays_profiles_have_it(encrypted: Node, ours: Authority, profile: str) -> None:
    _echo(encrypted, "+tla", profile, "+cf", ours.certificate)


def test_a_client_certificate_that_nobody_asked_for_does_no_harm(
    encrypted: Node, ours: Authority, others: Authority
) -> None:
    certificate, key = others.sign("stranger")
    _echo(encrypted, "+tls", key, certificate, "+cf", ours.certificate)


def test_a_client_that_knows_another_authority_does_not_believe_us(encrypted: Node, others: Authority) -> None:
    assert "TLS" in _echo(encrypted, "+tla", "+cf", others.certificate, expect=1)


def test_who_does_not_speak_tls_gets_no_association(encrypted: Node) -> None:
    _echo(encrypted, "-to", "3", "-ta", "3", expect=1)
    assert "TLS" in _logged(encrypted, "connection_without_association")["reason"]


def test_what_is_no_longer_safe_is_not_spoken(encrypted: Node, ours: Authority) -> None:
    _echo(encrypted, "+tla", "+pa", "+cf", ours.certificate, expect=1)
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = _context(version)
        with socket.create_connection(("127.0.0.1", encrypted.port), 10) as plain, pytest.raises(OSError, match=r"."):
            context.wrap_socket(plain)


def _context(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def test_a_handshake_that_never_ends_keeps_nobody_waiting(encrypted: Node, ours: Authority) -> None:
    before = len(_log(encrypted, "connection_without_association"))
    with ExitStack() as idle:
        silent = [idle.enter_context(socket.create_connection(("127.0.0.1", encrypted.port), 10)) for _ in range(10)]
        for each in silent[5:]:
            each.send(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        began = time.monotonic()
        _echo(encrypted, "+tla", "+cf", ours.certificate)
        assert time.monotonic() - began < QUICK_SECONDS
        for each in silent:
            assert each.recv(64) == b""  # within the 3 seconds that were configured, or recv's own 10 are over
    _logged(encrypted, "connection_without_association", before + 10)


def test_with_the_right_certificate(mutual: Node, ours: Authority) -> None:
    certificate, key = ours.sign("modality", "rsa")
    _echo(mutual, "+tls", key, certificate, "+cf", ours.certificate)


def test_without_a_certificate_or_with_somebody_elses(mutual: Node, ours: Authority, others: Authority) -> None:
    certificate, key = others.sign("intruder")
    _echo(mutual, "+tla", "+cf", ours.certificate, expect=1)
    _echo(mutual, "+tls", key, certificate, "+cf", ours.certificate, expect=1)
    _echo(mutual, "-to", "3", "-ta", "3", expect=1)
    assert _log(mutual, "association_ended") == [] or all(
        line["calling"] == "ECHOSCU" and line["done"] for line in _log(mutual, "association_ended")
    )


@pytest.mark.parametrize(
    ("called", "calling", "numbers", "rule"),
    [
        ("WRONG", "CT1", (1, 1, 7), "calledAeTitles"),
        ("ARCHIVE", "CT2", (1, 1, 3), "callingAeTitles"),
        ("archive", "CT1", (1, 1, 7), "calledAeTitles"),
    ],
)
def test_a_wrong_title_is_told_on_the_wire_and_in_the_log(
    guarded: Node, called: str, calling: str, numbers: tuple[int, int, int], rule: str
) -> None:
    before = len(_log(guarded, "association_rejected"))
    assert _refusal(guarded, called, calling) == numbers
    line = _logged(guarded, "association_rejected", before + 1)
    assert {name: line[name] for name in ("rule", "called", "calling", "peer")} == {
        "rule": rule,
        "called": called,
        "calling": calling,
        "peer": "127.0.0.1",
    }


@pytest.mark.parametrize("called", ["ARCHIVE", "OTHER NAME"])
def test_who_is_welcome_gets_in(guarded: Node, called: str) -> None:
    association = _associate(guarded, called)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()


def test_an_address_that_is_not_listed(tmp_path: Path) -> None:
    with _node(tmp_path / "node", peers=["10.0.0.0/8", "127.0.0.2", "::1"]) as node:
        assert _refusal(node) == (1, 1, 3)
        assert _logged(node, "association_rejected")["rule"] == "peers"
        listed = AE("CT1")
        listed.add_requested_context(VERIFICATION)
        welcome = listed.associate("127.0.0.1", node.port, bind_address=("127.0.0.2", 0))
        assert welcome.is_established
        welcome.release()


def test_ipv6(capsys: pytest.CaptureFixture[str]) -> None:
    observed = Observed("NODE", "::1", tls=False)
    rules = Rules(peers=networks(["::1"]), maximum_of_peer=1)
    with serve(server.Node("NODE", "::1", 0, rules, Limits(), 5.0), [Verification(observed)], observed) as port:
        entity = AE("CT1")
        entity.add_requested_context(VERIFICATION)
        first, second = (entity.associate("::1", port) for _ in range(2))
        assert (first.is_established, second.is_rejected) == (True, True)
        first.release()
    assert observed.report().associations == {"rejected": 1, "released": 1}
    assert observed.report().open == 0
    capsys.readouterr()  # log lines, as nobody has said where they should go


class _Stumbling:
    """A service whose handler fails, as a hostile request may make it."""

    contexts = Verification(Observed("NODE", "", tls=False)).contexts

    def __init__(self) -> None:
        self.handlers = ((evt.EVT_REQUESTED, self._fail), (evt.EVT_CONN_OPEN, self._fail))

    def _fail(self, event: evt.Event) -> None:
        raise ValueError(event)


@pytest.mark.parametrize("fails", ["a service", "the decision"])
def test_nobody_gets_in_because_something_fails(
    fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    observed = Observed("NODE", "127.0.0.1", tls=False)
    rules = Rules(calling=frozenset(("SOMEBODY",)))
    if fails == "the decision":
        monkeypatch.setattr(server, "decide", lambda *_: 1 / 0)
    with serve(server.Node("NODE", "127.0.0.1", 0, rules, Limits(), 5.0), [_Stumbling()], observed) as port:
        entity = AE("CT1")
        entity.add_requested_context(VERIFICATION)
        association = entity.associate("127.0.0.1", port)
        assert not association.is_established
        assert association.is_rejected == (fails == "a service")
    assert observed.report().associations == ({"rejected": 1} if fails == "a service" else {"broken": 1})
    capsys.readouterr()


def test_limits_are_told_on_the_wire_and_end_with_the_associations(tmp_path: Path) -> None:
    with _node(tmp_path / "node", maxAssociations=3, maxAssociationsPerPeer=2) as node:
        first, second = _associate(node), _associate(node)
        assert _refusal(node) == (2, 3, 2)
        assert _logged(node, "association_rejected")["rule"] == "maxAssociationsPerPeer"
        assert json.loads((node.state / "scp.json").read_bytes())["running"]
        first.release()
        _logged(node, "association_ended")
        again = _associate(node)
        assert again.is_established
        again.release()
        second.release()


def test_an_association_that_says_nothing_is_ended(tmp_path: Path) -> None:
    with _node(tmp_path / "node", idleSeconds=1) as node:
        association = _associate(node)
        line = _logged(node, "association_ended")
        assert (line["outcome"], line["done"]) == ("timeout", {})
        association.join(QUICK_SECONDS)
        assert association.is_aborted


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        node = nodes.prepare(tmp_path / "node")
        done = subprocess.run(
            [*nodes.STATICWADO, "-c", node.config, "scp", "--port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": str(nodes.REPOSITORY)},
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "can't listen for DICOM on 127.0.0.1:" in line
    assert "Address already in use; see with `ss -ltnp` who has the port" in line


def test_what_tls_lacks_is_one_sentence(
    tmp_path: Path, ours: Authority, others: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = ours.sign("good")
    _, foreign = others.sign("foreign")
    locked, text = tmp_path / "locked.key", tmp_path / "text"
    lock = ["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:secret", "-out", locked]
    subprocess.run(lock, check=True, capture_output=True)
    text.write_text("certificate")
    needs = {"authorities": str(text), "requireClientCertificate": True}
    wrong: list[tuple[Path, Path, dict[str, Any], str]] = [
        (certificate, tmp_path / "absent", {}, "tls.key: "),
        (tmp_path / "absent", key, {}, "tls.certificate: "),
        (certificate, foreign, {}, "isn't the key of the certificate"),
        (certificate, locked, {}, "without a password"),
        (text, key, {}, "must hold a certificate"),
        (certificate, key, needs, "holds no certificate"),
        (certificate, key, {"requireClientCertificate": True}, "needs tls.authorities"),
    ]
    for number, (one, other, more, words) in enumerate(wrong):
        node = nodes.prepare(tmp_path / str(number), tls={"certificate": str(one), "key": str(other), **more})
        assert execute(cli, "staticwado", ["-c", str(node.config), "scp"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
        assert execute(cli, "staticwado", ["-c", str(node.config), "config", "check"]) == 2, words
        assert words in capsys.readouterr().out


@pytest.mark.parametrize("host", ["no.such.host.example", "203.0.113.1"])
def test_an_address_that_is_not_ours_is_one_sentence(
    tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node = nodes.prepare(tmp_path / "node", host=host)
    assert execute(cli, "staticwado", ["-c", str(node.config), "scp", "--port", str(free_port())]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "staticwado:" in each]
    assert f"can't listen for DICOM on {host}:" in line
