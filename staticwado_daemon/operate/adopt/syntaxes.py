"""In which transfer syntax a frame really is: what its label says, unless its own bytes say that this can't be."""

import struct
from typing import Final, NamedTuple

from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    PRIVATE_HTJ2K,
    transfer_syntax,
)
from staticwado_daemon.errors import Corrupt

_PREFIX: Final = "1.2.840.10008.1.2.4."
_NO_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xDA)))
_START_OF_SCAN: Final = 0xDA
_COD, _CAP, _START_OF_TILE_PART = 0xFF52, 0xFF50, 0xFF90


class _Kind(NamedTuple):
    """What a codestream is: the transfer syntax to name it by, and all that may be said of it without lying."""

    usual: str
    allowed: frozenset[str]


def _kind(*last: int, private: str = "") -> _Kind:
    uids = [f"{_PREFIX}{each}" for each in last]
    return _Kind(uids[0], frozenset(filter(None, (*uids, private))))


_JPEG: Final = {0xC0: _kind(50, 51), 0xC1: _kind(51)}
_JPEG_FIRST_ORDER, _JPEG_LOSSLESS = _kind(70, 57), _kind(57)
_JPEG_LS, _JPEG_LS_NEAR = _kind(80, 81), _kind(81)
_JPEG_2000, _JPEG_2000_LOSSY = _kind(90, 91, 92, 93), _kind(91, 93)
_HTJ2K, _HTJ2K_LOSSY = _kind(201, 202, 203, private=PRIVATE_HTJ2K), _kind(203, private=PRIVATE_HTJ2K)
_JPEG_XL: Final = _kind(112, 110, 111, 140, 141, 142)
"""The last three were used before the standard had UIDs."""


def actual(label: str, payload: memoryview, native_length: int | None) -> str:
    """The transfer syntax of a frame.

    Native frames are little endian: what is labelled big endian keeps that label, to be swapped.

    Args:
        label: the transfer syntax that its wrapper or its extension names, "" if neither does.
        payload: the frame.
        native_length: bytes that it has if it is native, None where the attributes don't say.

    Raises:
        Corrupt: if nothing tells it.
    """
    is_native = bool(label) and not transfer_syntax(label).compressed
    if is_native and len(payload) == native_length:
        return _native(label)
    kind = _kind_of(bytes(payload[: 1 << 16]))
    if kind is not None:
        return label if label in kind.allowed else kind.usual
    if label:
        return _native(label) if is_native else label
    if len(payload) == native_length:
        return EXPLICIT_VR_LITTLE_ENDIAN
    raise Corrupt("nothing says in which transfer syntax the frame is")


def _native(label: str) -> str:
    return label if label == EXPLICIT_VR_BIG_ENDIAN else EXPLICIT_VR_LITTLE_ENDIAN


def _kind_of(head: bytes) -> _Kind | None:
    """What the first bytes of a codestream say, None if it isn't a known one."""
    try:
        if head.startswith(b"\xff\xd8"):
            return _jpeg(head)
        if head.startswith((b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")):
            return _jpeg_2000(head)
    except (struct.error, IndexError):
        return None
    return _JPEG_XL if head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")) else None


def _jpeg(head: bytes) -> _Kind | None:
    """JPEG (ISO 10918-1) and JPEG-LS (ISO 14495-1): the process by the frame header, the rest by the scan header."""
    position, process = 2, 0
    while True:
        while head[position] == 0xFF:
            position += 1
        marker = head[position]
        position += 1
        if marker in _NO_LENGTH:
            continue
        (length,) = struct.unpack_from(">H", head, position)
        if marker in {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}:
            process = marker
        elif marker == _START_OF_SCAN:
            parameter = head[position + length - 3]  # predictor of lossless JPEG, NEAR of JPEG-LS
            if process == 0xF7:
                return _JPEG_LS_NEAR if parameter else _JPEG_LS
            if process == 0xC3:
                return _JPEG_FIRST_ORDER if parameter == 1 else _JPEG_LOSSLESS
            return _JPEG.get(process)
        position += length


def _jpeg_2000(head: bytes) -> _Kind | None:
    """JPEG 2000 and HTJ2K (ISO 15444-1 A.6.1, 15444-15 A.3): the second has a CAP segment."""
    position = head.find(b"\xff\x4f\xff\x51") + 2
    high_throughput = False
    while position >= 2:
        marker, length = struct.unpack_from(">HH", head, position)
        if marker == _CAP:
            high_throughput = True
        elif marker == _COD:
            reversible = head[position + 13] == 1
            if high_throughput:
                return _HTJ2K if reversible else _HTJ2K_LOSSY
            return _JPEG_2000 if reversible else _JPEG_2000_LOSSY
        elif marker == _START_OF_TILE_PART:
            return None
        position += 2 + length
    return None


def begins_codestream(payload: memoryview) -> bool:
    """Whether this is the beginning of a codestream, and not the rest of the one before."""
    return bytes(payload[:4]).startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51"))
