"""Conditional and partial requests (RFC 9110 sections 13 and 14) as nginx decides them: pure functions.

Entity tags have nginx's form, so that a client may move between the two servers and keep what it has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Literal

_GZIP = re.compile(r"(?:^|[ ,])gzip *(?:,|$|; *(?:$|q=(?:1|0\.0{0,2}[1-9])))", re.IGNORECASE)
_RANGE = re.compile(r" *(?:([0-9]+) *- *([0-9]+)?|-([0-9]+)) *", re.ASCII)


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
    unit, equals, wanted = headers.get("range", "").partition("=")
    if unit.lower() != "bytes" or not equals or version.length == 0:
        return None
    if not _is_current(headers.get("if-range"), version):
        return None
    ranges = [_one_range(text, version.length) for text in wanted.split(",")]
    satisfiable = [part for part in ranges if part]
    if None in ranges or not satisfiable:
        return range(0)
    return satisfiable[0] if len(satisfiable) == 1 else None


def _one_range(text: str, length: int) -> range | None:
    match = _RANGE.fullmatch(text)
    if not match:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return range(max(length - int(suffix), 0), length)
    return range(int(first), length if last is None else min(int(last) + 1, length))


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
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except ValueError:
        return -1
