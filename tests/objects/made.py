"""How objects for the tests are made: one data set in, one file with what is known about it out.

Everything is deterministic: identities depend on names alone, pixels are those of real images of pydicom-data.
"""

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tests import corpus

Frames = tuple[NDArray[Any], ...]

DATE, TIME = "20240229", "101500"
IMPLEMENTATION_CLASS_UID = "2.25.1"
"""Not pydicom's: the files of one version of pydicom would differ from those of the next."""


@dataclass(frozen=True, slots=True)
class Object:
    """One file, and what should become of it.

    Attributes:
        name: family and variant, the same on every machine.
        path: the file.
        frames: each frame's samples as the data set has them, colour not converted: (rows, columns) or
            (rows, columns, samples). Empty where there are none, or where they aren't known.
        payloads: the bytes of each frame of encapsulated pixel data.
        outcome: "published", "ignored" or "rejected".
        reason: a part of the receipt's reason.
    """

    name: str
    path: Path
    frames: Frames = ()
    payloads: tuple[bytes, ...] = ()
    outcome: str = "published"
    reason: str = ""


def data_set(name: str, sop_class: str, modality: str) -> Dataset:
    """The modules of patient, study, series and SOP that every object has; a study of its own."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = sop_class, corpus.uid("objects", name, "instance")
    made.StudyDate = made.SeriesDate = made.ContentDate = made.AcquisitionDate = DATE
    made.StudyTime = made.SeriesTime = made.ContentTime = made.AcquisitionTime = TIME
    made.AccessionNumber, made.Modality, made.Manufacturer = "A0000001", modality, "Tests"
    made.ReferringPhysicianName = ""
    made.StudyDescription, made.SeriesDescription = name.partition("/")[0], name
    made.PatientName = f"Object^{name.replace('/', ' ').title()}"[:64]
    made.PatientID, made.PatientBirthDate, made.PatientSex = "OBJECT-1", "19700101", "O"
    made.StudyInstanceUID = corpus.uid("objects", name, "study")
    made.SeriesInstanceUID = corpus.uid("objects", name, "series")
    made.StudyID, made.SeriesNumber, made.InstanceNumber = "1", 1, 1
    return made


def image(name: str, sop_class: str, modality: str, frames: Sequence[NDArray[Any]], **attributes: Any) -> Dataset:
    """A data set with the Image Pixel module that describes `frames`, but without Pixel Data."""
    made = data_set(name, sop_class, modality)
    first = frames[0]
    colour = first.ndim == 3
    bits = 8 * first.dtype.itemsize
    described = {
        "SamplesPerPixel": first.shape[2] if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "PlanarConfiguration": 0 if colour else None,
        "NumberOfFrames": len(frames) if len(frames) > 1 else None,
        "Rows": first.shape[0],
        "Columns": first.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(first.dtype.kind == "i"),
        "ImageType": ["DERIVED", "SECONDARY"],
        "ConversionType": "WSD",
        "PatientOrientation": "",
    }
    for keyword, value in {**described, **attributes}.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def with_pixels(made: Dataset, value: bytes, vr: str | None = None) -> Dataset:
    """The data set with this value as native Pixel Data, padded to an even length."""
    made.PixelData = value + bytes(len(value) % 2)
    made["PixelData"].VR = vr or ("OW" if made.BitsAllocated > 8 else "OB")
    return made


def native(frames: Sequence[NDArray[Any]], *, planar: bool = False, order: str = "<") -> bytes:
    """The value of native Pixel Data that holds these samples."""
    arranged = (np.moveaxis(frame, -1, 0) if planar else frame for frame in frames)
    return b"".join(frame.astype(frame.dtype.newbyteorder(order)).tobytes() for frame in arranged)


def encode(made: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The Part 10 file; values of pixel data are written as they are, whatever the byte order."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    target = DicomBytesIO()
    write_file_meta_info(target, meta)
    body = encode_data_set(made, transfer_syntax)
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
    return bytes(128) + b"DICM" + target.getvalue() + body


def encode_data_set(made: Dataset, transfer_syntax: str) -> bytes:
    """The data set alone."""
    target = DicomBytesIO()
    target.is_implicit_VR = transfer_syntax == ImplicitVRLittleEndian
    target.is_little_endian = transfer_syntax != ExplicitVRBigEndian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are odd on purpose
        write_dataset(target, made)
    data: bytes = target.getvalue()
    return data


def write(directory: Path, name: str, data: bytes | Dataset, **known: Any) -> Object:
    """Write a file, or a data set as Explicit VR Little Endian, and tell what is known about it."""
    path = directory / f"{name.replace('/', '-').replace(' ', '-')}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(data) if isinstance(data, Dataset) else data)
    return Object(name, path, **known)


@cache
def slice_of_ct(step: int = 4) -> NDArray[np.int16]:
    """A real CT, signed, every `step`th pixel of 512 x 512."""
    pixels: NDArray[np.int16] = corpus._read(corpus.PYDICOM_DATA / "693_UNCR.dcm").pixel_array[::step, ::step]
    return np.ascontiguousarray(pixels)


@cache
def picture(step: int = 5) -> NDArray[np.uint8]:
    """A real colour picture, RGB, every `step`th pixel of 480 x 640: an echocardiogram."""
    source = corpus._read(corpus.PYDICOM_DATA / "color3d_jpeg_baseline.dcm")
    payload = next(generate_frames(source.PixelData, number_of_frames=source.NumberOfFrames))
    pixels: NDArray[np.uint8] = imagecodecs.jpeg8_decode(payload)[::step, ::step]
    return np.ascontiguousarray(pixels)


def grey(dtype: str, bits: int | None = None) -> NDArray[Any]:
    """The CT as samples of another type, scaled so that their range is used: `bits` of it, signed around 0."""
    kind = np.dtype(dtype)
    stored = bits or 8 * kind.itemsize
    ct = slice_of_ct().astype(np.float64)
    scaled = (ct - ct.min()) / (ct.max() - ct.min()) * (2.0 ** min(stored, 48) - 1)
    if stored > 48:  # more than a float tells apart
        scaled = np.floor(scaled).astype(np.uint64) << np.uint64(stored - 48)
    if kind.kind == "i":
        return np.asarray(np.floor(scaled) - 2.0 ** (stored - 1), np.float64).astype(kind)
    return np.floor(scaled).astype(kind) if scaled.dtype.kind == "f" else scaled.astype(kind)


def moving(frame: NDArray[Any], count: int) -> Frames:
    """The frame, and the frame shifted down again and again."""
    return tuple(np.ascontiguousarray(np.roll(frame, 7 * number, axis=0)) for number in range(count))


def item(**attributes: Any) -> Dataset:
    """A sequence item."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded entry (PS3.3 section 8)."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
