"""Identifiers of the Query/Retrieve service: what a peer asks, as keys.

A request is read by the same code as a file, so that every character set and every fault is understood as it is there,
with caps that no honest query comes near.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from staticwado_daemon.dicom import with_pydicom
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.data_set import Encoding, Limits, Rules
from staticwado_daemon.dicom.dictionary import private_creator, value_representation
from staticwado_daemon.dicom.matching import Attribute, Key, Unmatchable
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.errors import Rejected

SPECIFIC_CHARACTER_SET: Final = "00080005"
QUERY_RETRIEVE_LEVEL: Final = "00080052"

MOST_BYTES: Final = 4 << 20
"""Of an identifier: room for a list of sixty thousand UIDs."""
_LONGEST_CHARACTER_SET: Final = 1024
"""Characters of Specific Character Set; all its defined terms together have fewer."""
_LIMITS: Final = Limits(
    maximum_depth=8,
    maximum_elements=2048,
    maximum_element_length=MOST_BYTES,
    maximum_inline_public_length=MOST_BYTES,
    maximum_inline_private_length=MOST_BYTES,
)
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_CHARACTER_SET: Final = (0x0008, 0x0005)


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a request asks for.

    Attributes:
        level: Query/Retrieve Level (0008,0052), "" if there is none.
        keys: all others, Specific Character Set excepted, in ascending order of their tags.
        terms: Specific Character Set, by which the requestor wants to be answered.
    """

    level: str
    keys: tuple[Key, ...]
    terms: tuple[str, ...] = ()

    def key(self, tag: str) -> Key | None:
        """The key of this tag."""
        return next((key for key in self.keys if key.tag == tag), None)


def read(data: bytes, transfer_syntax_uid: str) -> Identifier:
    """Read the identifier of a request.

    Args:
        data: the encoded data set.
        transfer_syntax_uid: of the presentation context by which it came.

    Raises:
        Unmatchable: if one of the keys can't be understood.
        Rejected: if the whole can't.
    """
    encoding = transfer_syntax(transfer_syntax_uid).encoding
    stated = _stated_character_set(data, encoding).decode("latin-1").strip(" \0")
    if len(stated) > _LONGEST_CHARACTER_SET:
        raise Rejected("Specific Character Set is too long")
    found = attributes(data, encoding)
    level = first_text(found, QUERY_RETRIEVE_LEVEL).strip()
    keys = _keys({tag: each for tag, each in found.items() if tag != QUERY_RETRIEVE_LEVEL})
    return Identifier(level, keys, tuple(term.strip() for term in stated.split("\\")) if stated else ())


def attributes(data: bytes, encoding: Encoding) -> dict[str, Attribute]:
    """Read an identifier, be it of a request or of an answer, as DICOM JSON.

    Raises:
        Rejected: if it can't be read.
    """
    if len(data) > MOST_BYTES:
        raise Rejected("the identifier is too long")
    fragments = with_pydicom.read(data, 0, encoding, Rules(_LIMITS, str)).fragments
    return {tag: orjson.loads(fragment) for tag, fragment in fragments.items()}


def text_of(value: Any) -> str:
    """A value of DICOM JSON as text; a name with "=" between its component groups, "" where there is none."""
    if isinstance(value, dict):
        return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value)


def _keys(attributes: Mapping[str, Attribute]) -> tuple[Key, ...]:
    fragments = {tag: orjson.dumps(attribute) for tag, attribute in attributes.items() if attribute["vr"] == "LO"}
    return tuple(
        _key(tag, attribute, private_creator(int(tag, 16), fragments))
        for tag, attribute in attributes.items()
        if tag != SPECIFIC_CHARACTER_SET
    )


def _key(tag: str, attribute: Attribute, creator: str) -> Key:
    stated = attribute["vr"]
    known = value_representation(int(tag, 16), creator, 0, 0)
    values = attribute.get("Value", [])
    if "InlineBinary" in attribute:
        values = [attribute["InlineBinary"]]  # to be known for a value, though nothing is matched by it
    if stated == "SQ":
        if len(values) > 1:
            raise Unmatchable(tag, "has more than one item")
        return Key(tag, stated, items=tuple(_keys(item) for item in values))
    if known == "SQ" and values:
        raise Unmatchable(tag, "is no sequence")
    # A peer may call a date what it likes; it is matched as one.
    return Key(tag, stated if known == "UN" else known, tuple(filter(None, map(text_of, values))))


def _stated_character_set(data: bytes, encoding: Encoding) -> bytes:
    """The value of (0008,0005) as it was sent; the reader turns it into what JSON is written in."""
    order, position = "<" if encoding.little_endian else ">", 0
    while position + 8 <= len(data):
        group, element, _, length = struct.unpack_from(f"{order}HH2sH", data, position)
        if encoding.implicit:
            (length,) = struct.unpack_from(f"{order}I", data, position + 4)
        position += 8
        if (group, element) >= _CHARACTER_SET:
            return data[position : position + length] if (group, element) == _CHARACTER_SET else b""
        position += length
    return b""
