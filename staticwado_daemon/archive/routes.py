"""The one URL table: which file answers which URL, as what, and how long a client may keep it.

Pure data and pure look-up. The nginx configuration, the embedded server and their tests are all made from
`RESOURCES`; a new resource is one new row. URLs follow DICOM PS3.18 chapter 10 (Studies Service).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from typing import Literal

from staticwado_daemon.archive.layout import ALTERNATE_NAME
from staticwado_daemon.archive.multipart import MULTIPART, MULTIPART_DICOM

PREFIX = "/dicomweb"
DICOM_JSON = "application/dicom+json"

OCTETS = "application/octet-stream"

VIDEO: Mapping[str, str] = {
    "mp4": "video/mp4",
    "mpg": "video/mpeg",
    "ts": "video/MP2T",
    "h264": "video/H264",
    "h265": "video/H265",
}
DOCUMENTS: Mapping[str, str] = {
    "pdf": "application/pdf",
    "stl": "model/stl",
    "jpg": "image/jpeg",
    "png": "image/png",
}
DOWNLOADS = ("xml", "obj", "mtl", "bin")
"""What an instance's `rendered/index.*` may be, by extension: of the first two as what it is served. `dicom.documents`
says what becomes which; whatever could act in a browser becomes one of the last."""

UID_PATTERN = r"[0-9]+(?:\.[0-9]+)*"
PLACEHOLDERS: Mapping[str, str] = {
    "study": UID_PATTERN,
    "series": UID_PATTERN,
    "instance": UID_PATTERN,
    "frame": r"[1-9][0-9]*",
    "alternate": ALTERNATE_NAME,
    "digest": r"[0-9a-f]{3}/[0-9a-f]{2}/[0-9a-f]{59}",
}
"""What may stand for a name in braces in a URL; the same name in a file's path is replaced by what stood there."""

ASKS_FOR_JSON = r"application/(?:dicom\+)?json"
"""Searched for in the Accept header, whatever its case."""

LATER_PAGE = r"0*[1-9][0-9]*"
"""A value of the query argument `offset` that skips something."""

SANDBOX = "sandbox"
"""The Content-Security-Policy of what a browser must not let act."""

METHODS = ("GET", "HEAD", "OPTIONS")

COMMON_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer. The second and third isolate a viewer's page, the last keeps pages of other hosts out."""

REFUSED_PATH = r"(?:/|%2f)(?:\.|%2e){1,2}(?:/|%2f|$)|%[01]"
"""What no honest client has in a path as it travels: dot segments and encoded control characters (a 400)."""


class Cache(StrEnum):
    """The Cache-Control of an answer that isn't an error; always `private`, for it is about patients."""

    REVALIDATE = "private, no-cache"
    IMMUTABLE = "private, max-age=31536000, immutable"


class Accept(Enum):
    """Which Accept headers a resource answers; for all others it doesn't exist."""

    ANY = "any"
    JSON = "JSON asked for"
    NOT_JSON = "JSON not asked for"


@dataclass(frozen=True, slots=True)
class File:
    """A file that may answer.

    Attributes:
        path: below the root (of a resource with `gzip`: without `.gz`).
        media_type: of the answer.
        download: browsers may save it but not show it: it is whatever the sender liked, a page with scripts perhaps.
    """

    path: str
    media_type: str
    download: bool = False

    @property
    def saved_as(self) -> str:
        """The Content-Disposition of the answer; empty for what browsers may show."""
        return f'attachment; filename="document{PurePosixPath(self.path).suffix}"' if self.download else ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of answers with this file, besides its resource's."""
        return {"Content-Disposition": self.saved_as, "Content-Security-Policy": SANDBOX} if self.download else {}


