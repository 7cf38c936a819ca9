"""Real files, damaged."""

import random
import struct

from tests.fuzz.seeds import Chance, boundaries, dataset_start, encapsulated, first_item, seeds, transfer_syntax

LENGTHS = (0xFFFFFFFE, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0, 1, 3, 255, 65535)
SYNTAXES = (
    *(b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"),
    *(b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.8.1", b"1.2.840.10008.1.2.4.100"),
    *(b"1.2.840.10008.1.2.4.%d" % last for last in (50, 51, 57, 70, 80, 81, 90, 91, 92, 201, 202, 203)),
    *(b"", b"1.2.3.4", b"../../etc", b"\xff" * 10),
)
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
_START_OF_FRAME = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7")


def cut_at_a_percentage(chance: Chance) -> bytes:
    _, data = chance.choice(seeds())
    return data[: len(data) * chance.randrange(100) // 100]


def cut_between_elements(chance: Chance) -> bytes:
    """Exactly there, or within the header that follows."""
    name, data = chance.choice(seeds())
    return data[: chance.choice(boundaries(name)) + chance.choice((0, 0, 1, 4, 6, 8))]


def bits_flipped(chance: Chance) -> bytes:
    _, data = chance.choice(seeds())
    damaged = bytearray(data)
    reach = len(data) if chance.random() < 0.5 else min(len(data), 4096)
    for _ in range(chance.choice((1, 2, 4, 8, 16, 32, 64))):
        damaged[chance.randrange(128, reach)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def lying_length(chance: Chance) -> bytes:
    """An element of the outermost level, or the group 0002, says that it is longer or shorter than it is."""
    name, data = chance.choice(seeds())
    start = chance.choice(boundaries(name)) if chance.random() < 0.9 else 132
    value = chance.choice((*LENGTHS, chance.getrandbits(32), chance.getrandbits(16)))
    vr = data[start + 4 : start + 6]
    if vr in _LONG:
        position, field = start + 8, struct.pack("<I", value)
    elif vr.isalpha() and vr.isupper():
        position, field = start + 6, struct.pack("<H", value & 0xFFFF)
    else:
        position, field = start + 4, struct.pack("<I", value)
    return data[:position] + field + data[position + len(field) :]


def crossed(chance: Chance) -> bytes:
    """The beginning of one file and the end of another."""
    (one, first), (other, second) = chance.choice(seeds()), chance.choice(seeds())
    return first[: chance.choice(boundaries(one))] + second[chance.choice(boundaries(other)) :]


def another_transfer_syntax(chance: Chance) -> bytes:
    """Another transfer syntax than the data set's, big endian among them."""
    _, data = chance.choice(seeds())
    return with_transfer_syntax(data, chance.choice(SYNTAXES))


def with_transfer_syntax(data: bytes, uid: bytes) -> bytes:
    start, end = transfer_syntax(data)
    uid += b"\0" * (len(uid) % 2)
    changed = data[: start - 2] + struct.pack("<H", len(uid)) + uid + data[end:]
    return _with_group_length(changed, len(uid) - (end - start))


def without_meta(chance: Chance) -> bytes:
    """No preamble, no group 0002, or neither; or not all of it."""
    _, data = chance.choice(seeds())
    start = dataset_start(data)
    return chance.choice((data[start:], data[132:], data[:132] + data[start:], data[: chance.randrange(start)]))


def foreign_preamble(chance: Chance) -> bytes:
    """A DICOM file that is also a program, or a picture (CVE-2019-11687)."""
    _, data = chance.choice(seeds())
    head = chance.choice((b"MZ\x90\0\x03", b"\x7fELF\x02\x01\x01", b"II*\0\x08\0\0\0", b"#!/bin/sh\n", b"PK\x03\x04"))
    return head.ljust(128, b"\x90") + data[128:]


def lying_offset_table(chance: Chance) -> bytes:
    """A basic offset table that points anywhere, is too long or too short, or overlaps."""
    _, data = chance.choice(encapsulated())
    item = first_item(data)
    (length,) = struct.unpack_from("<I", data, item + 4)
    count = chance.choice((1, 2, 7, 1000))
    entries = [chance.choice((0, 4, 8, chance.getrandbits(16), chance.getrandbits(32))) for _ in range(count)]
    table = struct.pack(f"<{count}I", *entries)
    said = chance.choice((len(table), len(table), len(table) + 1, 0xFFFFFFFF, 0x7FFFFFFF))
    return data[: item + 4] + struct.pack("<I", said) + table + data[item + 8 + length :]


def lying_codestream(chance: Chance) -> bytes:
    """A codestream that says another size than the data set, or the same, and both are absurd."""
    _, data = chance.choice(encapsulated())
    damaged = bytearray(data)
    rows, columns = chance.choice(
        ((65535, 65535), (1, 65535), (0, 0), (chance.getrandbits(16), chance.getrandbits(16)))
    )
    if chance.random() < 0.7:
        _set_word(damaged, 0x10, rows)
        _set_word(damaged, 0x11, columns)
    position = first_item(data)
    for marker in _START_OF_FRAME:
        at = data.find(marker, position)
        if at >= 0 and at + 9 < len(data) and chance.random() < 0.9:
            struct.pack_into(">HH", damaged, at + 5, rows, columns)
    at = data.find(b"\xff\x4f\xff\x51", position)
    if 0 <= at < len(data) - 42:
        tile = chance.choice((1, columns, 0xFFFFFFFF))
        struct.pack_into(">8I", damaged, at + 8, columns, rows, 0, 0, tile, tile, 0, 0)
    return bytes(damaged)


def damaged_codestream(chance: Chance) -> bytes:
    """Bits flipped or bytes missing inside compressed frames only."""
    _, data = chance.choice(encapsulated())
    damaged = bytearray(data)
    start = first_item(data) + 8
    for _ in range(chance.choice((1, 4, 16, 64))):
        damaged[random.Random(chance.random()).randrange(start, len(data) - 8)] = chance.getrandbits(8)
    return bytes(damaged)


def _set_word(data: bytearray, element: int, value: int) -> None:
    """Set an attribute US of group 0028, in explicit VR little endian."""
    at = data.find(b"\x28\0" + bytes((element, 0)) + b"US\x02\0")
    if at >= 0:
        struct.pack_into("<H", data, at + 8, value)


def _with_group_length(data: bytes, difference: int) -> bytes:
    if data[132:140] != b"\x02\0\0\0UL\x04\0":
        return data
    (length,) = struct.unpack_from("<I", data, 140)
    return data[:140] + struct.pack("<I", max(0, length + difference)) + data[144:]
