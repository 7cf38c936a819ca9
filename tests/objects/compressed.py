"""Encapsulated Pixel Data: every codec there is, and every way to cut its codestreams into fragments (PS3.5 A.4)."""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_encoder
from pydicom.uid import (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
)

from tests.objects.made import Frames, Object, encode, grey, image, moving, native, picture, write

_JPEG, _JXL = "1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.4.11"
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """A transfer syntax, what it encodes here, and by whom.

    Attributes:
        uid: Transfer Syntax UID.
        name: Short.
        frame: An example.
        encode: One frame's payload.
        decode: The samples of a payload again; None if they are those of the example.
        one_fragment: Whether the standard wants each frame in one fragment.
        attributes: What the data set says otherwise.
    """

    uid: str
    name: str
    frame: Array
    encode: Callable[[Array], bytes]
    decode: Callable[[bytes], Array] | None = None
    one_fragment: bool = False
    attributes: tuple[tuple[str, Any], ...] = ()


def codecs() -> Sequence[Codec]:
    """All of them."""
    byte, word, twelve, rgb = grey("u1"), grey("u2"), grey("u2", 12), picture()
    deep = (("BitsStored", 12), ("HighBit", 11))
    rct = (("PhotometricInterpretation", "YBR_RCT"),)
    return (
        Codec(f"{_JPEG}50", "jpeg baseline", byte, _jpeg, imagecodecs.jpeg8_decode),
        Codec(
            f"{_JPEG}50",
            "jpeg baseline colour",
            rgb,
            jpeg_colour,
            jpeg_components,
            attributes=(("PhotometricInterpretation", "YBR_FULL_422"),),
        ),
        Codec(
            f"{_JPEG}51",
            "jpeg extended 12-bit",
            twelve,
            lambda a: bytes(imagecodecs.jpeg8_encode(a, 95, bitspersample=12)),
            imagecodecs.jpeg8_decode,
            attributes=deep,
        ),
        Codec(f"{_JPEG}57", "jpeg lossless", word, lambda a: _jpeg_lossless(a, 4)),
        Codec(f"{_JPEG}70", "jpeg lossless first-order", word, lambda a: _jpeg_lossless(a, 1)),
        Codec(f"{_JPEG}80", "jpeg-ls", word, lambda a: bytes(imagecodecs.jpegls_encode(a))),
        Codec(f"{_JPEG}80", "jpeg-ls colour", rgb, lambda a: bytes(imagecodecs.jpegls_encode(a))),
        Codec(
            f"{_JPEG}81",
            "jpeg-ls near-lossless",
            word,
            lambda a: bytes(imagecodecs.jpegls_encode(a, 2)),
            imagecodecs.jpegls_decode,
        ),
        Codec(f"{_JPEG}90", "jpeg 2000 lossless", word, jpeg2000),
        Codec(f"{_JPEG}90", "jpeg 2000 lossless colour", rgb, jpeg2000, attributes=rct),
        Codec(
            f"{_JPEG}91",
            "jpeg 2000",
            word,
            lambda a: bytes(imagecodecs.jpeg2k_encode(a, 60, codecformat="J2K")),
            imagecodecs.jpeg2k_decode,
        ),
        Codec(
            f"{_JPEG}91",
            "jpeg 2000 colour",
            rgb,
            lambda a: bytes(imagecodecs.jpeg2k_encode(a, 60, codecformat="J2K")),
            imagecodecs.jpeg2k_decode,
            attributes=(("PhotometricInterpretation", "YBR_ICT"),),
        ),
        Codec(f"{_JPEG}201", "htj2k lossless", word, _htj2k),
        Codec(f"{_JPEG}202", "htj2k rpcl", word, _htj2k),
        Codec(f"{_JPEG}202", "htj2k rpcl colour", rgb, _htj2k, attributes=rct),
        Codec(
            f"{_JPEG}203",
            "htj2k",
            word,
            lambda a: bytes(imagecodecs.htj2k_encode(a, 0.001, reversible=False)),
            imagecodecs.htj2k_decode,
        ),
        Codec(f"{_JXL}0", "jpeg xl lossless", word, lambda a: bytes(imagecodecs.jpegxl_encode(a, lossless=True))),
        Codec(
            f"{_JXL}1",
            "jpeg xl recompression",
            byte,
            lambda a: bytes(imagecodecs.jpegxl_encode_jpeg(_jpeg(a))),
            imagecodecs.jpegxl_decode,
        ),
        Codec(
            f"{_JXL}2",
            "jpeg xl",
            byte,
            lambda a: bytes(imagecodecs.jpegxl_encode(a, lossless=False, distance=1.0)),
            imagecodecs.jpegxl_decode,
        ),
        Codec("1.2.840.10008.1.2.5", "rle", word, _rle, one_fragment=True),
        Codec("1.2.840.10008.1.2.5", "rle colour", rgb, _rle, one_fragment=True),
        Codec("1.2.840.10008.1.2.8.1", "deflated frames", word, _deflate, one_fragment=True),
        Codec("1.2.840.10008.1.2.1.98", "encapsulated uncompressed", word, lambda a: native([a]), one_fragment=True),
    )


