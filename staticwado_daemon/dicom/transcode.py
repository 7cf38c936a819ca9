"""How the frames of an instance are stored: as they came, or losslessly re-coded and proven so.

What viewers show correctly was found by experiment with OHIF, row by row; the table of `_encoding` is its result.
An instance has one transfer syntax: if one of its frames can't be re-coded, all of them stay native.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import imagecodecs
import numpy as np

from staticwado_daemon.dicom import native
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription, big_endian_word
from staticwado_daemon.dicom.native import Array, Frames, Payload
from staticwado_daemon.dicom.palette import plain_tables
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_LS_LOSSLESS,
    transfer_syntax,
)
from staticwado_daemon.errors import Corrupt, Transient

ContentType = Literal["htj2k", "jls", "none"]

# Encoded frames beyond this are encoded a second time when they are written, instead of being held.
HELD_BYTES = 64 << 20

# PS3.5 10.18: the lowest resolution of a HTJ2K RPCL codestream has at most so many rows or columns.
_LOWEST_RESOLUTION = 64
_USUAL_DECOMPOSITIONS = 5

_PLANAR_CONFIGURATION_0 = b'{"vr":"US","Value":[0]}'


@dataclass(frozen=True, slots=True)
class StoredFrames:
    """The frames of an instance as they are to be stored.

    Attributes:
        transfer_syntax_uid: Of every frame: what its part header and (0008,3002) have to say.
        changes: Attributes, by tag, that the published metadata must show differently from the source; None
            removes one.
        frames: One payload per frame, without padding. They may be made on demand: iterate once.
        gzip: The payload is native, worth compressing as a file.
        kept_because: Why frames that were to be re-coded are stored as they came; empty where they were re-coded
            or nobody asked for it.
    """

    transfer_syntax_uid: str
    changes: Mapping[str, bytes | None]
    frames: Frames
    gzip: bool
    kept_because: str = ""


@dataclass(frozen=True, slots=True)
class _Encoding:
    transfer_syntax_uid: str
    encode: Callable[[Array], bytes]
    changes: Mapping[str, bytes]


def store_lossless(
    instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments], content_type: ContentType
) -> StoredFrames:
    """Decide how the frames of `instance` are stored, and make them so.

    Compressed frames pass untouched, their fragments concatenated. Native ones become HTJ2K or JPEG-LS if
    `content_type` asks for it and viewers show the result correctly; each is decoded and compared first.
    Otherwise they are stored as Explicit VR Little Endian, whatever native syntax they came in.

    Args:
        instance: As read.
        description: Of `instance`, see `frames.describe`.
        segments: Of `instance`, see `frames.frame_segments`.
        content_type: The coding wanted for native frames.

    Raises:
        Transient: while frames are iterated, if a frame doesn't encode to the same bytes twice.
    """
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    shared = plain_tables(instance.attributes, instance.bulk_values)
    if syntax.compressed:
        view = memoryview(instance.buffer)
        frames = Frames(len(segments), lambda index: native.joined(view, segments[index]))
        return StoredFrames(syntax.uid, shared, frames, gzip=False, kept_because="the source is compressed")
    frames = source_frames(instance, description, segments)
    changes = {**shared, **_native_changes(instance.attributes, description)}
    stored = StoredFrames(EXPLICIT_VR_LITTLE_ENDIAN, changes, frames, gzip=True)
    if content_type == "none":
        return stored
    encoding = _encoding(description, content_type)
    if isinstance(encoding, str):
        return replace(stored, kept_because=encoding)
    try:
        encoded = _encode_all(frames, description, encoding)
    except Corrupt as why:
        return replace(stored, kept_because=str(why))
    return StoredFrames(encoding.transfer_syntax_uid, {**changes, **encoding.changes}, encoded, gzip=False)


def source_frames(instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments]) -> Frames:
    """Return the frames as they came, but native ones little-endian and cut to their exact length.

    Native frames of `instance` are slices of its buffer wherever nothing has to change.
    """
    view = memoryview(instance.buffer)
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    if syntax.compressed or syntax.encapsulated or instance.pixel_data is None:
        return Frames(len(segments), lambda index: native.joined(view, segments[index]))
    word = big_endian_word(instance, description)
    start = instance.pixel_data.offset
    bits = description.frame_bits

    def make(index: int) -> Payload:
        covering = native.joined(view, segments[index])
        skipped = index * bits - 8 * (segments[index][0][0] - start)
        return native.little_endian_frame(covering, skipped, description, word)

    return Frames(len(segments), make)


def native_bytes(payload: Payload, transfer_syntax_uid: str, description: PixelDescription, *, word: int = 1) -> bytes:
    """Return the source's native bytes of one stored frame: the inverse of `store_lossless`.

    Args:
        payload: As stored.
        transfer_syntax_uid: Of the payload.
        description: Of the source (its planar configuration, not the published one).
        word: Of the source, see `frames.big_endian_word`; only for frames that share no word with a neighbour.
            `native_value` covers all.

    Raises:
        Corrupt: if the payload can't be decoded.
    """
    if not transfer_syntax(transfer_syntax_uid).compressed:
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


def _native_changes(attributes: Attributes, description: PixelDescription) -> dict[str, bytes | None]:
    changes: dict[str, bytes | None] = {}
    if description.photometric_interpretation != attributes.text("00280004", description.photometric_interpretation):
        changes["00280004"] = _code_string(description.photometric_interpretation)
    if description.samples_per_pixel > 1 and description.planar_configuration is None:
        changes["00280006"] = _PLANAR_CONFIGURATION_0  # OHIF takes YBR_FULL without it for planes
    return changes


def _encoding(description: PixelDescription, content_type: Literal["htj2k", "jls"]) -> _Encoding | str:
    """Choose how native frames of this kind are encoded, or say why they aren't."""
    samples, bits = description.samples_per_pixel, description.bits_allocated
    kind = description.photometric_interpretation
    signed = description.pixel_representation == 1
    lossless = _Encoding(JPEG_LS_LOSSLESS, _jpeg_ls, {})
    if content_type == "htj2k":
        lossless = _Encoding(HTJ2K_LOSSLESS_RPCL, _htj2k, {})
    if description.floating:
        return "floating-point samples have no codec"
    if samples == 1 and kind in {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}:
        if bits == 8 and signed:
            return "viewers take signed 8-bit samples for unsigned ones"
        return lossless if bits in {8, 16} else f"Bits Allocated is {bits}"
    if samples == 3 and bits == 8 and not signed and kind == "RGB":
        # Viewers read the label and get the transform undone by their decoder.
        label = {"00280004": _code_string("YBR_RCT")} if content_type == "htj2k" else {}
        return replace(lossless, changes={**label, "00280006": _PLANAR_CONFIGURATION_0})
    if samples == 3 and bits == 8 and not signed and kind == "YBR_FULL" and content_type == "jls":
        return replace(lossless, changes={"00280006": _PLANAR_CONFIGURATION_0})
    return f"{samples} x {bits} bits of {kind[:16]!r} are shown correctly only as they are"


