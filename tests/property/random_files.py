"""Random valid DICOM files for hypothesis, written byte by byte: no library has a say in what stands where.

What varies is everything that a sender may choose: encodings, lengths defined and undefined, private blocks, unknown
tags, character sets, empty values, padding, group lengths, what stands in the preamble and the file meta information,
how pixels are coded, cut into frames, fragments and offset tables.
"""

import struct
import zlib
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.property.random_pixels import (
    BIG_ENDIAN,
    DEFLATED,
    ENCAPSULATED,
    EXPLICIT,
    IMPLICIT,
    NATIVE,
    Image,
    encapsulated_value,
    images,
    native_value,
)

_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""VRs whose lengths have 32 bits (PS3.5 7.1.2)."""
_UNDEFINED = 0xFFFFFFFF
_UNITS = {"AT": 4, "FD": 8, "FL": 4, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2, "SL": 4, "SS": 2, "SV": 8}
_UNITS |= {"UL": 4, "US": 2, "UV": 8, "OB": 2, "UN": 2}
_TEXTS = {
    "AE": (b"STORE", b"A\\B"),
    "AS": (b"045Y",),
    "CS": (b"ORIGINAL\\PRIMARY", b"A", b"\\\\"),
    "DA": (b"20240229", b"20240229\\20240301"),
    "DS": (b"0.5", b"1\\2\\3", b"+1.50e2 ", b" 7", b""),
    "DT": (b"20240229101500.123456+0100",),
    "IS": (b"12", b" -3\\+4 "),
    "LO": (b"A longer text", b"one\\two\\"),
    "LT": (b"Lines\r\nwith\\backslash ",),
    "PN": (b"Test^Random", b"A^B=C^D", b"^^", b"A^B\\C^D"),
    "SH": (b"Short",),
    "ST": (b"Text ",),
    "TM": (b"1015", b"101500.5"),
    "UC": (b"unlimited characters", b"a\\b"),
    "UI": (b"1.2.840.10008.1.1", b"1.2\\1.3"),
    "UR": (b"http://localhost/a?b=c",),
    "UT": (b"unlimited text " * 20,),
}
_CHARACTER_SETS = {
    b"": b"ascii",
    b"ISO_IR 100": "Grüße".encode("latin-1"),
    b"ISO_IR 192": "Grüße 山田".encode(),
    b"ISO_IR 144": "Люксембург".encode("iso8859-5"),
    b"GB18030": "王小东".encode("gb18030"),
    b"\\ISO 2022 IR 87": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
}
_TEXTUAL = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
_PUBLIC = (
    (0x0008, 0x0008, "CS"), (0x0008, 0x0020, "DA"), (0x0008, 0x002A, "DT"), (0x0008, 0x0030, "TM"),
    (0x0008, 0x0050, "SH"), (0x0008, 0x0054, "AE"), (0x0008, 0x0070, "LO"), (0x0008, 0x0081, "ST"),
    (0x0008, 0x0119, "UC"), (0x0008, 0x0120, "UR"), (0x0010, 0x0010, "PN"), (0x0010, 0x0020, "LO"),
    (0x0010, 0x1010, "AS"), (0x0010, 0x21B0, "LT"), (0x0018, 0x0050, "DS"), (0x0018, 0x6012, "US"),
    (0x0018, 0x6016, "UL"), (0x0018, 0x6020, "SL"), (0x0018, 0x9073, "FD"), (0x0020, 0x0013, "IS"),
    (0x0020, 0x0052, "UI"), (0x0020, 0x9165, "AT"), (0x0040, 0xA160, "UT"), (0x0066, 0x0016, "OF"),
    (0x0066, 0x0040, "OL"), (0x6000, 0x3000, "OW"),
)  # fmt: skip
_SEQUENCES = ((0x0008, 0x1111), (0x0008, 0x1140), (0x0040, 0xA730), (0x0009, 0x1080))
_ANY_VR = (*_TEXTS, *_UNITS)
_CREATOR = b"STATICWADO TEST "
_NUMBERS = b"\x01\x02\x03\x04\x05\x06\x07\x08"
_MARKERS = b"\xfe\xff\xdd\xe0\0\0\0\0" * 2
_LARGE = _NUMBERS * 4096
"""It becomes bulk data."""


@dataclass(frozen=True, slots=True)
class Element:
    """An element whose value is the same bytes in every encoding."""

    group: int
    number: int
    vr: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence; of each item its elements and whether its length is defined. As UN, it is inside in implicit VR."""

    group: int
    number: int
    items: tuple[tuple[tuple["Element | Sequence", ...], bool], ...]
    defined: bool
    unknown: bool

    vr = "SQ"


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written.

    Attributes:
        syntax: its transfer syntax.
        preamble: and prefix; empty for a bare data set, which has no file meta information either.
        meta: more elements of group 0002; the usual ones are added.
        meta_length: what is added to the length of group 0002; None for a group without one.
        group_lengths: whether the data set's groups begin with their lengths (retired).
        elements: of the data set, but for identity and image.
        image: None for what is none.
        modality: (0008,0060).
        uid_padding: what makes UIDs of odd length even.
        tail: elements after Pixel Data, and Data Set Trailing Padding.
        after: bytes behind the data set.
    """

    syntax: str
    preamble: bytes
    meta: tuple[Element, ...]
    meta_length: int | None
    group_lengths: bool
    elements: tuple[Element | Sequence, ...]
    image: Image | None
    modality: bytes
    uid_padding: bytes
    tail: tuple[Element | Sequence, ...]
    after: bytes


@st.composite
def elements(draw, depth: int, character_set: bytes) -> tuple[Element | Sequence, ...]:
    """The elements of a data set or item, in ascending order."""
    found: dict[tuple[int, int], Element | Sequence] = {}
    for group, number, vr in draw(st.lists(st.sampled_from(_PUBLIC), max_size=6, unique=True)):
        found[group, number] = Element(group, number, vr, draw(_value(vr, character_set)))
    for number in draw(st.lists(st.integers(0x1000, 0x10FF), max_size=3, unique=True)):
        group = draw(st.sampled_from((0x0009, 0x0029, 0x7FDF)))
        vr = draw(st.sampled_from(_ANY_VR))
        found[group, 0x0010] = Element(group, 0x0010, "LO", _CREATOR)
        found[group, number] = Element(group, number, vr, draw(_value(vr, character_set)))
    if draw(st.integers(0, 3)) == 0:
        found[0x0072, 0xF001] = Element(0x0072, 0xF001, "UN", draw(st.binary(max_size=9).map(_even)))
    for group, number in draw(st.lists(st.sampled_from(_SEQUENCES), max_size=2, unique=True)) if depth else ():
        if group % 2:
            found[group, 0x0010] = Element(group, 0x0010, "LO", _CREATOR)
        item = st.tuples(elements(depth - 1, character_set), st.booleans())
        items = draw(st.lists(item, max_size=2))
        found[group, number] = Sequence(group, number, tuple(items), draw(st.booleans()), draw(st.integers(0, 4)) == 0)
    return tuple(found[tag] for tag in sorted(found))


@st.composite
def _value(draw, vr: str, character_set: bytes) -> bytes:
    if vr in _UNITS:
        return draw(st.sampled_from((b"", _NUMBERS, bytes(_UNITS[vr]), _MARKERS, _LARGE if vr in _LONG else _NUMBERS)))
    texts = _TEXTS[vr]
    if vr in _TEXTUAL and character_set:
        texts = (*texts, _CHARACTER_SETS[character_set])
    text = draw(st.sampled_from((b"", *texts)))
    return _even(text, draw(st.sampled_from((b" ", b" ", b"\0"))) if vr != "UI" else b"\0")


def _even(value: bytes, padding: bytes = b"\0") -> bytes:
    return value + padding * (len(value) % 2)


@st.composite
def files(draw) -> File:
    """Files of all kinds."""
    syntax = draw(st.sampled_from((*NATIVE, *ENCAPSULATED)))
    character_set = draw(st.sampled_from([*_CHARACTER_SETS]))
    listed = draw(elements(2, character_set))
    if character_set:
        listed = (Element(0x0008, 0x0005, "CS", _even(character_set, b" ")), *listed)
    image = draw(images(syntax)) if syntax in ENCAPSULATED or draw(st.integers(0, 3)) else None
    bare = syntax in {IMPLICIT, EXPLICIT} and draw(st.integers(0, 7)) == 0
    preamble = b"" if bare else draw(st.sampled_from((bytes(128), b"II*\0" + bytes(124), b"\xff" * 128))) + b"DICM"
    odd = (
        Element(0x0002, 0x0016, "AE", b"SENDER"),
        Element(0x0002, 0x0099, "UN", b"1234"),
        Element(0x0002, 0x0100, "UI", b"1.2.3\0"),
        Element(0x0002, 0x0102, "OB", bytes(6)),
    )
    tail: list[Element | Sequence] = []
    if draw(st.integers(0, 3)) == 0:
        tail.append(Sequence(0xFFFA, 0xFFFA, (), draw(st.booleans()), unknown=False))
    if draw(st.integers(0, 3)) == 0:
        tail.append(Element(0xFFFC, 0xFFFC, "OB", bytes(draw(st.sampled_from((0, 2, 100))))))
    return File(
        syntax=syntax,
        preamble=preamble,
        meta=tuple(each for each in odd if draw(st.integers(0, 3)) == 0),
        meta_length=draw(st.sampled_from((0, 0, 0, 4, None))),
        group_lengths=draw(st.booleans()),
        elements=listed,
        image=image,
        modality=draw(st.sampled_from((b"CT", b"MR", b"OT", b"SR", b"SEG ", b""))),
        uid_padding=draw(st.sampled_from((b"\0", b"\0", b" "))),
        tail=tuple(tail),
        after=draw(st.sampled_from((b"", b"", b"\0", bytes(100), b"more" if syntax == DEFLATED else bytes(8)))),
    )


def to_bytes(file: File, number: int) -> bytes:
    """The file's bytes; `number` makes its UIDs."""
    explicit = file.syntax != IMPLICIT
    writer = _Writer(explicit=explicit, big_endian=file.syntax == BIG_ENDIAN)
    uids = {each: _even(f"2.25.{root}{number}".encode(), file.uid_padding) for each, root in ((0x0018, 9), (0x000E, 8))}
    identity = [
        Element(0x0008, 0x0016, "UI", _sop_class(file)),
        Element(0x0008, 0x0018, "UI", uids[0x0018]),
        Element(0x0008, 0x0060, "CS", file.modality),
        Element(0x0020, 0x000D, "UI", _even(f"2.25.7{number % 3}".encode(), file.uid_padding)),
        Element(0x0020, 0x000E, "UI", uids[0x000E]),
    ]
    listed: list[Element | Sequence] = [*file.elements, *identity, *_image_module(writer, file.image)]
    listed.sort(key=lambda each: (each.group, each.number))
    data = b"".join(writer.groups(listed, lengths=file.group_lengths))
    if file.image is not None:
        data += _pixel_data(writer, file.image, file.syntax)
    data += b"".join(writer.element(each) for each in file.tail)
    if file.syntax == DEFLATED:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    return file.preamble + (_meta(file, uids[0x0018]) if file.preamble else b"") + data + file.after


