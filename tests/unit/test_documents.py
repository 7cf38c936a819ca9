"""Documents and videos are served as what they are, never as what a browser could be made to run."""

import struct

import orjson
import pytest

from staticwado_daemon.archive.routes import DOCUMENTS, DOWNLOADS, VIDEO
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.documents import document, document_extension, video_extension

PAGE = b"<html><script>alert(1)</script></html>"
STL = bytes(80) + struct.pack("<I", 2) + bytes(100)
PNG = b"\x89PNG\r\n\x1a\n...."
MP4 = b"\0\0\0\x18ftypisom...."


def told(mime_type: str, length: int | None = None) -> Attributes:
    attributes = {"00420012": orjson.dumps({"vr": "LO", "Value": [mime_type]})}
    if length is not None:
        attributes["00420015"] = orjson.dumps({"vr": "UL", "Value": [length]})
    return Attributes(attributes)


@pytest.mark.parametrize(
    ("mime_type", "value", "extension"),
    [
        ("application/pdf", b"%PDF-1.7 ...", "pdf"),
        ("Application/PDF; version=1.7", b"%PDF-1.7 ...", "pdf"),
        ("model/stl", STL, "stl"),
        ("model/stl", STL + b"\0", "stl"),
        ("application/sla", STL, "stl"),
        ("model/stl", b"solid head\nendsolid head\n", "stl"),
        ("image/jpeg", b"\xff\xd8\xff\xe0....", "jpg"),
        ("image/png", PNG, "png"),
        ("video/mp4", MP4, "mp4"),
        ("video/mpeg", b"\0\0\1\xba....", "mpg"),
        ("text/XML", b"<?xml version='1.0'?>", "xml"),
        ("application/xml", PAGE, "xml"),
        ("model/obj", b"v 0 0 0", "obj"),
        ("model/mtl", b"newmtl red", "mtl"),
        # What isn't what it says it is, and what nobody knows.
        ("application/pdf", PAGE, "bin"),
        ("application/pdf", b"\n" + PAGE + b"%PDF-1.7", "bin"),
        ("image/png", b"%PDF-1.7", "bin"),
        ("image/svg+xml", b"<svg onload='alert(1)'/>", "bin"),
        ("text/html", PAGE, "bin"),
        ("model/stl", PAGE, "bin"),
        ("model/stl", STL[:-1], "bin"),
        ("", b"%PDF-1.7", "bin"),
        ("../../etc/passwd", b"", "bin"),
    ],
)
def test_a_document_keeps_its_type_only_if_it_begins_like_it(mime_type: str, value: bytes, extension: str) -> None:
    assert document_extension(told(mime_type), value) == extension


@pytest.mark.parametrize("mime_type", ["application/pdf", "model/stl", "image/png", "video/mp4", "text/html", "x/y"])
def test_a_page_with_scripts_is_never_shown(mime_type: str) -> None:
    assert document_extension(told(mime_type), PAGE) in DOWNLOADS


def test_every_extension_is_served() -> None:
    shown = {document_extension(told(kind), PNG + MP4) for kind in ("image/png", "text/xml", "model/obj", "?")}
    assert shown <= {*DOCUMENTS, *DOWNLOADS}
    assert {"pdf", "stl", "jpg", "png"} == set(DOCUMENTS)


@pytest.mark.parametrize(
    ("length", "kept"), [(3, b"abc"), (4, b"abc\0"), (None, b"abc\0"), (2, b"abc\0"), (9, b"abc\0"), (0, b"abc\0")]
)
def test_the_byte_that_makes_a_length_even_is_dropped(length: int | None, kept: bytes) -> None:
    assert document(told("application/pdf", length), b"abc\0") == kept


@pytest.mark.parametrize(
    ("head", "usual", "extension"),
    [
        (MP4, "mp4", "mp4"),
        (MP4, "h265", "mp4"),
        (b"\0\0\0\1\x67\x64", "mp4", "h264"),
        (b"\0\0\1\x67\x64", "mp4", "h264"),
        (b"\0\0\0\1\x40\1", "h265", "h265"),
        (b"G" + bytes(187) + b"G" + bytes(187), "mp4", "ts"),
        (b"G" + bytes(300), "mp4", "mp4"),
        (b"\0\0\1\xba", "mpg", "mpg"),
        (b"\0\0\1\xb3", "mp4", "mpg"),
        (b"", "mp4", "mp4"),
        (PAGE, "mpg", "mpg"),
    ],
)
def test_a_video_is_called_what_its_bytes_are(head: bytes, usual: str, extension: str) -> None:
    assert video_extension(head, usual) == extension
    assert extension in VIDEO
