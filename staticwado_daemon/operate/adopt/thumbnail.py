"""An instance's thumbnail: the one that is there where it is one, otherwise a new one made of the middle frame."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from staticwado_daemon.dicom import codecs, render
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.codestreams import jpeg_header
from staticwado_daemon.dicom.data_set import BulkValue
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.adopt.frames import Frame

MAXIMUM_SIDE: Final = 512
MAXIMUM_BYTES: Final = 256 * 1024
"""Older versions made thumbnails as large as the image: these are made anew."""


def is_sane(picture: bytes) -> bool:
    """Whether a file is a JPEG of a thumbnail's size."""
    if len(picture) > MAXIMUM_BYTES or not picture.startswith(b"\xff\xd8\xff"):
        return False
    try:
        header = jpeg_header(picture)
    except Corrupt:
        return False
    return 0 < max(header.rows, header.columns) <= MAXIMUM_SIDE


def make(
    frame: Frame,
    attributes: Attributes,
    description: PixelDescription,
    bulk_values: Iterable[BulkValue],
    size: int,
) -> bytes | None:
    """Make a thumbnail of a frame; None if it can't be decoded.

    Args:
        frame: the one to show.
        attributes: of the instance.
        description: of its pixel data.
        bulk_values: of the instance: palettes may be there.
        size: pixels of the longest side, at most.
    """
    cell = description.samples_per_pixel * description.bits_allocated // 8
    if description.rows * description.columns * cell > render.MAXIMUM_COMPRESSED_BYTES:
        return None
    try:
        meaning = codecs.photometric_interpretation(frame.payload, frame.transfer_syntax, description)
        pixels = codecs.decode(frame.payload, frame.transfer_syntax, description)
        shown = replace(description, photometric_interpretation=meaning)
        return render.thumbnail(
            pixels, attributes, shown, size=size, index=frame.number - 1, bulk_values=tuple(bulk_values)
        )
    except Corrupt:
        return None
