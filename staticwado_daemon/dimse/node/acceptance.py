"""Who may associate with us: decided from values, before anything else of a request is looked at."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from staticwado_daemon.errors import ConfigError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an association is rejected, in the numbers of an A-ASSOCIATE-RJ (PS3.8 9.3.4) and in one of our words.

    Attributes:
        result: 1 for good, 2 for now.
        source: 1 the service user, 3 the service provider (presentation).
        reason: 3 calling, 7 called AE title not recognised; of source 3: 2 local limit exceeded.
        rule: the setting that says so.
    """

    result: int
    source: int
    reason: int
    rule: str


PEER: Final = Refusal(1, 1, 3, "peers")
"""PS3.8 has no reason for an address. "Calling AE title not recognised" comes nearest, and has people look at who they
are to us; "no reason given" would have them look for a fault that isn't there."""
CALLED: Final = Refusal(1, 1, 7, "calledAeTitles")
CALLING: Final = Refusal(1, 1, 3, "callingAeTitles")
TOTAL: Final = Refusal(2, 3, 2, "maxAssociations")
OF_PEER: Final = Refusal(2, 3, 2, "maxAssociationsPerPeer")


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may associate, and how often at a time.

    Attributes:
        called: AE titles by which we may be called; none: by any.
        calling: AE titles that may call us; none: any.
        peers: networks from which we may be called; none: from anywhere.
        maximum: associations at a time.
        maximum_of_peer: associations of one address at a time.
    """

    called: frozenset[str] = frozenset()
    calling: frozenset[str] = frozenset()
    peers: tuple[Network, ...] = ()
    maximum: int = 100
    maximum_of_peer: int = 30

    @property
    def are_open(self) -> bool:
        """Whether whoever reaches us may associate; by which title we are called proves nothing."""
        return not self.calling and not self.peers


@dataclass(frozen=True, slots=True)
class Request:
    """An association request.

    Attributes:
        called: the AE title that is asked for.
        calling: the AE title that asks.
        address: of the peer.
        open: associations that are open already.
        open_of_peer: those of them that are the same address's.
    """

    called: str
    calling: str
    address: str
    open: int = 0
    open_of_peer: int = 0


def decide(request: Request, rules: Rules) -> Refusal | None:
    """Say why a request is refused; None if it isn't.

    AE titles are compared without the blanks around them, which mean nothing, but with their case (PS3.5 6.2).
    """
    if rules.peers and not _is_within(address_of(request.address), rules.peers):
        return PEER
    if rules.called and request.called.strip() not in rules.called:
        return CALLED
    if rules.calling and request.calling.strip() not in rules.calling:
        return CALLING
    # Last, so that who isn't welcome anyway doesn't learn how busy we are.
    if request.open_of_peer >= rules.maximum_of_peer:
        return OF_PEER
    return TOTAL if request.open >= rules.maximum else None


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read addresses and networks as a person writes them: `10.1.2.3`, `10.1.0.0/16`, `fd00::/8`.

    Raises:
        ConfigError: if one is neither; a host's name isn't, for whoever answers for names would decide then.
    """
    found: list[Network] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            raise ConfigError(f"{text!r} is neither an address nor a network such as 10.1.0.0/16") from None
        found.append(_plain_network(network))
    return tuple(found)


def address_of(text: str) -> _Address:
    """An address as a socket tells it; IPv4 that came over an IPv6 socket as what it is.

    Raises:
        ValueError: if it is none.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def exposure_warning(host: str, rules: Rules, *, client_certificates: bool) -> str | None:
    """One sentence if whoever reaches this address may store, query and retrieve; else None.

    Args:
        host: an address, or a name of this machine.
        rules: for associations.
        client_certificates: whether a peer must show a certificate.
    """
    if client_certificates or not rules.are_open or is_loopback(host):
        return None
    return (
        f"DICOM on {host} is open to everybody who reaches it, to store, to query and to retrieve: name peers or "
        "callingAeTitles in dicomWebScpConfig, have tls.requireClientCertificate, or listen on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return address_of(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plain_network(network: Network) -> Network:
    """A network of IPv4-mapped addresses as the IPv4 network that it is."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return ipaddress.ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def _is_within(address: _Address, peers: Iterable[Network]) -> bool:
    return any(address in network for network in peers)
