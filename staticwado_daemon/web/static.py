"""Files as HTTP answers, with what nginx does for a static file: gzip, conditions, one byte range.

Everything that touches the disk runs in threads; a large file is read piece by piece as the client takes it.
"""

import errno
import gzip
import os
import stat
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

import structlog
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from staticwado_daemon.archive.routes import File
from staticwado_daemon.web.conditional import Version, accepts_gzip, byte_range, precondition

_PIECE = 128 << 10
"""Bytes; a client that doesn't read holds two or three of them in memory."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """What may answer a request: the first of `files` that exists.

    Attributes:
        files: paths below the root, and their media types.
        gzip: whether `X.gz` stands for `X`: always (unpacked for a client that doesn't accept it), where the client
            accepts it, or never.
        ranges: whether a byte range of a file that isn't gzipped can be asked for.
        missing: the status where no file exists.
        headers: on every answer.
        good_headers: on every answer that isn't an error.
    """

    files: tuple[File, ...]
    gzip: Literal["always", "accepted", "never"]
    ranges: bool = True
    missing: Literal[204, 404] = 404
    headers: Mapping[str, str] = field(default_factory=dict)
    good_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    file: BinaryIO
    version: Version
    media_type: str
    headers: Mapping[str, str]
    gzipped: bool


async def answer(request: Request, root: str, offer: Offer) -> Response:
    """Answer a GET or HEAD request with a file of `offer` below `root`."""
    return await run_sync(_answer, request, root, offer)


def _answer(request: Request, root: str, offer: Offer) -> Response:
    accepted = accepts_gzip(request.headers.get("accept-encoding", ""), request.scope["http_version"])
    try:
        found = _find(root, offer, accepts_gzip=accepted)
    except PermissionError:
        return plain(403, offer.headers)
    except OSError as error:
        _log.error("file_not_opened", reason=error.strerror)  # without its name, which has UIDs
        return plain(500, offer.headers)
    if found is None:
        return plain(offer.missing, {**offer.headers, **(offer.good_headers if offer.missing == 204 else {})})
    unpack = found.gzipped and not accepted
    status, headers, wanted = _plan(request, offer, found, unpack=unpack)
    if status >= 400:
        found.file.close()
        return plain(status, headers)
    if request.method == "HEAD" or status == 304:
        found.file.close()
        return _without_body(status, headers)
    if len(wanted) <= _PIECE and not unpack:
        with found.file:
            found.file.seek(wanted.start)
            return Response(found.file.read(len(wanted)), status, headers)
    return StreamingResponse(_unpacked(found.file) if unpack else _pieces(found.file, wanted), status, headers)


def _plan(request: Request, offer: Offer, found: _Found, *, unpack: bool) -> tuple[int, dict[str, str], range]:
    """Status, headers and the bytes of the file to send."""
    version, headers = found.version, {**offer.headers, **found.headers}
    whole = range(version.length)
    status = precondition(request.headers, version)
    if status == 412:
        return 412, headers, range(0)
    headers |= {**offer.good_headers, "ETag": version.etag, "Last-Modified": version.last_modified}
    if status == 304:
        return 304, headers, range(0)
    headers["Content-Type"] = found.media_type
    if unpack:
        headers["ETag"] = f"W/{version.etag}"  # the same content in other bytes, of a length that isn't known yet
        return 200, headers, whole
    if found.gzipped:
        return 200, {**headers, "Content-Encoding": "gzip", "Content-Length": str(version.length)}, whole
    wanted = byte_range(request.headers, version) if offer.ranges else None
    if wanted is not None and not wanted:
        unsatisfied = {
            **offer.headers,
            **found.headers,
            **offer.good_headers,
            "Content-Range": f"bytes */{version.length}",
        }
        return 416, unsatisfied, range(0)
    if wanted:
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{version.length}"
    elif offer.ranges:
        headers["Accept-Ranges"] = "bytes"
    return 206 if wanted else 200, {**headers, "Content-Length": str(len(wanted or whole))}, wanted or whole


def plain(status: int, headers: Mapping[str, str]) -> Response:
    """An answer without a file: nothing for a 204, else one line of text."""
    if status == 204:
        return Response(None, status, headers)
    return PlainTextResponse(f"{status}\n", status, headers)


def _without_body(status: int, headers: Mapping[str, str]) -> Response:
    response = Response(None, status, headers)
    if "Content-Length" not in headers and "content-length" in response.headers:
        del response.headers["content-length"]  # the length of nothing, but that isn't what a GET would get
    return response


def _find(root: str, offer: Offer, *, accepts_gzip: bool) -> _Found | None:
    """Open the first file that exists.

    Raises:
        PermissionError: if it can't be read, or a link stands in its place.
    """
    zipped = offer.gzip == "always" or (offer.gzip == "accepted" and accepts_gzip)
    for candidate in offer.files:
        if zipped:
            try:
                found = _open(root, candidate, gzipped=True)
            except PermissionError:
                found = None  # like nginx, which then tries the other one
            if found:
                return found
        found = _open(root, candidate, gzipped=False)
        if found:
            return found
    return None


def _open(root: str, candidate: File, *, gzipped: bool) -> _Found | None:
    path = candidate.path + (".gz" if gzipped else "")
    try:
        descriptor = open_beneath(root, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return None
        if error.errno == errno.ELOOP:
            raise PermissionError(error.errno, "a symbolic link", path) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    version = Version(status.st_size, int(status.st_mtime))
    return _Found(os.fdopen(descriptor, "rb"), version, candidate.media_type, candidate.headers, gzipped)


def open_beneath(root: str, path: str) -> int:
    """Open a file below `root` for reading and return its descriptor; no link below the root is followed.

    Raises:
        OSError: ENOENT also for an empty or dotted name in the path, ELOOP for a link.
    """
    *folders, name = path.split("/")
    if {"", ".", ".."} & {*folders, name}:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    parent = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        for folder in folders:
            child = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            os.close(parent)
            parent = child
        # O_NONBLOCK: opening a named pipe must not wait for its writer
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    finally:
        os.close(parent)


async def _pieces(file: BinaryIO, wanted: range) -> AsyncIterator[bytes]:
    with file:
        file.seek(wanted.start)
        remaining = len(wanted)
        while remaining > 0:
            piece = await run_sync(file.read, min(_PIECE, remaining))
            if not piece:
                return  # cut short since it was opened: the missing bytes make the server break off, as they must
            remaining -= len(piece)
            yield piece


async def _unpacked(file: BinaryIO) -> AsyncIterator[bytes]:
    with file, gzip.GzipFile(fileobj=file) as unpacked:
        while piece := await run_sync(unpacked.read, _PIECE):
            yield piece
