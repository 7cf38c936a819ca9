"""The thorough reader: pydicom takes the data set apart, whatever its encoding and its faults.

Used for everything that the fast reader does not answer: implicit VR, big endian, UN, VRs that come
and go, elements out of order. pydicom's element generator gives raw bytes; VRs are resolved by its
dictionaries, and the bytes become JSON by the same functions as in the fast reader.

pydicom reads a file that was cut off without complaint. Here every length that an element announces is
checked against what is there, so that a half-copied file is told from a whole one.
"""

import struct
import warnings
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple, cast

from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, read_sequence

from staticwado_daemon.dicom.character_sets import DEFAULT_REPERTOIRE, CharacterSets, character_sets
from staticwado_daemon.dicom.data_set import (
    MOST_HELD,
    PIXEL_DATA_TAGS,
    SPECIFIC_CHARACTER_SET,
    TRAILING_PADDING,
    UNDEFINED_LENGTH,
    Buffer,
    DataSet,
    Encoding,
    Findings,
    Part,
    PixelData,
    Rules,
    held,
)
from staticwado_daemon.dicom.dictionary import private_creator, value_representation
from staticwado_daemon.dicom.fragments import end_of_items
from staticwado_daemon.dicom.json_model import UTF8_CHARACTER_SET, convert, json_object, sequence
from staticwado_daemon.dicom.read_stream import ReadStream
from staticwado_daemon.errors import Incomplete, Rejected

Element = RawDataElement | DataElement

_PIXEL_REPRESENTATION: Final = 0x00280103
_FOREIGN_GROUPS: Final = (0x0000, 0x0002, 0xFFFE)  # commands, file meta information, stray delimiters
_PIXEL_DATA_VRS: Final = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}
_EXPLICIT_PIXEL_DATA_VRS: Final = ("OB", "OD", "OF", "OW")
_ITEMS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_ITEM_DELIMITERS: Final = (b"\xfe\xff\x0d\xe0", b"\xff\xfe\xe0\x0d")
WORDS: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), "H"),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), "I"),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), "Q"),
}
_SEARCHED_BYTES: Final = 1 << 20
_FAULTS: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom is known to raise for bytes that make no sense."""


def read(buffer: Buffer, offset: int, encoding: Encoding, rules: Rules) -> DataSet:
    """Read the data set that fills the buffer from `offset`.

    Raises:
        Incomplete: if the buffer ends inside an element.
        Rejected: if it can't be read, or exceeds the limits.
    """
    findings = Findings(rules)
    top = TopLevel(buffer, encoding, findings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of pydicom's warnings is found here as well
        try:
            elements = top.elements(offset)
            fragments = _Conversion(buffer, findings).data_set(elements, _Scope(DEFAULT_REPERTOIRE, 0, 0, 0))
        except RecursionError:
            raise _too_deep(rules) from None
    return findings.data_set(fragments, top.pixel_data)


def _too_deep(rules: Rules) -> Rejected:
    return Rejected(f"sequences are nested more than {rules.limits.maximum_depth} deep")


class _Scope(NamedTuple):
    """What governs the elements of a data set or item; pydicom counts their offsets from `origin` in the buffer."""

    character_sets: CharacterSets
    depth: int
    pixel_representation: int
    origin: int


@dataclass(slots=True)
class _PixelDataHeader:
    tag: int
    vr: str
    start: int
    length: int


@dataclass(slots=True)
class TopLevel:
    """The top level of a data set: its raw elements, where the pixels are, and the audit of all lengths."""

    buffer: Buffer
    encoding: Encoding
    findings: Findings
    pixel_data: PixelData | None = None
    content: int | None = None

    def elements(self, offset: int) -> list[Element]:
        """Return the top-level elements, pixel data excepted.

        Raises:
            Incomplete: if the buffer ends inside an element.
            Rejected: if it makes no sense.
        """
        stream = ReadStream.over(self.buffer, offset, self.findings.rules)
        found: list[Element] = []
        end = offset
        while end < len(self.buffer):
            stream.seek(end)
            end, pixel_data = self.until_pixel_data(stream, found)
            if pixel_data:
                end = self.end_of_pixel_data(pixel_data)
            elif self.buffer[end : end + 4] in _ITEM_DELIMITERS:
                end += 8  # a stray one, which pydicom takes for the end of everything
            elif end < self.end_of_content():
                raise Incomplete("the file ends inside the header of an element")
            else:
                break
        return found

    def until_pixel_data(self, stream: ReadStream, found: list[Element]) -> tuple[int, _PixelDataHeader | None]:
        """Collect elements up to pixel data or the end; return the position reached, and which it was."""
        header: _PixelDataHeader | None = None

        def stop_at_pixel_data(tag: int, vr: str | None, length: int) -> bool:
            nonlocal header
            if length != UNDEFINED_LENGTH and length > len(self.buffer) - stream.tell():
                missing = length - len(self.buffer) + stream.tell()
                raise Incomplete(f"the file ends {missing} bytes before ({tag >> 16:04X},{tag & 0xFFFF:04X}) does")
            if tag in PIXEL_DATA_TAGS:
                header = _PixelDataHeader(int(tag), str(vr), stream.tell(), length)
            return header is not None

        end = stream.tell()
        try:
            for element in data_element_generator(
                cast("BinaryIO", stream),
                self.encoding.implicit,
                self.encoding.little_endian,
                stop_at_pixel_data,
                None if isinstance(self.buffer, bytes) else MOST_HELD,
            ):
                if element.tag == 0 and end >= self.end_of_content():
                    return len(self.buffer), None  # zeros that fill up the last block of a medium
                found.append(element)
                end = stream.tell()
        except _FAULTS as error:
            raise stream.fault(error) from error
        return end, header

    def end_of_content(self) -> int:
        """Return the position after the last byte that isn't zero; looked for once."""
        if self.content is None:
            self.content = _end_of_content(self.buffer)
        return self.content

    def end_of_pixel_data(self, header: _PixelDataHeader) -> int:
        """Note where the pixel data is; return the position after it."""
        undefined = header.length == UNDEFINED_LENGTH
        vr = header.vr if header.vr in _EXPLICIT_PIXEL_DATA_VRS else "OB" if undefined else _PIXEL_DATA_VRS[header.tag]
        if self.pixel_data:
            self.findings.warn_about(header.tag, "more than one pixel data element")
        else:
            length = None if undefined else header.length
            self.pixel_data = PixelData(f"{header.tag:08X}", vr, header.start, length)
        if undefined:
            return end_of_items(self.buffer, header.start, little_endian=self.encoding.little_endian)
        return header.start + header.length