def _encode_all(frames: Frames, description: PixelDescription, encoding: _Encoding) -> Frames:
    """Encode and verify every frame; hold the first ones and only the digests of those beyond `HELD_BYTES`."""

    def array(index: int) -> Array:
        return native.to_array(frames.make(index), description)

    held: list[bytes] = []
    digests: list[bytes] = []
    size = 0
    for index in range(len(frames)):
        payload = _verified(array(index), description, encoding)
        size += len(payload)
        if size <= HELD_BYTES:
            held.append(payload)
        else:
            digests.append(_digest(payload))

    def make(index: int) -> Payload:
        if index < len(held):
            return held[index]
        payload = encoding.encode(array(index))
        if _digest(payload) != digests[index - len(held)]:
            raise Transient("a frame was encoded differently the second time")
        return payload

    return Frames(len(frames), make)


def _verified(source: Array, description: PixelDescription, encoding: _Encoding) -> bytes:
    """Encode a frame and return it once it decodes to its source; raise Corrupt otherwise."""
    _check_unused_bits(source, description)
    try:
        payload = encoding.encode(source)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise Corrupt("the frame can't be encoded") from error
    if not np.array_equal(decode(payload, encoding.transfer_syntax_uid, description), source):
        raise Corrupt("the encoded frame decodes to something else")
    return payload


def _check_unused_bits(source: Array, description: PixelDescription) -> None:
    """Refuse samples with anything but their sign above Bits Stored (PS3.5 8.1.1 forbids it; overlays were kept there).

    Readers of native pixels mask these bits out; decoders hand them on as part of the number.
    """
    unused = description.bits_allocated - description.bits_stored
    if not unused:
        return
    lowest, highest = 0, 1 << description.bits_stored
    if description.pixel_representation == 1:
        lowest, highest = -highest // 2, highest // 2
    if source.min() < lowest or source.max() >= highest:
        raise Corrupt("bits above Bits Stored are in use")


def _htj2k(frame: Array) -> bytes:
    # 16-bit samples keep their sign: decoders believe the codestream, and negative numbers cost less that way.
    reductions = (max(frame.shape[:2]) - 1).bit_length() - (_LOWEST_RESOLUTION - 1).bit_length()
    encoded = imagecodecs.htj2k_encode(
        frame,
        reversible=True,
        rgb=frame.ndim == 3,  # with the transform: without it OHIF interleaves whole planes
        planar=False,
        resolutions=max(_USUAL_DECOMPOSITIONS, reductions),
        tlm=True,
    )
    return bytes(encoded)


def _jpeg_ls(frame: Array) -> bytes:
    # JPEG-LS has no sign: it codes the bits as they are. Noise grows, hence the room.
    unsigned = frame.view(f"u{frame.itemsize}")
    return _without_spiff(bytes(imagecodecs.jpegls_encode(unsigned, out=2 * frame.nbytes + 1024)))


def _without_spiff(codestream: bytes) -> bytes:
    """Drop the SPIFF header, which DICOM doesn't expect inside a frame and strict readers refuse."""
    position = 2
    while codestream[position : position + 2] == b"\xff\xe8":
        (length,) = struct.unpack_from(">H", codestream, position + 2)
        position += 2 + length
    return b"\xff\xd8" + codestream[position:]


def _code_string(value: str) -> bytes:
    return b'{"vr":"CS","Value":["' + value.encode() + b'"]}'


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()
