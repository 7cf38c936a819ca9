"""Documents, videos and pictures of frames: what a browser gets, and that the originals come back all the same."""

import struct
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    EncapsulatedCDAStorage,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    ExplicitVRLittleEndian,
    VideoEndoscopicImageStorage,
)

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom.uids import UID, Identity
from tests import corpus
from tests.corpus import PYDICOM_DATA
from tests.system.programs import create, staticwado
from tests.system.servers import Server, start_embedded

PDF = b"%PDF-1.4\n" + bytes(range(256)) * 3 + b"%%EOF"
PAGE = b"<html><script>document.title = 'mine'</script></html>"
CDA = b"<?xml version='1.0'?><?xml-stylesheet href='javascript:alert(1)'?><ClinicalDocument/>."
STL = bytes(80) + struct.pack("<I", 1) + bytes(50)
H264 = b"\0\0\0\1\x67\x64\0\x29" + bytes(range(1, 200)) * 3
MP4 = b"\0\0\0\x18ftypisom" + bytes(range(200)) * 4


def instance(directory: Path, name: str, **attributes: object) -> Path:
    made = Dataset()
    made.StudyInstanceUID, made.SeriesInstanceUID = corpus.uid("as it is"), corpus.uid("as it is", "series")
    made.SOPInstanceUID, made.PatientID = corpus.uid("as it is", name), "AS-IT-IS"
    for keyword, value in attributes.items():
        if keyword != "syntax":
            setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = str(attributes.get("syntax", ExplicitVRLittleEndian))
    if "PixelData" in made:
        made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    path = directory / f"{name}.dcm"
    made.save_as(path, enforce_file_format=True)
    return path


def document(directory: Path, name: str, sop_class: str, media_type: str, value: bytes) -> Path:
    return instance(
        directory,
        name,
        SOPClassUID=sop_class,
        Modality="DOC",
        MIMETypeOfEncapsulatedDocument=media_type,
        EncapsulatedDocumentLength=len(value),
        EncapsulatedDocument=value + bytes(len(value) % 2),
    )


def video(directory: Path, name: str, value: bytes) -> Path:
    described = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_PARTIAL_420", "NumberOfFrames": 2}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "Rows": 64, "Columns": 64}
    return instance(
        directory,
        name,
        SOPClassUID=VideoEndoscopicImageStorage,
        Modality="ES",
        **described,
        **bits,
        syntax=MPEG4HP41,
        PixelData=encapsulate([value + bytes(len(value) % 2)], has_bot=False),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("sources")
    made = [
        document(directory, "pdf", EncapsulatedPDFStorage, "application/pdf", PDF),
        document(directory, "page", EncapsulatedPDFStorage, "application/pdf", PAGE),
        document(directory, "cda", EncapsulatedCDAStorage, "text/XML", CDA),
        document(directory, "stl", EncapsulatedSTLStorage, "model/stl", STL),
        video(directory, "h264", H264),
        video(directory, "mp4", MP4),
    ]
    return {path.stem: path for path in made}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Path]) -> Path:
    root = tmp_path_factory.mktemp("tree") / "root"
    assert create(root, [*files.values(), PYDICOM_DATA / "OT-PAL-8-face.dcm"], "--rendered")["rejected"] == 0
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    with start_embedded(root) as server:
        yield server


def url(path: Path) -> str:
    source = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    uids = (UID(each) for each in (source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID))
    return layout.instance_dir(Identity(*uids))


@pytest.mark.parametrize(
    ("name", "media_type", "content", "saved_as"),
    [
        ("pdf", "application/pdf", PDF, None),
        ("page", "application/octet-stream", PAGE, 'attachment; filename="document.bin"'),
        ("cda", "application/octet-stream", CDA, 'attachment; filename="document.xml"'),
        ("stl", "model/stl", STL, None),
        ("h264", "video/H264", H264, None),
        ("mp4", "video/mp4", MP4, None),
    ],
)
def test_what_a_browser_gets(
    server: Server, files: dict[str, Path], name: str, media_type: str, content: bytes, saved_as: str | None
) -> None:
    answer = server.ask(f"/dicomweb/{url(files[name])}/rendered")
    part = server.ask(f"/dicomweb/{url(files[name])}/rendered", {"Range": "bytes=3-9"})
    assert (answer.status, answer.headers["content-type"]) == (200, media_type)
    assert answer.body.removesuffix(b"\0" if media_type.startswith("video") and len(content) % 2 else b"-") == content
    assert answer.headers.get("content-disposition") == saved_as
    assert answer.headers.get("content-security-policy") == ("sandbox" if saved_as else None)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (part.status, part.body) == (206, content[3:10])


def test_pictures_of_frames_are_stored_when_asked_for(server: Server) -> None:
    source = PYDICOM_DATA / "OT-PAL-8-face.dcm"
    answers = [server.ask(f"/dicomweb/{url(source)}/{each}") for each in ("rendered", "frames/1/rendered")]
    assert {(answer.status, answer.headers["content-type"]) for answer in answers} == {(200, "image/jpeg")}
    assert {imagecodecs.jpeg8_decode(answer.body).shape for answer in answers} == {(480, 640, 3)}


def test_the_originals_come_back(root: Path, files: dict[str, Path], tmp_path: Path) -> None:
    staticwado("export", corpus.uid("as it is"), "--root", root, "-o", tmp_path)
    exported = {path.read_bytes() for path in tmp_path.rglob("*.dcm")}
    assert exported == {path.read_bytes() for path in files.values()}
