"""Small images made to order, read by the real reader: one property of the pixel data at a time."""

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from staticwado_daemon.dicom import part10
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.errors import Rejected


def read(path: Path) -> Instance:
    """Read a file as the pipeline does, but give it UIDs first if it has none that are valid."""
    data = path.read_bytes()
    try:
        return read_bytes(data)
    except Rejected as why:
        if "UID" not in why.reason:
            raise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd on purpose
        return read_bytes(_identified(pydicom.dcmread(path, force=True)))


def read_bytes(data: bytes) -> Instance:
    return part10.read(data, part10.Limits(), bulk_uri)


def bulk_uri(sha256: str) -> str:
    return f"bulkdata/{sha256[:3]}/{sha256[3:5]}/{sha256[5:]}"


def image(
    pixels: bytes,
    *,
    transfer_syntax: str = ExplicitVRLittleEndian,
    vr: str = "OW",
    keyword: str = "PixelData",
    **attributes: Any,
) -> Instance:
    """An image with this Pixel Data value; encapsulated if it begins with an item. An attribute of None is absent."""
    return read_bytes(file_of(pixels, transfer_syntax=transfer_syntax, vr=vr, keyword=keyword, **attributes))


def file_of(
    pixels: bytes,
    *,
    transfer_syntax: str = ExplicitVRLittleEndian,
    vr: str = "OW",
    keyword: str = "PixelData",
    **attributes: Any,
) -> bytes:
    """The file behind `image`."""
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = transfer_syntax
    usual = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 2,
        "Columns": 2,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    for name, value in {**usual, **attributes}.items():
        if value is not None:
            setattr(data_set, name, value)
    setattr(data_set, keyword, pixels)
    data_set[keyword].VR = vr
    data_set[keyword].is_undefined_length = pixels.startswith(b"\xfe\xff\x00\xe0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wrong on purpose
        return _identified(data_set)


def _identified(data_set: Dataset) -> bytes:
    data_set.SOPClassUID, data_set.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "1.2", "1.2.3"
    data_set.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data_set.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    target = io.BytesIO()
    pydicom.dcmwrite(target, data_set, enforce_file_format=True)
    return target.getvalue()


def described(samples: NDArray[Any], **attributes: Any) -> dict[str, Any]:
    """The attributes of an image of these samples, colour by pixel."""
    bits = 8 * samples.itemsize
    colour = samples.ndim == 3
    return {
        "Rows": samples.shape[0],
        "Columns": samples.shape[1],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "PlanarConfiguration": 0 if colour else None,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(samples.dtype.kind == "i"),
        "Modality": "OT",
        **attributes,
    }


def image_of(array: NDArray[Any], *, planar: bool = False, **attributes: Any) -> Instance:
    """An image of (rows, columns) or (rows, columns, 3) samples, or of frames of them where Number of Frames is set."""
    frames = array if "NumberOfFrames" in attributes else array[np.newaxis]
    known = described(frames[0]) | ({"PlanarConfiguration": 1} if planar else {})
    if planar:
        frames = np.moveaxis(frames, -1, 1)
    little = frames.astype(frames.dtype.newbyteorder("<"))
    data = little.tobytes()
    return image(data + bytes(len(data) % 2), **{"vr": "OW" if array.itemsize > 1 else "OB", **known, **attributes})


def items(*fragments: bytes, table: tuple[int, ...] = ()) -> bytes:
    """An encapsulated value without its delimiter: the basic offset table and one item for each fragment."""
    values = (struct.pack(f"<{len(table)}I", *table), *fragments)
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value for value in values)
