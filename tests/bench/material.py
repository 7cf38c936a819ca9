"""What is ingested: CT studies that compress like thin slices do, and small ones of another kind.

The slices of `corpus.ct_study` are a real one of 5 mm, shifted and mirrored. Thin slices of today's scanners are
noisier, and it is noise that codecs labour at: with as much as here HTJ2K leaves 34 % of a slice, JPEG-LS 30 % and
gzip 48 %, as of the public CT that the budgets were set with.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import EnhancedCTImageStorage

from tests import corpus

NOISE = 9.0
"""Standard deviation in Hounsfield units, inside the body."""

_FIELDS = 32
_SEED = 20260102
_PIXEL_DATA = b"\xe0\x7f\x10\x00OW\0\0"


def ct_files(directory: Path, instances: int) -> Sequence[Path]:
    """One study of 512 x 512 x 16 bit slices in four series, in the order in which they are handed over."""
    files = corpus.ct_study(directory, instances=instances, series=4).files
    generator = np.random.default_rng(_SEED)
    fields = [np.rint(generator.normal(0, NOISE, 512 * 512)).astype(np.int16) for _ in range(_FIELDS)]
    for number, path in enumerate(files):
        data = bytearray(path.read_bytes())
        start = data.rindex(_PIXEL_DATA) + len(_PIXEL_DATA) + 4
        pixels = np.frombuffer(data, np.int16, 512 * 512, start)
        noise = np.roll(fields[number % _FIELDS], 977 * number)
        noise[pixels <= pixels.min() + 1] = 0  # outside the field of view
        pixels += noise
        path.write_bytes(data)
    return files


def enhanced_ct(path: Path, slices: Sequence[Path]) -> None:
    """One enhanced CT object whose frames are the pixels of these slices; written one by one, for it may be large."""
    image = pydicom.dcmread(slices[0])
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = corpus.uid("enhanced ct")
    image.SeriesInstanceUID = corpus.uid("enhanced ct", "series")
    image.NumberOfFrames = len(slices)
    length = len(image.PixelData)
    image.PixelData = b""
    image["PixelData"].VR = "OW"
    image.save_as(path)
    with path.open("r+b") as file:
        file.seek(-4, 2)  # the length of the empty value, which the file ends with
        file.write(struct.pack("<I", length * len(slices)))
        for each in slices:
            file.write(each.read_bytes()[-length:])


def small_studies(directory: Path, studies: int, instances: int) -> Sequence[Path]:
    """Many studies of a few slices of 128 x 128 each."""
    files: list[Path] = []
    for number in range(studies):
        files += _with_own_uids(corpus.ct_study(directory / str(number), instances, 1, 128).files, number)
    return files


def _with_own_uids(files: Sequence[Path], number: int) -> Sequence[Path]:
    """Let a study be one of its own: every UID gets other last digits, of the same length."""
    for path in files:
        data = path.read_bytes()
        for uid in (corpus.uid("ct"), corpus.uid("ct", 1), corpus.uid("ct", 1, int(path.stem.partition("-")[2]))):
            data = data.replace(uid.encode(), f"{uid[:-4]}{number:04}".encode())
        path.write_bytes(data)
    return files
