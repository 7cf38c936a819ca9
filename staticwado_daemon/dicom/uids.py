"""Unique identifiers: the only way a string becomes part of a path.

PS3.5 section 9.1: components of digits separated by dots, 64 characters at most. Leading zeros in a
component are forbidden there but common in the field, and harmless in a path; they are tolerated.
"""

import re
from dataclasses import dataclass
from typing import Self

from staticwado_daemon.errors import Rejected

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_OTHERS = re.compile(r"[^0-9.]", re.ASCII)
MAXIMUM_LENGTH = 64


class UID(str):
    """A validated UID: digits and dots, no empty component, 1 to 64 characters.

    Raises:
        Rejected: if the text is anything else.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Validate `text`; trailing padding must have been removed by the reader."""
        if fault := _fault(text):
            raise Rejected(f"no UID: it {fault}")
        return super().__new__(cls, text)


def _fault(text: str) -> str:
    """Say what keeps a text from being a UID, "" if nothing does; without the text, which may be anybody's name."""
    if not text:
        return "is empty"
    if _OTHERS.search(text):
        return "has characters other than digits and dots"
    if len(text) > MAXIMUM_LENGTH:
        return f"has {len(text)} characters, more than {MAXIMUM_LENGTH}"
    return "" if _UID.fullmatch(text) else "has a dot without a number before or after it"


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """What makes an instance the same instance: Study, Series and SOP Instance UID."""

    study: UID
    series: UID
    instance: UID
