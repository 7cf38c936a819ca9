"""Codings: what frames can be re-coded as, under the names by which people ask for them.

A lossless coding is proven frame by frame. A lossy one is used only when it is asked for by name; then its amount of
loss is fixed here, so that the same source gives the same bytes on every machine. What viewers show correctly was
found by experiment with OHIF; what a coding can't hold, or a viewer wouldn't show, is refused with the reason.
"""

import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import MappingProxyType

import imagecodecs
import numpy as np

from staticwado_daemon.dicom.content_types import ContentType, SourceCoding
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.native import Array
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K,
    HTJ2K_ANY,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_FIRST_ORDER,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE_LOSSLESS,
    transfer_syntax,
)

NEAR = 3
"""JPEG-LS: no sample differs by more than so many grey levels (ISO 14495-1, NEAR)."""

DECIBELS = 50
"""JPEG 2000: signal-to-noise ratio over the frame's own range of values."""

STEP = 0.01
"""HTJ2K: the finest quantisation step as part of the frame's own range of values; near 48 dB."""

QUALITY = 90
"""JPEG: of 100, as libjpeg counts."""

# PS3.5 10.18: the lowest resolution of a HTJ2K RPCL codestream has at most so many rows or columns.
_LOWEST_RESOLUTION = 64
_USUAL_DECOMPOSITIONS = 5

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_PALETTE = "PALETTE COLOR"

_FAMILIES: dict[str, frozenset[str]] = {
    "jp2": frozenset((JPEG_2000_LOSSLESS, JPEG_2000)),
    "jpeg": frozenset((JPEG_BASELINE, JPEG_EXTENDED)),
    "jpeglossless": frozenset((JPEG_LOSSLESS, JPEG_LOSSLESS_FIRST_ORDER)),
    "jls": frozenset((JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS)),
    "rle": frozenset((RLE_LOSSLESS,)),
    "jph": HTJ2K,
}
_ALIASES = {"jll": "jpeglossless", "jhc": "jph"}
_LOSSLESS_SOURCES = (
    frozenset((JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, RLE_LOSSLESS))
    | _FAMILIES["jpeglossless"]
)


@dataclass(frozen=True, slots=True)
class Coding:
    """One way to code frames.

    Attributes:
        transfer_syntax_uid: Of the result.
        encode: Codes one frame, an array as `codecs.decode` returns it, of this Photometric Interpretation.
        rgb: Photometric Interpretation of the result where the samples are RGB.
        ybr_full: The same where they are YBR_FULL; None if no viewer would show it.
        method: Of a lossy coding, Lossy Image Compression Method (0028,2114); empty for a lossless one.
        amount: Of a lossy coding, how much is lost, in words.
        instead: The lossless content type for what a lossy coding can't hold.
        bits: The widths of samples that it can hold.
    """

    transfer_syntax_uid: str
    encode: Callable[[Array, str], bytes]
    rgb: str = "RGB"
    ybr_full: str | None = None
    method: str = ""
    amount: str = ""
    instead: ContentType = "none"
    bits: tuple[int, ...] = (8, 16)

    @property
    def lossless(self) -> bool:
        """Whether a frame comes back as it was."""
        return not self.method

    def label(self, description: PixelDescription) -> str | None:
        """The Photometric Interpretation of the result, None if frames of this kind can't be coded so."""
        kind = description.photometric_interpretation
        if description.samples_per_pixel == 1:
            return kind
        return {"RGB": self.rgb, "YBR_FULL": self.ybr_full}.get(kind)

    def refuses(self, description: PixelDescription) -> str:
        """Why frames of this kind can't be coded so, or wouldn't be shown correctly; empty if nothing is wrong."""
        samples, bits = description.samples_per_pixel, description.bits_allocated
        kind = description.photometric_interpretation
        signed = description.pixel_representation == 1
        if description.floating:
            return "floating-point samples have no codec"
        if samples == 1 and (kind in _GREY or kind == _PALETTE):
            if bits == 8 and signed:
                return "viewers take signed 8-bit samples for unsigned ones"
            if kind == _PALETTE and not self.lossless:
                return "indices of a palette mean nothing after a loss"
            return "" if bits in self.bits else f"Bits Allocated is {bits}"
        if samples == 3 and bits == 8 and not signed and self.label(description):
            return ""
        return f"{samples} x {bits} bits of {kind[:16]!r} are shown correctly only as they are"


def coding(content_type: ContentType) -> Coding | None:
    """Return what a content type stands for, None for native frames."""
    return _CODINGS.get(_NAMES.get(content_type, content_type))


def is_native(content_type: ContentType) -> bool:
    """Whether frames of compressed sources are to be decoded, if they are to be re-coded at all."""
    return content_type in {"lei", EXPLICIT_VR_LITTLE_ENDIAN}


def is_recompressed(transfer_syntax_uid: str, asked: Collection[SourceCoding]) -> bool:
    """Whether sources of this transfer syntax are among those that somebody wants re-coded."""
    if "none" in asked:
        return False
    if "true" in asked:
        return True
    if not transfer_syntax(transfer_syntax_uid).compressed:
        return "uncompressed" in asked
    return any(transfer_syntax_uid in _FAMILIES.get(_ALIASES.get(each, each), ()) for each in asked)


def is_lossless(transfer_syntax_uid: str) -> bool:
    """Whether nothing can have been lost by this transfer syntax."""
    return not transfer_syntax(transfer_syntax_uid).compressed or transfer_syntax_uid in _LOSSLESS_SOURCES


