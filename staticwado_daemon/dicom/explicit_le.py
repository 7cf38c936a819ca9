"""The fast reader: Explicit VR Little Endian as the standard has it.

It may only decline. At the first thing that is not plainly right (an unknown VR, a length that does
not fit, tags out of order, a public UN, items in implicit VR ...) it returns None and pydicom answers
instead. Where it does answer, it answers the same; the tests hold it to that over every file there is.
Only that pydicom gives up at some malformed character sets (0008,0005) of items, which are no matter here.

Nine of ten elements of a series repeat byte for byte from instance to instance, so what an element
became is remembered under its raw bytes. The memory is bounded and belongs to the process.
"""

import struct
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from staticwado_daemon.dicom.character_sets import DEFAULT_REPERTOIRE, CharacterSets, character_sets
from staticwado_daemon.dicom.data_set import (
    ITEM,
    ITEM_DELIMITER,
    LONG_LENGTH_VRS,
    PIXEL_DATA_TAGS,
    SEQUENCE_DELIMITER,
    SPECIFIC_CHARACTER_SET,
    TRAILING_PADDING,
    UNDEFINED_LENGTH,
    BulkValue,
    DataSet,
    Findings,
    PixelData,
    Rules,
)
from staticwado_daemon.dicom.dictionary import is_private, private_creator, private_creator_tag, value_representation
from staticwado_daemon.dicom.fragments import end_of_items
from staticwado_daemon.dicom.json_model import UTF8_CHARACTER_SET, VRS, convert, json_object, sequence
from staticwado_daemon.errors import Rejected

_MEMORY_BYTES: Final = 32 << 20
_REMEMBERED_BYTES: Final = 512
_REMEMBERED_SEQUENCE_BYTES: Final = 4096
_MEMORY_OVERHEAD_BYTES: Final = 400

_FOREIGN_GROUPS: Final = frozenset((*range(8), 0xFFFE))  # commands, file meta information, directories, delimiters

_LONG: Final = frozenset(vr.encode() for vr in LONG_LENGTH_VRS)
_VRS: Final = {vr.encode(): vr for vr in VRS}
_PIXEL_DATA_VRS: Final = ("OB", "OW", "OF", "OD")
_NO_SEQUENCES: Final = PIXEL_DATA_TAGS | {SPECIFIC_CHARACTER_SET, TRAILING_PADDING}
_ONE_ENTRY: Final = 2
_HEADER: Final = struct.Struct("<HH2sH").unpack_from
_LENGTH: Final = struct.Struct("<I").unpack_from
_ITEM_HEADER: Final = struct.Struct("<HHI").unpack_from


class _DeclinedError(Exception):
    """This is not for us."""


class _Inside(NamedTuple):
    """What counts of an element besides its JSON: nested elements and items, their depth, values kept outside."""

    bulk_values: tuple[BulkValue, ...]
    elements: int = 0
    height: int = 0


class _Remembered(NamedTuple):
    """What an element became; most have nothing inside."""

    tag: str
    fragment: bytes
    inside: _Inside | None


class _Table(dict[bytes, _Remembered]):
    """Raw elements and what they became. A forgotten table, which somebody may still read with, takes no more."""

    forgotten = False


@dataclass(slots=True)
class _Memory:
    """One table for each thing that has a say in what elements become."""

    tables: dict[Hashable, _Table] = field(default_factory=dict)
    size: int = 0

    def table(self, character_sets: CharacterSets, rules: Rules) -> _Table:
        return self.tables.setdefault((character_sets, rules), _Table())

    def remember(self, table: _Table, raw: bytes, result: _Remembered) -> None:
        if table.forgotten:
            return
        self.size += len(raw) + len(result.fragment) + _MEMORY_OVERHEAD_BYTES
        if result.inside:
            self.size += sum(len(value.data) for value in result.inside.bulk_values)
        if self.size > _MEMORY_BYTES:
            self.forget()
        else:
            table[raw] = result

    def forget(self) -> None:
        for table in self.tables.values():
            table.clear()
            table.forgotten = True
        self.tables.clear()
        self.size = 0


