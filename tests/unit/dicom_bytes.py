"""DICOM written by hand, byte by byte, so that a test can also write it wrong."""

import struct

from staticwado_daemon.dicom.data_set import LONG_LENGTH_VRS

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_DELIMITER = 0xFFFEE00D
SEQUENCE_DELIMITER = 0xFFFEE0DD


def element(tag: int, vr: str, value: bytes = b"", *, length: int | None = None, big: bool = False) -> bytes:
    """An element in explicit VR; `length` lies about the value's."""
    order = ">" if big else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    length = len(value) if length is None else length
    if vr in LONG_LENGTH_VRS:
        return head + struct.pack(f"{order}HI", 0, length) + value
    return head + struct.pack(f"{order}H", length) + value


def implicit(tag: int, value: bytes = b"", *, length: int | None = None) -> bytes:
    """An element, item or delimiter without VR."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(*elements: bytes, undefined: bool = False) -> bytes:
    """A sequence item."""
    content = b"".join(elements)
    if undefined:
        return implicit(ITEM, content, length=UNDEFINED) + implicit(ITEM_DELIMITER)
    return implicit(ITEM, content)


def sequence(tag: int, *items: bytes, undefined: bool = False) -> bytes:
    """A sequence in explicit VR."""
    content = b"".join(items)
    if undefined:
        return element(tag, "SQ", content, length=UNDEFINED) + implicit(SEQUENCE_DELIMITER)
    return element(tag, "SQ", content)


def fragments(*values: bytes, delimited: bool = True) -> bytes:
    """Encapsulated pixel data with an empty basic offset table."""
    content = b"".join(implicit(ITEM, value) for value in (b"", *values))
    return element(0x7FE00010, "OB", content, length=UNDEFINED) + (implicit(SEQUENCE_DELIMITER) if delimited else b"")


def meta(transfer_syntax_uid: str = EXPLICIT_LITTLE, *more: bytes) -> bytes:
    """Preamble, prefix and file meta information."""
    uid = transfer_syntax_uid.encode()
    group = element(0x00020010, "UI", uid + b"\0" * (len(uid) % 2)) + b"".join(more)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(group))) + group


SOP_CLASS = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
SOP_INSTANCE = element(0x00080018, "UI", b"1.2.3.4\0")
STUDY = element(0x0020000D, "UI", b"1.2\0")
SERIES = element(0x0020000E, "UI", b"1.2.3\0")


def file(*elements: bytes, transfer_syntax_uid: str = EXPLICIT_LITTLE) -> bytes:
    """A Part 10 file in explicit VR little endian with its UIDs; the elements in order of their tags."""
    ordered = sorted(
        (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES, *elements), key=lambda raw: struct.unpack_from("<HH", raw)
    )
    return meta(transfer_syntax_uid) + b"".join(ordered)
