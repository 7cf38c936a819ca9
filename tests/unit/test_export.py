"""`staticwado export`: where the files go, who may read them, and that none is ever overwritten."""

import stat
from pathlib import Path

import pydicom
import pytest

from staticwado_daemon.cli import execute, staticwado
from tests import corpus
from tests.system.programs import create

SOURCES = ("CT_small.dcm", "MR_small.dcm")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export") / "root"
    create(root, _files())
    return root


def _files() -> list[Path]:
    return [corpus.test_files()[f"pydicom/test_files/{name}"] for name in SOURCES]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _export(root: Path, *arguments: str) -> int:
    return execute(staticwado, "staticwado", ["export", "--root", str(root), *arguments])


def _uids(source: Path) -> tuple[str, str, str]:
    read = pydicom.dcmread(source, stop_before_pixels=True)
    return str(read.StudyInstanceUID), str(read.SeriesInstanceUID), str(read.SOPInstanceUID)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_each_uid_has_a_folder_of_its_own_which_nobody_else_may_read(root: Path, tmp_path: Path) -> None:
    sources = _files()
    studies = [_uids(source)[0] for source in sources]
    assert _export(root, *studies) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(studies)
    for source, study in zip(sources, studies, strict=True):
        (file,) = (tmp_path / study).iterdir()
        assert file.name == f"{_uids(source)[2]}.dcm"
        assert file.read_bytes() == source.read_bytes()
        assert (_mode(tmp_path / study), _mode(file)) == (0o700, 0o600)


def test_one_folder_for_all_has_each_file_once(root: Path, tmp_path: Path) -> None:
    study, series, instance = _uids(_files()[0])
    assert _export(root, study, series, instance, _uids(_files()[1])[1], "-o", "all") == 0
    assert len([*(tmp_path / "all").iterdir()]) == 2


def test_a_file_that_is_there_is_done_or_an_error_and_never_overwritten(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _files()[0]
    study, _, instance = _uids(source)
    assert _export(root, study) == 0
    file = tmp_path / study / f"{instance}.dcm"
    before = file.stat()
    capsys.readouterr()
    assert _export(root, study) == 0
    assert "0 files, byte for byte as received, 1 more was there already" in capsys.readouterr().out
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    file.write_bytes(b"something else")
    assert _export(root, study) == 1
    assert f"{file} is there already and isn't this file" in capsys.readouterr().err
    assert file.read_bytes() == b"something else"
    file.unlink()
    file.mkdir()
    assert _export(root, study) == 1
    assert [*(tmp_path / study).iterdir()] == [file]


def test_the_beginning_of_a_uid_is_enough_if_no_other_begins_so(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study, _, _), (other, _, _) = map(_uids, _files())
    common = next(n for n, (a, b) in enumerate(zip(study, other, strict=False)) if a != b)
    assert _export(root, study[: common + 1]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [study]
    assert common, "or this says nothing about beginnings of several"
    assert _export(root, study[:common]) == 1
    said = capsys.readouterr().err
    assert "is the beginning of several UIDs" in said
    assert study in said


def test_what_is_no_uid_writes_nothing(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = _uids(_files()[0])[0]
    assert _export(root, study, "../x") == 2
    assert "'../x' isn't a UID" in capsys.readouterr().err
    assert _export(root, study, "9.9.9") == 1
    assert "9.9.9 is no study, series or instance" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
