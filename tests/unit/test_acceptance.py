"""Who may associate: the decision from values, and whom a crowd of connections costs a place."""

import socket
from collections.abc import Iterator

import pytest

from staticwado_daemon.dimse.node.acceptance import (
    CALLED,
    CALLING,
    OF_PEER,
    PEER,
    TOTAL,
    Refusal,
    Request,
    Rules,
    decide,
    exposure_warning,
    networks,
)
from staticwado_daemon.dimse.node.connections import Connection, Connections
from staticwado_daemon.errors import ConfigError

FROM = Request(called="ARCHIVE", calling="CT1", address="10.1.2.3")


def _rules(*, called: str = "", calling: str = "", peers: str = "", maximum: int = 3, of_peer: int = 2) -> Rules:
    return Rules(frozenset(called.split()), frozenset(calling.split()), networks(peers.split()), maximum, of_peer)


@pytest.mark.parametrize(
    ("rules", "refusal"),
    [
        (_rules(), None),
        (_rules(called="ARCHIVE OTHER"), None),
        (_rules(called="OTHER"), CALLED),
        (_rules(called="archive"), CALLED),
        (_rules(calling="CT1"), None),
        (_rules(calling="CT2"), CALLING),
        (_rules(calling="CT"), CALLING),
        (_rules(peers="10.1.2.3"), None),
        (_rules(peers="10.1.0.0/16"), None),
        (_rules(peers="10.1.2.9/16"), None),
        (_rules(peers="10.2.0.0/16 10.1.2.4"), PEER),
        (_rules(peers="fd00::/8"), PEER),
        (_rules(called="OTHER", calling="CT2", peers="10.2.0.0/16"), PEER),
        (_rules(called="OTHER", calling="CT2"), CALLED),
        (_rules(called="ARCHIVE", calling="CT1", peers="10.1.2.3"), None),
    ],
)
def test_titles_and_peers(rules: Rules, refusal: Refusal | None) -> None:
    assert decide(FROM, rules) == refusal


def test_a_refusal_has_the_numbers_of_the_standard() -> None:
    numbers = {each.rule: (each.result, each.source, each.reason) for each in (CALLED, CALLING, PEER, TOTAL, OF_PEER)}
    assert numbers == {
        "calledAeTitles": (1, 1, 7),
        "callingAeTitles": (1, 1, 3),
        "peers": (1, 1, 3),
        "maxAssociations": (2, 3, 2),
        "maxAssociationsPerPeer": (2, 3, 2),
    }


@pytest.mark.parametrize("title", ["CT1", " CT1", "CT1             ", "CT1 "])
def test_blanks_around_a_title_mean_nothing(title: str) -> None:
    assert decide(Request(" ARCHIVE ", title, "10.1.2.3"), _rules(called="ARCHIVE", calling="CT1")) is None


