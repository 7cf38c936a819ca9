"""Encoding one frame, and proving that it comes back: nothing is stored that wasn't decoded and compared."""

import imagecodecs
import numpy as np

from staticwado_daemon.dicom import codings
from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.codings import Coding
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.native import Array, Payload
from staticwado_daemon.dicom.transfer_syntaxes import JPEG_BASELINE
from staticwado_daemon.errors import Corrupt, StaticwadoError

# A coding that loses more than this part of a frame's range, as a root mean square, has gone wrong.
_MOST_LOST = 0.1


class NotLossless(StaticwadoError):
    """A frame doesn't come back from its coding: the frames of its instance are to be stored as they came instead.

    `reason` is what `transcode.StoredFrames.kept_because` should say then.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decoded(payload: Payload, transfer_syntax_uid: str, description: PixelDescription) -> Array:
    """Decode a frame that is to be encoded anew; see `codecs.decode`.

    Raises:
        NotLossless: if it can't be decoded.
    """
    try:
        return decode(payload, transfer_syntax_uid, description)
    except Corrupt as why:
        raise NotLossless(str(why)) from why


def encoded(source: Array, description: PixelDescription, coding: Coding) -> bytes:
    """Encode a frame and return it once it decodes to its source, or if it has to lose something, nearly to it.

    Args:
        source: As `codecs.decode` returns it.
        description: Of `source`.
        coding: One that doesn't refuse `description`.

    Raises:
        NotLossless: if it doesn't.
    """
    try:
        _check_unused_bits(source, description)
        payload = coding.encode(source, description.photometric_interpretation)
        result = _decoded_again(payload, description, coding)
    except Corrupt as why:
        raise NotLossless(str(why)) from why
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise NotLossless("the frame can't be encoded") from error
    if coding.lossless and not np.array_equal(result, source):
        raise NotLossless("the encoded frame decodes to something else")
    if not coding.lossless and _lost(result, source) > max(codings.NEAR, _MOST_LOST * codings.spread(source)):
        raise NotLossless("the encoded frame loses too much")
    return payload


def _decoded_again(payload: bytes, description: PixelDescription, coding: Coding) -> Array:
    if coding.transfer_syntax_uid == JPEG_BASELINE and description.photometric_interpretation == "RGB":
        rgb: Array = imagecodecs.jpeg8_decode(payload)  # `decode` leaves the components as they are stored
        return rgb
    return decode(payload, coding.transfer_syntax_uid, description)


def _lost(result: Array, source: Array) -> float:
    """The root of the mean square of what differs."""
    difference = result.astype(np.float32) - source
    return float(np.sqrt(np.mean(np.square(difference))))


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