@dataclass(frozen=True, slots=True)
class OneUID:
    """The query filter that files can honour: a single UID, whose matches have a file of their own.

    `arguments` are the names of the query argument, `uid` the placeholder in `path` that its value replaces.
    """

    arguments: tuple[str, ...]
    uid: str
    path: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the table.

    Attributes:
        name: what people call it.
        url: below `PREFIX`, with names of `PLACEHOLDERS` in braces.
        files: the files that may answer, the first that exists does.
        gzip: `X.gz` stands for `X` where it exists, and is unpacked for a client that doesn't accept gzip.
        cache: how long a client may keep the answer.
        ranges: whether one byte range of a file that isn't gzipped can be asked for.
        accept: the Accept headers it answers.
        query: a search (QIDO-RS): a slash may follow, and as the first page has every match, a later one has none.
        filter: the one filter that a search honours; all others are ignored.
        sandbox: a browser must not let it act (bulk data is whatever the sender liked).
    """

    name: str
    url: str
    files: tuple[File, ...]
    gzip: bool = True
    cache: Cache = Cache.REVALIDATE
    ranges: bool = False
    accept: Accept = Accept.ANY
    query: bool = False
    filter: OneUID | None = None
    sandbox: bool = False

    @property
    def pattern(self) -> str:
        """The regular expression of the whole URL path, good for Python and for PCRE, with named groups."""
        url = re.sub(r"\{(\w+)\}", lambda name: f"(?P<{name[1]}>{PLACEHOLDERS[name[1]]})", self.url)
        return f"^{PREFIX}/{url}{'/?' if self.query else ''}$"

    @property
    def vary(self) -> str:
        """The Vary header: the request headers on which the answer depends."""
        depends = {"Accept-Encoding": self.gzip, "Accept": self.accept is not Accept.ANY}
        return ", ".join(header for header, does in depends.items() if does)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every answer for this resource, errors included."""
        headers = {"Vary": self.vary, "Content-Security-Policy": SANDBOX if self.sandbox else ""}
        return {name: value for name, value in headers.items() if value}


def _json(path: str) -> tuple[File, ...]:
    return (File(path, DICOM_JSON),)


def _shown(media_types: Mapping[str, str]) -> tuple[File, ...]:
    """Videos and documents that browsers may show: by extension, as what."""
    return tuple(File(f"{_RENDERED}/index.{extension}", kind) for extension, kind in media_types.items())


def _saved(*extensions: str) -> tuple[File, ...]:
    """Documents that browsers may only save."""
    return tuple(File(f"{_RENDERED}/index.{extension}", OCTETS, download=True) for extension in extensions)


