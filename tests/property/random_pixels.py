"""Pixels for random files: what is in a frame, and the bytes by which a sender says it."""

import struct
from dataclasses import dataclass, replace
from functools import cache

import imagecodecs
import numpy as np
from hypothesis import strategies as st
from pydicom.pixels.encoders import RLELosslessEncoder

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
NATIVE = (IMPLICIT, EXPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
ENCAPSULATED = (RLE, JPEG_LS, JPEG_2000)

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its attributes (PS3.3 C.7.6.3), and how its frames are to be written.

    Attributes:
        bits: allocated and stored; 1 is packed.
        floating: Float or Double Float Pixel Data.
        planar: Planar Configuration.
        value_vr: of native Pixel Data, OB or OW.
        padding: what follows the last frame of native Pixel Data: one byte where its length is odd, and more.
        table: the offset table: none, "basic" or "extended".
        pieces: in how many fragments a frame is, as far as it goes.
        seed: of the pixels.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool
    frames: int
    photometric: str
    seed: int
    floating: bool = False
    planar: int = 0
    value_vr: str = "OW"
    padding: bytes = b"\0"
    table: str = ""
    pieces: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all frames: frames, rows, columns and, of colour, samples."""
        return (self.frames, self.rows, self.columns) + ((self.samples,) if self.samples > 1 else ())

    @property
    def dtype(self) -> np.dtype:
        """Of a sample, little endian."""
        kind = "f" if self.floating else "i" if self.signed else "u"
        return np.dtype(f"<{kind}{max(self.bits, 8) // 8}")

    def pixels(self) -> np.ndarray:
        """All frames: half of them smooth, half of them noise."""
        return _pixels(replace(self, padding=b"", table="", pieces=1, value_vr="", planar=0))


@cache
def _pixels(image: Image) -> np.ndarray:
    random = np.random.default_rng(image.seed)
    if image.floating:
        return random.standard_normal(image.shape).astype(image.dtype)
    top = min(image.bits, 16 if image.seed % 2 else 8)
    noise = random.integers(0, 1 << top, image.shape)
    return (noise - (1 << (top - 1)) if image.signed else noise).astype(image.dtype)


GREY = ("MONOCHROME2", "MONOCHROME1", "PALETTE COLOR")
COLOUR = ("RGB", "YBR_FULL")


@st.composite
def images(draw, syntax: str) -> Image:
    """Images that may be written in this transfer syntax."""
    encapsulated = syntax in ENCAPSULATED
    bits = draw(st.sampled_from((8, 16, 16) if encapsulated else (1, 8, 16, 16, 32)))
    floating = not encapsulated and syntax != BIG_ENDIAN and draw(st.integers(0, 9)) == 0
    samples = 1 if bits in {1, 32} or floating else draw(st.sampled_from((1, 1, 3)))
    table = draw(st.sampled_from(("", "basic", "extended"))) if encapsulated else ""
    alone = syntax == RLE or table == "extended"
    small = st.integers(1, 12)
    return Image(
        rows=draw(small),
        columns=draw(small),
        samples=samples,
        bits=draw(st.sampled_from((32, 64))) if floating else bits,
        signed=not floating and bits > 8 and samples == 1 and syntax != JPEG_2000 and draw(st.booleans()),
        frames=draw(st.sampled_from((1, 1, 1, 2, 3, 5))),
        photometric="MONOCHROME2" if floating or bits == 1 else draw(st.sampled_from(COLOUR if samples > 1 else GREY)),
        seed=draw(st.integers(0, 7)),
        floating=floating,
        planar=draw(st.integers(0, 1)) if samples > 1 and not encapsulated else 0,
        value_vr=draw(st.sampled_from(("OB", "OW"))) if bits <= 8 else "OW",
        padding=draw(st.sampled_from((b"\0", b"\0\0", b"\xa5", b"\0\0\0"))),
        table=table,
        pieces=1 if alone else draw(st.sampled_from((1, 1, 2, 4))),
    )


def native_value(image: Image, *, big_endian: bool) -> bytes:
    """The value of native pixel data, of even length."""
    pixels = image.pixels()
    if image.samples > 1 and image.planar:
        pixels = np.moveaxis(pixels, -1, 1)
    if image.bits == 1:
        data = np.packbits(pixels.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    else:
        data = np.ascontiguousarray(pixels).tobytes()
    if big_endian:
        word = image.bits // 8 if image.bits > 8 else 2 if image.value_vr == "OW" else 1
        data += bytes(-len(data) % word)
        data = np.frombuffer(data, f"<u{word}").byteswap().tobytes() if word > 1 else data
    if len(data) % 2:
        data += image.padding[:1]
    return data + image.padding[1:] * 2


def codestreams(image: Image, syntax: str) -> list[bytes]:
    """Each frame as its sender has compressed it, padded to an even length."""
    return [each + bytes(len(each) % 2) for each in bare_codestreams(image, syntax)]


def bare_codestreams(image: Image, syntax: str) -> list[bytes]:
    """Each frame as its sender has compressed it."""
    return [_encoded(image, syntax, number) for number in range(image.frames)]


def _encoded(image: Image, syntax: str, number: int) -> bytes:
    frame = image.pixels()[number]
    if syntax == RLE:
        return RLELosslessEncoder.encode(
            frame,
            rows=image.rows,
            columns=image.columns,
            number_of_frames=1,
            samples_per_pixel=image.samples,
            bits_allocated=image.bits,
            bits_stored=image.bits,
            pixel_representation=int(image.signed),
            photometric_interpretation="RGB" if image.samples > 1 else "MONOCHROME2",
            planar_configuration=0,
            encoding_plugin="pydicom",
        )
    if syntax == JPEG_LS:
        return imagecodecs.jpegls_encode(frame.view(frame.dtype.str.replace("i", "u")))
    return imagecodecs.jpeg2k_encode(frame, level=0, reversible=True, codecformat="j2k", mct=False)


def encapsulated_value(image: Image, syntax: str) -> tuple[bytes, bytes]:
    """The extended offset table elements, if any, and the value of encapsulated Pixel Data (PS3.5 A.4)."""
    frames = codestreams(image, syntax)
    items, starts, position = [], [], 0
    for frame in frames:
        starts.append(position)
        step = max(2, -(-len(frame) // (2 * image.pieces)) * 2)
        for piece in (frame[at : at + step] for at in range(0, len(frame), step)):
            items.append(_ITEM + struct.pack("<I", len(piece)) + piece)
            position += len(items[-1])
    basic = struct.pack(f"<{len(starts)}I", *starts) if image.table == "basic" else b""
    extended = b""
    if image.table == "extended":
        count, lengths = len(starts), [len(each) for each in bare_codestreams(image, syntax)]
        for element, values in ((1, starts), (2, lengths)):
            extended += struct.pack("<HH2sHI", 0x7FE0, element, b"OV", 0, 8 * count) + struct.pack(
                f"<{count}Q", *values
            )
    return extended, _ITEM + struct.pack("<I", len(basic)) + basic + b"".join(items) + _END