@dataclass(slots=True)
class _Conversion:
    """Raw elements to JSON attributes, items included."""

    buffer: Buffer
    findings: Findings

    def data_set(self, elements: Iterable[Element], scope: _Scope) -> dict[str, bytes]:
        """Return the attributes of a data set or item in ascending order; of equal tags the last counts."""
        by_tag = {int(element.tag): element for element in elements}
        scope = scope._replace(pixel_representation=_pixel_representation(by_tag, scope))
        fragments: dict[str, bytes] = {}
        for tag, element in sorted(by_tag.items()):
            if not tag & 0xFFFF or tag == TRAILING_PADDING or tag >> 16 in _FOREIGN_GROUPS:
                continue
            if tag == SPECIFIC_CHARACTER_SET:
                scope = scope._replace(character_sets=character_sets(_read(element)))
                self.findings.warn_about_character_sets(scope.character_sets)
                fragments[f"{tag:08X}"] = UTF8_CHARACTER_SET
            else:
                fragments[f"{tag:08X}"] = self.attribute(element, scope, fragments)
        self.findings.count(len(fragments))
        return fragments

    def attribute(self, element: Element, scope: _Scope, fragments: dict[str, bytes]) -> bytes:
        """Return the JSON attribute of one element; `fragments` are those before it."""
        if isinstance(element, DataElement):
            return self.sequence(element.value, scope)  # of undefined length; pydicom took it apart already
        tag, value, vr = int(element.tag), self.value(element), element.VR
        offset = scope.origin + element.value_tell
        if vr is None or vr == "UN":
            vr = value_representation(tag, private_creator(tag, fragments), len(value), scope.pixel_representation)
        if vr == "SQ":
            items = items_of(element, value, self.findings.rules)
            if items is not None:
                return self.sequence(items, scope._replace(origin=offset))
            vr = "UN"
            self.findings.warn_about(tag, "not a sequence of items")
        if len(value) < element.length != UNDEFINED_LENGTH:
            self.findings.warn_about(tag, "ends before its length")
        if not element.is_little_endian and vr in WORDS:
            value = swapped(vr, held(value))
        fragment, bulk_values, note = convert(tag, vr, value, scope.character_sets, self.findings.rules)
        self.findings.keep(bulk_values, self.buffer, offset)
        if note:
            self.findings.warn_about(tag, note)
        return fragment

    def value(self, element: RawDataElement) -> Buffer:
        """Return the value of an element; where pydicom was told not to read it, as it stands in the buffer."""
        if element.value is None and MOST_HELD < element.length != UNDEFINED_LENGTH:
            return Part(self.buffer, element.value_tell, element.length)
        return _read(element)

    def sequence(self, items: Iterable[Dataset], scope: _Scope) -> bytes:
        """Return the JSON attribute of a sequence."""
        if scope.depth >= self.findings.rules.limits.maximum_depth:
            raise _too_deep(self.findings.rules)
        inner = scope._replace(depth=scope.depth + 1)
        objects = []
        for item in items:
            objects.append(json_object(self.data_set(item.values(), inner)))
            self.findings.count(1)
        return sequence(objects)


def items_of(element: RawDataElement, value: Buffer, rules: Rules) -> Iterable[Dataset] | None:
    """Return the items of a sequence of defined length, None if its value does not consist of items."""
    if len(value) and value[:4] not in _ITEMS:
        return None
    stream = ReadStream.over(value, 0, rules)
    try:
        items: Iterable[Dataset] = read_sequence(
            cast("BinaryIO", stream),
            element.is_implicit_VR,
            element.is_little_endian,
            len(value),
            default_encoding,
        )
    except _FAULTS as error:
        fault = stream.fault(error)
        if stream.reads_left < 0:
            raise fault from error
        return None
    return items


def _end_of_content(buffer: Buffer) -> int:
    for end in range(len(buffer), 0, -_SEARCHED_BYTES):
        start = max(0, end - _SEARCHED_BYTES)
        if piece := bytes(buffer[start:end]).rstrip(b"\0"):
            return start + len(piece)
    return 0


def _read(element: Element) -> bytes:
    return element.value or b"" if isinstance(element, RawDataElement) else b""


def _pixel_representation(elements: dict[int, Element], scope: _Scope) -> int:
    """Return (0028,0103) of these elements, or what is in force around them."""
    element = elements.get(_PIXEL_REPRESENTATION)
    if not isinstance(element, RawDataElement) or not element.value:
        return scope.pixel_representation
    return int.from_bytes(element.value[:2], "little" if element.is_little_endian else "big")


def swapped(vr: str, value: bytes) -> bytes:
    """Return big-endian value bytes, of one of the VRs in `WORDS`, as little-endian ones."""
    code = WORDS[vr]
    if len(value) % array(code).itemsize:
        return value
    words = array(code, value)
    words.byteswap()
    return words.tobytes()
