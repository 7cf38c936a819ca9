"""Structured reports (PS3.3 A.35): measurements on the CT, a text report, and a selection of key images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage, KeyObjectSelectionDocumentStorage

from tests import corpus
from tests.objects.made import Object, code, item, write
from tests.objects.series import Series, reference

LENGTH_MM = 40.0


def objects(directory: Path, series: Series) -> Iterator[Object]:
    yield write(directory, "sr/measurement report", _measurements(series))
    yield write(directory, "sr/enhanced report", _report(series))
    yield write(directory, "sr/key objects", _key_objects(series))


def _document(series: Series, name: str, sop_class: str, title: Dataset, template: str) -> Dataset:
    made = series.derived(name, sop_class, "KO" if sop_class == KeyObjectSelectionDocumentStorage else "SR")
    made.ReferencedPerformedProcedureStepSequence = []
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = [title]
    made.ContentTemplateSequence = [item(MappingResource="DCMR", TemplateIdentifier=template)]
    made.CurrentRequestedProcedureEvidenceSequence = series.evidence()
    if made.Modality == "SR":
        made.CompletionFlag, made.VerificationFlag = "COMPLETE", "UNVERIFIED"
        made.PerformedProcedureCodeSequence = []
    return made


def _measurements(series: Series) -> Dataset:
    """TID 1500: a length, and an outlined region with its area, on the slice in the middle."""
    title = code("126000", "DCM", "Imaging Measurement Report")
    made = _document(series, "sr/measurement report", Comprehensive3DSRStorage, title, "1500")
    slice_ = series.slices[len(series.slices) // 2]
    spacing = float(slice_.PixelSpacing[0])
    line = [40.0, 64.0, 40.0 + LENGTH_MM / spacing, 64.0]
    square = [50.0, 50.0, 70.0, 50.0, 70.0, 70.0, 50.0, 70.0, 50.0, 50.0]
    length = _number(code("410668003", "SCT", "Length"), LENGTH_MM, code("mm", "UCUM", "mm"))
    length.ContentSequence = [_region("INFERRED FROM", slice_, line)]
    area = _number(code("42798000", "SCT", "Area"), (20 * spacing) ** 2, code("mm2", "UCUM", "mm2"))
    outlined = _region("CONTAINS", slice_, square)
    outlined.ConceptNameCodeSequence = [code("111030", "DCM", "Image Region")]
    made.ContentSequence = [
        _coded("HAS CONCEPT MOD", code("121049", "DCM", "Language"), code("eng", "RFC5646", "English")),
        _text("HAS OBS CONTEXT", "PNAME", code("121008", "DCM", "Person Observer Name"), PersonName="Test^Reader"),
        _coded("HAS CONCEPT MOD", code("121058", "DCM", "Procedure reported"), code("77477000", "SCT", "CT")),
        _container(code("111028", "DCM", "Image Library")),
        _container(
            code("126010", "DCM", "Imaging Measurements"),
            _group("Length", "1", length),
            _group("PlanarFreehandROI", "2", outlined, area),
        ),
    ]
    return made


def _report(series: Series) -> Dataset:
    """A text report in sections."""
    title = code("18748-4", "LN", "Diagnostic imaging report")
    made = _document(series, "sr/enhanced report", EnhancedSRStorage, title, "2000")
    finding = _text("CONTAINS", "TEXT", code("121071", "DCM", "Finding"), TextValue="No fracture. Größe unverändert.")
    made.ContentSequence = [
        _container(code("121070", "DCM", "Findings"), finding),
        _text("CONTAINS", "TEXT", code("121077", "DCM", "Conclusion"), TextValue="Normal."),
    ]
    return made


def _key_objects(series: Series) -> Dataset:
    title = code("113000", "DCM", "Of Interest")
    made = _document(series, "sr/key objects", KeyObjectSelectionDocumentStorage, title, "2010")
    chosen = [_image("CONTAINS", slice_) for slice_ in series.slices[2:4]]
    note = _text("CONTAINS", "TEXT", code("113012", "DCM", "Key Object Description"), TextValue="Look at these.")
    made.ContentSequence = [note, *chosen]
    return made


def _group(tool: str, number: str, *contents: Dataset) -> Dataset:
    """A Measurement Group (TID 1501), tracked in the name of the viewer's tool."""
    unique = corpus.uid("objects", "sr", "tracking", number)
    return _container(
        code("125007", "DCM", "Measurement Group"),
        _text(
            "HAS OBS CONTEXT",
            "TEXT",
            code("112039", "DCM", "Tracking Identifier"),
            TextValue=f"Cornerstone3DTools@^0.1.0:{tool}",
        ),
        _text("HAS OBS CONTEXT", "UIDREF", code("112040", "DCM", "Tracking Unique Identifier"), UID=unique),
        _coded("CONTAINS", code("121071", "DCM", "Finding"), code("52988006", "SCT", "Lesion")),
        *contents,
    )


def _container(name: Dataset, *contents: Dataset) -> Dataset:
    made = item(
        RelationshipType="CONTAINS",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=[name],
        ContinuityOfContent="SEPARATE",
    )
    if contents:
        made.ContentSequence = list(contents)
    return made


def _text(relationship: str, kind: str, name: Dataset, **value: Any) -> Dataset:
    return item(RelationshipType=relationship, ValueType=kind, ConceptNameCodeSequence=[name], **value)


def _coded(relationship: str, name: Dataset, value: Dataset) -> Dataset:
    return _text(relationship, "CODE", name, ConceptCodeSequence=[value])


def _number(name: Dataset, value: float, unit: Dataset) -> Dataset:
    measured = item(NumericValue=f"{value:.6g}", MeasurementUnitsCodeSequence=[unit])
    return _text("CONTAINS", "NUM", name, MeasuredValueSequence=[measured])


def _region(relationship: str, slice_: Dataset, points: list[float]) -> Dataset:
    return item(
        RelationshipType=relationship,
        ValueType="SCOORD",
        GraphicType="POLYLINE",
        GraphicData=[float(np.float32(value)) for value in points],
        ContentSequence=[_image("SELECTED FROM", slice_)],
    )


def _image(relationship: str, slice_: Dataset) -> Dataset:
    return item(RelationshipType=relationship, ValueType="IMAGE", ReferencedSOPSequence=[reference(slice_)])
