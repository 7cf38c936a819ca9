"""Segmentations of the CT: one bit, fractional and label map (PS3.3 A.51 and A.51.X)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from tests import corpus
from tests.objects.made import DATE, TIME, Object, code, item, native, with_pixels, write
from tests.objects.series import Series, reference

LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
_SEGMENT_NUMBER, _POSITION = 0x0062000B, 0x00200032
_TISSUES = (
    ("Bone", code("272673000", "SCT", "Bone"), [60000, 33000, 50000]),
    ("Soft tissue", code("87784001", "SCT", "Soft tissue"), [40000, 50000, 45000]),
)


def objects(directory: Path, series: Series) -> Iterator[Object]:
    units = series.pixels
    masks = np.stack([units > 250, (units > 0) & (units < 100)]).astype("u1")
    placed = [(segment, index) for segment in (1, 2) for index in range(len(units))]
    frames = tuple(masks[segment - 1, index] for segment, index in placed)

    made = _segmentation(series, "seg/binary", "BINARY", placed)
    made.BitsAllocated, made.BitsStored, made.HighBit = 1, 1, 0
    packed = np.packbits(np.concatenate([frame.ravel() for frame in frames]), bitorder="little").tobytes()
    yield write(directory, "seg/binary", with_pixels(made, packed), frames=frames)

    made = _segmentation(series, "seg/fractional", "FRACTIONAL", placed)
    made.SegmentationFractionalType, made.MaximumFractionalValue = "PROBABILITY", 200
    probable = tuple(np.asarray(_blurred(frame), "u1") for frame in frames)
    yield write(directory, "seg/fractional", with_pixels(made, native(probable)), frames=probable)

    made = _segmentation(series, "seg/label map", "LABELMAP", [(0, index) for index in range(len(units))])
    made.SOPClassUID = LABEL_MAP_SEGMENTATION_STORAGE
    made.PixelPaddingValue = 0
    labels = tuple(np.asarray(masks[0, index] + 2 * masks[1, index], "u1") for index in range(len(units)))
    yield write(directory, "seg/label map", with_pixels(made, native(labels)), frames=labels)


def _blurred(mask: NDArray[Any]) -> NDArray[Any]:
    """0 to 200: how much of each pixel's neighbourhood is inside."""
    near = [np.roll(mask, shift, axis).astype("u2") for axis in (0, 1) for shift in (-1, 1)]
    blurred: NDArray[Any] = (mask.astype("u2") * 4 + sum(near)) * 25
    return blurred


def _segmentation(series: Series, name: str, kind: str, placed: Sequence[tuple[int, int]]) -> Dataset:
    """A segmentation without its pixels; `placed` tells each frame's segment (0: all) and slice."""
    made, first = series.derived(name, SegmentationStorage, "SEG"), series.slices[0]
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns, made.NumberOfFrames = first.Rows, first.Columns, len(placed)
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.LossyImageCompression, made.SegmentationType = "00", kind
    made.SegmentsOverlap = "NO"
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "TISSUES", "Tissues of a head", "Test^Reader"
    made.InstanceCreationDate, made.InstanceCreationTime = DATE, TIME
    made.ManufacturerModelName, made.DeviceSerialNumber, made.SoftwareVersions = "Tests", "1", "1"
    made.SegmentSequence = [_segment(number, *tissue) for number, tissue in enumerate(_TISSUES, start=1)]
    organization = corpus.uid("objects", name, "dimensions")
    made.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    made.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organization, DimensionIndexPointer=pointer, FunctionalGroupPointer=group)
        for pointer, group in ((_SEGMENT_NUMBER, 0x0062000A), (_POSITION, 0x00209113))
    ]
    made.ReferencedSeriesSequence = [series.referenced_series()]
    made.SharedFunctionalGroupsSequence = series.shared_groups()
    made.PerFrameFunctionalGroupsSequence = [_frame(series, segment, index) for segment, index in placed]
    return made


def _segment(number: int, label: str, kind: Dataset, colour: list[int]) -> Dataset:
    return item(
        SegmentNumber=number,
        SegmentLabel=label,
        SegmentAlgorithmType="SEMIAUTOMATIC",
        SegmentAlgorithmName="threshold",
        SegmentedPropertyCategoryCodeSequence=[code("85756007", "SCT", "Tissue")],
        SegmentedPropertyTypeCodeSequence=[kind],
        RecommendedDisplayCIELabValue=colour,
    )


def _frame(series: Series, segment: int, index: int) -> Dataset:
    source = series.slices[index]
    purpose = code("121322", "DCM", "Source image for image processing operation")
    derived = item(
        DerivationCodeSequence=[code("113076", "DCM", "Segmentation")],
        SourceImageSequence=[reference(source)],
    )
    derived.SourceImageSequence[0].PurposeOfReferenceCodeSequence = [purpose]
    groups = item(
        FrameContentSequence=[item(DimensionIndexValues=[max(segment, 1), index + 1])],
        PlanePositionSequence=[item(ImagePositionPatient=source.ImagePositionPatient)],
        DerivationImageSequence=[derived],
    )
    if segment:
        groups.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=segment)]
    return groups
