"""The plain values that reading consists of: rules that go in, a data set that comes out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from staticwado_daemon.dicom.character_sets import CharacterSets
from staticwado_daemon.errors import Rejected


class Buffer(Protocol):
    """What is read: `bytes`, or the content of a file that is too large to be held and is read slice by slice.

    Nothing but its length and slices without a step may be asked for.
    """

    def __len__(self) -> int:
        """Say how many bytes there are."""

    def __getitem__(self, key: slice, /) -> bytes | memoryview:
        """Return the bytes from `key.start` up to `key.stop`, as many of them as there are."""


def pieces(buffer: Buffer, segments: Iterable[tuple[int, int]]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of segments (offset, length), `PIECE_BYTES` of them at most at a time.

    Of what is in memory these are slices, not copies.
    """
    view = memoryview(buffer) if isinstance(buffer, bytes) else buffer
    for offset, length in segments:
        for start in range(offset, offset + length, PIECE_BYTES):
            yield view[start : min(start + PIECE_BYTES, offset + length)]


def held(buffer: Buffer) -> bytes:
    """The bytes of a buffer; the same where it is in memory."""
    return buffer if isinstance(buffer, bytes) else bytes(buffer[: len(buffer)])


class Part:
    """A run of bytes of a buffer as a buffer of its own, which isn't held."""

    def __init__(self, buffer: Buffer, offset: int, length: int) -> None:
        self._buffer = buffer
        self._offset = offset
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, key: slice) -> bytes | memoryview:
        start, stop, _ = key.indices(self._length)
        return self._buffer[self._offset + start : self._offset + max(start, stop)]


PIECE_BYTES: Final = 1 << 20

MOST_HELD: Final = 16 << 20
"""Bytes of a value. A longer one in a buffer that isn't in memory stays there, unless it is inside a sequence."""

LEAST_PLACED: Final = 4096
"""Bytes of a value kept outside, from which on it is noted where it stands: it is no less than the fast reader
remembers of another file, where the same element stood elsewhere."""


UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
"""Tags of what holds sequences and fragments together (PS3.5 section 7.5)."""

SPECIFIC_CHARACTER_SET: Final = 0x00080005
TRAILING_PADDING: Final = 0xFFFCFFFC

MAXIMUM_WARNINGS: Final = 20

PIXEL_DATA_TAGS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
"""Float Pixel Data, Double Float Pixel Data, Pixel Data: an image has one of them at most."""

LONG_LENGTH_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
"""Explicit VRs with a 32-bit length after two reserved bytes (PS3.5 table 7.1-1)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on what one file may ask of us, and the thresholds of bulk data.

    Attributes:
        maximum_depth: sequences inside sequences.
        maximum_elements: elements and items of one data set, nested ones included.
        maximum_element_length: bytes of one value, pixel data excepted.
        inflate_ratio: inflated bytes per byte of a deflated data set ...
        inflate_floor: ... but never less than this many ...
        inflate_ceiling: ... nor more than this many, unless the ratio is one that pixels have.
        inflate_plain_ratio: that ratio.
        maximum_inline_public_length: longest value, in bytes, that stays in the metadata.
        maximum_inline_private_length: the same for private elements.
    """

    maximum_depth: int = 64
    maximum_elements: int = 1_000_000
    maximum_element_length: int = 1 << 31
    inflate_ratio: int = 200
    inflate_floor: int = 64 << 20
    inflate_ceiling: int = 256 << 20
    inflate_plain_ratio: int = 16
    maximum_inline_public_length: int = 131_074
    maximum_inline_private_length: int = 64


@dataclass(frozen=True, slots=True)
class Rules:
    """How values become JSON: the limits, and the URI under which a bulk value will be found.

    `bulk_uri` must be a pure function of the SHA-256 in hexadecimal. What elements became is remembered
    per `Rules`, so readers are fast only if they get equal ones each time.
    """

    limits: Limits
    bulk_uri: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a data set's bytes are laid out: the two things a transfer syntax says about them."""

    implicit: bool
    little_endian: bool


EXPLICIT_LITTLE: Final = Encoding(implicit=False, little_endian=True)
EXPLICIT_BIG: Final = Encoding(implicit=False, little_endian=False)
IMPLICIT_LITTLE: Final = Encoding(implicit=True, little_endian=True)


