"""Enhanced multi-frame images, parametric maps with float samples, and images of the eye."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    OphthalmicPhotography8BitImageStorage,
    OphthalmicTomographyImageStorage,
    ParametricMapStorage,
)

from tests import corpus
from tests.objects.made import DATE, TIME, Object, code, grey, image, item, moving, native, picture, with_pixels, write
from tests.objects.series import Series


def objects(directory: Path, series: Series) -> Iterator[Object]:
    yield _enhanced(directory, series, "enhanced/ct", EnhancedCTImageStorage, "CT")
    yield _enhanced(directory, series, "enhanced/mr", EnhancedMRImageStorage, "MR")
    yield _parametric_map(directory, series, 32)
    yield _parametric_map(directory, series, 64)
    eye = picture()
    made = image("eye/photograph", OphthalmicPhotography8BitImageStorage, "OP", [eye])
    made.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
    made.ImageLaterality, made.PatientEyeMovementCommanded = "R", "NO"
    made.LossyImageCompression, made.BurnedInAnnotation, made.PixelSpacing = "00", "NO", [0.02, 0.02]
    yield write(directory, "eye/photograph", with_pixels(made, native([eye])), frames=(eye,))
    yield _tomography(directory)


def _enhanced(directory: Path, series: Series, name: str, sop_class: str, modality: str) -> Object:
    frames = tuple(ct.pixel_array for ct in series.slices)
    if modality == "MR":
        frames = tuple((frame.astype("i4") + 1100).clip(0, 4095).astype("u2") for frame in frames)
    made = image(name, sop_class, modality, frames)
    if modality == "MR":
        made.BitsStored, made.HighBit = 12, 11
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.AcquisitionDateTime = DATE + TIME
    made.FrameOfReferenceUID = corpus.uid("objects", name, "frame of reference")
    made.PixelPresentation, made.VolumetricProperties = "MONOCHROME", "VOLUME"
    made.VolumeBasedCalculationTechnique = "NONE"
    ct = series.slices[0]
    (shared,) = series.shared_groups()
    if modality == "MR":
        values = item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")
        window = item(WindowCenter="1200", WindowWidth="1000")
    else:
        values = item(RescaleIntercept=ct.RescaleIntercept, RescaleSlope=ct.RescaleSlope, RescaleType="HU")
        window = item(WindowCenter="40", WindowWidth="400")
    shared.PixelValueTransformationSequence, shared.FrameVOILUTSequence = [values], [window]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = _positions(made, series)
    return write(directory, name, with_pixels(made, native(frames)), frames=frames)


def _positions(made: Dataset, series: Series) -> list[Dataset]:
    """The place of each frame: that of a slice. The dimension that orders them is defined in the data set."""
    organization = corpus.uid("objects", made.SOPInstanceUID, "dimensions")
    made.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    made.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organization, DimensionIndexPointer=0x00200032, FunctionalGroupPointer=0x00209113)
    ]
    return [
        item(
            FrameContentSequence=[item(DimensionIndexValues=[number], StackID="1", InStackPositionNumber=number)],
            PlanePositionSequence=[item(ImagePositionPatient=ct.ImagePositionPatient)],
        )
        for number, ct in enumerate(series.slices, start=1)
    ]


def _parametric_map(directory: Path, series: Series, bits: int) -> Object:
    name = f"parametric map/{'float' if bits == 32 else 'double'}"
    frames = tuple(np.asarray(units / 1000 + 0.1, f"f{bits // 8}") for units in series.pixels)
    made = series.derived(name, ParametricMapStorage, "OT")
    made.ImageType = ["DERIVED", "PRIMARY", "ADC", "NONE"]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.BitsAllocated = 1, "MONOCHROME2", bits
    made.Rows, made.Columns, made.NumberOfFrames = *frames[0].shape, len(frames)
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "MAP", "A map", "Test^Reader"
    made.LossyImageCompression, made.PresentationLUTShape = "00", "IDENTITY"
    made.ReferencedSeriesSequence = [series.referenced_series()]
    (shared,) = series.shared_groups()
    shared.RealWorldValueMappingSequence = [
        item(
            LUTLabel="MAP",
            LUTExplanation="A map",
            RealWorldValueIntercept=0.0,
            RealWorldValueSlope=1.0,
            DoubleFloatRealWorldValueFirstValueMapped=-10.0,
            DoubleFloatRealWorldValueLastValueMapped=10.0,
            MeasurementUnitsCodeSequence=[code("mm2/s", "UCUM", "mm2/s")],
        )
    ]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = _positions(made, series)
    keyword = "FloatPixelData" if bits == 32 else "DoubleFloatPixelData"
    setattr(made, keyword, b"".join(frame.astype(f"<f{bits // 8}").tobytes() for frame in frames))
    return write(directory, name, made, frames=frames)


def _tomography(directory: Path) -> Object:
    frames = moving(np.ascontiguousarray(grey("u1")[::2]), 6)
    made = image("eye/tomography", OphthalmicTomographyImageStorage, "OPT", frames)
    made.ImageType = ["ORIGINAL", "PRIMARY", "", ""]
    made.ImageLaterality, made.AcquisitionDateTime = "L", DATE + TIME
    made.FrameOfReferenceUID = corpus.uid("objects", "eye/tomography", "frame of reference")
    measures = item(PixelSpacing=[0.004, 0.01], SliceThickness="0.1")
    orientation = item(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    made.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    ]
    made.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0.1 * number, 0])]) for number in range(len(frames))
    ]
    return write(directory, "eye/tomography", with_pixels(made, native(frames)), frames=frames)
