"""Presentation states of the CT and of a colour image, and a mapping to real-world values (PS3.3 A.33, A.46)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RealWorldValueMappingStorage,
)

from tests.objects.made import DATE, TIME, Object, code, data_set, item, write
from tests.objects.series import Series, references


def objects(directory: Path, series: Series) -> Iterator[Object]:
    made = series.derived("presentation/greyscale", GrayscaleSoftcopyPresentationStateStorage, "PR")
    _describe(made)
    ct = series.slices[0]
    made.ReferencedSeriesSequence = [
        item(SeriesInstanceUID=ct.SeriesInstanceUID, ReferencedImageSequence=references(series.slices))
    ]
    made.SoftcopyVOILUTSequence = [item(WindowCenter="40", WindowWidth="80")]
    made.PresentationLUTShape = "IDENTITY"
    yield write(directory, "presentation/greyscale", made)

    made = data_set("presentation/colour", ColorSoftcopyPresentationStateStorage, "PR")
    _describe(made)
    referenced = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.7", ReferencedSOPInstanceUID="2.25.2")
    made.ReferencedSeriesSequence = [item(SeriesInstanceUID="2.25.3", ReferencedImageSequence=[referenced])]
    made.ICCProfile = np.arange(1024, dtype="<u2").tobytes()
    yield write(directory, "presentation/colour", made)

    made = series.derived("presentation/real-world values", RealWorldValueMappingStorage, "RWV")
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "HU", "Hounsfield units", "Test^Reader"
    mapping = item(
        LUTLabel="HU",
        LUTExplanation="Hounsfield units",
        RealWorldValueFirstValueMapped=-1000,
        RealWorldValueLastValueMapped=3000,
        RealWorldValueIntercept=0.0,
        RealWorldValueSlope=1.0,
        MeasurementUnitsCodeSequence=[code("[hnsf'U]", "UCUM", "Hounsfield unit")],
    )
    made.ReferencedImageRealWorldValueMappingSequence = [
        item(RealWorldValueMappingSequence=[mapping], ReferencedImageSequence=references(series.slices))
    ]
    for element in mapping:
        if element.keyword in {"RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped"}:
            element.VR = "SS"
    yield write(directory, "presentation/real-world values", made)


def _describe(made: Dataset) -> None:
    made.PresentationCreationDate, made.PresentationCreationTime = DATE, TIME
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "STATE", "A state", "Test^Reader"
    made.DisplayedAreaSelectionSequence = [
        item(
            DisplayedAreaTopLeftHandCorner=[1, 1],
            DisplayedAreaBottomRightHandCorner=[128, 128],
            PresentationSizeMode="SCALE TO FIT",
            PresentationPixelAspectRatio=[1, 1],
        )
    ]