def _meta(file: File, instance: bytes) -> bytes:
    writer = _Writer(explicit=True, big_endian=False)
    usual = (
        Element(0x0002, 0x0001, "OB", b"\0\1"),
        Element(0x0002, 0x0002, "UI", _sop_class(file)),
        Element(0x0002, 0x0003, "UI", instance),
        Element(0x0002, 0x0010, "UI", _even(file.syntax.encode(), file.uid_padding)),
        Element(0x0002, 0x0012, "UI", b"1.2.3.4 "),
    )
    listed = sorted((*usual, *file.meta), key=lambda each: each.number)
    body = b"".join(writer.groups(listed, lengths=False))
    if file.meta_length is None:
        return body
    return writer.element(Element(0x0002, 0, "UL", struct.pack("<I", len(body) + file.meta_length))) + body


def _sop_class(file: File) -> bytes:
    """Secondary Capture, or Basic Text SR."""
    return b"1.2.840.10008.5.1.4.1.1.7\0" if file.image else b"1.2.840.10008.5.1.4.1.1.88.11\0"


def _image_module(writer: "_Writer", image: Image | None) -> list[Element]:
    if image is None:
        return []
    short = writer.short
    listed = [
        Element(0x0028, 0x0002, "US", short(image.samples)),
        Element(0x0028, 0x0004, "CS", _even(image.photometric.encode(), b" ")),
        Element(0x0028, 0x0010, "US", short(image.rows)),
        Element(0x0028, 0x0011, "US", short(image.columns)),
        Element(0x0028, 0x0100, "US", short(image.bits)),
        Element(0x0028, 0x0101, "US", short(image.bits)),
        Element(0x0028, 0x0102, "US", short(image.bits - 1)),
        Element(0x0028, 0x0103, "US", short(int(image.signed))),
    ]
    if image.samples > 1:
        listed.append(Element(0x0028, 0x0006, "US", short(image.planar)))
    if image.frames > 1:
        listed.append(Element(0x0028, 0x0008, "IS", _even(str(image.frames).encode(), b" ")))
    if image.photometric == "PALETTE COLOR":
        for colour in range(3):
            listed.append(Element(0x0028, 0x1101 + colour, "US", short(4) + short(0) + short(16)))
            table = b"".join(short(1000 * (each + colour)) for each in range(4))
            listed.append(Element(0x0028, 0x1201 + colour, "OW", table))
    return listed


