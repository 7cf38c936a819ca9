"""Hostile files that no damage would make: written by hand, element by element."""

import struct
import zlib
from functools import cache

import imagecodecs
import numpy as np

from tests.fuzz.seeds import Chance
from tests.unit.dicom_bytes import (
    DEFLATED,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    UNDEFINED,
    element,
    fragments,
    implicit,
    item,
    meta,
    sequence,
)

Elements = dict[int, bytes]

_RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4.50"
_JPEG_LS = "1.2.840.10008.1.2.4.80"
_JPEG_2000 = "1.2.840.10008.1.2.4.90"
_HTJ2K = "1.2.840.10008.1.2.4.201"
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


def image(changes: Elements | None = None, *, transfer_syntax_uid: str = EXPLICIT_LITTLE) -> bytes:
    """A small grey image, with these elements in place of its own."""
    elements = {
        0x00080016: element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
        0x00080018: element(0x00080018, "UI", b"2.25.100000000000000000000001\0"),
        0x00080060: element(0x00080060, "CS", b"OT"),
        0x00100010: element(0x00100010, "PN", b"Doe^Jane"),
        0x0020000D: element(0x0020000D, "UI", b"2.25.200000000000000000000001\0"),
        0x0020000E: element(0x0020000E, "UI", b"2.25.300000000000000000000001\0"),
        0x00280002: _us(0x00280002, 1),
        0x00280004: element(0x00280004, "CS", b"MONOCHROME2 "),
        0x00280010: _us(0x00280010, 16),
        0x00280011: _us(0x00280011, 16),
        0x00280100: _us(0x00280100, 8),
        0x00280101: _us(0x00280101, 8),
        0x00280102: _us(0x00280102, 7),
        0x00280103: _us(0x00280103, 0),
        0x7FE00010: element(0x7FE00010, "OW", bytes(range(256))),
        **(changes or {}),
    }
    return meta(transfer_syntax_uid) + b"".join(value for _, value in sorted(elements.items()))


def no_dicom(chance: Chance) -> bytes:
    heads = (
        *(b"", b"\n", b"Patient: Jane Doe\n" * 20, b"\x7fELF\x02\x01\x01" + bytes(600), b"MZ\x90\0" + bytes(600)),
        *(b"PK\x03\x04" + bytes(600), b"%PDF-1.7\n" + bytes(600), b"\xff\xd8\xff\xe0" + bytes(600), b"{}", b"DICM"),
        *(bytes(128), bytes(128) + b"DICM", bytes(10_000), b"\x02\0\0\0", b"\x08\0\x05\0CS\n\0ISO_IR 100"),
        *(b"\x08\0\x08\0CS", b"\x08\0\x08\0\xff\xff\xff\x7f"),
    )
    return chance.choice(heads) if chance.random() < 0.7 else chance.randbytes(chance.choice((1, 100, 140, 5000)))


def nested(chance: Chance) -> bytes:
    """Sequences inside sequences, of undefined and defined length, closed or not, as SQ and as UN."""
    depth = chance.choice((10, 63, 64, 65, 100, 1000, 1000, 50_000))
    style = chance.randrange(5)
    if style == 0:
        opening = element(0x00081110, "SQ", length=UNDEFINED) + implicit(ITEM, length=UNDEFINED)
    elif style == 1:
        opening = element(0x00091110, "UN", length=UNDEFINED) + implicit(ITEM, length=UNDEFINED)
    elif style == 2:
        opening = element(0x00081110, "SQ", length=0x7FFFFFFF) + implicit(ITEM, length=0x7FFFFFFF)
    elif style == 3:
        return image({0x00081110: _deep(min(depth, 1000))})
    else:
        opening = implicit(0x00081110, length=UNDEFINED) + implicit(ITEM, length=UNDEFINED)
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" if chance.random() < 0.7 else b""
    if style == 4:
        return meta(IMPLICIT_LITTLE) + opening * depth + closing * depth
    return image({0x00081110: opening * depth + closing * depth})


