"""Multipart files: one part each, with one boundary for the whole tree.

A static server can't look into a file, so the boundary that it names in the Content-Type header must be the
same for all of them. The framing is that of Static DICOMweb (no preamble, no closing line break).
"""

from collections.abc import Iterable, Iterator

from staticwado_daemon.errors import Corrupt, Rejected

BOUNDARY = "BOUNDARY_f962cc71-8e1c-57df-b224-1085fa617a5b"
"""A constant of the tree's format: chosen once, never changed."""

MULTIPART = f'multipart/related; type="application/octet-stream"; boundary={BOUNDARY}'
"""The HTTP Content-Type of a frame or of bulk data."""

MULTIPART_DICOM = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
"""The HTTP Content-Type of a whole instance."""

_BEFORE_TYPE = b"--" + BOUNDARY.encode() + b"\r\nContent-Type: "
_END_OF_HEAD = b"\r\n\r\n"
_CLOSE = b"\r\n--" + BOUNDARY.encode() + b"--"
_DELIMITER = b"--" + BOUNDARY.encode()
_LONGEST_HEAD = 4096
"""Bytes among which the head of a part ends; one that is damaged isn't searched for in gigabytes."""
_NOT_OURS = "not a multipart file of this tree"
_CONTAINS_BOUNDARY = "contains the multipart boundary of this tree"


def head(content_type: str) -> bytes:
    """What stands before the payload of a part of this content type."""
    return _BEFORE_TYPE + content_type.encode("ascii") + _END_OF_HEAD


def wrap(content_type: str, payload: bytes | memoryview) -> bytes:
    """One complete multipart file.

    Raises:
        Rejected: if the payload contains the boundary.
    """
    before = head(content_type)
    body = b"".join((before, payload, _CLOSE))
    # Searched here and not in the payload: a memoryview has no search, and would have to be copied once more for it.
    if body.find(_DELIMITER, len(before), -len(_CLOSE)) >= 0:
        raise Rejected(_CONTAINS_BOUNDARY)
    return body


def wrap_pieces(content_type: str, payload: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield a complete multipart file whose payload is too long to be held.

    Raises:
        Rejected: if the payload contains the boundary, when that is reached.
    """
    yield head(content_type)
    before = b""
    for piece in payload:
        searched = b"".join((before, piece))
        if _DELIMITER in searched:
            raise Rejected(_CONTAINS_BOUNDARY)
        before = searched[1 - len(_DELIMITER) :]
        yield piece
    yield _CLOSE


def unwrap_pieces(body: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yield the payload of a file made by `wrap` or `wrap_pieces` that is too long to be held.

    Raises:
        Corrupt: if the framing is not exactly that, when that is found.
    """
    last, inside = b"", False
    for piece in body:
        last += piece
        if not inside:
            end = last.find(_END_OF_HEAD)
            if end < 0 and len(last) < _LONGEST_HEAD:
                continue
            if end < 0 or not last.startswith(_BEFORE_TYPE):
                break
            last, inside = last[end + len(_END_OF_HEAD) :], True
        yield last[: -len(_CLOSE)]
        last = last[-len(_CLOSE) :]
    if not inside or last != _CLOSE:
        raise Corrupt(_NOT_OURS)


def unwrap(body: bytes) -> tuple[str, memoryview]:
    """The content type and payload of a file made by `wrap`.

    Raises:
        Corrupt: if the framing is not exactly that.
    """
    end = body.find(_END_OF_HEAD)
    if end < 0 or not body.startswith(_BEFORE_TYPE) or not body.endswith(_CLOSE):
        raise Corrupt(_NOT_OURS)
    try:
        content_type = body[len(_BEFORE_TYPE) : end].decode("ascii")
    except UnicodeDecodeError as error:
        raise Corrupt(_NOT_OURS) from error
    return content_type, memoryview(body)[end + len(_END_OF_HEAD) : -len(_CLOSE)]