def spread(frame: Array) -> int:
    """How far the values of a frame lie apart; at least 1."""
    return max(1, int(frame.max()) - int(frame.min()))


def _htj2k(frame: Array, _kind: str) -> bytes:
    # 16-bit samples keep their sign: decoders believe the codestream, and negative numbers cost less that way.
    return _high_throughput(frame, None)


def _htj2k_lossy(frame: Array, _kind: str) -> bytes:
    return _high_throughput(frame, STEP * spread(frame) / (1 << 8 * frame.itemsize))


def _high_throughput(frame: Array, step: float | None) -> bytes:
    reductions = (max(frame.shape[:2]) - 1).bit_length() - (_LOWEST_RESOLUTION - 1).bit_length()
    encoded = imagecodecs.htj2k_encode(
        frame,
        level=step,
        reversible=step is None,
        rgb=frame.ndim == 3,  # with the transform: without it OHIF interleaves whole planes
        planar=False,
        resolutions=max(_USUAL_DECOMPOSITIONS, reductions),
        tlm=True,
    )
    return bytes(encoded)


def _jpeg_ls(frame: Array, _kind: str) -> bytes:
    return _near_lossless(frame, 0)


def _jpeg_ls_lossy(frame: Array, _kind: str) -> bytes:
    return _near_lossless(frame, NEAR)


def _near_lossless(frame: Array, near: int) -> bytes:
    # JPEG-LS has no sign: it codes the bits as they are. Noise grows, hence the room.
    unsigned = frame.view(f"u{frame.itemsize}")
    return _without_spiff(bytes(imagecodecs.jpegls_encode(unsigned, level=near, out=2 * frame.nbytes + 1024)))


def _without_spiff(codestream: bytes) -> bytes:
    """Drop the SPIFF header, which DICOM doesn't expect inside a frame and strict readers refuse."""
    position = 2
    while codestream[position : position + 2] == b"\xff\xe8":
        (length,) = struct.unpack_from(">H", codestream, position + 2)
        position += 2 + length
    return b"\xff\xd8" + codestream[position:]


def _jpeg_2000(frame: Array, kind: str) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, mct=kind == "RGB"))


def _jpeg_2000_lossy(frame: Array, kind: str) -> bytes:
    # The encoder counts from the full range of the cells, of which a CT slice uses a small part.
    decibels = DECIBELS + round(20 * float(np.log10((1 << 8 * frame.itemsize) / spread(frame))))
    encoded = imagecodecs.jpeg2k_encode(frame, decibels, codecformat="j2k", reversible=False, mct=kind == "RGB")
    return bytes(encoded)


def _jpeg(frame: Array, kind: str) -> bytes:
    if frame.ndim == 2:
        return bytes(imagecodecs.jpeg8_encode(frame, QUALITY))
    space = "RGB" if kind == "RGB" else "YCBCR"
    return bytes(imagecodecs.jpeg8_encode(frame, QUALITY, colorspace=space, outcolorspace="YCBCR", subsampling="422"))


_CODINGS = MappingProxyType(
    {
        each.transfer_syntax_uid: each
        for each in (
            # Viewers read the label and get the transform undone by their decoder.
            Coding(HTJ2K_LOSSLESS, _htj2k, rgb="YBR_RCT"),
            Coding(HTJ2K_LOSSLESS_RPCL, _htj2k, rgb="YBR_RCT"),
            Coding(
                HTJ2K_ANY,
                _htj2k_lossy,
                rgb="YBR_ICT",
                method="ISO_15444_15",
                amount=f"HTJ2K, step {STEP:g} of the range",
                instead="htj2k",
            ),
            Coding(JPEG_LS_LOSSLESS, _jpeg_ls, ybr_full="YBR_FULL"),
            Coding(
                JPEG_LS_NEAR_LOSSLESS,
                _jpeg_ls_lossy,
                ybr_full="YBR_FULL",
                method="ISO_14495_1",
                amount=f"JPEG-LS, NEAR {NEAR}",
                instead="jls",
            ),
            Coding(JPEG_2000_LOSSLESS, _jpeg_2000, rgb="YBR_RCT", ybr_full="YBR_FULL"),
            Coding(
                JPEG_2000,
                _jpeg_2000_lossy,
                rgb="YBR_ICT",
                ybr_full="YBR_FULL",
                method="ISO_15444_1",
                amount=f"JPEG 2000, {DECIBELS} dB",
                instead="jp2",
            ),
            Coding(
                JPEG_BASELINE,
                _jpeg,
                rgb="YBR_FULL_422",
                ybr_full="YBR_FULL_422",
                method="ISO_10918_1",
                amount=f"JPEG, quality {QUALITY}",
                instead="htj2k",
                bits=(8,),
            ),
        )
    }
)
_NAMES: dict[str, str] = {
    "htj2k": HTJ2K_LOSSLESS_RPCL,
    "jhc": HTJ2K_LOSSLESS_RPCL,
    "jhc-lossy": HTJ2K_ANY,
    "jls": JPEG_LS_LOSSLESS,
    "jls-lossy": JPEG_LS_NEAR_LOSSLESS,
    "jp2": JPEG_2000_LOSSLESS,
    "jp2-lossy": JPEG_2000,
    "jpeg": JPEG_BASELINE,
}
