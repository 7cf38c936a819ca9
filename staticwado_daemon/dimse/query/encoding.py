"""DICOM JSON as the data set of an identifier: what a peer is asked, and what it is told.

It speaks the requestor's character set, or Latin-1 if it names none, where that has the letters, and UTF-8 otherwise;
what is ASCII needs none (PS3.4 section C.4.1.1.3). What was stored is given back, right or wrong.
"""

import re
import struct
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pydicom.charset import convert_encodings, encode_string, python_encoding
from pydicom.valuerep import format_number_as_ds

from staticwado_daemon.dicom.character_sets import TEXT_RESETS, character_sets
from staticwado_daemon.dicom.data_set import LONG_LENGTH_VRS
from staticwado_daemon.dicom.matching import Attribute
from staticwado_daemon.dicom.recode import header
from staticwado_daemon.dimse.query.identifier import SPECIFIC_CHARACTER_SET, text_of

_UTF8: Final = ("ISO_IR 192",)
_LATIN: Final = ("ISO_IR 100",)
"""For who names no character set: programs of before UTF-8, of which most show this one."""
_DEFAULT_CODEC: Final = "iso8859"

_TEXTS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""VRs whose letters are those of Specific Character Set; all others have ASCII alone (PS3.5 section 6.1.2)."""
_NUMBERS: Final[Mapping[str, struct.Struct]] = {
    vr: struct.Struct(f"<{form}") for vr, form in zip("FD FL SL SS SV UL US UV".split(), "dfihqIHQ", strict=True)
}
_REALS: Final = frozenset(("FD", "FL"))
_BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_PADDED_WITH_NUL: Final = _BINARY | {"UI"}
_TAG: Final = struct.Struct("<HH")
_ITEM: Final = struct.Struct("<HHI")
_LONGEST_SHORT: Final = 0xFFFF
_COMPONENTS: Final = re.compile("([=^])")


class _Form(NamedTuple):
    """How values are written.

    Attributes:
        implicit: in Implicit VR Little Endian, and not in Explicit.
        encodings: Python's of the character sets, for text that isn't ASCII.
    """

    implicit: bool
    encodings: list[str]


def encoded(attributes: Mapping[str, Attribute], terms: Sequence[str] = (), *, implicit: bool) -> bytes:
    """Encode DICOM JSON attributes as a data set, with the Specific Character Set that it needs.

    Args:
        attributes: by tag; Specific Character Set among them is passed over, and values kept elsewhere are empty.
        terms: defined terms of the character sets that are understood where it goes.
        implicit: whether it is to be in Implicit VR Little Endian, and not in Explicit.
    """
    chosen = _chosen(terms, list(_texts(attributes.values())))
    return _data_set(attributes, _Form(implicit, convert_encodings(list(chosen)) if chosen else []), chosen)


def _data_set(attributes: Mapping[str, Attribute], form: _Form, terms: Sequence[str] = ()) -> bytes:
    attributes = {tag: each for tag, each in attributes.items() if tag != SPECIFIC_CHARACTER_SET}
    if terms:
        attributes[SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": terms}
    return b"".join(_element(tag, attributes[tag], form) for tag in sorted(attributes))


def _element(tag: str, attribute: Attribute, form: _Form) -> bytes:
    vr = attribute["vr"]
    value = _value(vr, attribute, form)
    if len(value) % 2:
        value += b"\0" if vr in _PADDED_WITH_NUL else b" "
    if len(value) > _LONGEST_SHORT and vr not in LONG_LENGTH_VRS:
        vr = "UN"  # PS3.5 section 6.2.2
    return header(int(tag, 16), vr, len(value), implicit=form.implicit) + value


def _value(vr: str, attribute: Attribute, form: _Form) -> bytes:
    """The value; empty where it is kept outside."""
    if vr in _BINARY:
        return b64decode(attribute.get("InlineBinary", ""))
    values = attribute.get("Value", ())
    if vr == "SQ":
        items = (_data_set(item, form) for item in values)
        return b"".join(_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
    if vr == "AT":
        return b"".join(_TAG.pack(int(each, 16) >> 16, int(each, 16) & 0xFFFF) for each in values if each is not None)
    if packing := _NUMBERS.get(vr):
        number = float if vr in _REALS else int
        return b"".join(packing.pack(number(each)) for each in values if each is not None)
    if vr in _TEXTS:
        return b"\\".join(_text(vr, text_of(each), form.encodings) for each in values)
    # What was stored wrongly must not keep everybody from being told of everything else.
    return b"\\".join(_plain(vr, each).encode("ascii", "replace") for each in values)


def _text(vr: str, text: str, encodings: list[str]) -> bytes:
    return b"".join(
        part.encode("ascii") if part.isascii() else encode_string(part, encodings) for part in _parts(vr, text)
    )


def _parts(vr: str, text: str) -> Sequence[str]:
    """What is encoded by itself: of a name each component, with what stands between them (PS3.5 section 6.1.2.5.3)."""
    return [text] if vr != "PN" or text.isascii() else _COMPONENTS.split(text)


def _plain(vr: str, value: Any) -> str:
    if vr in ("DS", "IS") and isinstance(value, str):
        return ""  # it was stored as text that is no number
    if vr == "DS" and isinstance(value, float):
        return format_number_as_ds(value)
    return text_of(value)


def _texts(attributes: Iterable[Attribute]) -> Iterator[str]:
    """Every text of the attributes that isn't ASCII, as it is encoded."""
    for attribute in attributes:
        for value in attribute.get("Value", ()):
            if attribute["vr"] == "SQ":
                yield from _texts(value.values())
            elif attribute["vr"] in _TEXTS:
                yield from (part for part in _parts(attribute["vr"], text_of(value)) if not part.isascii())


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
