"""The export as a medium: a DICOMDIR that other programs read, and beside it the very files that came in."""

import errno
import json
import re
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from staticwado_daemon.archive import holdings
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.operate.export.media import to_medium
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Version, by_series, named
from tests import corpus
from tests.system.programs import create, staticwado

NAMES = (
    "pydicom/test_files/CT_small.dcm",
    "pydicom/test_files/MR_small_RLE.dcm",
    "pydicom/test_files/test-SR.dcm",
    "pydicom/test_files/rtplan.dcm",
    "pydicom/test_files/SC_rgb_jpeg_dcmtk.dcm",
    "pydicom/charset_files/chrX1.dcm",
    "pydicom/test_files/image_dfl.dcm",
    "pydicom/test_files/liver_1frame.dcm",
    "pydicom/test_files/waveform_ecg.dcm",
)
NOT_LISTED = "can't be listed in a DICOMDIR: export it without --dicomdir"
FILE_ID = re.compile(r"[A-Z0-9_]{1,8}(/[A-Z0-9_]{1,8}){0,7}")


def _sources() -> list[Path]:
    files = corpus.test_files()
    return [files[name] for name in NAMES]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("medium") / "root"
    create(root, _sources())
    return root


def _studies(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "studies").iterdir() if path.is_dir())


def test_a_medium_has_the_files_as_they_came(root: Path, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    for number in range(2):
        staticwado("export", *_studies(root), "--root", root, "--dicomdir", "-o", medium)
        first = (medium / "DICOMDIR").read_bytes()
        shutil.move(medium, tmp_path / f"medium-{number}")
    assert (tmp_path / "medium-0/DICOMDIR").read_bytes() == first, "the same records, another DICOMDIR"
    medium = tmp_path / "medium-1"
    files = {path.relative_to(medium).as_posix(): path.read_bytes() for path in medium.rglob("*") if path.is_file()}
    assert all(FILE_ID.fullmatch(name) for name in files)
    del files["DICOMDIR"]
    assert sorted(files.values()) == sorted(path.read_bytes() for path in _sources())
    listed = FileSet(medium / "DICOMDIR")
    for instance in listed:
        assert Path(instance.path).read_bytes() in files.values()
        assert instance.load().SOPInstanceUID == instance.SOPInstanceUID
    assert len(listed) == len(files)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_dcmtk_reads_it(root: Path, tmp_path: Path) -> None:
    staticwado("export", *_studies(root), "--root", root, "--dicomdir", "-o", tmp_path / "medium")
    dumped = subprocess.run(
        ["dcmdump", "-q", "--search", "ReferencedFileID", tmp_path / "medium/DICOMDIR"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert dumped.stdout.count("ReferencedFileID") == len(_sources())
    # dcmmkdir adds a file only to a DICOMDIR of which it can read all.
    other = pydicom.dcmread(_sources()[0])
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = corpus.uid("another")
    other.save_as(tmp_path / "medium/MORE")
    subprocess.run(["dcmmkdir", "+A", "+I", "MORE"], cwd=tmp_path / "medium", check=True)
    assert len(FileSet(tmp_path / "medium/DICOMDIR")) == len(_sources()) + 1


def test_what_can_not_be_on_a_medium_is_named(tmp_path: Path) -> None:
    source = corpus.test_files()["pydicom/test_files/CT_small.dcm"]
    whole = pydicom.dcmread(source)
    bare = source.read_bytes()
    bare = bare[bare.index(b"\x08\0\x05\0CS") :].replace(
        whole.SOPInstanceUID.encode(), b"1.2.3".ljust(len(whole.SOPInstanceUID), b"\0")
    )
    (tmp_path / "bare").write_bytes(bare)
    number = source.read_bytes().index(b"\x20\0\x13\0IS")
    odd = source.read_bytes().replace(whole.SOPInstanceUID.encode(), b"1.2.4".ljust(len(whole.SOPInstanceUID), b"\0"))
    (tmp_path / "odd").write_bytes(odd[: number + 4] + b"FD" + odd[number + 6 :])
    create(tmp_path / "root", [source, tmp_path / "bare", tmp_path / "odd"])
    options = "--root", tmp_path / "root", "--dicomdir", "-o", tmp_path / "medium", "--json"
    told = json.loads(staticwado("export", whole.StudyInstanceUID, *options, expect=3))
    reasons = {each["sopInstanceUID"]: each["problem"] for each in told["instances"]}
    assert reasons == {"1.2.3": NOT_LISTED, "1.2.4": NOT_LISTED, whole.SOPInstanceUID: None}
    assert len(FileSet(tmp_path / "medium/DICOMDIR")) == 1


def test_a_medium_is_never_written_over_something(root: Path, tmp_path: Path) -> None:
    (tmp_path / "medium").mkdir()
    study = _studies(root)[0]
    staticwado("export", study, "--root", root, "--dicomdir", "-o", tmp_path / "medium")
    staticwado("export", study, "--root", root, "--dicomdir", "-o", tmp_path / "medium", expect=1)


def test_what_is_not_on_the_medium_takes_no_room_while_the_rest_is_made(root: Path, tmp_path: Path) -> None:
    """A file that the disk had no room for must not keep the next ones out."""
    records = [each for study in _studies(root)[:2] for each in holdings.records(root, UID(study))]
    left: list[list[str]] = []

    class Cut(Originals):
        def pieces(self, version: Version) -> Generator[bytes | memoryview, None, None]:
            left.append([path.name for path in tmp_path.glob(".medium.*.part/*")])
            yield version.record.source.encode()
            raise OSError(errno.ENOSPC, "No space left on device")

    chosen = named([Version(each, published=True) for each in records], by_series)
    told = [each.problem for each in to_medium(Cut(root), chosen, tmp_path / "medium")]
    assert told == ["No space left on device"] * len(records)
    assert left == [[str(number)] for number in range(len(records))], "the one that is being written, and no other"
