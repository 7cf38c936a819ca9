"""Forms: frames that viewers show wrong as they came are published in the nearest form that they show right.

What is wrong in OHIF, and what is right, was found by experiment; `nearest` is the result. Where the form keeps every
sample of a native source, the source comes back from it (`source_bytes`); otherwise it has to be kept whole.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.codecs import decode, photometric_interpretation
from staticwado_daemon.dicom.codestreams import jpeg2000_header, jpeg_ls_by_plane
from staticwado_daemon.dicom.colors import from_ybr_partial
from staticwado_daemon.dicom.derivation import derived
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.native import Array, Frames
from staticwado_daemon.dicom.transfer_syntaxes import RLE_LOSSLESS, transfer_syntax
from staticwado_daemon.errors import Corrupt

_HTJ2K, _JPEG_LS = "image/jphc", "image/jls"
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_SOP_CLASS_UID = "00080016"
_SMALLEST, _LARGEST = "00280106", "00280107"
_PLANAR_CONFIGURATION = "00280006"
_SPACINGS = ("00181164", "00280030")  # Imager Pixel Spacing, Pixel Spacing
_DESCRIBED: Mapping[str, str] = {
    "00280004": "photometric_interpretation",
    "00280006": "planar_configuration",
    "00280100": "bits_allocated",
    "00280101": "bits_stored",
    "00280102": "high_bit",
}


@dataclass(frozen=True, slots=True)
class Form:
    """How the frames of an instance are published otherwise than they came.

    Attributes:
        description: Of the published frames: native, colour by pixel.
        publish: Makes a published frame of a decoded one of the source.
        undo: The inverse; None where samples were changed for good.
        changes: Attributes that don't describe the samples but have to say what was done to them.
    """

    description: PixelDescription
    publish: Callable[[Array], Array]
    undo: Callable[[Array], Array] | None
    changes: Mapping[str, bytes | None] = field(default_factory=dict)

    def attributes(self, source: Attributes) -> dict[str, bytes | None]:
        """Return the attributes that the published metadata must show differently from the source."""
        changes = dict(self.changes)
        for tag, name in _DESCRIBED.items():
            value = getattr(self.description, name)
            if value is None:
                continue
            attribute = {"vr": "CS" if tag == "00280004" else "US", "Value": [value]}
            if source.value(tag) != attribute:
                changes[tag] = orjson.dumps(attribute)
        return changes


def nearest(
    description: PixelDescription, transfer_syntax_uid: str, attributes: Attributes, frames: Frames
) -> Form | None:
    """Return the form in which the frames of an instance are published, None for that in which they came.

    Compressed frames that would change their form are decoded once to see that they can be.

    Args:
        description: Of the source, see `frames.describe`.
        transfer_syntax_uid: Of the frames.
        attributes: Of the source.
        frames: As they came.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if description.floating or syntax.is_video:
        return None
    try:
        if not syntax.compressed:
            return _of_native(description, attributes)
        form = _of_compressed(description, syntax.uid, attributes, frames)
        if form is not None:
            for payload in frames:
                decode(payload, syntax.uid, description)
    except Corrupt:
        return None
    return form


def source_bytes(array: Array, description: PixelDescription) -> bytes:
    """Return a source's native bytes of a frame that was published in another form: the inverse of `nearest`.

    Args:
        array: The published frame, decoded.
        description: Of the native source.

    Raises:
        ValueError: if frames of that description are published as they come, or changed for good.
    """
    form = invertible(description)
    if form is None or form.undo is None:
        raise ValueError("the frames aren't published in another form")
    source = form.undo(array)
    return np.packbits(source, bitorder="little").tobytes() if description.bits_allocated == 1 else source.tobytes()


def invertible(description: PixelDescription) -> Form | None:
    """Return the form of native frames from which their bytes come back; None if there is none, or no need of one.

    Segmentations are published as they come all the same: their frames have the length of native ones.
    """
    if description.samples_per_pixel == 1:
        if description.bits_allocated == 1:
            return _one_byte_a_bit(description)
        return _signed_words(description) if _has_signed_bytes(description) else None
    return _upsampled(description) if _shares_colours(description) else None


def _of_native(description: PixelDescription, attributes: Attributes) -> Form | None:
    if description.bits_allocated == 1 and attributes.text(_SOP_CLASS_UID) == _SEGMENTATION:
        return None  # viewers unpack the bits of these, and of nothing else
    if form := invertible(description):
        return form
    kind = description.photometric_interpretation
    if kind == "YBR_PARTIAL_422" and description.bits_allocated == 8 and description.is_subsampled:
        return _from_partial_range(description, attributes)
    if _has_deep_colours(description):
        return _eight_bits(description, "YBR_FULL" if description.is_subsampled else kind, attributes)
    return None


def _of_compressed(
    description: PixelDescription, transfer_syntax_uid: str, attributes: Attributes, frames: Frames
) -> Form | None:
    if description.samples_per_pixel == 1:
        if _has_signed_bytes(description):
            return _signed_words(description)
        # Viewers decode RLE of 8 and 16 bits.
        is_deep_rle = transfer_syntax_uid == RLE_LOSSLESS and description.bits_allocated == 32
        return Form(description, _same, None) if is_deep_rle else None
    kind = photometric_interpretation(frames[0], transfer_syntax_uid, description)
    if _has_deep_colours(description):
        return _eight_bits(description, "YBR_FULL" if kind == "YBR_FULL_422" else kind, attributes)
    if transfer_syntax(transfer_syntax_uid).media_type == _HTJ2K and description.samples_per_pixel == 3:
        # Viewers mix up the planes of HTJ2K without a colour transform.
        published = _by_pixel(description, photometric_interpretation=kind)
        return None if jpeg2000_header(frames[0]).transformed else Form(published, _same, None)
    return None


