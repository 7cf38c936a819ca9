"""Radiotherapy (PS3.3 A.17 to A.20): structures on the CT, dose and portal image."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RTDoseStorage, RTImageStorage, RTPlanStorage, RTStructureSetStorage

from tests import corpus
from tests.objects.made import DATE, TIME, Object, grey, image, item, native, with_pixels, write
from tests.objects.series import Series, reference

_POINTS = 24


def objects(directory: Path, series: Series) -> Iterator[Object]:
    yield write(directory, "rt/structures", _structures(series))
    yield write(directory, "rt/plan", _plan(series))
    for bits in (16, 32):
        yield _dose(directory, series, bits)
    frame = grey("u2", 12)
    made = image("rt/image", RTImageStorage, "RTIMAGE", [frame], BitsStored=12, HighBit=11)
    made.RTImageLabel, made.RTImagePlane, made.ReportedValuesOrigin = "PORTAL", "NORMAL", "OPERATOR"
    made.ImagePlanePixelSpacing, made.RTImagePosition = [0.8, 0.8], [-51.2, 51.2]
    made.PrimaryDosimeterUnit, made.GantryAngle, made.RTImageSID = "MU", 0, 1500
    yield write(directory, "rt/image", with_pixels(made, native([frame])), frames=(frame,))


def _structures(series: Series) -> Dataset:
    made = series.derived("rt/structures", RTStructureSetStorage, "RTSTRUCT")
    made.StructureSetLabel, made.StructureSetDate, made.StructureSetTime = "TARGETS", DATE, TIME
    ct = series.slices[0]
    images = item(SeriesInstanceUID=ct.SeriesInstanceUID, ContourImageSequence=[reference(s) for s in series.slices])
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=ct.StudyInstanceUID,
        RTReferencedSeriesSequence=[images],
    )
    made.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID=ct.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    ]
    regions = {1: ("Target", "PTV", [255, 0, 0], 30.0), 2: ("Organ", "ORGAN", [0, 255, 0], 15.0)}
    made.StructureSetROISequence = [
        item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=ct.FrameOfReferenceUID,
            ROIName=name,
            ROIGenerationAlgorithm="MANUAL",
        )
        for number, (name, _, _, _) in regions.items()
    ]
    made.ROIContourSequence = [
        item(
            ROIDisplayColor=colour,
            ReferencedROINumber=number,
            ContourSequence=[_circle(slice_, radius) for slice_ in series.slices],
        )
        for number, (_, _, colour, radius) in regions.items()
    ]
    made.RTROIObservationsSequence = [
        item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType=kind, ROIInterpreter="")
        for number, (_, kind, _, _) in regions.items()
    ]
    made.ApprovalStatus = "UNAPPROVED"
    return made


def _circle(slice_: Dataset, radius: float) -> Dataset:
    """A contour around the middle of a slice, in millimetres."""
    x, y, z = map(float, slice_.ImagePositionPatient)
    extent = float(slice_.PixelSpacing[0]) * slice_.Columns / 2
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    points = [(x + extent + radius * np.cos(a), y + extent + radius * np.sin(a), z) for a in angles]
    return item(
        ContourImageSequence=[reference(slice_)],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=_POINTS,
        ContourData=[f"{value:.3f}" for point in points for value in point],
    )


def _plan(series: Series) -> Dataset:
    made = series.derived("rt/plan", RTPlanStorage, "RTPLAN")
    made.RTPlanLabel, made.RTPlanDate, made.RTPlanTime, made.RTPlanGeometry = "PLAN", DATE, TIME, "PATIENT"
    made.FractionGroupSequence = [item(FractionGroupNumber=1, NumberOfFractionsPlanned=30, NumberOfBeams=0)]
    return made


def _dose(directory: Path, series: Series, bits: int) -> Object:
    name = f"rt/dose {bits}-bit"
    ct = series.slices[0]
    frames = tuple(np.roll(grey(f"u{bits // 8}")[::4, ::4], 3 * number, axis=1) for number in range(4))
    derived = series.derived(name, RTDoseStorage, "RTDOSE")
    made = image(name, RTDoseStorage, "RTDOSE", frames)
    made.update(derived)
    made.ImagePositionPatient, made.ImageOrientationPatient = ct.ImagePositionPatient, ct.ImageOrientationPatient
    made.PixelSpacing = [float(ct.PixelSpacing[0]) * 4] * 2
    made.FrameIncrementPointer = 0x3004000C
    made.GridFrameOffsetVector = [float(ct.SliceThickness) * number for number in range(4)]
    made.DoseUnits, made.DoseType, made.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    made.DoseGridScaling = "0.00001"
    made.ReferencedRTPlanSequence = [
        item(ReferencedSOPClassUID=RTPlanStorage, ReferencedSOPInstanceUID=corpus.uid("objects", "rt/plan", "instance"))
    ]
    return write(directory, name, with_pixels(made, native(frames)), frames=frames)
