"""Other application entities: who they are, and how people name them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from staticwado_daemon.errors import ConfigError

MAXIMUM_TITLE = 16
"""Characters of an AE title (PS3.5 6.2, AE)."""

_TITLE = re.compile(rf"(?! *$)[\x20-\x5b\x5d-\x7e]{{1,{MAXIMUM_TITLE}}}")
_ADDRESS = re.compile(
    r"(?P<title>[^@]*)@(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:@/\[\]]+)):(?P<port>[0-9]{1,5})"
)
_MAXIMUM_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Peer:
    """Another application entity, and where it listens.

    Attributes:
        title: its AE title, as it wants to be called.
        host: a name or an address.
        port: of TCP.
        tls: whether it speaks TLS there.
        description: for people.
    """

    title: str
    host: str
    port: int
    tls: bool = False
    description: str = ""

    def __str__(self) -> str:
        """`TITLE at host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title} at {host}:{self.port}"


def is_title(text: str) -> bool:
    """Whether a text can be an AE title: 1 to 16 characters of ASCII, no backslash, not only spaces (PS3.5 6.2)."""
    return bool(_TITLE.fullmatch(text))


def named(text: str, known: Mapping[str, Peer], *, tls: bool = False) -> Peer:
    """The peer that a text means: one that is known by this title, or one written as `TITLE@host:port`.

    Args:
        text: as typed.
        known: by AE title.
        tls: whether a peer that is written out speaks TLS.

    Raises:
        ConfigError: if it is neither.
    """
    if text in known:
        return known[text]
    if "@" not in text:
        names = f": it has {', '.join(known)}" if known else ", which names nobody"
        raise ConfigError(f"{text!r} is not in aeConfig{names}; add it there, or give TITLE@host:port")
    found = _ADDRESS.fullmatch(text)
    if not found or not 0 < int(found["port"]) <= _MAXIMUM_PORT:
        raise ConfigError(f"{text!r} is no address of a peer: give TITLE@host:port, as in ARCHIVE@pacs.example.org:104")
    if not is_title(found["title"]):
        raise ConfigError(
            f"{found['title']!r} can't be an AE title: it has 1 to {MAXIMUM_TITLE} characters of ASCII, no backslash"
        )
    return Peer(found["title"].strip(), found["v6"] or found["host"], int(found["port"]), tls)
