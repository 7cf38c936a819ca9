"""Raw elements: pydicom takes a data set apart, whatever its encoding and its faults.

pydicom reads a file that was cut off without complaint. Here every length that an element announces is
checked against what is there, so that a half-copied file is told from a whole one.
"""

import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import data_element_generator, read_sequence
from pydicom.tag import BaseTag

from staticwado_daemon.dicom.data_set import (
    MOST_HELD,
    PIXEL_DATA_TAGS,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    Findings,
    Part,
    PixelData,
    Rules,
)
from staticwado_daemon.dicom.fragments import end_of_items
from staticwado_daemon.dicom.read_stream import ReadStream
from staticwado_daemon.errors import Incomplete

Element = RawDataElement | DataElement

_PIXEL_REPRESENTATION: Final = 0x00280103
FOREIGN_GROUPS: Final = (0x0000, 0x0002, 0xFFFE)  # commands, file meta information, stray delimiters
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
FAULTS: Final = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom is known to raise for bytes that make no sense; and OSError, which may be the disk's."""


@dataclass(slots=True)
class _Header:
    """Of an element that pydicom is kept from; `vr` is None where it has none."""

    tag: int
    vr: str | None
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
            end, header = self.until_kept(stream, found)
            if header and header.tag in PIXEL_DATA_TAGS:
                end = self.end_of_pixel_data(header)
            elif header:
                found.append(self.element(stream, header))
                end = header.start + header.length
            elif self.buffer[end : end + 4] in _ITEM_DELIMITERS:
                end += 8  # a stray one, which pydicom takes for the end of everything
            elif end < self.end_of_content():
                raise Incomplete("the file ends inside the header of an element")
            else:
                break
        return found

    def until_kept(self, stream: ReadStream, found: list[Element]) -> tuple[int, _Header | None]:
        """Collect elements up to one that pydicom is kept from, or the end; return the position reached, and which.

        Pixel data would be loaded; of a Specific Character Set pydicom wants to make sense, and gives up if it can't.
        """
        header: _Header | None = None

        def stop(tag: int, vr: str | None, length: int) -> bool:
            nonlocal header
            if length != UNDEFINED_LENGTH and length > len(self.buffer) - stream.tell():
                missing = length - len(self.buffer) + stream.tell()
                raise Incomplete(f"the file ends {missing} bytes before ({tag >> 16:04X},{tag & 0xFFFF:04X}) does")
            if tag in PIXEL_DATA_TAGS or (tag == SPECIFIC_CHARACTER_SET and length != UNDEFINED_LENGTH):
                header = _Header(int(tag), vr, stream.tell(), length)
            return header is not None

        end = stream.tell()
        try:
            for element in data_element_generator(
                cast("BinaryIO", stream),
                self.encoding.implicit,
                self.encoding.little_endian,
                stop,
                None if isinstance(self.buffer, bytes) else MOST_HELD,
            ):
                if element.tag == 0 and end >= self.end_of_content():
                    return len(self.buffer), None  # zeros that fill up the last block of a medium
                found.append(element)
                end = stream.tell()
        except (*FAULTS, OSError) as error:
            raise stream.fault(error) from error
        return end, header

    def end_of_content(self) -> int:
        """Return the position after the last byte that isn't zero; looked for once."""
        if self.content is None:
            self.content = _end_of_content(self.buffer)
        return self.content

    def element(self, stream: ReadStream, header: _Header) -> RawDataElement:
        """Return an element as pydicom would have, had it been let."""
        stream.seek(header.start)
        value = None if header.length > MOST_HELD else stream.read(header.length)
        implicit, little_endian = self.encoding.implicit, self.encoding.little_endian
        tag = BaseTag(header.tag)
        return RawDataElement(tag, header.vr, header.length, value, header.start, implicit, little_endian)

    def end_of_pixel_data(self, header: _Header) -> int:
        """Note where the pixel data is; return the position after it."""
        undefined = header.length == UNDEFINED_LENGTH
        vr = header.vr
        if vr is None or vr not in _EXPLICIT_PIXEL_DATA_VRS:
            vr = "OB" if undefined else _PIXEL_DATA_VRS[header.tag]
        if self.pixel_data:
            self.findings.warn_about(header.tag, "more than one pixel data element")
        else:
            length = None if undefined else header.length
            self.pixel_data = PixelData(f"{header.tag:08X}", vr, header.start, length)
        if undefined:
            return end_of_items(self.buffer, header.start, little_endian=self.encoding.little_endian)
        return header.start + header.length


def value_of(element: RawDataElement, buffer: Buffer) -> Buffer:
    """Return the value of an element; where pydicom was told not to read it, as it stands in the buffer."""
    if element.value is None and MOST_HELD < element.length != UNDEFINED_LENGTH:
        return Part(buffer, element.value_tell, element.length)
    return element.value or b""


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
    except (*FAULTS, OSError) as error:
        fault = stream.fault(error)
        if stream.reads_left < 0:
            raise fault from error
        return None
    return items


def pixel_representation(elements: Mapping[int, Element], around: int) -> int:
    """Return (0028,0103) of these elements, or what is in force around them."""
    element = elements.get(_PIXEL_REPRESENTATION)
    if not isinstance(element, RawDataElement) or not element.value:
        return around
    return int.from_bytes(element.value[:2], "little" if element.is_little_endian else "big")


def swapped(vr: str, value: bytes) -> bytes:
    """Return big-endian value bytes, of one of the VRs in `WORDS`, as little-endian ones."""
    code = WORDS[vr]
    if len(value) % array(code).itemsize:
        return value
    words = array(code, value)
    words.byteswap()
    return words.tobytes()


def _end_of_content(buffer: Buffer) -> int:
    for end in range(len(buffer), 0, -_SEARCHED_BYTES):
        start = max(0, end - _SEARCHED_BYTES)
        if piece := bytes(buffer[start:end]).rstrip(b"\0"):
            return start + len(piece)
    return 0
