"""DICOM JSON back into the bytes of a data set, Explicit VR Little Endian, whichever program wrote the JSON.

Programs differ in how they spell values: numbers as base64, several values in one string, tags as integers, no VR or
two of them. The bytes of an element differ in nothing, so what was spelt anyhow is made bytes here, and a reader makes
of them what it makes of any file.
"""

import base64
import binascii
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from pydicom.valuerep import format_number_as_ds

from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.character_sets import CharacterSets, character_sets
from staticwado_daemon.dicom.data_set import LONG_LENGTH_VRS, PIXEL_DATA_TAGS, SPECIFIC_CHARACTER_SET, TRAILING_PADDING
from staticwado_daemon.dicom.dictionary import is_private, value_representation
from staticwado_daemon.dicom.json_model import VRS

Dialect: TypeAlias = Literal["characters", "bytes"]
"""What the strings of a JSON file hold: characters, or the file's bytes each as the character of that number."""

DataSetJson: TypeAlias = Mapping[str, Any]
"""Tags ("00080018") to decoded JSON attributes."""

AVAILABLE_TRANSFER_SYNTAX_UID: Final = 0x00083002
_PIXEL_REPRESENTATION: Final = "00280103"
_LAST_FOREIGN_GROUP: Final = 0x0007
_UTF8: Final = "ISO_IR 192"
_SHORT_LENGTH: Final = 0xFFFE
_LONGEST_DECIMAL: Final = 16
_ESCAPE: Final = "\x1b"
_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_BINARY_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_FLOATS: Final = {"FL": "<f", "FD": "<d"}
_INTEGERS: Final = {"SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8}


class _NotBytesError(Exception):
    """A string has a character that is no byte."""


@dataclass(slots=True)
class _Encoder:
    """One pass over a data set.

    Attributes:
        bulk: gives the value behind a BulkDataURI, None where there is none.
        dialect: of the strings.
        declared: the character sets that the JSON names; they hold for what escaped conversion.
        utf8: names are UTF-8 bytes, each as a character.
        short: decimal strings are made as short as PS3.5 6.2 wants them, at the cost of digits.
        notes: what could not be kept.
    """

    bulk: Callable[[str], bytes | None]
    dialect: Dialect
    declared: CharacterSets
    utf8: bool
    short: bool = False
    notes: list[str] = field(default_factory=list)

    def elements(self, data_set: DataSetJson, signed: int, *, nested: bool) -> Iterator[tuple[int, bytes]]:
        """The elements in ascending order, each complete with its header."""
        signed = _integer(data_set.get(_PIXEL_REPRESENTATION), signed)
        tagged = {tag: attribute for key, attribute in data_set.items() if (tag := _tag(key)) is not None}
        for tag, attribute in sorted(tagged.items()):
            if _is_passed_over(tag, nested=nested) or not isinstance(attribute, dict):
                continue
            vr = _representation(tag, attribute, _creator(tag, data_set), signed)
            try:
                value = self.value(tag, vr, attribute, signed)
            except (ValueError, TypeError, OverflowError, struct.error, binascii.Error):
                self.notes.append(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has a value that can't be {vr}")
                continue
            if value is None:
                self.notes.append(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) lacks its bulk data")
            else:
                yield tag, _element(tag, vr, value)

    def value(self, tag: int, vr: str, attribute: DataSetJson, signed: int) -> bytes | None:
        """The value's bytes, not yet padded; None if they are elsewhere and can't be found."""
        if isinstance(inline := attribute.get("InlineBinary"), str):
            return base64.b64decode(inline)
        if isinstance(uri := attribute.get("BulkDataURI"), str):
            return self.bulk(uri)
        values = attribute.get("Value")
        values = values if isinstance(values, list) else [] if values is None else [values]
        if vr == "SQ":
            return b"".join(self.item(each, signed) for each in values if isinstance(each, dict))
        if tag == SPECIFIC_CHARACTER_SET and self.dialect == "characters":
            return _UTF8.encode()
        if vr in _FLOATS:
            return b"".join(_float_bytes(each, _FLOATS[vr]) for each in values if each != "")
        if vr in _INTEGERS:
            return b"".join(_integer_bytes(each, _INTEGERS[vr]) for each in values if each not in {None, ""})
        if vr == "AT":
            return b"".join(struct.pack("<HH", each >> 16, each & 0xFFFF) for each in _tags(values))
        if vr in _BINARY_VRS and values:
            raise ValueError
        return self.text(vr, "\\".join(self.string(vr, each) for each in values))

    def item(self, data_set: DataSetJson, signed: int) -> bytes:
        """An item of a sequence."""
        body = b"".join(element for _, element in self.elements(data_set, signed, nested=True))
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body

    def string(self, vr: str, value: Any) -> str:
        """One value as text."""
        if isinstance(value, dict):
            return "=".join(str(value.get(group) or "") for group in _NAME_GROUPS).rstrip("=")
        if value is None:
            return ""
        if vr == "DS" and isinstance(value, float) and self.short and len(repr(value)) > _LONGEST_DECIMAL:
            return format_number_as_ds(value)
        return str(value)

    def text(self, vr: str, text: str) -> bytes:
        """Text in the character set that the data set will have."""
        if self.dialect == "bytes":
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                raise _NotBytesError from None
        if text.isascii() and _ESCAPE not in text:
            return text.encode()
        try:
            if self.utf8 and vr == "PN":
                # One program decodes all text of a UTF-8 file except its names.
                return text.encode("latin-1").decode("utf-8").encode()
            if _ESCAPE in text:
                return self.declared.decode(text.encode("latin-1")).encode()
        except UnicodeError:
            pass  # it was decoded after all
        return text.encode()


def encode(
    data_set: DataSetJson, bulk: Callable[[str], bytes | None], dialect: Dialect, *, short_decimals: bool = False
) -> tuple[dict[int, bytes], list[str]]:
    """Make a data set's elements: each tag's whole element, in ascending order, and notes on what could not be kept.

    Pixel data, (0008,3002), file meta information, group lengths and trailing padding are passed over.

    Args:
        data_set: as decoded from JSON.
        bulk: gives the value behind a BulkDataURI, None where there is none.
        dialect: what the JSON's strings hold.
        short_decimals: keep DS within 16 characters, as a valid file must.
    """
    terms = "\\".join(map(str, _values(data_set.get("00080005")))).encode("latin-1", "replace")
    declared = character_sets(terms)
    utf8 = declared.codecs[0].upper().replace("_", "").replace("-", "") == "UTF8"
    if dialect == "bytes" and not utf8:
        encoder = _Encoder(bulk, "bytes", declared, utf8, short_decimals)
        try:
            return dict(encoder.elements(data_set, 0, nested=False)), encoder.notes
        except _NotBytesError:
            pass  # some older programs did decode everything
    encoder = _Encoder(bulk, "characters", declared, utf8 and dialect == "bytes", short_decimals)
    return dict(encoder.elements(data_set, 0, nested=False)), encoder.notes


def _is_passed_over(tag: int, *, nested: bool) -> bool:
    if tag >> 16 <= _LAST_FOREIGN_GROUP or not tag & 0xFFFF or tag == TRAILING_PADDING:
        return True
    return not nested and (tag in PIXEL_DATA_TAGS or tag == AVAILABLE_TRANSFER_SYNTAX_UID)


def _element(tag: int, vr: str, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in _BINARY_VRS or vr == "UI" else b" "
    if vr not in LONG_LENGTH_VRS and len(value) > _SHORT_LENGTH:
        vr = "UN"  # the only way to say so many bytes; readers look the VR up
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HI" if vr in LONG_LENGTH_VRS else "<H", *_length(vr, len(value)))) + value


def _length(vr: str, length: int) -> tuple[int, ...]:
    return (0, length) if vr in LONG_LENGTH_VRS else (length,)


def _representation(tag: int, attribute: DataSetJson, creator: str, signed: int) -> str:
    """The VR: the one stated if it can be meant, otherwise the dictionaries', otherwise what the value looks like."""
    stated = attribute.get("vr")
    values = _values(attribute)
    if isinstance(stated, str) and stated in VRS and (stated != "UN" or not values):
        return stated
    inline = attribute.get("InlineBinary")
    length = len(inline.rstrip("=")) * 3 // 4 if isinstance(inline, str) else 0
    known = value_representation(tag, creator, length, signed)
    if known != "UN" or not values:
        return known
    if all(isinstance(each, dict) for each in values):
        return "PN" if any(group in values[0] for group in _NAME_GROUPS) else "SQ"
    return "DS" if all(isinstance(each, int | float) for each in values) else "UT"


def _creator(tag: int, data_set: DataSetJson) -> str:
    block = f"{tag & 0xFFFF0000 | tag >> 8 & 0xFF:08X}"
    attribute = data_set.get(block)
    return first_text({block: attribute}, block).strip() if is_private(tag) and isinstance(attribute, dict) else ""


def _values(attribute: Any) -> list[Any]:
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values if isinstance(values, list) else [] if values is None else [values]


def _integer(attribute: Any, default: int) -> int:
    values = _values(attribute)
    return values[0] if values and isinstance(values[0], int) else default


def _float_bytes(value: Any, code: str) -> bytes:
    """A number that JSON can't say, infinity too, is null there."""
    return struct.pack(code, math.nan if value is None else float(value))


def _integer_bytes(value: Any, width: int) -> bytes:
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError
    return (number & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def _tag(key: str) -> int | None:
    try:
        return int(key, 16) if len(key) == 8 else None
    except ValueError:
        return None


def _tags(values: list[Any]) -> Iterator[int]:
    """Tags as integers, as hexadecimal text with or without an x before it, or several of these in one text."""
    for value in values:
        if isinstance(value, int):
            yield value
        elif value:
            yield from (int(each.strip().lstrip("xX"), 16) for each in str(value).replace(",", "\\").split("\\"))
