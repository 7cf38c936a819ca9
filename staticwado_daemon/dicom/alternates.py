"""Alternate renditions: the frames once more, in another coding or smaller, for clients that ask for them by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from staticwado_daemon.dicom import codings, proof
from staticwado_daemon.dicom.codings import Coding
from staticwado_daemon.dicom.content_types import Alternate, ContentType
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.dicom.native import Array, Frames, Payload
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transcode import decoded_description, source_frames
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.errors import Corrupt

_CODINGS: MappingProxyType[Alternate, ContentType] = MappingProxyType(
    {"jhc": "jhc-lossy", "jls": "jls-lossy", "jhcLossless": "htj2k", "jlsLossless": "jls"}
)

SMALLER = 4
"""A thumbnail rendition has so many times fewer rows and columns ..."""

WORTH_ROWS = 512
"""... of frames that have at least this many rows."""


@dataclass(frozen=True, slots=True)
class Renditions:
    """One rendition of each frame.

    Attributes:
        transfer_syntax_uid: Of every frame: what its part header has to say.
        frames: One payload per frame, made when it is asked for; raises NotLossless at one that can't be.
    """

    transfer_syntax_uid: str
    frames: Frames


def renditions(
    instance: Instance,
    description: PixelDescription,
    segments: Sequence[FrameSegments],
    alternate: Alternate,
    *,
    thumbnails: bool,
) -> Renditions | str:
    """Return alternate renditions of the frames of `instance`, or why there are none.

    Args:
        instance: As read.
        description: Of `instance`, see `frames.describe`.
        segments: Of `instance`, see `frames.frame_segments`.
        alternate: Their coding.
        thumbnails: Make large frames smaller.
    """
    coding = codings.coding(_CODINGS[alternate])
    sources = source_frames(instance, description, segments)
    compressed = transfer_syntax(instance.transfer_syntax_uid).compressed
    syntax = instance.transfer_syntax_uid if compressed else EXPLICIT_VR_LITTLE_ENDIAN
    try:
        shown = decoded_description(sources[0], syntax, description) if compressed else description
    except Corrupt as why:
        return str(why)
    if coding is None or (reason := coding.refuses(shown)):
        return reason if coding else "there is no such coding"
    smaller = thumbnails and shown.rows >= WORTH_ROWS

    def make(index: int) -> Payload:
        return _rendition(proof.decoded(sources.make(index), syntax, shown), shown, coding, smaller=smaller)

    return Renditions(coding.transfer_syntax_uid, Frames(len(sources), make))


def _rendition(frame: Array, description: PixelDescription, coding: Coding, *, smaller: bool) -> bytes:
    if not smaller:
        return proof.encoded(frame, description, coding)
    # Every so manieth pixel: means of palette indices are nonsense, and of padding values not much better.
    frame = np.ascontiguousarray(frame[::SMALLER, ::SMALLER])
    rows, columns = frame.shape[:2]
    return proof.encoded(frame, replace(description, rows=rows, columns=columns), coding)
