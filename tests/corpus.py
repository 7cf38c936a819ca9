"""Real DICOM for the tests: what pydicom and pydicom-data carry, and larger studies built from their real pixels.

Everything is deterministic: the same call writes the same bytes, wherever and whenever it runs.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import data_store
import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLosslessRPCL,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
)

PYDICOM = Path(pydicom.__file__).parent / "data"
PYDICOM_DATA = Path(data_store.__file__).parent / "data"

_SEED = 20260101
_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class Study:
    """One study as files on disk, in the order of their series and instance numbers."""

    uid: str
    files: tuple[Path, ...]


def test_files() -> dict[str, Path]:
    """Every data file of pydicom and of pydicom-data, DICOM or not, by a name that is the same on every machine."""
    found: dict[str, Path] = {}
    for prefix, root in (("pydicom", PYDICOM), ("pydicom-data", PYDICOM_DATA)):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix not in {".py", ".pyc"}:
                found[f"{prefix}/{path.relative_to(root).as_posix()}"] = path
    return found


test_files.__test__ = False  # for pytest: a list, in spite of its name


def images() -> dict[str, Path]:
    """Those test files that hold an image, bare data sets without a preamble and images without UIDs included."""
    return {name: path for name, path in test_files().items() if _has(path, "PixelData", "Rows")}


def instances() -> dict[str, Path]:
    """Those test files that hold an object with all its UIDs, images or not."""
    return {name: path for name, path in test_files().items() if _has(path, *_IDENTITY)}


def distinct(directory: Path, files: dict[str, Path]) -> dict[str, Path]:
    """Copies in which every file is an instance of its own.

    Many test files are one object in several transfer syntaxes. In the copies, a SOP Instance UID that is already
    taken is replaced by another one of the same length, in place: every other byte stays as it is. A missing
    UID is added.
    """
    directory.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    copies: dict[str, Path] = {}
    for number, (name, path) in enumerate(files.items(), start=1):
        copy = copies[name] = directory / f"{number:03}.dcm"
        _copy(path, copy, taken, number)
        own = str(_read(copy).SOPInstanceUID)
        if own in taken:
            raise AssertionError(f"{name}: no other UID of the same length could be set")
        taken.add(own)
    return copies


def ct_study(directory: Path, instances: int = 300, series: int = 4, size: int = 512) -> Study:
    """A head CT: signed 16-bit square slices, the real one shifted, mirrored and with ±1 of noise."""
    base = _read(PYDICOM_DATA / "693_UNCR.dcm")
    step = 512 // size
    base.PixelSpacing = [float(value) * step for value in base.PixelSpacing]
    return _stack(directory, base, base.pixel_array[::step, ::step], "ct", (instances, series))


def mr_study(directory: Path, instances: int = 24, series: int = 2) -> Study:
    """A shoulder MR: unsigned 12-bit slices of 256 x 256, every fourth pixel of the real one."""
    base = _read(PYDICOM_DATA / "MR2_UNCR.dcm")
    del base[0xFFFCFFFC]
    base.PixelSpacing = [float(value) * 4 for value in base.PixelSpacing]
    return _stack(directory, base, base.pixel_array[::4, ::4], "mr", (instances, series))


def htj2k_study(directory: Path, instances: int = 8) -> Study:
    """A head CT that arrives as High-Throughput JPEG 2000 (lossless, RPCL)."""
    base = _read(PYDICOM_DATA / "693_UNCR.dcm")
    return _stack(directory, base, base.pixel_array, "htj2k", (instances, 1), htj2k=True)


def us_rgb_multiframe(directory: Path, frames: int = 12) -> Study:
    """An echocardiogram: 480 x 640 RGB frames without compression, decoded from the real JPEG loop."""
    image = _read(PYDICOM_DATA / "color3d_jpeg_baseline.dcm")
    loop = generate_frames(image.PixelData, number_of_frames=image.NumberOfFrames)
    pixels = np.stack([imagecodecs.jpeg8_decode(payload) for payload in islice(loop, frames)])
    image.SOPClassUID = UltrasoundMultiFrameImageStorage
    image.PhotometricInterpretation = "RGB"
    image.PlanarConfiguration = 0
    image.NumberOfFrames = len(pixels)
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = False
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return _single(directory, image, "us-rgb")


def jpeg_study(directory: Path) -> Study:
    """The echocardiogram as it came: 30 frames of baseline JPEG, YBR_FULL_422."""
    return _single(directory, _read(PYDICOM / "test_files/examples_ybr_color.dcm"), "us-jpeg")


def jpeg2000_study(directory: Path) -> Study:
    """An ultrasound still in lossless JPEG 2000, YBR_RCT."""
    return _single(directory, _read(PYDICOM_DATA / "US1_J2KR.dcm"), "us-jpeg2000")


def sc_rgb_multiframe(directory: Path, frames: int = 4) -> Study:
    """A secondary capture of native RGB frames with an odd length each (77 x 101 pixels)."""
    image = _read(PYDICOM_DATA / "SC_rgb_2frame.dcm")
    picture = image.pixel_array[0][np.arange(77) % 100][:, np.arange(101) % 100]
    image.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    image.Rows, image.Columns, image.NumberOfFrames = 77, 101, frames
    data = np.stack([np.roll(picture, 5 * number, axis=0) for number in range(frames)]).tobytes()
    image.PixelData = data + bytes(len(data) % 2)
    return _single(directory, image, "sc-rgb")


def uid(*names: str | int) -> str:
    """A UID of the arc for UUIDs (PS3.5 B.2) that depends on the names alone."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def _stack(
    directory: Path, base: FileDataset, pixels: np.ndarray, name: str, shape: tuple[int, int], *, htj2k: bool = False
) -> Study:
    instances, series = shape
    base.Rows, base.Columns = pixels.shape
    base.SpacingBetweenSlices = base.SliceThickness
    files: list[Path] = []
    for number, (series_number, instance_number) in enumerate(_numbers(instances, series)):
        _identify(base, name, series_number, instance_number)
        origin = -len(pixels) * float(base.PixelSpacing[0]) / 2
        base.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        base.ImagePositionPatient = [origin, origin, float(base.SliceThickness) * instance_number]
        base.SliceLocation = base.ImagePositionPatient[2]
        variation = _variation(pixels, number, mirrored=series_number % 2 == 0)
        if htj2k:
            base.PixelData = encapsulate([imagecodecs.htj2k_encode(variation)])
            base.file_meta.TransferSyntaxUID = HTJ2KLosslessRPCL
        else:
            base.PixelData = variation.tobytes()
        base["PixelData"].VR = "OB" if htj2k else "OW"
        base["PixelData"].is_undefined_length = htj2k
        files.append(_write(directory, base, f"{series_number}-{instance_number:04}"))
    return Study(str(base.StudyInstanceUID), tuple(files))