def _shares_colours(description: PixelDescription) -> bool:
    # In rows of odd length it isn't said which pixels make a pair.
    is_full = description.photometric_interpretation == "YBR_FULL_422"
    return is_full and description.is_subsampled and description.bits_allocated == 8 and description.columns % 2 == 0


def _has_signed_bytes(description: PixelDescription) -> bool:
    is_grey = description.photometric_interpretation in {"MONOCHROME1", "MONOCHROME2"}
    return is_grey and description.bits_allocated == 8 and description.pixel_representation == 1


def _has_deep_colours(description: PixelDescription) -> bool:
    is_color = description.samples_per_pixel == 3 and description.pixel_representation == 0
    return is_color and description.bits_allocated in {16, 32}


def _by_pixel(description: PixelDescription, **changes: Any) -> PixelDescription:
    return replace(description, planar_configuration=0, **changes)


def _same(frame: Array) -> Array:
    return frame


def _upsampled(description: PixelDescription) -> Form:
    """Each pixel gets the pair of colour differences that it shares with its neighbour: viewers can't do that."""

    def undo(frame: Array) -> Array:
        pairs: Array = frame.reshape(-1, 6)[:, (0, 3, 1, 2)]  # of Y1 Cb Cr Y2 Cb Cr
        return pairs

    published = _by_pixel(description, photometric_interpretation="YBR_FULL")
    return Form(published, _same, undo)


def _one_byte_a_bit(description: PixelDescription) -> Form:
    """Viewers take packed bits for bytes."""
    published = replace(description, bits_allocated=8, bits_stored=1, high_bit=0)
    return Form(published, _same, lambda frame: frame.reshape(-1))


def _signed_words(description: PixelDescription) -> Form:
    """Viewers take signed bytes for unsigned ones."""
    published = replace(description, bits_allocated=16)
    return Form(published, lambda frame: frame.astype("<i2"), lambda frame: frame.astype("i1"))


def _eight_bits(description: PixelDescription, kind: str, attributes: Attributes) -> Form:
    """Viewers show the lowest 8 bits of a colour, and all above as full."""
    stored = description.bits_stored
    lowest_bit, highest = description.high_bit + 1 - stored, (1 << stored) - 1

    def publish(frame: Array) -> Array:
        values = frame.astype(np.uint64) >> lowest_bit & highest
        return ((values * 255 + highest // 2) // highest).astype(np.uint8)

    eight = {"bits_allocated": 8, "bits_stored": 8, "high_bit": 7, "photometric_interpretation": kind}
    derived = _derived(attributes, f"Colours reduced from {stored} to 8 bits")
    return Form(_by_pixel(description, **eight), publish, None, derived)


def _from_partial_range(description: PixelDescription, attributes: Attributes) -> Form:
    """Viewers don't know YBR_PARTIAL_422."""

    def publish(frame: Array) -> Array:
        return np.clip(np.rint(from_ybr_partial(frame.astype(np.float32))), 0, 255).astype(np.uint8)

    return Form(
        _by_pixel(description, photometric_interpretation="RGB"),
        publish,
        None,
        _derived(attributes, "Colours converted from YBR_PARTIAL_422 to RGB"),
    )


def _derived(attributes: Attributes, description: str) -> dict[str, bytes | None]:
    """Say that the samples are derived ones.

    The image means what it meant, so its SOP Instance UID stays; no compression has lost anything.
    """
    return derived(attributes, description) | {tag: None for tag in (_SMALLEST, _LARGEST) if tag in attributes}


def corrections(
    attributes: Attributes, description: PixelDescription, transfer_syntax_uid: str, frames: Frames
) -> dict[str, bytes | None]:
    """Return the attributes without which viewers would show frames wrong that they show right otherwise.

    Args:
        attributes: Of the source.
        description: Of the source, see `frames.describe`.
        transfer_syntax_uid: Of the frames.
        frames: As they came.
    """
    # A distance of zero between pixels leaves viewers blank.
    changes: dict[str, bytes | None] = {tag: None for tag in _SPACINGS if 0 in attributes.numbers(tag)}
    if description.samples_per_pixel > 1:
        planes = _planes(description.planar_configuration, transfer_syntax_uid, frames)
        if planes != attributes.integer(_PLANAR_CONFIGURATION):
            changes[_PLANAR_CONFIGURATION] = orjson.dumps({"vr": "US", "Value": [planes]})
    return changes


def _planes(stated: int | None, transfer_syntax_uid: str, frames: Frames) -> int:
    """The planar configuration of what a viewer's decoder makes of the frames."""
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.media_type == _JPEG_LS:
        with suppress(Corrupt):
            return int(jpeg_ls_by_plane(frames[0]))
    if syntax.compressed and not syntax.is_video and transfer_syntax_uid != RLE_LOSSLESS:
        return 0
    return 1 if stated == 1 else 0
