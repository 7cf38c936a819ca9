"""Encapsulated documents and videos: what they are by their own beginning, whatever the data set calls them.

What is served under a type that browsers show must be of that type, or somebody's page with scripts in it would run as
if it were ours. So a document keeps its type only if that is a harmless one and its bytes begin like it.
"""

import struct
from collections.abc import Callable, Mapping

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import Buffer, Part

ENCAPSULATED_DOCUMENT = "00420011"
HEAD_LENGTH = 1024
"""So many bytes of a document or video, or all it has, are enough to tell what it is."""

_MIME_TYPE, _LENGTH = "00420012", "00420015"
_OTHER = "bin"
_STL_HEADER, _STL_TRIANGLE = 84, 50
_TRANSPORT_PACKET = 188


def document(attributes: Attributes, value: Buffer) -> Buffer:
    """Return an Encapsulated Document without the byte that makes its length even (PS3.3 C.24.2, (0042,0015))."""
    length = attributes.integer(_LENGTH, len(value))
    if length is None or length != len(value) - 1:
        return value
    return value[:length] if isinstance(value, bytes) else Part(value, 0, length)


def document_extension(attributes: Attributes, value: Buffer) -> str:
    """Return the extension under which an Encapsulated Document is served: "pdf", "stl", "jpg" or "png" if it is one.

    Any other ("xml", "obj", "mtl", and "bin" for all that isn't known) is for saving only.

    Args:
        attributes: Of the data set, with the MIME Type of Encapsulated Document.
        value: The whole document, see `document`.
    """
    mime_type = attributes.text(_MIME_TYPE).partition(";")[0].strip().lower()
    extension, is_one = _DOCUMENTS.get(mime_type, (_OTHER, _is_anything))
    return extension if is_one(bytes(value[:HEAD_LENGTH]), len(value)) else _OTHER


def video_extension(head: bytes, usual: str) -> str:
    """Return the extension under which a video is served, which says what its bytes are.

    Args:
        head: The first `HEAD_LENGTH` bytes of the stream.
        usual: Of its transfer syntax: what it is without a container ("mpg", or "h265"), or "mp4" for H.264.
    """
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:1] == head[_TRANSPORT_PACKET : _TRANSPORT_PACKET + 1] == b"G":
        return "ts"
    if head.startswith((b"\0\0\1\xba", b"\0\0\1\xb3")):
        return "mpg"
    if usual == "mp4" and head.lstrip(b"\0").startswith(b"\1") and head.startswith(b"\0\0"):
        return "h264"
    return usual


_IsOne = Callable[[bytes, int], bool]
"""Whether a document that begins so, and is that long, is one of a kind."""


def _begins(*beginnings: bytes) -> _IsOne:
    return lambda head, _: head.startswith(beginnings)


def _is_anything(_head: bytes, _length: int) -> bool:
    return True


def _is_stl(head: bytes, length: int) -> bool:
    if head.startswith(b"solid "):
        return True  # the form in plain text, which DICOM doesn't allow but people send
    if length < _STL_HEADER:
        return False
    (triangles,) = struct.unpack_from("<I", head, _STL_HEADER - 4)
    # A byte of padding may follow where nobody says how long the document is.
    return length - (_STL_HEADER + _STL_TRIANGLE * triangles) in {0, 1}


_DOCUMENTS: Mapping[str, tuple[str, _IsOne]] = {
    "application/pdf": ("pdf", _begins(b"%PDF-")),
    "model/stl": ("stl", _is_stl),
    "application/sla": ("stl", _is_stl),
    "image/jpeg": ("jpg", _begins(b"\xff\xd8\xff")),
    "image/png": ("png", _begins(b"\x89PNG\r\n\x1a\n")),
    "video/mp4": ("mp4", lambda head, _: head[4:8] == b"ftyp"),
    "video/mpeg": ("mpg", _begins(b"\0\0\1\xba", b"\0\0\1\xb3")),
    "text/xml": ("xml", _is_anything),
    "application/xml": ("xml", _is_anything),
    "model/obj": ("obj", _is_anything),
    "model/mtl": ("mtl", _is_anything),
}