def many_private_elements(chance: Chance) -> bytes:
    """Thousands of them, with or without an owner, and items by the thousand."""
    count = chance.choice((2_000, 20_000))
    if chance.random() < 0.3:
        return image({0x00081110: sequence(0x00081110, *[item()] * count)})
    creator = element(0x00190010, "LO", b"SOMEBODY") if chance.random() < 0.5 else b""
    elements = (
        element(0x00190000 + (2 * (number >> 12) << 16) + 0x1000 + (number & 0xFFF), "UN", chance.randbytes(4))
        for number in range(count)
    )
    return image({0x00190010: creator + b"".join(elements)})


def odd_character_sets(chance: Chance) -> bytes:
    terms = (b"ISO_IR 192", b"ISO 2022 IR 87", b"ISO 2022 IR 149", b"GB18030", b"NONSENSE", b"", b"\\", b"ISO_IR 13")
    value = b"\\".join(chance.choice(terms) for _ in range(chance.choice((1, 2, 3, 500))))
    escapes = (b"\x1b$B", b"\x1b(J", b"\x1b$)C", b"\x1b", b"\x1b$", b"\xff\xfe", b"^", b"=", b"\\", b"\0", b"Yamada")
    name = b"".join(chance.choice(escapes) for _ in range(chance.choice((3, 30))))
    return image(
        {0x00080005: element(0x00080005, "CS", _even(value)), 0x00100010: element(0x00100010, "PN", _even(name))}
    )


def hostile_uid(chance: Chance) -> bytes:
    """One of the three UIDs, or the transfer syntax, as a path or as anything but a UID."""
    uids = (
        *(
            b"../../../../etc/cron.d/x",
            b"/etc/passwd",
            b"..",
            b".",
            b"",
            b"1..2",
            b".1.2",
            b"1.2.",
            b"1.2.3 ",
            b"1.2\0.3",
        ),
        *(
            b"1.2\n3",
            b"1.2\r\n3",
            b"1" * 64,
            b"1" * 65,
            b"1." * 100 + b"1",
            "\u0661.\u0662.\u0663".encode(),
            b"1.2.3\\..\\..",
            b"C:\\x",
        ),
        *(b"Doe^Jane", b"-1.2", b"1e5", b"0x10", b"1.2.3\0\0\0", b"\\\\", b" 1.2.3", b"1.2.3;ls", b"$(id)", b"%2e%2e"),
        *(b"1.2.3/../../x", b"~root", b"con", b"1.2.840.10008.1.1" * 3000),
    )
    uid = _even(chance.choice(uids))
    tag = chance.choice((0x00080018, 0x0020000D, 0x0020000E, 0x00020010))
    if tag == 0x00020010:
        return image(transfer_syntax_uid=uid[:60000].decode("latin-1"))
    return image({tag: element(tag, chance.choice(("UI", "LO", "UT")), uid[:65534])})


