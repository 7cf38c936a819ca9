"""The DICOM JSON model: value bytes in, JSON attributes out (PS3.18 annex F).

Both readers end here, so they can't disagree about a value. A value that does not fit its VR is kept
as UN (InlineBinary) and noted; it never costs the data set. All JSON is compact UTF-8.

Decisions where the standard leaves room:

* DS and IS are numbers when they can be: DS a float, IS an integer within 2^53. Anything else, such
  as DS "1,5" or IS "1.5", stays the string that was stored (F.2.3 allows both).
* NaN and infinity in FL and FD are null, which is all that JSON numbers offer; in DS the stored text.
* SV and UV beyond 2^53 are strings, because JavaScript would round them.
* Only the VRs to which F.2.2 grants a BulkDataURI get one, and of these neither DS nor IS: viewers
  want contours (3006,0050) in place. Text kept outside is UTF-8, as (0008,0005) then promises.
"""

import math
import struct
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from staticwado_daemon.dicom.character_sets import NAME_RESETS, TEXT_RESETS, CharacterSets
from staticwado_daemon.dicom.data_set import Buffer, BulkValue, Rules, held, pieces
from staticwado_daemon.dicom.serialised import serialised
from staticwado_daemon.errors import Rejected

UTF8_CHARACTER_SET: Final = b'{"vr":"CS","Value":["ISO_IR 192"]}'
"""(0008,0005) of everything published: JSON is UTF-8, whatever the file was."""

_PADDING: Final = " \0"
_SAFE_INTEGER: Final = (1 << 53) - 1
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_LUT_DESCRIPTORS: Final = frozenset((0x00281101, 0x00281102, 0x00281103, 0x00283002))
_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_BINARY_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_NUMBER_CODES: Final = {
    "FD": ("d", 8),
    "FL": ("f", 4),
    "SL": ("i", 4),
    "SS": ("h", 2),
    "SV": ("q", 8),
    "UL": ("I", 4),
    "US": ("H", 2),
    "UV": ("Q", 8),
}
_TEXT_BULK_VRS: Final = frozenset(("LT", "ST", "UC", "UT"))
_BULK_VRS: Final = _BINARY_VRS | _TEXT_BULK_VRS | frozenset(_NUMBER_CODES)


class Converted(NamedTuple):
    """A JSON attribute, the values it keeps outside, and what had to be given up ("" if nothing)."""

    fragment: bytes
    bulk_values: tuple[BulkValue, ...] = ()
    note: str = ""


# PS3.5 6.2 allows these at most 64 characters a value (PN 64 a group); a thousand of them still are one.
_SHORT_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "PN", "SH", "TM", "UI"})
_LONGEST_SHORT_TEXT = 1 << 16


