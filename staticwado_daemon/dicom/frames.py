"""Where the frames of an instance are: from Pixel Data to one list of byte ranges per frame.

Native frames are cut by arithmetic, encapsulated ones by `fragments`. Nothing is copied here; a frame is the
concatenation of its segments of `Instance.buffer`, except where native frames share bytes (see `native`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from staticwado_daemon.dicom import fragments
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import PixelData
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transfer_syntaxes import TransferSyntax, transfer_syntax
from staticwado_daemon.errors import Incomplete, Rejected

FrameSegments = tuple[fragments.Segment, ...]

# Each frame becomes one file; a million of them is beyond every slide scanner, and 180 MB of segments.
MAXIMUM_FRAMES = 1 << 20

# Of so many frames each must have cost this many bytes: no file of some kilobytes becomes a million files.
MAXIMUM_SMALL_FRAMES = 10_000
MINIMUM_FRAME_LENGTH = 64

_FLOAT_BITS = {"7FE00008": 32, "7FE00009": 64}
_SUBSAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel attributes that say how to read a frame (PS3.3 C.7.6.3).

    Attributes:
        rows: Height of a frame in pixels.
        columns: Width of a frame in pixels.
        samples_per_pixel: 1 for grey and palette, 3 for colour.
        bits_allocated: Width of one sample's cell in native pixel data.
        bits_stored: How many of them belong to the sample; the others may hold overlays or garbage.
        high_bit: Position of the sample's highest bit in its cell.
        pixel_representation: 1 for two's complement, 0 for unsigned.
        photometric_interpretation: What the samples mean.
        planar_configuration: 1 for colour by plane; None where the attribute is absent.
        number_of_frames: At least 1.
        floating: The samples are IEEE 754 numbers: Float or Double Float Pixel Data.
    """

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    photometric_interpretation: str
    planar_configuration: int | None
    number_of_frames: int
    floating: bool = False

    @classmethod
    def of(cls, attributes: Attributes) -> Self:
        """Read the description from a data set.

        What framing needs must be there and usable. Bits Stored, High Bit and Pixel Representation get their usual
        value where they make no sense: that never makes a frame unreadable.

        Raises:
            Rejected: naming the attribute that is missing or unusable.
        """
        bits_allocated = _required(attributes, "00280100", "Bits Allocated (0028,0100)", 64)
        stored = attributes.integer("00280101")
        bits_stored = stored if stored is not None and 1 <= stored <= bits_allocated else bits_allocated
        high = attributes.integer("00280102")
        samples = _required(attributes, "00280002", "Samples per Pixel (0028,0002)", 4, absent=1)
        return cls(
            rows=_required(attributes, "00280010", "Rows (0028,0010)", 65535),
            columns=_required(attributes, "00280011", "Columns (0028,0011)", 65535),
            samples_per_pixel=samples,
            bits_allocated=bits_allocated,
            bits_stored=bits_stored,
            high_bit=high if high is not None and bits_stored <= high + 1 <= bits_allocated else bits_stored - 1,
            pixel_representation=1 if attributes.integer("00280103") == 1 else 0,
            photometric_interpretation=attributes.text("00280004") or ("MONOCHROME2" if samples == 1 else "RGB"),
            planar_configuration=attributes.integer("00280006"),
            number_of_frames=_number_of_frames(attributes),
        )

    @property
    def is_subsampled(self) -> bool:
        """Whether native frames hold one pair of colour differences for two pixels (PS3.3 C.7.6.3.1.2)."""
        return self.photometric_interpretation in _SUBSAMPLED and self.samples_per_pixel == 3

    @property
    def is_planar(self) -> bool:
        """Whether native frames hold all of one sample before the next."""
        return self.samples_per_pixel > 1 and self.planar_configuration == 1 and not self.is_subsampled

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame; only in bit-packed data (Bits Allocated 1) no multiple of 8."""
        samples = 2 if self.is_subsampled else self.samples_per_pixel
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def frame_length(self) -> int:
        """Bytes of one native frame, as it is published: no padding but up to the next whole byte."""
        return -(-self.frame_bits // 8)


def describe(instance: Instance) -> PixelDescription:
    """Return the description of `instance`'s pixel data, corrected by what the pixel data itself proves.

    Float pixel data has no Bits Stored and is never an integer; native data that is long enough for all samples
    isn't subsampled, whatever Photometric Interpretation says.

    Raises:
        Rejected: if there is no pixel data, or naming the attribute that is missing or unusable.
    """
    pixel_data = _pixel_data(instance)
    description = PixelDescription.of(instance.attributes)
    if bits := _FLOAT_BITS.get(pixel_data.tag):
        return replace(description, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1, floating=True)
    if description.is_subsampled and not transfer_syntax(instance.transfer_syntax_uid).encapsulated:
        full = replace(description, photometric_interpretation="YBR_FULL")
        if (pixel_data.length or 0) >= full.frame_length * full.number_of_frames:
            return full
    return description


def frame_segments(instance: Instance, description: PixelDescription) -> Sequence[FrameSegments]:
    """Return for each frame the byte ranges of `instance.buffer` that hold it, as (offset, length).

    Native frames are one range each. Where frames share bytes or words (bit-packed frames that don't end on a byte,
    odd frames in big-endian words) the range covers all that a frame touches; `native.frame` cuts it out.
    A video has one entry: all fragments of its elementary stream.

    Raises:
        Rejected: if Pixel Data and Number of Frames contradict each other, the encapsulation is malformed, or frames
            without content are too many.
        Incomplete: if the pixel data is shorter than the frames it should hold.
    """
    pixel_data = _pixel_data(instance)
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    if syntax.encapsulated != (pixel_data.length is None):
        kind = "encapsulated" if pixel_data.length is None else "native"
        raise Rejected(f"Pixel Data is {kind}, which transfer syntax {syntax.uid} ({syntax.name}) is not")
    if pixel_data.length is None:
        return _encapsulated(instance, syntax, description, pixel_data.offset)
    word = big_endian_word(instance, description)
    return _native(description, pixel_data.offset, min(pixel_data.length, _rest(instance, pixel_data)), word)


def big_endian_word(instance: Instance, description: PixelDescription) -> int:
    """Return how many bytes of native pixel data have to be reversed together; 1 where none have to.

    Big-endian samples are reversed as a whole, except that in the VR OW bytes, and packed bits, were swapped in pairs
    of bytes (PS3.5 7.3).
    """
    if transfer_syntax(instance.transfer_syntax_uid).encoding.little_endian:
        return 1
    if description.bits_allocated in {1, 8} and _pixel_data(instance).vr == "OW":
        return 2
    return max(1, description.bits_allocated // 8)


def _encapsulated(
    instance: Instance, syntax: TransferSyntax, description: PixelDescription, offset: int
) -> list[FrameSegments]:
    table, found = fragments.read_items(instance.buffer, offset)
    count = 1 if syntax.is_video else description.number_of_frames
    extended = fragments.extended_offsets(instance.attributes, instance.bulk_values)
    _check_worth(count, sum(length for _, length in found))
    frames = fragments.group(instance.buffer, found, count, (table, extended))
    if syntax.compressed:
        return frames
    return [_cut(frame, description.frame_length) for frame in frames]


def _check_worth(count: int, length: int) -> None:
    """Refuse frames by the thousand that share hardly any bytes."""
    if count > MAXIMUM_SMALL_FRAMES and length < count * MINIMUM_FRAME_LENGTH:
        raise Rejected(f"{count} frames in {length} bytes of Pixel Data: too little for a file each")


def _cut(frame: FrameSegments, length: int) -> FrameSegments:
    """Drop the padding after an encapsulated native frame."""
    kept = []
    for offset, available in frame:
        taken = min(available, length)
        length -= taken
        if taken:
            kept.append((offset, taken))
    if length:
        raise Incomplete(f"a frame of the encapsulated Pixel Data lacks {length} bytes")
    return tuple(kept)


def _native(description: PixelDescription, offset: int, length: int, word: int) -> list[FrameSegments]:
    bits, count, unit = description.frame_bits, description.number_of_frames, 8 * word
    needed = -(-bits * count // unit) * word
    if length < needed:
        raise Incomplete(f"Pixel Data has {length} bytes where its attributes promise {needed}")
    _check_worth(count, length)

    def cover(index: int) -> fragments.Segment:
        start = index * bits // unit * word
        end = -(-(index + 1) * bits // unit) * word
        return offset + start, end - start

    return [(cover(index),) for index in range(count)]


def _pixel_data(instance: Instance) -> PixelData:
    if instance.pixel_data is None:
        raise Rejected("there is no pixel data")
    return instance.pixel_data


def _rest(instance: Instance, pixel_data: PixelData) -> int:
    return max(0, len(instance.buffer) - pixel_data.offset)


def _required(attributes: Attributes, tag: str, name: str, maximum: int, absent: int | None = None) -> int:
    value = attributes.integer(tag)
    if value is None:
        value = absent
    if value is None or not 1 <= value <= maximum:
        raise Rejected(f"{name} is {'missing or unusable' if value is None else _shown(value)}")
    return value


def _number_of_frames(attributes: Attributes) -> int:
    value = attributes.integer("00280008")
    if value is None and attributes.text("00280008"):
        raise Rejected("Number of Frames (0028,0008) is no whole number")
    count = value or 1
    if not 1 <= count <= MAXIMUM_FRAMES:
        raise Rejected(f"Number of Frames (0028,0008) is {_shown(count)}; at most {MAXIMUM_FRAMES} can be stored")
    return count


def _shown(number: int) -> str:
    """A number in a sentence; a value may have hundreds of digits."""
    return str(number) if abs(number) < 1 << 64 else "absurd"
