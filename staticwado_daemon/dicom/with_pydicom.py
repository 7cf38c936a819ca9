"""The thorough reader, for data sets of whatever encoding and faults.

Used for everything that the fast reader does not answer: implicit VR, big endian, UN, VRs that come
and go, elements out of order. Raw elements are those that pydicom finds; VRs are resolved by its
dictionaries, and the bytes become JSON by the same functions as in the fast reader.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from staticwado_daemon.dicom.character_sets import DEFAULT_REPERTOIRE, CharacterSets, character_sets
from staticwado_daemon.dicom.data_set import (
    SPECIFIC_CHARACTER_SET,
    TRAILING_PADDING,
    UNDEFINED_LENGTH,
    Buffer,
    DataSet,
    Encoding,
    Findings,
    Rules,
    held,
)
from staticwado_daemon.dicom.dictionary import private_creator, value_representation
from staticwado_daemon.dicom.json_model import UTF8_CHARACTER_SET, convert, json_object, sequence
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
class _Conversion:
    """Raw elements to JSON attributes, items included."""

    buffer: Buffer
    findings: Findings

    def data_set(self, elements: Iterable[Element], scope: _Scope) -> dict[str, bytes]:
        """Return the attributes of a data set or item in ascending order; of equal tags the last counts."""
        by_tag = {int(element.tag): element for element in elements}
        scope = scope._replace(pixel_representation=pixel_representation(by_tag, scope.pixel_representation))
        fragments: dict[str, bytes] = {}
        for tag, element in sorted(by_tag.items()):
            if not tag & 0xFFFF or tag == TRAILING_PADDING or tag >> 16 in FOREIGN_GROUPS:
                continue
            if tag == SPECIFIC_CHARACTER_SET:
                stated = b"" if isinstance(element, DataElement) else element.value or b""
                scope = scope._replace(character_sets=character_sets(stated))
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
        tag, value, vr = int(element.tag), value_of(element, self.buffer), element.VR
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
