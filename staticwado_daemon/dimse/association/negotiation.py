"""A-ASSOCIATE PDUs as others send them (PS3.8 9.3.2, 9.3.3), made such that the library takes them.

It ends an association for small faults that other programs have always passed over, and for items that are newer than
it, which shall be skipped (PS3.8 9.3.1). Nothing that is agreed upon is changed.
"""

import struct
from collections.abc import Iterator
from typing import Final

_FIXED: Final = struct.Struct(">HH16s16s32s")
_VERSION_1: Final = 1
"""The bit of the first and so far only version of the protocol."""
_HEADER: Final = struct.Struct(">BxH")
_MAXIMUM_LENGTH: Final = struct.Struct(">I")

_ITEMS: Final = frozenset((0x10, 0x20, 0x21, 0x50))
_CONTEXT_ITEM: Final = 0x20
_CONTEXT_HEAD: Final = 4
_MOST_CONTEXTS: Final = 128
"""Their identifiers are the odd numbers below 256."""
_MOST_SYNTAXES: Final = 128
"""Of one context; the standard has less than half as many transfer syntaxes."""
_USER_INFORMATION: Final = 0x50
_USER_ITEMS: Final = frozenset(range(0x51, 0x5A))
_MAXIMUM_LENGTH_ITEM, _VERSION_NAME_ITEM = 0x51, 0x55
_USUAL_LENGTH: Final = 16_384
"""Bytes of a PDU that everybody takes; of who doesn't say how many it takes."""

_LONGEST_NAME: Final = 16
_NO_TITLE: Final = b"?"
"""In place of an AE title that is none: nobody has it, and no rule names it."""


def mended(body: bytes) -> bytes:
    """An A-ASSOCIATE-RQ or -AC without what is wrong and doesn't matter; as it is if its lengths don't add up.

    AE titles end at their first NUL, and are `?` if they are blank or none. Items of unknown types are left out, an
    Implementation Version Name is cut to its 16 characters, and a Maximum Length is there.

    Args:
        body: of the PDU, its header excepted.
    """
    if len(body) < _FIXED.size:
        return body
    version, reserved, called, calling, more = _FIXED.unpack_from(body)
    try:
        items = [(kind, data) for kind, data in _items(body[_FIXED.size :]) if kind in _ITEMS]
        if all(kind != _USER_INFORMATION for kind, _ in items):
            items.append((_USER_INFORMATION, b""))
        rest = [_item(kind, _user_information(data) if kind == _USER_INFORMATION else data) for kind, data in items]
    except ValueError:
        return body
    # A receiver tests but the bit of its own version (PS3.8 9.3.2); the library compares the whole number.
    version &= _VERSION_1
    titles = (plain_title(each).ljust(_LONGEST_NAME) for each in (called, calling))
    return _FIXED.pack(version, reserved, *titles, more) + b"".join(rest)


def is_excessive(body: bytes) -> bool:
    """Whether an A-ASSOCIATE-RQ proposes more than makes sense: the library compares each syntax with all others.

    Args:
        body: of the PDU, its header excepted.
    """
    try:
        proposed = [data[_CONTEXT_HEAD:] for kind, data in _items(body[_FIXED.size :]) if kind == _CONTEXT_ITEM]
        return len(proposed) > _MOST_CONTEXTS or any(
            sum(1 for _ in _items(syntaxes)) > _MOST_SYNTAXES + 1 for syntaxes in proposed
        )
    except ValueError:
        return False  # what can't be read as a whole isn't read far


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each item; ValueError if the lengths don't add up."""
    position = 0
    while position < len(data):
        if position + _HEADER.size > len(data):
            raise ValueError(position)
        kind, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size + length
        if position > len(data):
            raise ValueError(position)
        yield kind, data[position - length : position]


def _item(kind: int, data: bytes) -> bytes:
    return _HEADER.pack(kind, len(data)) + data


def _user_information(data: bytes) -> bytes:
    known = [(kind, content) for kind, content in _items(data) if kind in _USER_ITEMS]
    if all(kind != _MAXIMUM_LENGTH_ITEM for kind, _ in known):
        known.insert(0, (_MAXIMUM_LENGTH_ITEM, _MAXIMUM_LENGTH.pack(_USUAL_LENGTH)))
    return b"".join(_item(kind, _name(content) if kind == _VERSION_NAME_ITEM else content) for kind, content in known)


def _name(content: bytes) -> bytes:
    """An Implementation Version Name, which may be empty."""
    return bytes(each for each in content if _is_printable(each))[:_LONGEST_NAME]


def plain_title(title: bytes) -> bytes:
    """An AE title without what it is filled up with; `?` if it is blank or none."""
    stripped = title.partition(b"\0")[0].strip(b" ")
    proper = 0 < len(stripped) <= _LONGEST_NAME and all(map(_is_printable, stripped))
    return stripped if proper else _NO_TITLE


def _is_printable(character: int) -> bool:
    """Whether an AE title may have it: ASCII without controls and the backslash (PS3.5 6.2)."""
    return 0x20 <= character < 0x7F and character != ord("\\")
