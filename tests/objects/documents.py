"""Encapsulated documents (PS3.3 A.45) and raw data (A.37)."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import (
    EncapsulatedCDAStorage,
    EncapsulatedMTLStorage,
    EncapsulatedOBJStorage,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    RawDataStorage,
)

from tests.objects.made import DATE, TIME, Object, code, data_set, slice_of_ct, write

_CDA = """<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3"><title>Report</title><component><nonXMLBody><text>Größe</text></nonXMLBody>
</component></ClinicalDocument>
"""
_STL = """solid tetrahedron
facet normal 0 0 -1
outer loop
vertex 0 0 0
vertex 0 1 0
vertex 1 0 0
endloop
endfacet
endsolid tetrahedron
"""
_OBJ = "mtllib surface.mtl\no triangle\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\n"
_MTL = "newmtl red\nKd 1.0 0.0 0.0\n"


def objects(directory: Path) -> Iterator[Object]:
    for kind, sop_class, modality, media_type, document in (
        ("pdf", EncapsulatedPDFStorage, "DOC", "application/pdf", pdf("Report", "No fracture.")),
        ("cda", EncapsulatedCDAStorage, "DOC", "text/XML", _CDA.encode()),
        ("stl", EncapsulatedSTLStorage, "M3D", "model/stl", _STL.encode()),
        ("obj", EncapsulatedOBJStorage, "M3D", "model/obj", _OBJ.encode()),
        ("mtl", EncapsulatedMTLStorage, "M3D", "model/mtl", _MTL.encode()),
    ):
        name = f"document/{kind}"
        made = data_set(name, sop_class, modality)
        made.AcquisitionDateTime, made.BurnedInAnnotation, made.ConversionType = DATE + TIME, "YES", "WSD"
        made.DocumentTitle, made.ConceptNameCodeSequence = name, [code("18748-4", "LN", "Diagnostic imaging report")]
        made.MIMETypeOfEncapsulatedDocument = media_type
        made.EncapsulatedDocumentLength = len(document)
        made.EncapsulatedDocument = document + bytes(len(document) % 2)
        made["EncapsulatedDocument"].VR = "OB"
        yield write(directory, name, made)
    made = data_set("raw data/vendor", RawDataStorage, "MR")
    made.CreatorVersionUID, made.AcquisitionContextSequence = "2.25.4", []
    block = made.private_block(0x0071, "TESTS RAW", create=True)
    block.add_new(0x01, "OW", slice_of_ct().tobytes())
    block.add_new(0x02, "UT", json.dumps({"coils": 32}))
    yield write(directory, "raw data/vendor", made)


def pdf(title: str, text: str) -> bytes:
    """One page with one line, and a cross-reference table that is right."""
    page = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
    bodies = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font 6 0 R >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(page), page),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /F1 5 0 R >>",
        b"<< /Title (%b) >>" % title.encode(),
    )
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(bodies) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info 7 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))
    return data + b"xref\n0 %d\n0000000000 65535 f \n%b%b" % (size, table, trailer)