def convert(tag: int, vr: str, value: Buffer, character_sets: CharacterSets, rules: Rules) -> Converted:
    """Convert one element, sequences excepted, to its JSON attribute.

    Args:
        tag: group and element as one number, 0x00080018.
        vr: value representation; an unknown one is treated as UN.
        value: little-endian value bytes, padding included.
        character_sets: in force for this element.
        rules: thresholds and names of bulk data.

    Raises:
        Rejected: if the value is longer than the limits allow.
    """
    if len(value) > rules.limits.maximum_element_length:
        raise Rejected(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is {len(value)} bytes long")
    vr, note = _usable(vr, len(value))
    if _is_bulk(tag, vr, len(value), rules):
        return _bulk(vr, value, character_sets, rules, note)
    data = held(value)
    if vr in _BINARY_VRS:
        return Converted(_binary(vr, data), (), note)
    if vr in _NUMBER_CODES:
        return _numeric(tag, vr, data)
    return Converted(_CONVERTERS[vr](vr, data, character_sets))


def sequence(items: Iterable[bytes]) -> bytes:
    """Return the JSON attribute of a sequence with these item objects; no member "Value" if there are none."""
    joined = b",".join(items)
    return b'{"vr":"SQ","Value":[' + joined + b"]}" if joined else b'{"vr":"SQ"}'


def json_object(fragments: Mapping[str, bytes]) -> bytes:
    """Join attributes, already in ascending order, to the JSON object of a data set or item."""
    return b"{" + b",".join([b'"%b":%b' % (tag.encode(), fragment) for tag, fragment in fragments.items()]) + b"}"


def _usable(vr: str, length: int) -> tuple[str, str]:
    """Return the VR and no note if a value of this length can have it, otherwise UN and the reason."""
    if vr in _NUMBER_CODES or vr == "AT":
        width = 4 if vr == "AT" else _NUMBER_CODES[vr][1]
        return ("UN", f"{length} bytes can't be {vr}") if length % width else (vr, "")
    if length > _LONGEST_SHORT_TEXT and vr in _SHORT_TEXT_VRS:
        return "UN", f"{length} bytes can't be {vr}"
    return (vr, "") if vr in VRS and vr != "SQ" else ("UN", f"unknown VR {vr!a}")


def _is_bulk(tag: int, vr: str, length: int, rules: Rules) -> bool:
    if vr not in _BULK_VRS:
        return False
    if tag == _ENCAPSULATED_DOCUMENT:
        return length > 4
    if tag >> 16 & 1:
        return length > rules.limits.maximum_inline_private_length
    return length > rules.limits.maximum_inline_public_length


def _bulk(vr: str, value: Buffer, character_sets: CharacterSets, rules: Rules, note: str) -> Converted:
    if vr in _TEXT_BULK_VRS:
        value = character_sets.decode(held(value), TEXT_RESETS).encode()
    hashed = sha256()
    for piece in pieces(value, [(0, len(value))]):
        hashed.update(piece)
    digest = hashed.hexdigest()
    fragment = serialised({"vr": vr, "BulkDataURI": rules.bulk_uri(digest)})
    return Converted(fragment, (BulkValue(digest, value),), note)


def _binary(vr: str, value: bytes) -> bytes:
    if not value:
        return _values(vr, [])
    return b'{"vr":"%b","InlineBinary":"%b"}' % (vr.encode(), b2a_base64(value, newline=False))


def _values(vr: str, values: list[Any]) -> bytes:
    """Return the attribute; empty components are null (F.2.5), an empty value has no member "Value"."""
    if not values or values == [""]:
        return b'{"vr":"%b"}' % vr.encode()
    return serialised({"vr": vr, "Value": [None if value == "" else value for value in values]})


def _numeric(tag: int, vr: str, value: bytes) -> Converted:
    code, width = _NUMBER_CODES[vr]
    numbers: list[Any] = list(struct.unpack(f"<{len(value) // width}{code}", value))
    if vr in ("SV", "UV"):
        numbers = [number if abs(number) <= _SAFE_INTEGER else str(number) for number in numbers]
    elif vr == "SS" and tag in _LUT_DESCRIPTORS and numbers and numbers[0] < 0:
        # The number of entries is unsigned whatever the VR of the mapped values (PS3.3 C.7.6.3.1.5).
        numbers[0] += 1 << 16
    elif vr in ("FD", "FL") and not all(map(math.isfinite, numbers)):
        numbers = [number if math.isfinite(number) else None for number in numbers]
        return Converted(_values(vr, numbers), (), "not a number, or infinite")
    return Converted(_values(vr, numbers))


def _tags(vr: str, value: bytes, _character_sets: CharacterSets) -> bytes:
    words = struct.unpack(f"<{len(value) // 2}H", value)
    return _values(vr, [f"{group:04X}{element:04X}" for group, element in zip(words[::2], words[1::2], strict=True)])


def _strings(vr: str, value: bytes, character_sets: CharacterSets) -> bytes:
    return _values(vr, [text.strip(_PADDING) for text in character_sets.decode(value).split("\\")])


def _unlimited_characters(vr: str, value: bytes, character_sets: CharacterSets) -> bytes:
    # Leading spaces are significant in UC (PS3.5 table 6.2-1).
    return _values(vr, [text.rstrip(_PADDING) for text in character_sets.decode(value).split("\\")])


def _text(vr: str, value: bytes, character_sets: CharacterSets) -> bytes:
    return _values(vr, [character_sets.decode(value, TEXT_RESETS).rstrip(_PADDING)])


def _names(vr: str, value: bytes, character_sets: CharacterSets) -> bytes:
    names = []
    for name in character_sets.decode(value, NAME_RESETS).split("\\"):
        texts = [text.strip(_PADDING) for text in name.split("=", 2)]
        names.append({group: text for group, text in zip(_NAME_GROUPS, texts, strict=False) if text} or "")
    return _values(vr, names)


def _decimal_strings(vr: str, value: bytes, character_sets: CharacterSets) -> bytes:
    return _values(vr, [_decimal(text.strip(_PADDING)) for text in character_sets.decode(value).split("\\")])


def _decimal(text: str) -> float | str:
    # float() would take "1_0", "nan" and digits of other scripts as well.
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) and "_" not in text and text.isascii() else text


def _integer_strings(vr: str, value: bytes, character_sets: CharacterSets) -> bytes:
    return _values(vr, [_integer(text.strip(_PADDING)) for text in character_sets.decode(value).split("\\")])


def _integer(text: str) -> int | str:
    """Return the number if the text means one exactly ("12", "1.0"), otherwise the text."""
    number = _decimal(text)
    if isinstance(number, str) or not number.is_integer() or abs(number) > _SAFE_INTEGER:
        return text
    return int(number)


_CONVERTERS: Final[Mapping[str, Callable[[str, bytes, CharacterSets], bytes]]] = {
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI"), _strings),
    **dict.fromkeys(("LT", "ST", "UR", "UT"), _text),
    "AT": _tags,
    "DS": _decimal_strings,
    "IS": _integer_strings,
    "PN": _names,
    "UC": _unlimited_characters,
}

VRS: Final = _BINARY_VRS | frozenset(_NUMBER_CODES) | frozenset(_CONVERTERS) | {"SQ"}
"""Every VR that PS3.5 section 6.2 knows."""
