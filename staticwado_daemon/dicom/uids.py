"""Unique identifiers: the only way a string becomes part of a path.

PS3.5 section 9.1: components of digits separated by dots, 64 characters at most. Leading zeros in a
component are forbidden there but common in the field, and harmless in a path; they are tolerated.
"""

import re
from dataclasses import dataclass
from typing import Self

from staticwado_daemon.errors import Rejected

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
MAXIMUM_LENGTH = 64


class UID(str):
    """A validated UID: digits and dots, no empty component, 1 to 64 characters.

    Raises:
        Rejected: if the text is anything else.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Validate `text`; trailing padding must have been removed by the reader."""
        if len(text) > MAXIMUM_LENGTH or not _UID.fullmatch(text):
            raise Rejected(f"invalid UID {text[:80]!r}")
        return super().__new__(cls, text)


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """What makes an instance the same instance: Study, Series and SOP Instance UID."""

    study: UID
    series: UID
    instance: UID
