"""The headers of compressed codestreams, read before a decoder is let loose on them.

Decoders allocate what the header asks for. Comparing it with the data set first is what keeps a hostile stream from
exhausting memory, and tells sign and precision, which not every decoder reports.
"""

import struct
from dataclasses import dataclass

from staticwado_daemon.dicom.native import Payload
from staticwado_daemon.errors import Corrupt

# SOF0 to SOF15 without DHT, JPG and DAC, which share their range; and JPEG-LS's SOF55.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_START_OF_SCAN = 0xDA
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))
# The standard has room for 65535; each costs decoders some 12 kB, however small it is.
_MAXIMUM_TILES = 4096
_CODING_STYLE_DEFAULT = 0xFF52
# Markers of the main header have 0xFF4F..0xFF6F; SOT ends it.
_MAIN_HEADER = range(0xFF4F, 0xFF70)
# A JP2 file's boxes before its codestream are a few hundred bytes, but may hold a colour profile.
_HEADER_LENGTH = 1 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """What a codestream says about itself.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        samples: Components per pixel.
        precision: Bits of one sample.
        signed: Whether its samples are two's complement; JPEG and JPEG-LS can't say so.
        decompositions: JPEG 2000 and HTJ2K: how often the resolution can be halved.
        reversible: JPEG 2000 and HTJ2K: the wavelet is the one of whole numbers.
        transformed: JPEG 2000 and HTJ2K: colours went through the multi-component transform.
        color_space: JPEG: "RGB" or "YBR_FULL" where the stream says so by marker or component names.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    decompositions: int = 0
    reversible: bool = True
    transformed: bool = False
    color_space: str | None = None


def jpeg_header(payload: Payload) -> Header:
    """Read the header of a JPEG (ISO 10918-1) or JPEG-LS (ISO 14495-1) codestream.

    Raises:
        Corrupt: if there is none.
    """
    view = memoryview(payload)
    application: dict[int, bytes] = {}
    try:
        position = 0
        while True:
            marker, position = _segment(view, position)
            if marker in _STANDALONE:
                continue
            (length,) = struct.unpack_from(">H", view, position)
            if marker in _START_OF_FRAME:
                precision, rows, columns, samples = struct.unpack_from(">BHHB", view, position + 2)
                names = bytes(view[position + 8 : position + 8 + 3 * samples : 3])
                return Header(rows, columns, samples, precision, color_space=_jpeg_color_space(names, application))
            application.setdefault(marker, bytes(view[position + 2 : position + 2 + min(length, 14)]))
            position += length
    except (struct.error, IndexError) as error:
        raise Corrupt("the frame isn't a JPEG codestream") from error


def jpeg_ls_by_plane(payload: Payload) -> bool:
    """Whether a JPEG-LS codestream of colour holds all of one component before the next (ISO 14495-1 C.2.3).

    Raises:
        Corrupt: if it has no scan.
    """
    view = memoryview(payload)
    try:
        position = 0
        while True:
            marker, position = _segment(view, position)
            if marker in _STANDALONE:
                continue
            (length,) = struct.unpack_from(">H", view, position)
            if marker == _START_OF_SCAN:
                return bool(view[position + length - 2] == 0)
            position += length
    except (struct.error, IndexError) as error:
        raise Corrupt("the frame isn't a JPEG-LS codestream") from error


def jpeg2000_header(payload: Payload) -> Header:
    """Read the header of a JPEG 2000 or HTJ2K codestream (ISO 15444-1 A.5), also inside a JP2 file.

    Raises:
        Corrupt: if there is none.
    """
    head = bytes(memoryview(payload)[:_HEADER_LENGTH])
    start = head.find(b"\xff\x4f\xff\x51")
    try:
        if start < 0 or (start and not head.startswith(b"\x00\x00\x00\x0cjP  ")):
            raise Corrupt("the frame isn't a JPEG 2000 codestream")
        siz = start + 4
        length, _, right, bottom, left, top, *tiles, samples, depth = struct.unpack_from(">HH8IHB", head, siz)
        style = _coding_style(head, siz + length)
    except (struct.error, IndexError) as error:
        raise Corrupt("the frame's JPEG 2000 header is cut off") from error
    _check_tiles((right, bottom), (left, top), tiles)
    signed = bool(depth & 0x80)
    return Header(bottom - top, right - left, samples, (depth & 0x7F) + 1, signed, *style)


def _check_tiles(end: tuple[int, int], start: tuple[int, int], tiles: list[int]) -> None:
    """Refuse a tile grid outside ISO 15444-1 B.3: it would make OpenJPH count for hours."""
    width, height, *origin = tiles
    count = 1
    for size, first, low, high in zip((width, height), origin, start, end, strict=True):
        if size == 0 or first > low or first + size <= low or high <= low:
            raise Corrupt("the frame's JPEG 2000 tiles don't cover it")
        count *= -(-(high - first) // size)
    if count > _MAXIMUM_TILES:
        raise Corrupt(f"the frame has {count} JPEG 2000 tiles")


def _coding_style(head: bytes, position: int) -> tuple[int, bool, bool]:
    """Walk the main header's segments to COD, ISO 15444-1 A.6.1: decompositions, reversible, transformed."""
    while True:
        marker, length = struct.unpack_from(">HH", head, position)
        if marker == _CODING_STYLE_DEFAULT:
            return head[position + 9], head[position + 13] == 1, head[position + 8] == 1
        if marker not in _MAIN_HEADER:
            return 0, True, False
        position += 2 + length


def _segment(view: memoryview, position: int) -> tuple[int, int]:
    """The marker at `position` and where its content begins; any number of 0xFF may come before it."""
    if view[position] != 0xFF:
        raise Corrupt("the frame isn't a JPEG codestream")
    while view[position] == 0xFF:
        position += 1
    return view[position], position + 1


def _jpeg_color_space(names: bytes, application: dict[int, bytes]) -> str | None:
    """What the decoded samples are: by component names, then Adobe's marker, then JFIF's; None for anyone's guess."""
    if names in {b"RGB", b"rgb"}:
        return "RGB"
    adobe = application.get(0xEE, b"")
    if adobe.startswith(b"Adobe") and len(adobe) >= 12:
        return "RGB" if adobe[11] == 0 else "YBR_FULL"
    if application.get(0xE0, b"").startswith(b"JFIF"):
        return "YBR_FULL"
    return None
