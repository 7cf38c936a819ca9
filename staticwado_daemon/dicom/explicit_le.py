"""The fast reader: Explicit VR Little Endian as the standard has it.

It may only decline. At the first thing that is not plainly right (an unknown VR, a length that does
not fit, tags out of order, a public UN, items in implicit VR ...) it returns None and pydicom answers
instead. Where it does answer, it answers the same; the tests hold it to that over every file there is.

Nine of ten elements of a series repeat byte for byte from instance to instance, so what an element
became is remembered under its raw bytes. The memory is bounded and belongs to the process.
"""

import struct
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from staticwado_daemon.dicom.character_sets import DEFAULT_REPERTOIRE, CharacterSets, character_sets
from staticwado_daemon.dicom.data_set import (
    LONG_LENGTH_VRS,
    PIXEL_DATA_TAGS,
    UNDEFINED_LENGTH,
    Buffer,
    BulkValue,
    DataSet,
    Findings,
    PixelData,
    Rules,
)
from staticwado_daemon.dicom.dictionary import is_private, private_creator, value_representation
from staticwado_daemon.dicom.encapsulation import end_of_fragments
from staticwado_daemon.dicom.json_model import UTF8_CHARACTER_SET, VRS, convert, json_object, sequence
from staticwado_daemon.errors import Rejected

_MEMORY_BYTES: Final = 32 << 20
_LONGEST_REMEMBERED: Final = 512
_LONGEST_REMEMBERED_SEQUENCE: Final = 4096

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_TRAILING_PADDING: Final = 0xFFFCFFFC
_ITEM: Final = 0xFFFEE000
_ITEM_DELIMITER: Final = 0xFFFEE00D
_SEQUENCE_DELIMITER: Final = 0xFFFEE0DD
_FIRST_GROUP: Final = 0x0008

_LONG: Final = frozenset(vr.encode() for vr in LONG_LENGTH_VRS)
_VRS: Final = {vr.encode(): vr for vr in VRS | {"SQ"}}
_HEADER: Final = struct.Struct("<HH2sH").unpack_from
_LONG_LENGTH: Final = struct.Struct("<I").unpack_from
_ITEM_HEADER: Final = struct.Struct("<HHI").unpack_from


class _Declined(Exception):  # noqa: N818
    """This is not for us."""


class _Remembered(NamedTuple):
    tag: str
    fragment: bytes
    bulk_values: tuple[BulkValue, ...]


_Table = dict[bytes | tuple[bytes, bytes], _Remembered]


@dataclass(slots=True)
class _Memory:
    """Raw elements and what became of them, one table for each thing that has a say in that."""

    tables: dict[Hashable, _Table] = field(default_factory=dict)
    size: int = 0