def _single(directory: Path, image: FileDataset, name: str) -> Study:
    _identify(image, name, 1, 1)
    return Study(str(image.StudyInstanceUID), (_write(directory, image, "1-0001"),))


def _numbers(instances: int, series: int) -> Iterator[tuple[int, int]]:
    for number in range(instances):
        yield number % series + 1, number // series + 1


def _variation(pixels: np.ndarray, number: int, *, mirrored: bool) -> np.ndarray:
    moved = np.roll(pixels[:, ::-1] if mirrored else pixels, number % 32, axis=0)
    noise = np.random.default_rng(_SEED + number).integers(-1, 2, pixels.shape, dtype=np.int16)
    noise[moved <= moved.min() + 1] = 0
    noise[moved >= moved.max() - 1] = 0
    return (moved + noise).astype(pixels.dtype)


def _identify(image: Dataset, name: str, series_number: int, instance_number: int) -> None:
    image.PatientName = f"Test^{name.replace('-', ' ').title()}"
    image.PatientID = f"TEST-{name.upper()}"
    image.AccessionNumber = f"A{int(hashlib.sha256(name.encode()).hexdigest()[:6], 16):08}"
    image.StudyDate = image.SeriesDate = image.ContentDate = "20240229"
    image.StudyTime = image.SeriesTime = image.ContentTime = "101500"
    image.StudyDescription = f"{name.upper()} study"
    image.SeriesDescription = f"{name.upper()} series {series_number}"
    image.SeriesNumber, image.InstanceNumber = series_number, instance_number
    image.StudyInstanceUID = uid(name)
    image.SeriesInstanceUID = uid(name, series_number)
    image.SOPInstanceUID = uid(name, series_number, instance_number)
    if "FrameOfReferenceUID" in image or image.Modality in {"CT", "MR"}:
        image.FrameOfReferenceUID = uid(name, "frame of reference")


def _write(directory: Path, image: FileDataset, name: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.dcm"
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path, enforce_file_format=True, overwrite=True)
    return path


def _read(path: Path) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the test files are odd on purpose
        return pydicom.dcmread(path, force=True)


def _copy(path: Path, copy: Path, taken: set[str], number: int) -> None:
    image = _read(path)
    missing = [keyword for keyword in _IDENTITY if not image.get(keyword)]
    if missing:
        for keyword in missing:
            setattr(image, keyword, uid(path.name, keyword))
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(copy, overwrite=True)
        return
    data, own = path.read_bytes(), str(image.SOPInstanceUID)
    copy.write_bytes(data.replace(own.encode(), _sibling(own, number).encode()) if own in taken else data)


def _has(path: Path, *keywords: str) -> bool:
    image = _read(path)
    return all(image.get(keyword) for keyword in keywords)


def _sibling(taken: str, number: int) -> str:
    """Another UID of the same length: the last digits that may change become the number."""
    digits = iter(f"{number:03}"[::-1])
    characters = list(taken)
    for index in _replaceable(taken):
        digit = next(digits, None)
        if digit is None:
            break
        characters[index] = digit
    return "".join(characters)


def _replaceable(taken: str) -> Iterable[int]:
    """Positions from the end whose digit isn't the first of its component (which may not be zero)."""
    return (i for i in range(len(taken) - 1, 0, -1) if taken[i] != "." and taken[i - 1] != ".")
