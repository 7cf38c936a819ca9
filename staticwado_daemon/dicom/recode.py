"""A data set in another encoding (PS3.5 section 7 and annex A): other headers and byte order, the same values.

No value is interpreted: text keeps its character set, numbers in text their digits, private elements their bytes. What
changes is what an encoding is: whether elements say their VR, the order of the bytes of words, and that sequences get
no length, because it is other than it was. Group lengths, which would be wrong, are left out.
"""

import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from staticwado_daemon.dicom.data_set import (
    LONG_LENGTH_VRS,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    Findings,
    Limits,
    Rules,
    pieces,
)
from staticwado_daemon.dicom.dictionary import is_private, private_creator_tag, value_representation
from staticwado_daemon.dicom.json_model import VRS
from staticwado_daemon.dicom.raw_elements import (
    FOREIGN_GROUPS,
    WORDS,
    Element,
    TopLevel,
    items_of,
    pixel_representation,
    swapped,
    value_of,
)
from staticwado_daemon.errors import Rejected

Piece = bytes | memoryview

_ITEM: Final = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED_LENGTH)
_ITEM_DELIMITER: Final = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_DELIMITER: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_LONGEST_SHORT: Final = 0xFFFF
_RULES: Final = Rules(Limits(), str)
"""What is recoded has been read before, within the limits of its time."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value that is to stand in place of what an element has.

    Attributes:
        vr: of the element.
        length: of the value in bytes.
        pieces: makes the value, little-endian.
    """

    vr: str
    length: int
    pieces: Callable[[], Iterable[Piece]]


class _Scope(NamedTuple):
    """What governs the elements of a data set or item."""

    implicit: bool
    pixel_representation: int


def recoded(
    buffer: Buffer, offset: int, source: Encoding, changes: Mapping[int, Value | None], *, implicit: bool
) -> Iterator[Piece]:
    """Yield a data set in Explicit or Implicit VR Little Endian.

    Args:
        buffer: holds the data set from `offset` to its end.
        offset: where it begins.
        source: how it is encoded.
        changes: what is other than it was, by tag; None leaves an element out. Pixel data are left out, unless they
            are here: how they are to be written is another question.
        implicit: whether it is to be in implicit VR.

    Raises:
        Rejected: if it can't be taken apart.
    """
    top = TopLevel(buffer, source, Findings(_RULES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values are handed on as they are
        try:
            found = {int(each.tag): each for each in top.elements(offset)}
            yield from _data_set(buffer, found, _Scope(implicit, 0), changes)
        except RecursionError as error:
            raise Rejected("sequences are nested too deep") from error


def header(tag: int, vr: str, length: int, *, implicit: bool) -> bytes:
    """The header of an element in one of the little-endian encodings."""
    group, element = tag >> 16, tag & 0xFFFF
    if implicit:
        return struct.pack("<HHI", group, element, length)
    if vr in LONG_LENGTH_VRS:
        return struct.pack("<HH2sHI", group, element, vr.encode(), 0, length)
    return struct.pack("<HH2sH", group, element, vr.encode(), length)


def _data_set(
    buffer: Buffer, found: Mapping[int, Element], scope: _Scope, changes: Mapping[int, Value | None]
) -> Iterator[Piece]:
    """Yield the elements of a data set or item in ascending order."""
    scope = scope._replace(pixel_representation=pixel_representation(found, scope.pixel_representation))
    for tag in sorted(found.keys() | changes.keys()):
        if tag in changes:
            value = changes[tag]
            if value is not None:
                yield header(tag, value.vr, value.length, implicit=scope.implicit)
                yield from value.pieces()
        elif tag & 0xFFFF and tag >> 16 not in FOREIGN_GROUPS:
            yield from _element(buffer, found[tag], _creator(tag, found), scope)


def _element(buffer: Buffer, element: Element, creator: str, scope: _Scope) -> Iterator[Piece]:
    tag = int(element.tag)
    if isinstance(element, DataElement):  # of undefined length; pydicom took it apart already
        yield from _sequence(tag, element.value, scope)
        return
    value, vr = value_of(element, buffer), element.VR
    length = len(value)
    if vr not in VRS:
        vr = value_representation(tag, creator, length, scope.pixel_representation)
    if vr == "SQ":
        items = items_of(element, value, _RULES)
        if items is not None:
            yield from _sequence(tag, items, scope)
            return
        vr = "UN"
    if vr not in LONG_LENGTH_VRS and length > _LONGEST_SHORT:
        vr = "UN"  # PS3.5 section 6.2.2
    yield header(tag, vr, length, implicit=scope.implicit)
    reverse = not element.is_little_endian and vr in WORDS
    for piece in pieces(value, [(0, length)]):
        yield swapped(vr, bytes(piece)) if reverse else piece


def _sequence(tag: int, items: Iterable[Dataset], scope: _Scope) -> Iterator[Piece]:
    yield header(tag, "SQ", UNDEFINED_LENGTH, implicit=scope.implicit)
    for item in items:
        yield _ITEM
        found = {int(each.tag): each for each in item.values()}
        yield from _data_set(b"", found, scope, {})
        yield _ITEM_DELIMITER
    yield _SEQUENCE_DELIMITER


def _creator(tag: int, found: Mapping[int, Element]) -> str:
    """Who reserved the block of a private element, "" if nobody did."""
    if not is_private(tag):
        return ""
    element = found.get(int(private_creator_tag(tag), 16))
    value = element.value if isinstance(element, RawDataElement) else None
    return (value or b"").decode("latin-1").strip(" \0")
