"""Conditional and partial requests (RFC 9110 sections 13 and 14) as nginx decides them: pure functions.

Entity tags have nginx's form, so that a client may move between the two servers and keep what it has.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Literal

_GZIP = re.compile(r"(?:^|[ ,])gzip *(?:,|$|; *(?:$|q=(?:1|0\.0{0,2}[1-9])))", re.IGNORECASE)
_NUMBER = "0*([0-9]{1,19})"
_LARGEST_NUMBER = (1 << 63) - 1  # that nginx counts with
_RANGE = re.compile(rf" *(?:{_NUMBER} *- *(?:{_NUMBER})?|-{_NUMBER}) *")
# RFC 9110 section 5.6.7: the form that is written, and the two that are obsolete but read.
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one version of a file from another: its length in bytes and its time in whole seconds."""

    length: int
    modified: int

    @property
    def etag(self) -> str:
        """The strong entity tag."""
        return f'"{self.modified:x}-{self.length:x}"'

    @property
    def last_modified(self) -> str:
        """The time as HTTP writes it."""
        return formatdate(self.modified, usegmt=True)


def accepts_gzip(accept_encoding: str, http_version: str) -> bool:
    """Whether a client takes a gzipped body; one that doesn't say so, or speaks HTTP/1.0, doesn't."""
    return http_version != "1.0" and _GZIP.search(accept_encoding) is not None


def precondition(headers: Mapping[str, str], version: Version) -> Literal[200, 304, 412]:
    """The status that the conditions of a request (header names in lower case) lead to."""
    unmodified_since = headers.get("if-unmodified-since")
    if unmodified_since is not None and _seconds(unmodified_since) < version.modified:
        return 412
    match = headers.get("if-match")
    if match is not None and not _matches(match, version.etag, weak=False):
        return 412
    none_match, modified_since = headers.get("if-none-match"), headers.get("if-modified-since")
    if none_match is None and modified_since is None:
        return 200
    if modified_since is not None and _seconds(modified_since) != version.modified:
        return 200
    if none_match is not None and not _matches(none_match, version.etag, weak=True):
        return 200
    return 304


def byte_range(headers: Mapping[str, str], version: Version) -> range | None:
    """The bytes to send: None for the whole file, an empty range where nothing that is in the file is asked for.

    A request for several ranges gets the whole file, as does one whose If-Range names another version.
    """
    unit, _, wanted = headers.get("range", "").partition("=")
    if unit.lower() != "bytes" or not wanted or version.length == 0:
        return None
    if not _is_current(headers.get("if-range"), version):
        return None
    found = range(0)
    for text in wanted.split(","):
        part = _one_range(text, version.length)
        if part is None:
            return range(0)
        if found and part:
            return None
        found = found or part
    return found


def _one_range(text: str, length: int) -> range | None:
    """The bytes of the file that are meant, perhaps none of them; None if that can't be read."""
    match = _RANGE.fullmatch(text)
    if not match:
        return None
    first, last, suffix = (None if digits is None else int(digits) for digits in match.groups())
    if max(first or 0, last or 0, suffix or 0) > _LARGEST_NUMBER:
        return None
    if first is None:
        return range(max(length - (suffix or 0), 0), length)
    return range(first, length if last is None else min(last + 1, length))


def _is_current(if_range: str | None, version: Version) -> bool:
    if if_range is None:
        return True
    return if_range == version.etag if if_range.endswith('"') else _seconds(if_range) == version.modified


def _matches(listed: str, etag: str, *, weak: bool) -> bool:
    if listed == "*":
        return True
    tags = (tag.strip() for tag in listed.split(","))
    return any((tag.removeprefix("W/") if weak else tag) == etag for tag in tags)


def _seconds(date: str) -> int:
    """An HTTP date in seconds since 1970, or -1 if it isn't one."""
    for form in _DATES:
        with suppress(ValueError):
            return int(datetime.strptime(date, form).replace(tzinfo=UTC).timestamp())
    return -1
