"""Native Pixel Data: every width, sign, position of the bits, arrangement of samples, byte order, and palette."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)

from tests.objects.made import Object, encode, grey, image, moving, native, picture, with_pixels, write

_GREY = SecondaryCaptureImageStorage


def objects(directory: Path) -> Iterator[Object]:
    yield from _widths(directory)
    yield from _positions(directory)
    yield from _bits(directory)
    yield from _colours(directory)
    yield from _palettes(directory)
    yield from _encodings(directory)


def _widths(directory: Path) -> Iterator[Object]:
    for bits in (8, 16, 32, 64):
        for kind, word in (("u", "unsigned"), ("i", "signed")):
            frame = grey(f"{kind}{bits // 8}")
            yield _grey(directory, f"native/{bits}-bit {word}", frame)
    for stored in (10, 12, 14):
        yield _grey(directory, f"native/{stored} of 16 bits", grey("u2", stored), BitsStored=stored, HighBit=stored - 1)
    signed = grey("i2", 12)
    yield _grey(directory, "native/12 of 16 bits signed", signed, BitsStored=12, HighBit=11)
    yield _grey(directory, "native/monochrome1", grey("u2", 12), PhotometricInterpretation="MONOCHROME1")
    yield _grey(directory, "native/7 of 8 bits", grey("u1", 7), BitsStored=7, HighBit=6)
    frames = moving(grey("u2", 12)[:77, :101], 3)
    made = image("native/multi-frame", MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "OT", frames)
    yield write(directory, "native/multi-frame", with_pixels(made, native(frames)), frames=frames)
    odd = grey("u1")[:77, :101]
    yield _grey(directory, "native/odd length", odd)
    padded = with_pixels(image("native/padding", _GREY, "OT", [odd]), native([odd]) + bytes(129))
    yield write(directory, "native/padding", padded, frames=(odd,))


def _positions(directory: Path) -> Iterator[Object]:
    """Samples that don't end at the lowest bit, as allowed until 2008, and other data above them."""
    high = grey("u2", 12) << 4
    yield _grey(directory, "native/high bit 15 of 12", high, BitsStored=12, HighBit=15)
    overlay = grey("u2", 12)
    overlay[10:20, 10:90] |= 0x8000
    name = "native/overlay in unused bits"
    made = image(name, _GREY, "OT", [overlay], BitsStored=12, HighBit=11)
    for element, vr, value in (
        (0x0010, "US", overlay.shape[0]),
        (0x0011, "US", overlay.shape[1]),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 16),
        (0x0102, "US", 15),
    ):
        made.add_new((0x6000, element), vr, value)
    yield write(directory, name, with_pixels(made, native([overlay])), frames=(overlay,))
    negative = (grey("i2", 12) & 0x0FFF).astype("i2")  # the sign isn't carried on above bit 11
    yield _grey(directory, "native/signed without sign extension", negative, BitsStored=12, HighBit=11)


def _bits(directory: Path) -> Iterator[Object]:
    for name, (rows, columns) in {"native/1-bit": (64, 64), "native/1-bit odd frames": (33, 37)}.items():
        frames = moving((grey("u1")[:rows, :columns] > 80).astype("u1"), 5)
        sop_class = MultiFrameSingleBitSecondaryCaptureImageStorage
        made = image(name, sop_class, "OT", frames, BitsAllocated=1, BitsStored=1, HighBit=0)
        packed = np.packbits(np.concatenate([frame.ravel() for frame in frames]), bitorder="little").tobytes()
        yield write(directory, name, with_pixels(made, packed), frames=frames)


def _colours(directory: Path) -> Iterator[Object]:
    rgb = picture()
    odd = np.ascontiguousarray(rgb[:77, :101])
    words = rgb.astype("u2") * 257
    for planar in (False, True):
        arranged = f"planar configuration {int(planar)}"
        for kind, frame in {"rgb": rgb, "rgb odd": odd, "rgb 16-bit": words, "ybr_full": rgb}.items():
            space = "YBR_FULL" if kind == "ybr_full" else "RGB"
            yield _colour(directory, f"colour/{kind} {arranged}", frame, planar=planar, PhotometricInterpretation=space)
    loop = moving(odd, 4)
    for planar in (False, True):
        name = f"colour/rgb odd multi-frame planar configuration {int(planar)}"
        sop_class = MultiFrameTrueColorSecondaryCaptureImageStorage
        made = image(name, sop_class, "OT", loop, PlanarConfiguration=int(planar))
        yield write(directory, name, with_pixels(made, native(loop, planar=planar)), frames=loop)
    yield _subsampled(directory, rgb)


