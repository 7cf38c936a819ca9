"""What both converters of Static DICOMweb have in common: framing, gzip, frames of a file, JSON on the disk."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG4HP41,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    VideoEndoscopicImageStorage,
)

from tests import corpus

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
TYPES = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jll",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
BOUNDARY = "BOUNDARY_29e3e0c5-4a6f-4a87-b2f7-c535b47ed18c"
VIDEO = {f"1.2.840.10008.1.2.4.{last}": "mp4" for last in (102, 103, 104, 105, 106)}
OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a file as a converter would store them."""

    payloads: Sequence[bytes]
    syntax: str

    @property
    def is_native(self) -> bool:
        return self.syntax in NATIVE


def odd_objects(directory: Path) -> list[Path]:
    """What no test data have: a video, of which it is enough that it begins like one, and a PDF file."""
    directory.mkdir(parents=True, exist_ok=True)
    found = []
    for name in ("video", "document"):
        made = pydicom.dcmread(corpus.PYDICOM / "test_files/CT_small.dcm")
        for tag in [element.tag for element in made if element.tag.group >= 0x0028 or element.tag.is_private]:
            del made[tag]
        made.StudyInstanceUID, made.SeriesInstanceUID = corpus.uid(name), corpus.uid(name, 1)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = corpus.uid(name, 1, 1)
        if name == "video":
            made.SOPClassUID, made.Modality = VideoEndoscopicImageStorage, "ES"
            made.Rows, made.Columns, made.NumberOfFrames, made.SamplesPerPixel = 480, 640, 25, 3
            made.BitsAllocated = made.BitsStored = 8
            made.HighBit, made.PixelRepresentation, made.PhotometricInterpretation = 7, 0, "YBR_PARTIAL_420"
            made.PixelData = encapsulate([b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8])
            made["PixelData"].VR, made.file_meta.TransferSyntaxUID = "OB", MPEG4HP41
        else:
            made.SOPClassUID, made.Modality = EncapsulatedPDFStorage, "DOC"
            made.MIMETypeOfEncapsulatedDocument = "application/pdf"
            made.EncapsulatedDocument = b"%PDF-1.4\n" + b"% nothing on it\n" * 100 + b"%%EOF\n\0"
            made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        found.append(directory / f"{name}.dcm")
        made.save_as(found[-1], enforce_file_format=True)
    return found


def frames_of(image: FileDataset, *, transcode: bool = False) -> Frames:
    """Cut out the frames; with `transcode` grey ones become JPEG-LS, as they do there by default."""
    syntax = str(image.file_meta.TransferSyntaxUID)
    count = 1 if syntax in VIDEO else int(image.get("NumberOfFrames", 1) or 1)
    if syntax not in NATIVE:
        return Frames(tuple(generate_frames(image.PixelData, number_of_frames=count)), syntax)
    bits = image.Rows * image.Columns * image.SamplesPerPixel * image.BitsAllocated
    if bits % 8:
        unpacked = np.unpackbits(np.frombuffer(image.PixelData, np.uint8), bitorder="little")
        cut = [unpacked[bits * each : bits * (each + 1)] for each in range(count)]
        return Frames([np.packbits(each, bitorder="little").tobytes() for each in cut], syntax)
    payloads = [image.PixelData[bits // 8 * each : bits // 8 * (each + 1)] for each in range(count)]
    if transcode and image.SamplesPerPixel == 1 and image.BitsAllocated in (8, 16):
        kind = np.dtype(f"u{image.BitsAllocated // 8}")
        arrays = (np.frombuffer(each, kind).reshape(image.Rows, image.Columns) for each in payloads)
        return Frames([imagecodecs.jpegls_encode(each) for each in arrays], str(JPEGLSLossless))
    return Frames(payloads, syntax)


def read(path: Path) -> FileDataset:
    return pydicom.dcmread(path, force=True)


def part(content_type: str, payload: bytes, location: str | None = None, boundary: str = BOUNDARY) -> bytes:
    """One multipart file; with a `location` the newer converter's framing, which ends with a line break."""
    lines = [f"--{boundary}", f"Content-Type: {content_type}"]
    if location:
        lines.append(f"Content-Location: {location}")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + payload + f"\r\n--{boundary}--".encode() + (b"\r\n" if location else b"")


def part_type(syntax: str) -> str:
    return f"{TYPES.get(syntax, OCTETS)};transfer-syntax={syntax}"


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    separators = None if indent else (",", ":")
    write(path, json.dumps(value, indent=indent, separators=separators, ensure_ascii=False).encode())


def number(value: Any) -> str:
    """A number as ECMAScript writes it, as far as the tests need it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else repr(value)


def canonical(value: Any) -> str:
    """What is hashed of an object (node-object-hash): sorted, unquoted, array order included."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted(map(canonical, value))) + "]"
    return value if isinstance(value, str) else number(value)


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def thumbnail(size: int = 256) -> bytes:
    ramp = np.linspace(0, 255, size, dtype=np.uint8)
    return bytes(imagecodecs.jpeg8_encode(np.repeat(np.tile(ramp, (size, 1))[..., None], 3, 2), level=60))