def _jpeg(frame: Array) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(frame, 90))


def jpeg_colour(frame: Array) -> bytes:
    """Baseline JPEG of RGB samples: YBR_FULL_422."""
    return bytes(imagecodecs.jpeg8_encode(frame, 90, colorspace="RGB", outcolorspace="YCbCr", subsampling="422"))


def jpeg_components(payload: bytes) -> Array:
    """Luminance and colour differences as they are stored."""
    components: Array = imagecodecs.jpeg8_decode(payload, colorspace="RGB", outcolorspace="RGB")
    return components


def _jpeg_lossless(frame: Array, predictor: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(frame, lossless=True, predictor=predictor, bitspersample=16))


def jpeg2000(frame: Array) -> bytes:
    """Lossless; YBR_RCT of RGB samples."""
    return bytes(imagecodecs.jpeg2k_encode(frame, 0, codecformat="J2K", reversible=True, mct=frame.ndim == 3))


def _htj2k(frame: Array) -> bytes:
    return bytes(imagecodecs.htj2k_encode(frame, reversible=True, tlm=True))


def _rle(frame: Array) -> bytes:
    rows, columns, samples = (*frame.shape, 1)[:3]
    bits = 8 * frame.dtype.itemsize
    payload: bytes = get_encoder(RLELossless).encode(
        frame,
        encoding_plugin="pylibjpeg",
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        bits_allocated=bits,
        bits_stored=bits,
        pixel_representation=0,
        photometric_interpretation="RGB" if samples == 3 else "MONOCHROME2",
        planar_configuration=0,
        number_of_frames=1,
    )
    return payload


def _deflate(frame: Array) -> bytes:
    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(native([frame])) + deflater.flush()


@dataclass(frozen=True, slots=True)
class Cut:
    """One way to put frames into fragments.

    Attributes:
        name: Short.
        fragments: How many a frame is cut into.
        table: "none", "basic" or "extended".
        frames: How many there are.
    """

    name: str
    fragments: int
    table: str
    frames: int = 3


CUTS = (
    Cut("a fragment each", 1, "none"),
    Cut("basic table", 1, "basic"),
    Cut("extended table", 1, "extended"),
    Cut("3 fragments each with basic table", 3, "basic"),
    Cut("3 fragments each with no table", 3, "none"),
    Cut("single frame in 3 fragments", 3, "none", frames=1),
)


def objects(directory: Path) -> Iterator[Object]:
    for codec in codecs():
        frames = moving(codec.frame, 3)
        payloads = [codec.encode(frame) for frame in frames]
        known = frames if codec.decode is None else tuple(codec.decode(payload) for payload in payloads)
        for cut in CUTS:
            if cut.fragments == 1 or not codec.one_fragment:
                yield _cut(directory, codec, cut, known[: cut.frames], payloads[: cut.frames])


def _cut(directory: Path, codec: Codec, cut: Cut, frames: Frames, payloads: Sequence[bytes]) -> Object:
    name = f"{codec.name}/{cut.name}"
    made = image(name, _sop_class(codec.frame), "OT", [codec.frame], **dict(codec.attributes))
    made.NumberOfFrames = cut.frames
    if codec.decode is not None:
        made.LossyImageCompression = "01"
        made.LossyImageCompressionRatio = "10"
        made.LossyImageCompressionMethod = "ISO_10918_1"
    encapsulated(made, payloads, cut.fragments, cut.table)
    padded = tuple(payload + bytes(len(payload) % 2) for payload in payloads)
    return write(directory, name, encode(made, codec.uid), frames=frames, payloads=padded)


def _sop_class(frame: Array) -> str:
    if frame.ndim == 3:
        return MultiFrameTrueColorSecondaryCaptureImageStorage
    if frame.dtype == np.uint8:
        return MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    return MultiFrameGrayscaleWordSecondaryCaptureImageStorage


def encapsulated(made: Dataset, payloads: Sequence[bytes], fragments: int = 1, table: str = "basic") -> None:
    """Put payloads into the data set as encapsulated Pixel Data."""
    cut = [_pieces(payload, fragments) for payload in payloads]
    starts, position = [], 0
    for pieces in cut:
        starts.append(position)
        position += sum(8 + len(piece) for piece in pieces)
    basic = struct.pack(f"<{len(starts)}I", *starts) if table == "basic" else b""
    items = [basic, *(piece for pieces in cut for piece in pieces)]
    value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(piece)) + piece for piece in items)
    if table == "extended":
        made.ExtendedOffsetTable = struct.pack(f"<{len(starts)}Q", *starts)
        lengths = [len(payload) for payload in payloads]
        made.ExtendedOffsetTableLengths = struct.pack(f"<{len(lengths)}Q", *lengths)
    made.PixelData = value
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True


def _pieces(payload: bytes, count: int) -> list[bytes]:
    """Cut a payload into even lengths; the last piece is padded to one."""
    padded = payload + bytes(len(payload) % 2)
    size = -(-len(padded) // count)
    size += size % 2
    return [padded[start : start + size] for start in range(0, len(padded), size)]