@pytest.mark.parametrize(
    ("address", "peers", "welcome"),
    [
        ("::ffff:10.1.2.3", "10.1.0.0/16", True),
        ("::ffff:10.9.2.3", "10.1.0.0/16", False),
        ("10.1.2.3", "::ffff:10.1.0.0/112", True),
        ("10.1.2.3", "::/0", False),
        ("10.1.2.3", "0.0.0.0/0", True),
        ("::ffff:10.1.2.3", "::ffff:10.1.2.3", True),
        ("fd00::1", "fd00::/8", True),
        ("fe80::1%eth0", "fe80::/10", True),
        ("fd00::1", "0.0.0.0/0", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_addresses_of_both_families(address: str, peers: str, welcome: bool) -> None:
    assert (decide(Request("A", "B", address), _rules(peers=peers)) is None) == welcome


@pytest.mark.parametrize("text", ["localhost", "10.1.2", "10.1.2.3/33", "", "10.1.2.3-10.1.2.9", "fd00::/129"])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is neither an address nor a network") as raised:
        networks([text])
    assert repr(text) in str(raised.value)


def test_limits() -> None:
    rules = _rules(maximum=3, of_peer=2)
    asked = [(0, 0), (1, 1), (2, 2), (2, 0), (3, 0), (3, 2), (1000, 1000)]
    answers = [decide(Request("A", "B", "10.0.0.1", total, own), rules) for total, own in asked]
    assert answers == [None, None, OF_PEER, None, TOTAL, OF_PEER, OF_PEER]


def test_who_is_not_welcome_does_not_learn_how_busy_we_are() -> None:
    assert decide(Request("A", "B", "10.0.0.1", 1000, 1000), _rules(calling="C")) == CALLING


@pytest.mark.parametrize(
    ("host", "rules", "certificates", "warned"),
    [
        ("127.0.0.1", _rules(), False, False),
        ("::1", _rules(), False, False),
        ("localhost", _rules(), False, False),
        ("0.0.0.0", _rules(), False, True),  # noqa: S104 - what is warned of
        ("::", _rules(), False, True),
        ("archive.example", _rules(), False, True),
        ("0.0.0.0", _rules(called="ARCHIVE"), False, True),  # noqa: S104
        ("0.0.0.0", _rules(calling="CT1"), False, False),  # noqa: S104
        ("0.0.0.0", _rules(peers="10.0.0.0/8"), False, False),  # noqa: S104
        ("0.0.0.0", _rules(), True, False),  # noqa: S104
    ],
)
def test_an_open_node_is_warned_of(host: str, rules: Rules, certificates: bool, warned: bool) -> None:
    sentence = exposure_warning(host, rules, client_certificates=certificates)
    assert (sentence is not None) == warned


PENDING = 8


class Crowd:
    """Connections of which both ends are ours, and a clock that we set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.all = Connections(10.0, PENDING, lambda: self.now)
        self.others: dict[Connection, socket.socket] = {}

    def connect(self, peer: str) -> Connection:
        ours, theirs = socket.socketpair()
        connection = self.all.add(ours, peer)
        theirs.setblocking(False)
        self.others[connection] = theirs
        return connection

    def is_open(self, connection: Connection) -> bool:
        """As the other end sees it."""
        try:
            return self.others[connection].recv(1) != b""
        except BlockingIOError:
            return True

    def leave(self, connection: Connection) -> None:
        self.all.remove(connection)
        self.others.pop(connection).close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    for connection in list(crowd.others):
        crowd.leave(connection)


def test_one_address_crowds_out_itself_alone(crowd: Crowd) -> None:
    good = crowd.connect("10.0.0.1")
    hostile = [crowd.connect("10.6.6.6") for _ in range(PENDING + 5)]
    assert [crowd.is_open(each) for each in hostile] == [False] * 5 + [True] * PENDING
    assert {each.cut for each in hostile[:5]} == {"crowd"}
    assert crowd.is_open(good)


def test_many_addresses_cost_the_one_with_most_its_oldest(crowd: Crowd) -> None:
    good = crowd.connect("10.0.0.1")
    hostile = [crowd.connect("10.6.6.6") for _ in range(PENDING)]
    others = [crowd.connect(f"10.0.1.{n}") for n in range(3 * PENDING)]
    assert crowd.is_open(good)
    assert all(map(crowd.is_open, others))
    assert [crowd.is_open(each) for each in hostile] == [False] + [True] * (PENDING - 1)


def test_what_pends_for_too_long_is_cut(crowd: Crowd) -> None:
    first = crowd.connect("10.0.0.1")
    accepted = crowd.connect("10.0.0.1")
    assert crowd.all.admit(accepted, lambda *_: None) is None
    crowd.now = 8.0
    second = crowd.connect("10.0.0.1")
    crowd.now = 10.5
    crowd.all.cut_overdue()
    assert (first.cut, accepted.cut, second.cut) == ("artim", None, None)
    assert [*map(crowd.is_open, (first, accepted, second))] == [False, True, True]


def test_associations_are_counted_in_all_and_by_address(crowd: Crowd) -> None:
    heard: list[tuple[int, int]] = []

    def decide(*counts: int) -> Refusal | None:
        heard.append(counts)  # type: ignore[arg-type]  # there are two
        return TOTAL if sum(counts) > 3 else None

    peers = ("10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.1")
    all_of_them = [crowd.connect(peer) for peer in peers]
    assert [crowd.all.admit(each, decide) for each in all_of_them] == [None, None, None, TOTAL]
    assert heard == [(0, 0), (1, 0), (2, 1), (3, 2)]
    crowd.leave(all_of_them[0])
    assert crowd.all.admit(all_of_them[3], decide) is None
    assert heard[-1] == (2, 1)


def test_a_number_that_is_another_files_by_now_is_not_touched(crowd: Crowd) -> None:
    connection = crowd.connect("10.0.0.1")
    number = connection.socket.fileno()
    connection.socket.close()
    one, other = socket.socketpair()
    assert number in {one.fileno(), other.fileno()}
    crowd.all.cut_pending()
    one.send(b"x")
    assert other.recv(1) == b"x"
    one.close()
    other.close()
