"""`staticwado export`: where the files go, who may read them, and that none is ever overwritten."""

import json
import shutil
import stat
from pathlib import Path

import pydicom
import pytest

from staticwado_daemon.archive import audit, holdings, layout
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.cli import execute, mkdicomweb_command, staticwado
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.operate.export import originals
from staticwado_daemon.operate.export.files import to_folder
from staticwado_daemon.operate.export.originals import Originals, lacks_original
from staticwado_daemon.operate.export.selection import Version, flat, named, select
from staticwado_daemon.pipeline import publish
from tests import corpus
from tests.records import make_record
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
    assert "1 file was there already, byte for byte as received" in capsys.readouterr().out
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
    assert "'../x' is no target" in capsys.readouterr().err
    assert _export(root, study, "9.9.9") == 1
    assert "9.9.9 is no study, series or instance" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_static_wados_paths(root: Path, tmp_path: Path) -> None:
    source = _files()[0]
    study, series, instance = _uids(source)
    target = f"studies/{study}/series/{series}/instances/{instance}"
    assert execute(mkdicomweb_command, "mkdicomweb", ["part10", target, "--root", str(root), "-o", "out"]) == 0
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in _below(tmp_path / "out")} == {
        f"studies/{study}/{instance}": source.read_bytes()
    }


def test_one_object_for_programs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, series, instance = _uids(_files()[0])
    assert _export(root, study, "-o", "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    (listed,) = told.pop("instances")
    assert told == {"to": [str(Path("out").absolute())], "exported": 1, "failed": 0}
    assert (listed["studyInstanceUID"], listed["seriesInstanceUID"], listed["sopInstanceUID"]) == (
        study,
        series,
        instance,
    )
    assert Path(listed["path"]).stat().st_size == listed["bytes"]
    assert listed["problem"] is None


def test_what_is_lost_costs_only_itself(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(root, damaged)
    study, _, instance = _uids(_files()[1])
    (frame,) = (damaged / "studies" / study).rglob("1.mht*")
    data = bytearray(frame.read_bytes())
    data[len(data) // 2] ^= 1
    frame.write_bytes(data)
    studies = [_uids(source)[0] for source in _files()]
    assert _export(damaged, *studies, "-o", "out") == 3
    assert f"{instance}: " in (said := capsys.readouterr().err)
    assert "staticwado verify" in said
    assert [path.read_bytes() for path in _below(tmp_path / "out")] == [_files()[0].read_bytes()]
    assert _export(damaged, studies[1], "-o", "none") == 1
    assert not [*(tmp_path / "none").iterdir()]
    shutil.rmtree(damaged / "restore" / study)
    assert _export(damaged, studies[1], "-o", "none") == 1
    assert "remainder is missing" in capsys.readouterr().err
    assert [(each.action, each.counts["instances"], each.counts["failed"]) for each in audit.read(damaged)][-3:] == [
        ("export", 1, 1),
        ("export", 0, 1),
        ("export", 0, 1),
    ]


def test_a_kept_version_is_asked_for_by_its_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _files()[0]
    newer = tmp_path / "newer.dcm"
    image = pydicom.dcmread(source)
    image.ImageComments = "corrected"
    image.save_as(newer)
    create(tmp_path / "root", [source])
    create(tmp_path / "root", [newer])
    _, _, instance = _uids(source)
    assert _export(tmp_path / "root", instance, "-o", "now") == 0
    assert [path.read_bytes() for path in _below(tmp_path / "now")] == [newer.read_bytes()]
    assert _export(tmp_path / "root", instance, "-o", "all", "--version", "all") == 0
    assert {path.read_bytes() for path in _below(tmp_path / "all")} == {newer.read_bytes(), source.read_bytes()}
    (kept,) = (path for path in _below(tmp_path / "all") if path.name != f"{instance}.dcm")
    content = kept.stem.rpartition("-")[2]
    assert _export(tmp_path / "root", instance, "-o", "kept", "--version", content) == 0
    assert [path.read_bytes() for path in _below(tmp_path / "kept")] == [source.read_bytes()]
    capsys.readouterr()
    assert _export(tmp_path / "root", instance, "--version", "0" * 9) == 1
    assert "has no version 000000000" in capsys.readouterr().err
    assert _export(tmp_path / "root", instance, "--version", "newest") == 2


def test_who_may_not_write_the_audit_log_is_told(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(Path(audit.PATH).name))
    (copy / audit.PATH).mkdir()
    assert _export(copy, _uids(_files()[0])[0]) == 0
    assert "isn't in the audit log" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [("", "adopted from static-wado"), ("1.2.840.10008.1.2.1", "stored lossy")],
)
def test_where_there_is_no_original_one_is_made_only_on_request(
    root: Path, tmp_path: Path, syntax: str, reason: str
) -> None:
    record = make_record(remainder=("0" * 64, 0), source_transfer_syntax=syntax)
    chosen = named([Version(record, published=True)], flat)
    (refused,) = to_folder(Originals(root), chosen, tmp_path / "out")
    assert refused.problem == f"{lacks_original(record)}; --reconstruct makes a file of what is stored"
    assert reason in refused.problem
    (made,) = to_folder(Originals(root, lambda *_: b"made"), chosen, tmp_path / "out")
    assert made.reconstructed
    assert made.path
    assert made.path.read_bytes() == b"made"


def test_what_is_missing_is_named_with_what_to_do(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    study = UID(_uids(_files()[0])[0])
    (frame,) = (copy / layout.study_dir(study)).rglob("frames/1.*")
    frame.unlink()
    (told,) = to_folder(Originals(copy), named(select(copy, [Target(study)]), flat), tmp_path / "out")
    assert told.problem == f"{frame}: No such file or directory; run `staticwado verify`"


def test_packs_may_be_merged_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an export knows of packs is looked at anew where one of them has gone."""
    monkeypatch.setattr(originals, "HELD_BYTES", 1)
    source = pydicom.dcmread(_files()[0])
    root = tmp_path / "root"
    for number in range(2):
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
        source.save_as(tmp_path / f"{number}.dcm")
        create(root, [tmp_path / f"{number}.dcm"])
    study = UID(str(source.StudyInstanceUID))
    chosen = named(select(root, [Target(study)]), flat)
    files = to_folder(Originals(root), chosen, tmp_path / "out")
    found = [next(files)]
    assert len(holdings.pack_files(root, study)) == 2
    with Store(root) as store:
        publish.group(store, study, most=0)
    found += files
    assert [each.problem for each in found] == [None, None]
    for pack in holdings.pack_files(root, study):
        (root / pack).write_bytes(b"damaged")
    (told, _) = to_folder(Originals(root), chosen, tmp_path / "again")
    assert "is missing or damaged; run `staticwado verify`" in (told.problem or "")


def _below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())