def _subsampled(directory: Path, ybr: NDArray[np.uint8]) -> Object:
    """Ultrasound as many machines send it: two luminances, then the one pair of colour differences of both."""
    name = "colour/ybr_full_422"
    luminance, differences = ybr[..., 0], ybr[:, ::2, 1:]
    stream = np.stack([luminance[:, ::2], luminance[:, 1::2], differences[..., 0], differences[..., 1]], axis=-1)
    full = np.dstack([luminance, np.repeat(differences, 2, axis=1)])
    made = image(name, UltrasoundImageStorage, "US", [ybr], PhotometricInterpretation="YBR_FULL_422")
    return write(directory, name, with_pixels(made, stream.tobytes()), frames=(full,))


def _palettes(directory: Path) -> Iterator[Object]:
    index8, index16 = grey("u1"), grey("u2", 12)
    ramp = np.arange(256)
    tables8 = [ramp, ramp[::-1], (ramp * 3) % 256]
    long = np.arange(4096)
    tables16 = [long * 16, 65535 - long * 16, (long * 37) % 65536]
    yield _palette(directory, "palette/8-bit entries", index8, tables8, bits=8)
    yield _palette(directory, "palette/16-bit entries", index8, [table * 257 for table in tables8], bits=16)
    yield _palette(directory, "palette/16-bit indices", index16, tables16, bits=16)
    name = "palette/segmented"
    made = _palette_image(name, index8, 256, 16)
    # PS3.3 C.7.9.2: a value, 99 steps, 2 values, the 99 steps again (by their offset in bytes), 55 steps.
    segments = np.array([0, 1, 0, 1, 99, 30000, 0, 2, 40000, 50000, 2, 1, 6, 0, 1, 55, 65535], "<u2")
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"Segmented{colour}PaletteColorLookupTableData", segments.tobytes())
    length = 1 + 99 + 2 + 99 + 55
    _describe_palette(made, length, 16)
    yield write(directory, name, with_pixels(made, native([index8])), frames=(index8,))


def _palette(directory: Path, name: str, index: NDArray[Any], tables: list[NDArray[Any]], bits: int) -> Object:
    made = _palette_image(name, index, len(tables[0]), bits)
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(made, f"{colour}PaletteColorLookupTableData", table.astype("u1" if bits == 8 else "<u2").tobytes())
    return write(directory, name, with_pixels(made, native([index])), frames=(index,))


def _palette_image(name: str, index: NDArray[Any], length: int, bits: int) -> Dataset:
    made = image(name, _GREY, "OT", [index], PhotometricInterpretation="PALETTE COLOR")
    if index.dtype.itemsize == 2:
        made.BitsStored, made.HighBit = 12, 11
    _describe_palette(made, length, bits)
    return made


def _describe_palette(made: Dataset, length: int, bits: int) -> None:
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [length, 0, bits])


def _encodings(directory: Path) -> Iterator[Object]:
    """The same images in every way that a data set may be encoded."""
    bits = (grey("u1")[:64, :64] > 80).astype("u1")
    rgb = np.ascontiguousarray(picture()[:77, :101])
    pictures = {"8-bit": grey("u1")[:77, :101], "16-bit": grey("i2"), "32-bit": grey("u4"), "rgb odd": rgb}
    for word, uid in _ENCODINGS.items():
        order = ">" if uid == ExplicitVRBigEndian else "<"
        for kind, frame in pictures.items():
            name = f"encoding/{word} {kind}"
            made = with_pixels(image(name, _GREY, "OT", [frame]), native([frame], order=order))
            yield write(directory, name, encode(made, uid), frames=(frame,))
        name = f"encoding/{word} 8-bit in words"
        frame = np.ascontiguousarray(grey("u1")[:64, :64])
        value = native([frame])
        swapped = np.frombuffer(value, "<u2").byteswap().tobytes() if order == ">" else value
        made = with_pixels(image(name, _GREY, "OT", [frame]), swapped, vr="OW")
        yield write(directory, name, encode(made, uid), frames=(frame,))
        name = f"encoding/{word} 1-bit"
        made = image(name, _GREY, "OT", [bits], BitsAllocated=1, BitsStored=1, HighBit=0)
        made = with_pixels(made, np.packbits(bits.ravel(), bitorder="little").tobytes())
        yield write(directory, name, encode(made, uid), frames=(bits,))


_ENCODINGS = {
    "implicit little endian": ImplicitVRLittleEndian,
    "explicit big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}


def _grey(directory: Path, name: str, frame: NDArray[Any], **attributes: Any) -> Object:
    made = with_pixels(image(name, _GREY, "OT", [frame], **attributes), native([frame]))
    return write(directory, name, made, frames=(frame,))


def _colour(directory: Path, name: str, frame: NDArray[Any], *, planar: bool, **attributes: Any) -> Object:
    made = image(name, _GREY, "OT", [frame], PlanarConfiguration=int(planar), **attributes)
    return write(directory, name, with_pixels(made, native([frame], planar=planar)), frames=(frame,))