def _pixel_data(writer: "_Writer", image: Image, syntax: str) -> bytes:
    if syntax in ENCAPSULATED:
        extended, value = encapsulated_value(image, syntax)
        return extended + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, _UNDEFINED) + value
    value = native_value(image, big_endian=syntax == BIG_ENDIAN)
    number, vr = 0x0010, image.value_vr
    if image.floating:
        number, vr = (0x0008, "OF") if image.bits == 32 else (0x0009, "OD")
    return writer.element(Element(0x7FE0, number, vr, value))


class _Writer:
    """Writes elements in one encoding."""

    def __init__(self, *, explicit: bool, big_endian: bool) -> None:
        self._explicit = explicit
        self._order = ">" if big_endian else "<"

    def short(self, value: int) -> bytes:
        """An unsigned number of 16 bits."""
        return struct.pack(f"{self._order}H", value)

    def groups(self, listed: list[Element | Sequence], *, lengths: bool):
        """Yield elements, each group behind its length if that is wanted."""
        for group in sorted({each.group for each in listed}):
            body = b"".join(self.element(each) for each in listed if each.group == group)
            if lengths:
                yield self.element(Element(group, 0, "UL", struct.pack(f"{self._order}I", len(body))))
            yield body

    def element(self, each: Element | Sequence) -> bytes:
        """One element."""
        if isinstance(each, Element):
            return self._head(each, each.vr, len(each.value)) + each.value
        if each.unknown and self._explicit and self._order == "<":  # PS3.5 6.2.2, note 2
            value = _Writer(explicit=False, big_endian=False)._items(each)
            return self._head(each, "UN", _UNDEFINED) + value + self._tag(0xFFFE, 0xE0DD, 0)
        value = self._items(each)
        if each.defined:
            return self._head(each, "SQ", len(value)) + value
        return self._head(each, "SQ", _UNDEFINED) + value + self._tag(0xFFFE, 0xE0DD, 0)

    def _items(self, sequence: Sequence) -> bytes:
        written = []
        for listed, defined in sequence.items:
            body = b"".join(self.element(each) for each in listed)
            end = b"" if defined else self._tag(0xFFFE, 0xE00D, 0)
            written.append(self._tag(0xFFFE, 0xE000, len(body) if defined else _UNDEFINED) + body + end)
        return b"".join(written)

    def _head(self, each: Element | Sequence, vr: str, length: int) -> bytes:
        if not self._explicit:
            return self._tag(each.group, each.number, length)
        tag = struct.pack(f"{self._order}HH", each.group, each.number) + vr.encode()
        if vr in _LONG:
            return tag + struct.pack(f"{self._order}HI", 0, length)
        return tag + struct.pack(f"{self._order}H", length)

    def _tag(self, group: int, number: int, length: int) -> bytes:
        return struct.pack(f"{self._order}HHI", group, number, length)
