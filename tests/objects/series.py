"""The CT series that segmentations, reports and plans refer to, and how they refer to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from tests import corpus
from tests.objects.made import Object, data_set, item

SLICES = 8


@dataclass(frozen=True, slots=True)
class Series:
    """A CT series: its slices from the lowest to the highest."""

    files: tuple[Path, ...]
    slices: tuple[FileDataset, ...]

    @property
    def pixels(self) -> NDArray[Any]:
        """Hounsfield units, (slices, rows, columns)."""
        first = self.slices[0]
        stored = np.stack([ct.pixel_array for ct in self.slices]).astype(np.float64)
        units: NDArray[Any] = stored * float(first.RescaleSlope) + float(first.RescaleIntercept)
        return units

    def objects(self) -> list[Object]:
        """The slices as objects of their own."""
        return [
            Object(f"ct/slice {number}", path, frames=(ct.pixel_array,))
            for number, (path, ct) in enumerate(zip(self.files, self.slices, strict=True), start=1)
        ]

    def derived(self, name: str, sop_class: str, modality: str) -> Dataset:
        """A data set of another series in the same study."""
        made, ct = data_set(name, sop_class, modality), self.slices[0]
        for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "AccessionNumber", "StudyDescription"):
            setattr(made, keyword, ct[keyword].value)
        made.FrameOfReferenceUID = ct.FrameOfReferenceUID
        made.PositionReferenceIndicator = ""
        made.SeriesNumber = 100
        return made

    def referenced_series(self) -> Dataset:
        """An item of Referenced Series Sequence: every slice."""
        ct = self.slices[0]
        return item(SeriesInstanceUID=ct.SeriesInstanceUID, ReferencedInstanceSequence=references(self.slices))

    def evidence(self) -> list[Dataset]:
        """Current Requested Procedure Evidence Sequence: every slice."""
        ct = self.slices[0]
        series = item(SeriesInstanceUID=ct.SeriesInstanceUID, ReferencedSOPSequence=references(self.slices))
        return [item(StudyInstanceUID=ct.StudyInstanceUID, ReferencedSeriesSequence=[series])]

    def shared_groups(self) -> list[Dataset]:
        """Shared Functional Groups Sequence: spacing and orientation of the slices."""
        ct = self.slices[0]
        measures = item(
            SliceThickness=ct.SliceThickness,
            SpacingBetweenSlices=ct.SpacingBetweenSlices,
            PixelSpacing=ct.PixelSpacing,
        )
        orientation = item(ImageOrientationPatient=ct.ImageOrientationPatient)
        return [item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])]


def ct(directory: Path) -> Series:
    """Write the series."""
    study = corpus.ct_study(directory / "ct", instances=SLICES, series=1, size=128)
    slices = tuple(pydicom.dcmread(path) for path in study.files)
    return Series(study.files, slices)


def references(images: Sequence[Dataset]) -> list[Dataset]:
    """Items that name instances by class and UID."""
    return [reference(image) for image in images]


def reference(image: Dataset) -> Dataset:
    return item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