def hostile_name(chance: Chance) -> bytes:
    names = (
        *(
            b"<script>alert(1)</script>",
            b"Doe^Jane\r\nSet-Cookie: x=1",
            "\u202egnp.exe".encode(),
            b"\0\0\0\0",
            b"=" * 100,
        ),
        *(
            b"^" * 64,
            b"\\" * 1000,
            b"\x7f\x1b[2J",
            b"';DROP TABLE receipts;--",
            b"{}[]\"'",
            "\U0001f480\ud7ff".encode(),
        ),
    )
    name = chance.choice(names)
    if chance.random() < 0.01:
        long = element(0x00100020, "UC", b"A" * 10_000_000) if chance.random() < 0.5 else b""
        return image({0x00100010: element(0x00100010, "UT", name * (10_000_000 // len(name))) + long})
    changes = {0x00100010: element(0x00100010, "PN", _even(name * chance.choice((1, 1, 50)))[:65534])}
    return image(
        {**changes, 0x00080005: element(0x00080005, "CS", b"ISO_IR 192")} if chance.random() < 0.5 else changes
    )


def number_of_frames(chance: Chance) -> bytes:
    values = (
        b"0",
        b"-1",
        b"2147483648",
        b"1e9",
        b"NaN",
        b"",
        b"1A",
        b"1.5",
        b"1048576",
        b"1048577",
        b"2\\3",
        b"9" * 300,
    )
    value = chance.choice(values)
    changes = {0x00280008: element(0x00280008, "IS", _even(value))}
    if chance.random() < 0.5:
        # Frames of one bit: the smallest that a file can claim by the million.
        changes |= {tag: _us(tag, 1) for tag in (0x00280010, 0x00280011, 0x00280100, 0x00280101)}
        changes[0x00280102] = _us(0x00280102, 0)
        changes[0x7FE00010] = element(0x7FE00010, "OB", bytes(chance.choice((2, 131_072, 131_072))))
    if chance.random() < 0.2:
        count = chance.choice((3, 20_000))
        empty = chance.choice((b"", b"\xff\xd8\xff\xd9"))
        changes[0x00280008] = element(0x00280008, "IS", _even(b"%d" % count))
        changes[0x7FE00010] = fragments(*[empty] * count)
        return image(changes, transfer_syntax_uid=_JPEG)
    return image(changes)


def impossible_size(chance: Chance) -> bytes:
    """Rows, columns, samples and bits whose product overflows, is zero or isn't there."""
    words = (0, 1, 2, 255, 32768, 65535, 65535)
    tags = (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280006)
    changes = {tag: _us(tag, chance.choice(words)) for tag in tags if chance.random() < 0.5}
    changes[0x00280100] = _us(0x00280100, chance.choice((0, 1, 7, 8, 12, 16, 24, 32, 64, 65535)))
    kinds = (b"MONOCHROME1 ", b"RGB ", b"YBR_FULL_422", b"YBR_FULL", b"PALETTE COLOR ", b"", b"ARGB", b"<script>")
    changes[0x00280004] = element(0x00280004, "CS", chance.choice(kinds))
    if chance.random() < 0.3:
        changes[chance.choice(tags)] = b""
    if chance.random() < 0.2:
        tag = chance.choice((0x7FE00008, 0x7FE00009))
        changes[0x7FE00010] = element(tag, "OF" if tag == 0x7FE00008 else "OD", chance.randbytes(1024))
    elif chance.random() < 0.2:
        changes[0x7FE00010] = element(
            0x7FE00010, "OW", bytes(256), length=chance.choice((0, 2, 0xFFFFFFFE, 0x7FFFFFFF))
        )
    return image(changes)


def lying_fragments(chance: Chance) -> bytes:
    """Fragments that overlap by an extended offset table, have absurd lengths, or are not delimited."""
    frame = bytes(imagecodecs.jpeg8_encode(_ramp(), level=80))
    frames = [_even(frame)] * chance.choice((1, 2, 5))
    offsets = [chance.choice((0, 8, len(frame) + 8, 2**63, chance.getrandbits(64))) for _ in frames]
    lengths = [chance.choice((0, len(frame), 2**63, 2**64 - 1)) for _ in frames]
    pixels = fragments(*frames, delimited=chance.random() < 0.7)
    if chance.random() < 0.5:
        at = chance.randrange(12, len(pixels) - 4)
        pixels = (
            pixels[:at] + struct.pack("<I", chance.choice((0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 7))) + pixels[at + 4 :]
        )
    return image(
        {
            0x00280008: element(0x00280008, "IS", _even(b"%d" % len(frames))),
            0x7FE00001: element(0x7FE00001, "OV", struct.pack(f"<{len(offsets)}Q", *offsets)),
            0x7FE00002: element(0x7FE00002, "OV", struct.pack(f"<{len(lengths)}Q", *lengths)),
            0x7FE00010: pixels,
        },
        transfer_syntax_uid=_JPEG,
    )


def codestream_bomb(chance: Chance) -> bytes:
    """A frame of one colour, small as it comes and gigabytes as it is shown, in each coding."""
    side = chance.choice((4_096, 20_000, 65_535))
    codestream, syntax = chance.choice(_bombs())
    if syntax != _JPEG:
        head = codestream.find(b"\xff\x4f\xff\x51")
        if head >= 0:
            codestream = codestream[:8] + struct.pack(">8I", side, side, 0, 0, side, side, 0, 0) + codestream[40:]
        elif codestream.startswith(b"\xff\xd8"):
            at = codestream.find(b"\xff\xf7")
            codestream = codestream[: at + 5] + struct.pack(">HH", side, side) + codestream[at + 9 :]
    else:
        at = codestream.find(b"\xff\xc0")
        codestream = codestream[: at + 5] + struct.pack(">HH", side, side) + codestream[at + 9 :]
    changes = {0x00280010: _us(0x00280010, side), 0x00280011: _us(0x00280011, side)}
    return image({**changes, 0x7FE00010: fragments(_even(codestream))}, transfer_syntax_uid=syntax)


@cache
def _bombs() -> tuple[tuple[bytes, str], ...]:
    flat = np.zeros((64, 64), np.uint8)
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (
        (bytes(imagecodecs.jpeg8_encode(flat, level=50)), _JPEG),
        (bytes(imagecodecs.jpegls_encode(flat)), _JPEG_LS),
        (bytes(imagecodecs.jpeg2k_encode(flat, codecformat="j2k", reversible=True)), _JPEG_2000),
        (bytes(imagecodecs.htj2k_encode(flat, reversible=True)), _HTJ2K),
        (struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 50_000, _RLE),
        (struct.pack("<16I", 15, *[64] * 15) + b"\x81\0" * 50_000, _RLE),
        (deflated.compress(bytes(20_000_000)) + deflated.flush(), _DEFLATED_FRAMES),
    )


def deflate_bomb(chance: Chance) -> bytes:
    """A deflated data set that swells: as far as deflate goes, which is 1030 times, and to a gigabyte."""
    mebibytes, padding = chance.choice(((16, 0), (64, 0), (100, 0), (100, 1_000_000), (1024, 0), (4096, 0)))
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = len(meta(EXPLICIT_LITTLE))
    size = mebibytes << 20
    head = compressor.compress(image()[start:] + element(0x7FE10010, "OB", length=size - 64)) + compressor.flush(
        zlib.Z_FULL_FLUSH
    )
    noise = zlib.compressobj(0, zlib.DEFLATED, -15)
    noise_block = noise.compress(chance.randbytes(padding)) + noise.flush(zlib.Z_FULL_FLUSH) if padding else b""
    return meta(DEFLATED) + head + noise_block + _mebibyte_of_zeros() * mebibytes + b"\x03\0"


@cache
def _mebibyte_of_zeros() -> bytes:
    """That can be repeated: deflated, and ending on a byte without memory of what was before."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)


def hostile_palette(chance: Chance) -> bytes:
    """Palettes whose descriptors lie and whose segments refer to themselves."""
    descriptor = [chance.choice((0, 1, 256, 65535)), chance.choice((0, 32768)), chance.choice((8, 16, 7, 0))]
    words = [chance.choice((0, 1, 2, 3, 255, 65535, chance.getrandbits(16))) for _ in range(chance.choice((0, 6, 400)))]
    segmented = struct.pack(f"<{len(words)}H", *words)
    first = 0x00281221 if chance.random() < 0.7 else 0x00281201
    changes = {tag: element(tag, "US", struct.pack("<3H", *descriptor)) for tag in (0x00281101, 0x00281102, 0x00281103)}
    changes |= {tag: element(tag, "OW", segmented) for tag in range(first, first + 3)}
    return image({**changes, 0x00280004: element(0x00280004, "CS", b"PALETTE COLOR ")})


def hostile_window(chance: Chance) -> bytes:
    """Numbers that no display survives: infinite, absurd, or no numbers."""
    values = (b"0", b"1e308", b"-1e308", b"1e-308", b"NaN", b"inf", b"x", b"", b"1\\2\\3", b"1_0", b"9" * 1000)
    tags = (0x00281050, 0x00281051, 0x00281052, 0x00281053)
    changes = {tag: element(tag, "DS", _even(chance.choice(values))) for tag in tags}
    table = item(
        element(0x00283002, "US", struct.pack("<3H", chance.choice((0, 1, 65535)), 0, chance.choice((0, 8, 65535)))),
        element(0x00283006, "OW", bytes(chance.choice((0, 2, 3, 512)))),
    )
    changes[0x00283000] = sequence(0x00283000, table) if chance.random() < 0.5 else b""
    changes[0x00283010] = sequence(0x00283010, table) if chance.random() < 0.5 else b""
    changes[0x00280120] = _us(0x00280120, chance.getrandbits(16))
    return image(changes)


def _deep(depth: int) -> bytes:
    """Sequences of defined length inside each other."""
    value = b""
    for _ in range(depth):
        value = sequence(0x00081110, item(value))
    return value


def _ramp() -> np.ndarray:
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def _us(tag: int, value: int) -> bytes:
    return element(tag, "US", struct.pack("<H", value))


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)