_STUDY = "studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_RENDERED = _INSTANCE + "/rendered"

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "search for studies",
        "studies",
        _json("studies/index.json"),
        query=True,
        filter=OneUID(("StudyInstanceUID", "0020000D"), "study", _STUDY + "/index.json"),
    ),
    Resource("the record of a study", _STUDY, _json(_STUDY + "/index.json"), accept=Accept.JSON),
    Resource("metadata of a study", _STUDY + "/metadata", _json(_STUDY + "/metadata")),
    Resource(
        "search for series",
        _STUDY + "/series",
        _json(_STUDY + "/series/index.json"),
        query=True,
        filter=OneUID(("SeriesInstanceUID", "0020000E"), "series", _SERIES + "/series-singleton.json"),
    ),
    Resource("the record of a series", _SERIES, _json(_SERIES + "/series-singleton.json"), accept=Accept.JSON),
    Resource("metadata of a series", _SERIES + "/metadata", _json(_SERIES + "/metadata")),
    Resource(
        "search for instances of a study",
        _STUDY + "/instances",
        _json(_STUDY + "/instances/index.json"),
        query=True,
        filter=OneUID(("SeriesInstanceUID", "0020000E"), "series", _SERIES + "/instances/index.json"),
    ),
    Resource(
        "search for instances of a series",
        _SERIES + "/instances",
        _json(_SERIES + "/instances/index.json"),
        query=True,
    ),
    Resource("metadata of an instance", _INSTANCE + "/metadata", _json(_INSTANCE + "/metadata")),
    Resource(
        "an instance as DICOM Part 10",
        _INSTANCE,
        (File(_INSTANCE + "/index.mht", MULTIPART_DICOM),),
        ranges=True,
        accept=Accept.NOT_JSON,
    ),
    Resource(
        "a frame",
        _INSTANCE + "/frames/{frame}",
        (File(_INSTANCE + "/frames/{frame}.mht", MULTIPART),),
        ranges=True,
    ),
    Resource(
        "an alternate rendition of a frame",
        _INSTANCE + "/{alternate}/{frame}",
        (File(_INSTANCE + "/{alternate}/{frame}.mht", MULTIPART),),
        ranges=True,
    ),
    Resource(
        "a video, document or image as it is shown",
        _RENDERED,
        (
            *_shown(VIDEO),
            *_shown(DOCUMENTS),
            *_saved(*DOWNLOADS),
            File(_RENDERED + "/1.jpg", "image/jpeg"),
        ),
        gzip=False,  # players ask for byte ranges, and those of a gzipped file mean nothing
        ranges=True,
    ),
    Resource(
        "a frame as it is shown",
        _INSTANCE + "/frames/{frame}/rendered",
        (File(_RENDERED + "/{frame}.jpg", "image/jpeg"),),
        gzip=False,
    ),
    Resource("thumbnail of a study", _STUDY + "/thumbnail", (File(_STUDY + "/thumbnail", "image/jpeg"),), gzip=False),
    Resource(
        "thumbnail of a series", _SERIES + "/thumbnail", (File(_SERIES + "/thumbnail", "image/jpeg"),), gzip=False
    ),
    Resource(
        "thumbnail of an instance",
        _INSTANCE + "/thumbnail",
        (File(_INSTANCE + "/thumbnail", "image/jpeg"),),
        gzip=False,
    ),
    Resource(
        "bulk data",
        _STUDY + "/bulkdata/{digest}",
        (File(_STUDY + "/bulkdata/{digest}", MULTIPART),),
        cache=Cache.IMMUTABLE,  # named by its digest
        ranges=True,
        sandbox=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Match:
    """What the table says about one request: the first of `files` that exists answers it, else status `missing`."""

    resource: Resource | None
    files: tuple[File, ...]
    missing: Literal[204, 404]


_PATTERNS = tuple((re.compile(resource.pattern), resource) for resource in RESOURCES)


def find(path: str, query: str = "", accept: str = "") -> Match:
    """What answers a request for `path` (percent-decoded) with this raw query string and Accept header."""
    for pattern, resource in _PATTERNS:
        if match := pattern.fullmatch(path):
            return _choose(resource, match.groupdict(), query, accept)
    return Match(None, (), 404)


def _choose(resource: Resource, uids: Mapping[str, str], query: str, accept: str) -> Match:
    asks_for_json = re.search(ASKS_FOR_JSON, accept, re.IGNORECASE) is not None
    if resource.accept is not Accept.ANY and asks_for_json is not (resource.accept is Accept.JSON):
        return Match(resource, (), 404)
    if resource.query and re.fullmatch(LATER_PAGE, argument(query, "offset"), re.ASCII):
        return Match(resource, (), 204)
    if resource.filter:
        given = (argument(query, name) for name in resource.filter.arguments)
        wanted = next(filter(None, given), "")
        if re.fullmatch(UID_PATTERN, wanted, re.ASCII):
            path = resource.filter.path.format_map({**uids, resource.filter.uid: wanted})
            return Match(resource, (File(path, resource.files[0].media_type),), 204)
    return Match(resource, tuple(replace(file, path=file.path.format_map(uids)) for file in resource.files), 404)


def argument(query: str, name: str) -> str:
    """The value of a query argument as it travels (not decoded), "" without one; the first counts.

    Names are compared without regard to case, as nginx does for its `$arg_` variables.
    """
    for pair in query.split("&"):
        key, equals, value = pair.partition("=")
        if equals and key.lower() == name.lower():
            return value
    return ""
