"""Whole slides (PS3.3 A.32.8): a pyramid of tiles with its label and overview, in two compressions."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage

from tests import corpus
from tests.objects.compressed import encapsulated, jpeg2000, jpeg_colour, jpeg_components
from tests.objects.made import DATE, TIME, Object, code, encode, image, item, picture, write

TILE = 128
_WIDTH_MM = 12.8
_LEVELS = {"volume 1": 1, "volume 2": 2, "volume 3": 4}

Array = NDArray[Any]


def objects(directory: Path) -> Iterator[Object]:
    baseline = (JPEGBaseline8Bit, "YBR_FULL_422", jpeg_colour, jpeg_components)
    lossless = (JPEG2000Lossless, "YBR_RCT", jpeg2000, imagecodecs.jpeg2k_decode)
    for slide, (uid, space, encoder, decoder) in {"jpeg": baseline, "jpeg 2000": lossless}.items():
        for number, (level, step) in enumerate(_LEVELS.items(), start=1):
            matrix = picture(step)
            tiles = _tiles(matrix)
            made = _slide(slide, level, number, matrix.shape, tiles)
            made.PhotometricInterpretation = space
            yield _write(directory, made, uid, [encoder(tile) for tile in tiles], decoder)
        for number, flavour in enumerate(("label", "overview"), start=10):
            matrix = np.ascontiguousarray(picture(4)[: TILE // 2, :TILE])
            made = _slide(slide, flavour, number, matrix.shape, [matrix])
            made.PhotometricInterpretation = space
            yield _write(directory, made, uid, [encoder(matrix)], decoder)


def _write(
    directory: Path, made: Dataset, uid: str, payloads: list[bytes], decoder: Callable[[bytes], Array]
) -> Object:
    encapsulated(made, payloads, table="extended")
    frames = tuple(decoder(payload) for payload in payloads)
    padded = tuple(payload + bytes(len(payload) % 2) for payload in payloads)
    return write(directory, str(made.SeriesDescription), encode(made, uid), frames=frames, payloads=padded)


def _tiles(matrix: Array) -> list[Array]:
    """The matrix row by row in tiles; what they have beyond its edges is white."""
    rows, columns = (-(-length // TILE) for length in matrix.shape[:2])
    whole = np.full((rows * TILE, columns * TILE, 3), 255, "u1")
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    tiles = whole.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    return [np.ascontiguousarray(tile) for tile in tiles]


def _slide(slide: str, flavour: str, number: int, shape: tuple[int, ...], tiles: list[Array]) -> Dataset:
    name = f"slide/{slide} {flavour}"
    made = image(name, VLWholeSlideMicroscopyImageStorage, "SM", tiles)
    kind = flavour.split(maxsplit=1)[0].upper()
    made.StudyInstanceUID = corpus.uid("objects", "slide", slide, "study")
    made.SeriesInstanceUID = corpus.uid("objects", "slide", slide, "series")
    made.PatientName, made.StudyDescription, made.InstanceNumber = f"Object^Slide {slide.title()}", "slide", number
    made.FrameOfReferenceUID = corpus.uid("objects", "slide", slide, "frame of reference")
    made.PositionReferenceIndicator = "SLIDE_CORNER"
    made.NumberOfFrames = len(tiles)
    made.ImageType = ["ORIGINAL" if number == 1 else "DERIVED", "PRIMARY", kind, "NONE" if number == 1 else "RESAMPLED"]
    made.AcquisitionDateTime, made.AcquisitionDuration = DATE + TIME, 1.0
    made.ManufacturerModelName, made.DeviceSerialNumber, made.SoftwareVersions = "Tests", "1", "1"
    made.BurnedInAnnotation, made.SpecimenLabelInImage = "NO", "YES" if kind in {"LABEL", "OVERVIEW"} else "NO"
    made.LossyImageCompression, made.VolumetricProperties, made.FocusMethod = "00", "VOLUME", "AUTO"
    made.ExtendedDepthOfField, made.DimensionOrganizationType = "NO", "TILED_FULL"
    made.TotalPixelMatrixRows, made.TotalPixelMatrixColumns = shape[:2]
    made.TotalPixelMatrixFocalPlanes, made.NumberOfOpticalPaths = 1, 1
    made.ImagedVolumeWidth, made.ImagedVolumeDepth = _WIDTH_MM, 0.001
    made.ImagedVolumeHeight = _WIDTH_MM * shape[0] / shape[1]
    made.TotalPixelMatrixOriginSequence = [item(XOffsetInSlideCoordinateSystem="5", YOffsetInSlideCoordinateSystem="5")]
    made.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    spacing = _WIDTH_MM / shape[1]
    measures = item(PixelSpacing=[f"{spacing:.8f}"] * 2, SliceThickness="0.001", SpacingBetweenSlices="0.001")
    made.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[measures],
            WholeSlideMicroscopyImageFrameTypeSequence=[item(FrameType=made.ImageType)],
            OpticalPathIdentificationSequence=[item(OpticalPathIdentifier="1")],
        )
    ]
    organization = corpus.uid("objects", "slide", slide, "dimensions")
    made.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    _describe_specimen(made)
    return made


def _describe_specimen(made: Dataset) -> None:
    made.ContainerIdentifier, made.IssuerOfTheContainerIdentifierSequence = "SLIDE-1", []
    made.ContainerTypeCodeSequence = [code("433466003", "SCT", "Microscope slide")]
    made.AcquisitionContextSequence = []
    made.SpecimenDescriptionSequence = [
        item(
            SpecimenIdentifier="SPECIMEN-1",
            SpecimenUID=corpus.uid("objects", "slide", "specimen"),
            IssuerOfTheSpecimenIdentifierSequence=[],
            SpecimenPreparationSequence=[],
        )
    ]
    made.OpticalPathSequence = [
        item(
            OpticalPathIdentifier="1",
            IlluminationTypeCodeSequence=[code("111744", "DCM", "Brightfield illumination")],
            IlluminationColorCodeSequence=[code("371251000", "SCT", "White")],
        )
    ]
