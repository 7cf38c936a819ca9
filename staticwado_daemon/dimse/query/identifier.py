"""Identifiers of the Query/Retrieve service: what a peer asks as keys, and DICOM JSON as the data set of an answer.

A request is read by the same code as a file, so that every character set and every fault is understood as it is there,
with caps that no honest query comes near. An answer speaks the requestor's character set, or Latin-1 if it
names none, where that has the letters, and UTF-8 otherwise; what is ASCII needs none (PS3.4 section C.4.1.1.3).
"""

import re
import struct
import zlib
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
from pydicom import config
from pydicom.charset import convert_encodings, encode_string, python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from staticwado_daemon.dicom import with_pydicom
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.character_sets import TEXT_RESETS, character_sets
from staticwado_daemon.dicom.data_set import Encoding, Limits, Rules
from staticwado_daemon.dicom.dictionary import private_creator, value_representation
from staticwado_daemon.dicom.matching import Attribute, Key, Unmatchable
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.errors import Rejected

SPECIFIC_CHARACTER_SET: Final = "00080005"
QUERY_RETRIEVE_LEVEL: Final = "00080052"

MOST_BYTES: Final = 4 << 20
"""Of an identifier, inflated: room for a list of sixty thousand UIDs."""
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
_UTF8: Final = ("ISO_IR 192",)
_LATIN: Final = ("ISO_IR 100",)
"""For who names no character set: programs of before UTF-8, of which most show this one."""
_DEFAULT_CODEC: Final = "iso8859"
_REALS: Final = frozenset(("FD", "FL"))
_TEXTS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""VRs whose letters are those of Specific Character Set; all others have ASCII alone (PS3.5 section 6.1.2)."""
_INTEGERS: Final = frozenset(("SL", "SS", "SV", "UL", "US", "UV"))
_BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))


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
    syntax = transfer_syntax(transfer_syntax_uid)
    data = _inflated(data) if syntax.deflated else data
    stated = _stated_character_set(data, syntax.encoding).decode("latin-1").strip(" \0")
    if len(stated) > _LONGEST_CHARACTER_SET:
        raise Rejected("Specific Character Set is too long")
    found = attributes(data, syntax.encoding)
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


def dataset(attributes: Mapping[str, Attribute], terms: Sequence[str] = ()) -> Dataset:
    """Make the data set of DICOM JSON attributes, with the Specific Character Set that it needs.

    Args:
        attributes: by tag; Specific Character Set among them is passed over, and so are values kept elsewhere.
        terms: defined terms of the character sets that are understood where it goes.
    """
    made = _data_set(attributes)
    if chosen := _chosen(terms, list(_texts(attributes.values()))):
        made.SpecificCharacterSet = list(chosen)
    return made


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
    return Key(tag, stated if known == "UN" else known, tuple(filter(None, map(_text, values))))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value)


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, MOST_BYTES + 1)
    except zlib.error:
        raise Rejected("the identifier is damaged") from None
    _check_length(inflated)
    if not inflater.eof:
        raise Rejected("the identifier is cut short")
    return inflated


def _check_length(data: bytes) -> None:
    if len(data) > MOST_BYTES:
        raise Rejected("the identifier is too long")


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


def _data_set(attributes: Mapping[str, Attribute]) -> Dataset:
    made = Dataset()
    for tag, attribute in attributes.items():
        if tag != SPECIFIC_CHARACTER_SET:
            vr = attribute["vr"]
            # What was stored is given back, right or wrong.
            made.add(DataElement(int(tag, 16), vr, _value(vr, attribute), validation_mode=config.IGNORE))
    return made


def _value(vr: str, attribute: Attribute) -> Any:
    """The value as pydicom takes it; empty where it is kept outside."""
    if vr in _BINARY:
        return b64decode(attribute.get("InlineBinary", ""))
    values = attribute.get("Value", [])
    if vr == "SQ":
        return [_data_set(item) for item in values]
    if vr in _REALS or vr in _INTEGERS:
        values = [value for value in values if value is not None]
    converted = [_single(vr, value) for value in values]
    return converted[0] if len(converted) == 1 else converted or None


def _single(vr: str, value: Any) -> Any:
    if vr == "AT":
        return int(value, 16)
    if vr in _REALS:
        return float(value)
    if vr in _INTEGERS:
        return int(value)
    if vr in ("DS", "IS") and isinstance(value, str):
        return ""  # it was stored as text that is no number, which pydicom doesn't write
    if vr == "DS" and isinstance(value, float):
        return format_number_as_ds(value)
    text = _text(value)
    # What was stored wrongly must not keep everybody from being told of everything else.
    return text if vr in _TEXTS else text.encode("ascii", "replace").decode()


def _texts(attributes: Iterable[Attribute]) -> Iterator[str]:
    """Every text of the attributes that isn't ASCII, as it is encoded: of a name each component by itself."""
    for attribute in attributes:
        for value in attribute.get("Value", []):
            if attribute["vr"] == "SQ":
                yield from _texts(value.values())
            elif attribute["vr"] in _TEXTS and not (text := _text(value)).isascii():
                parts = re.split("[=^]", text) if attribute["vr"] == "PN" else [text]
                yield from (part for part in parts if not part.isascii())


def _chosen(terms: Sequence[str], texts: Sequence[str]) -> Sequence[str]:
    """The defined terms of character sets in which these texts can be written: none, those asked for, or UTF-8."""
    if not texts:
        return ()
    terms = terms or _LATIN
    if not python_encoding.keys() >= set(terms):
        return _UTF8
    sets, encodings = character_sets("\\".join(terms).encode()), convert_encodings(list(terms))
    # Only what has the letters may be asked to write them, or pydicom warns of each; and not all that it writes can be
    # read again: for ISO 2022 IR 58 it leaves out the escape sequences.
    readable = all(
        all(any(_has(codec, letter) for codec in sets.codecs) for letter in set(text))
        and sets.decode(encode_string(text, encodings), TEXT_RESETS) == text
        for text in texts
    )
    return terms if readable else _UTF8


@lru_cache(maxsize=65536)
def _has(codec: str, letter: str) -> bool:
    """Whether a character set has a letter; the default repertoire is ASCII, whatever codec reads it."""
    if codec == _DEFAULT_CODEC:
        return letter.isascii()
    try:
        letter.encode(codec)
    except UnicodeError:
        return False
    return True