def encoding_of(buffer: Buffer, offset: int, declared: Encoding) -> Encoding:
    """How the data set at `offset` is encoded: as declared, unless its first element says otherwise.

    Looks decide: no element is so long that its implicit length could be taken for a VR.
    """
    vr = bytes(buffer[offset + 4 : offset + 6])
    explicit = vr.isalpha() and vr.isupper()
    if explicit != declared.implicit:
        return declared
    return EXPLICIT_LITTLE if explicit else IMPLICIT_LITTLE


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A value kept outside the metadata: its little-endian bytes, text as UTF-8, and their SHA-256."""

    sha256: str
    data: Buffer


class Place(NamedTuple):
    """Where a value that is kept outside stands in the buffer, byte for byte as it is kept."""

    sha256: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the pixel data lies.

    Attributes:
        tag: "7FE00010", or "7FE00008"/"7FE00009" for floating point pixels.
        vr: its value representation, resolved.
        offset: first byte of the value; for encapsulated pixel data the basic offset table's item.
        length: bytes of the value, or None where the length is undefined (encapsulated).
    """

    tag: str
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class DataSet:
    """What a reader hands back.

    Attributes:
        fragments: tag to JSON attribute in ascending order; without groups 0000 and 0002, group
            lengths, pixel data and trailing padding.
        bulk_values: the values kept outside, once each, in order of appearance.
        pixel_data: where the pixels are, if there are any.
        warnings: what could not be kept as it was meant.
        places: of the long values kept outside, in ascending order of their offsets.
    """

    fragments: dict[str, bytes]
    bulk_values: tuple[BulkValue, ...]
    pixel_data: PixelData | None
    warnings: tuple[str, ...]
    places: tuple[Place, ...] = ()


@dataclass(slots=True)
class Findings:
    """What one reading has come across so far, nested items included.

    Attributes:
        rules: of this reading; here for the cap on elements.
        elements: elements and items counted.
        bulk_values: values kept outside, in order of appearance, perhaps more than once.
        places: of the long ones among them.
        warnings: what could not be kept as it was meant; the first few only, each once.
        warned: how often there was something to warn of.
    """

    rules: Rules
    elements: int = 0
    bulk_values: list[BulkValue] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    warned: int = 0

    def count(self, elements: int) -> None:
        """Count elements or items.

        Raises:
            Rejected: when there are more than the limits allow.
        """
        self.elements += elements
        if self.elements > self.rules.limits.maximum_elements:
            raise Rejected(f"more than {self.rules.limits.maximum_elements} elements")

    def keep(self, values: Iterable[BulkValue], buffer: Buffer, offset: int) -> None:
        """Note the values of an element that are kept outside, and whether they stand as such at an offset."""
        for value in values:
            self.bulk_values.append(value)
            length = len(value.data)
            if length >= LEAST_PLACED and (
                isinstance(value.data, Part) or bytes(buffer[offset : offset + length]) == value.data
            ):
                self.places.append(Place(value.sha256, offset, length))

    def warn_about(self, tag: int, note: str) -> None:
        """Note what became of an element's value."""
        self.warn(f"({tag >> 16:04X},{tag & 0xFFFF:04X}): {note}")

    def warn_about_character_sets(self, character_sets: CharacterSets) -> None:
        """Note the character sets that nobody knows."""
        for term in character_sets.unknown:
            self.warn(f"unknown character set {term[:32]!a}")

    def warn(self, warning: str) -> None:
        """Note a warning, unless it is known or there are plenty already."""
        self.warned += 1
        if warning not in self.warnings and len(self.warnings) < MAXIMUM_WARNINGS:
            self.warnings.append(warning)

    def data_set(self, fragments: dict[str, bytes], pixel_data: PixelData | None) -> DataSet:
        """Return the finished data set; of equal bulk values the first remains."""
        unique = {value.sha256: value for value in self.bulk_values}
        places = tuple(sorted(self.places, key=lambda place: place.offset))
        return DataSet(fragments, tuple(unique.values()), pixel_data, tuple(self.warnings), places)