_memory = _Memory()


def read(buffer: bytes, offset: int, rules: Rules) -> DataSet | None:
    """Read the data set that fills the buffer from `offset`, or decline with None.

    Never raises for what is in the buffer.
    """
    reading = _Reading(buffer, Findings(rules))
    scope = _Scope(DEFAULT_REPERTOIRE, _memory.table(DEFAULT_REPERTOIRE, rules))
    try:
        reading.elements(offset, len(buffer), scope)
    except (_DeclinedError, Rejected, struct.error):
        return None
    return reading.findings.data_set(scope.fragments, reading.pixel_data)


@dataclass(slots=True)
class _Scope:
    """A data set or item while it is read: its attributes so far, and what governs the next ones."""

    character_sets: CharacterSets
    table: _Table
    depth: int = 0
    delimited: bool = False
    fragments: dict[str, bytes] = field(default_factory=dict)


class _Element(NamedTuple):
    """An element's header, and where its value lies."""

    tag: int
    vr: str
    start: int
    stop: int
    undefined: bool


@dataclass(slots=True)
class _Reading:
    """One pass over a buffer."""

    buffer: bytes
    findings: Findings
    pixel_data: PixelData | None = None
    deepest: int = 0

    def elements(self, position: int, end: int, scope: _Scope) -> int:
        """Read a data set or item into its scope; return the position after it."""
        buffer, fragments = self.buffer, scope.fragments
        previous = ""
        while position < end:
            group, number, vr, length = _HEADER(buffer, position)
            start = position + 8
            if vr in _LONG:
                (length,) = _LENGTH(buffer, start)
                start += 4
            stop = start + length
            raw = buffer[position:stop] if length <= _REMEMBERED_SEQUENCE_BYTES else b""
            if vr == b"UN":
                # What an UN becomes depends on who reserved its block, which is not in its bytes.
                raw += fragments.get(private_creator_tag(group << 16 | number), b"")
            known = scope.table.get(raw)
            if known is not None and stop <= end and known.tag > previous:
                previous = known.tag
                fragments[previous] = known.fragment
                if known.inside:
                    self.recall(known.inside, scope)
                position = stop
                continue
            tag = group << 16 | number
            if tag == ITEM_DELIMITER and scope.delimited:
                self.findings.count(len(fragments))
                return position + 8
            key = f"{tag:08X}"
            undefined = length == UNDEFINED_LENGTH
            if key <= previous or group in _FOREIGN_GROUPS or vr not in _VRS or (stop > end and not undefined):
                raise _DeclinedError
            previous = key
            position = self.new_element(_Element(tag, _VRS[vr], start, stop, undefined), raw, end, scope)
        if scope.delimited or position != end:
            raise _DeclinedError
        self.findings.count(len(fragments))
        return position

    def recall(self, inside: _Inside, scope: _Scope) -> None:
        """Count what is inside a remembered element as if it had been read."""
        self.deepen(scope.depth + inside.height)
        self.findings.count(inside.elements)
        self.findings.bulk_values += inside.bulk_values

    def deepen(self, depth: int) -> None:
        """Note a depth; declines beyond the cap."""
        if depth > self.findings.rules.limits.maximum_depth:
            raise _DeclinedError
        self.deepest = max(self.deepest, depth)

    def new_element(self, element: _Element, raw: bytes, end: int, scope: _Scope) -> int:
        """Read an element that is not remembered; return the position after it."""
        if element.tag in PIXEL_DATA_TAGS and not scope.depth:
            return self.found_pixel_data(element)
        if element.vr == "SQ":
            if element.tag in _NO_SEQUENCES or not element.tag & 0xFFFF:
                raise _DeclinedError
            return self.sequence(element, raw, end, scope)
        if element.undefined:
            raise _DeclinedError
        if element.tag == SPECIFIC_CHARACTER_SET:
            self.new_character_sets(element, scope)
        elif element.tag & 0xFFFF and element.tag != TRAILING_PADDING:
            self.value(element, raw, scope)
        return element.stop

    def value(self, element: _Element, raw: bytes, scope: _Scope) -> None:
        """Convert an ordinary element."""
        tag, vr, start, stop, _ = element
        if vr == "UN":
            vr = self.known_representation(tag, scope)
        fragment, bulk_values, note = convert(
            tag, vr, self.buffer[start:stop], scope.character_sets, self.findings.rules
        )
        key = f"{tag:08X}"
        scope.fragments[key] = fragment
        if bulk_values:
            self.findings.keep(bulk_values, self.buffer, start)
        if note:
            self.findings.warn_about(tag, note)
        elif stop - start <= _REMEMBERED_BYTES and tag not in PIXEL_DATA_TAGS:  # an icon's; at the top it is different
            inside = _Inside(bulk_values) if bulk_values else None
            _memory.remember(scope.table, raw, _Remembered(key, fragment, inside))

    def known_representation(self, tag: int, scope: _Scope) -> str:
        """Return the VR of a private UN; declines for public ones, which need more care."""
        if not is_private(tag):
            raise _DeclinedError
        creator = private_creator(tag, scope.fragments)
        vr = value_representation(tag, creator, 0, 0)
        if vr == "SQ" or vr != value_representation(tag, creator, _ONE_ENTRY, 1):
            raise _DeclinedError
        return vr

    def new_character_sets(self, element: _Element, scope: _Scope) -> None:
        """Note (0008,0005): everything that follows depends on it."""
        scope.character_sets = character_sets(self.buffer[element.start : element.stop])
        scope.table = _memory.table(scope.character_sets, self.findings.rules)
        scope.fragments[f"{element.tag:08X}"] = UTF8_CHARACTER_SET
        self.findings.warn_about_character_sets(scope.character_sets)

    def found_pixel_data(self, element: _Element) -> int:
        """Note where the pixel data is; return the position after it."""
        tag, vr, start, stop, undefined = element
        if self.pixel_data or vr not in _PIXEL_DATA_VRS:
            raise _DeclinedError
        self.pixel_data = PixelData(f"{tag:08X}", vr, start, None if undefined else stop - start)
        return end_of_items(self.buffer, start) if undefined else stop

    def sequence(self, element: _Element, raw: bytes, end: int, scope: _Scope) -> int:
        """Read a sequence with its items; return the position after it."""
        tag, _, position, stop, undefined = element
        stop = end if undefined else stop
        findings, deepest = self.findings, self.deepest
        bulk_before, warned_before, counted_before = len(findings.bulk_values), findings.warned, findings.elements
        self.deepest = 0
        self.deepen(scope.depth + 1)
        items = []
        while undefined or position < stop:
            group, number, length = _ITEM_HEADER(self.buffer, position)
            position += 8
            header = group << 16 | number
            if header == SEQUENCE_DELIMITER and undefined:
                break
            if header != ITEM or position > stop:
                raise _DeclinedError
            item = _Scope(scope.character_sets, scope.table, scope.depth + 1, length == UNDEFINED_LENGTH)
            item_end = stop if item.delimited else position + length
            if item_end > stop:
                raise _DeclinedError
            position = self.elements(position, item_end, item)
            items.append(json_object(item.fragments))
            findings.count(1)
        if position > stop:
            raise _DeclinedError
        key = f"{tag:08X}"
        scope.fragments[key] = fragment = sequence(items)
        if raw and findings.warned == warned_before:
            bulk_values = tuple(findings.bulk_values[bulk_before:])
            inside = _Inside(bulk_values, findings.elements - counted_before, self.deepest - scope.depth)
            _memory.remember(scope.table, raw, _Remembered(key, fragment, inside))
        self.deepest = max(deepest, self.deepest)
        return position
