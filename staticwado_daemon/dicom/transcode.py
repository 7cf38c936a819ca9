"""How the frames of an instance are stored: as they came, or re-coded and proven.

An instance has one transfer syntax: if one of its frames can't be re-coded, none is. Frames are made while they are
iterated, one at a time: an instance of any size costs the memory of one frame.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from staticwado_daemon.dicom import codings, forms, native, proof
from staticwado_daemon.dicom.codecs import decode, photometric_interpretation
from staticwado_daemon.dicom.codings import Coding
from staticwado_daemon.dicom.content_types import ContentType, SourceCoding
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription, big_endian_word
from staticwado_daemon.dicom.lossy import Loss
from staticwado_daemon.dicom.native import Frames, Payload
from staticwado_daemon.dicom.palette import plain_tables
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.errors import Corrupt

_MODALITY = "00080060"
_PHOTOMETRIC_INTERPRETATION, _PLANAR_CONFIGURATION = "00280004", "00280006"
_MEASURED = frozenset({"SEG", "RTDOSE"})
_BY_PIXEL = b'{"vr":"US","Value":[0]}'
# Extended ones: of a value that isn't published, but its frames, each by itself.
_OFFSET_TABLES = ("7FE00001", "7FE00002")


@dataclass(frozen=True, slots=True)
class Choices:
    """What somebody wants frames to be stored as.

    Attributes:
        content_type: Of frames with any number of samples but three.
        color_content_type: Of frames with three samples per pixel; None for the same.
        recompress: Which sources are re-coded at all, of those with any number of samples but three.
        recompress_color: The same of those with three.
        by_name: The content types were asked for, and aren't just the default.
    """

    content_type: ContentType = "htj2k"
    color_content_type: ContentType | None = None
    recompress: tuple[SourceCoding, ...] = ("uncompressed",)
    recompress_color: tuple[SourceCoding, ...] = ("uncompressed",)
    by_name: bool = False

    def of(self, samples_per_pixel: int, transfer_syntax_uid: str) -> ContentType:
        """What frames of this kind are to become; "none" for as they came."""
        is_color = samples_per_pixel == 3
        asked = self.recompress_color if is_color else self.recompress
        if not codings.is_recompressed(transfer_syntax_uid, asked):
            return "none"
        return (self.color_content_type if is_color else None) or self.content_type


@dataclass(frozen=True, slots=True)
class StoredFrames:
    """The frames of an instance as they are to be stored.

    Attributes:
        transfer_syntax_uid: Of every frame: what its part header and (0008,3002) have to say.
        changes: Attributes, by tag, that the published metadata must show differently from the source; None
            removes one.
        frames: One payload per frame, without padding, made and proven when it is asked for: iterate once. Raises
            NotLossless at a frame that doesn't come back.
        gzip: The payload is native, worth compressing as a file.
        kept_because: Why frames that were to be re-coded are stored as they came, or losslessly instead of with
            loss; empty where they became what was wanted.
        invertible: The frames of the source come back from these, byte for byte.
        loss: What was lost; None if nothing was.
    """

    transfer_syntax_uid: str
    changes: Mapping[str, bytes | None]
    frames: Frames
    gzip: bool
    kept_because: str = ""
    invertible: bool = True
    loss: Loss | None = None


def ways(
    instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments], content_type: ContentType
) -> Iterator[StoredFrames]:
    """Yield the ways in which the frames of `instance` may be stored, the best first.

    Each is tried until one raises no NotLossless while its frames are iterated; the last, as they came, never does.
    Arguments are those of `store`.
    """
    yield store(instance, description, segments, content_type)
    yield store(instance, description, segments, "none")
    yield _as_they_came(instance, description, segments)


def store(
    instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments], content_type: ContentType
) -> StoredFrames:
    """Decide how the frames of `instance` are stored; they are made so while they are iterated.

    Frames that viewers show wrong are brought into another form first, see `forms.nearest`; all others are left so.
    With "none" compressed frames pass untouched, their fragments concatenated, and native ones are stored as
    Explicit VR Little Endian, whatever native syntax they came in. Any other coding is applied if it can hold frames
    of this kind and viewers show the result correctly. Each frame is decoded and compared before it is handed out,
    and one that differs raises NotLossless: throw away what came before it, and take the next of the `ways`.

    Args:
        instance: As read.
        description: Of `instance`, see `frames.describe`.
        segments: Of `instance`, see `frames.frame_segments`.
        content_type: The coding wanted, see `Choices.of`.
    """
    stored = _as_they_came(instance, description, segments)
    form = forms.nearest(description, stored.transfer_syntax_uid, instance.attributes, stored.frames)
    if form:
        stored, description = _reshaped(stored, instance, description, form), form.description
    coding = codings.coding(content_type)
    compressed = transfer_syntax(stored.transfer_syntax_uid).compressed
    wanted = coding.transfer_syntax_uid if coding else EXPLICIT_VR_LITTLE_ENDIAN
    if stored.transfer_syntax_uid == wanted or not (coding or (compressed and codings.is_native(content_type))):
        return stored
    if compressed:
        try:
            description = decoded_description(stored.frames[0], stored.transfer_syntax_uid, description)
        except Corrupt as why:
            return replace(stored, kept_because=str(why))
    if coding is None:
        return _decompressed(stored, description)
    reason = _refusal(coding, description, stored.transfer_syntax_uid, instance.attributes.text(_MODALITY))
    if not reason:
        return _encoded(instance, stored, description, coding)
    if coding.lossless:
        return replace(stored, kept_because=reason)
    instead = codings.coding(coding.instead)
    if compressed or instead is None or instead.refuses(description):
        return replace(stored, kept_because=reason)
    return replace(_encoded(instance, stored, description, instead), kept_because=reason)


def _as_they_came(instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments]) -> StoredFrames:
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    changes = plain_tables(instance.attributes, instance.bulk_values)
    changes |= {tag: None for tag in _OFFSET_TABLES if tag in instance.attributes}
    frames = source_frames(instance, description, segments)
    changes |= forms.corrections(instance.attributes, description, syntax.uid, frames)
    if syntax.compressed:
        return StoredFrames(syntax.uid, changes, frames, gzip=False)
    stated = instance.attributes.text(_PHOTOMETRIC_INTERPRETATION)
    if stated and stated != description.photometric_interpretation:  # the length of Pixel Data proves it wrong
        changes[_PHOTOMETRIC_INTERPRETATION] = _code_string(description.photometric_interpretation)
    return StoredFrames(EXPLICIT_VR_LITTLE_ENDIAN, changes, frames, gzip=True)


def _reshaped(
    stored: StoredFrames, instance: Instance, description: PixelDescription, form: forms.Form
) -> StoredFrames:
    """Give frames the form that viewers show right."""
    uid, source = stored.transfer_syntax_uid, stored.frames
    frames = Frames(len(source), lambda index: form.publish(proof.decoded(source[index], uid, description)).tobytes())
    changes = {**stored.changes, **form.attributes(instance.attributes)}
    exact = form.undo is not None and not transfer_syntax(uid).compressed
    return StoredFrames(EXPLICIT_VR_LITTLE_ENDIAN, changes, frames, gzip=True, invertible=exact)


def _refusal(coding: Coding, description: PixelDescription, source_syntax: str, modality: str) -> str:
    if not coding.lossless and not codings.is_lossless(source_syntax):
        return "the source has lost something already, and isn't made to lose more"
    if not coding.lossless and modality in _MEASURED:
        return f"pixels of {modality} are values, not a picture"
    return coding.refuses(description)


def _decompressed(stored: StoredFrames, description: PixelDescription) -> StoredFrames:
    """Decode frames, and store them natively."""
    if description.bits_allocated == 1:
        return replace(stored, kept_because="Bits Allocated is 1")

    def make(index: int) -> Payload:
        frame = proof.decoded(stored.frames.make(index), stored.transfer_syntax_uid, description)
        return native.from_array(frame, description)

    changes = {**stored.changes, **_labels(description, description.photometric_interpretation)}
    frames = Frames(len(stored.frames), make)
    return StoredFrames(EXPLICIT_VR_LITTLE_ENDIAN, changes, frames, gzip=True, invertible=False)


def _encoded(instance: Instance, stored: StoredFrames, description: PixelDescription, coding: Coding) -> StoredFrames:
    """Encode frames, each when it is asked for."""
    label = coding.label(description) or description.photometric_interpretation
    compressed = transfer_syntax(stored.transfer_syntax_uid).compressed

    def make(index: int) -> Payload:
        source = proof.decoded(stored.frames.make(index), stored.transfer_syntax_uid, description)
        return proof.encoded(source, description, coding)

    loss = None
    if not coding.lossless:
        native_length = description.frame_length * len(stored.frames)
        loss = Loss.of(instance.identity.instance, coding, native_length)
    return StoredFrames(
        coding.transfer_syntax_uid,
        {**stored.changes, **_labels(description, label)},
        Frames(len(stored.frames), make),
        gzip=False,
        invertible=stored.invertible and coding.lossless and not compressed,
        loss=loss,
    )


def _labels(description: PixelDescription, photometric: str) -> dict[str, bytes | None]:
    """What frames of several samples, arranged pixel by pixel, must be called."""
    if description.samples_per_pixel == 1:
        return {}
    return {_PHOTOMETRIC_INTERPRETATION: _code_string(photometric), _PLANAR_CONFIGURATION: _BY_PIXEL}


def source_frames(instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments]) -> Frames:
    """Return the frames as they came, but native ones little-endian and cut to their exact length.

    Native frames of `instance` are slices of its buffer wherever nothing has to change.
    """
    buffer = instance.buffer
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    if syntax.compressed or syntax.encapsulated or instance.pixel_data is None:
        return Frames(len(segments), lambda index: native.joined(buffer, segments[index]))
    word = big_endian_word(instance, description)
    start = instance.pixel_data.offset
    bits = description.frame_bits

    def make(index: int) -> Payload:
        covering = native.joined(buffer, segments[index])
        skipped = index * bits - 8 * (segments[index][0][0] - start)
        return native.little_endian_frame(covering, skipped, description, word)

    return Frames(len(segments), make)


def decoded_description(payload: Payload, transfer_syntax_uid: str, description: PixelDescription) -> PixelDescription:
    """Describe what the compressed frames of an instance decode to; one of them speaks for all.

    Raises:
        Corrupt: if it has no readable header, or there is no name for what it decodes to.
    """
    kind = photometric_interpretation(payload, transfer_syntax_uid, description)
    if kind == "YBR_FULL_422":  # the decoder has upsampled it
        kind = "YBR_FULL"
    planes = 0 if description.samples_per_pixel > 1 else description.planar_configuration
    decoded = replace(description, photometric_interpretation=kind, planar_configuration=planes)
    if decoded.is_subsampled:
        raise Corrupt(f"what the frame decodes to has more samples than {kind}")
    return decoded


def native_bytes(payload: Payload, transfer_syntax_uid: str, description: PixelDescription, *, word: int = 1) -> bytes:
    """Return the source's native bytes of one stored frame: the inverse of `store`, where that has one.

    Args:
        payload: As stored.
        transfer_syntax_uid: Of the payload.
        description: Of the source (its planar configuration, not the published one).
        word: Of the source, see `frames.big_endian_word`; only for frames that share no word with a neighbour.
            `native_value` covers all.

    Raises:
        Corrupt: if the payload can't be decoded.
    """
    compressed = transfer_syntax(transfer_syntax_uid).compressed
    form = forms.invertible(description)
    if form and (compressed or len(payload) != description.frame_length):
        published = decode(payload, transfer_syntax_uid, form.description)
        return native.reverse_words(forms.source_bytes(published, description), word)
    if not compressed:
        return native.reverse_words(payload, word)
    decoded = decode(payload, transfer_syntax_uid, description)
    return native.reverse_words(native.from_array(decoded, description), word)


def native_value(
    payloads: Iterable[Payload], transfer_syntax_uid: str, description: PixelDescription, *, word: int = 1
) -> Iterator[bytes]:
    """Rebuild the Pixel Data value of a native source from all its stored frames.

    Also where frames share bytes (bit-packed ones that don't end on a byte, odd ones in big-endian words). What the
    source had after its last frame isn't included; unused bits of a shared last byte or word are zeros.

    Args:
        payloads: All frames as stored, in order.
        transfer_syntax_uid: Of the payloads.
        description: Of the source.
        word: Of the source, see `frames.big_endian_word`.

    Yields:
        Pieces of the value.

    Raises:
        Corrupt: if a payload can't be decoded.
    """
    frames = (native_bytes(payload, transfer_syntax_uid, description) for payload in payloads)
    return native.source_value(frames, description, word)


def _code_string(value: str) -> bytes:
    return b'{"vr":"CS","Value":["' + value.encode() + b'"]}'
