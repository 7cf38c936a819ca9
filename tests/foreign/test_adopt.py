"""Trees that Static DICOMweb's two converters wrote, and older ones, become ours in place."""

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import pydicom
import pytest

from staticwado_daemon.archive import gzipped, layout, multipart
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.source_frames import stored_in
from staticwado_daemon.cli import execute
from staticwado_daemon.cli.adopt import adopt as command
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.inbound.named import look
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.operate.adopt import deduplicated, part10, rest, spellings, tree
from staticwado_daemon.operate.adopt import root as adopting
from staticwado_daemon.operate.adopt.root import Report
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules, ingest
from staticwado_daemon.pipeline.staged import Staged
from staticwado_daemon.pipeline.studies import Studies
from tests import corpus
from tests.foreign import legacy, newer, parts
from tests.foreign.legacy import Options

RULES = Rules(Images(), Limits())
NAMES = (
    "charset_files/chrArab.dcm",
    "charset_files/chrH32.dcm",
    "charset_files/chrX1.dcm",
    "charset_files/chrKoreanMulti.dcm",
    "test_files/CT_small.dcm",
    "test_files/JPEGLSNearLossless_16.dcm",
    "test_files/JPEG2000.dcm",
    "test_files/MR_small.dcm",
    "test_files/MR_small_RLE.dcm",
    "test_files/MR_small_implicit.dcm",
    "test_files/SC_rgb_small_odd.dcm",
    "test_files/examples_ybr_color.dcm",
    "test_files/liver_1frame.dcm",
    "test_files/reportsi.dcm",
    "test_files/reportsi_with_empty_number_tags.dcm",
    "test_files/rtdose.dcm",
    "test_files/rtplan.dcm",
    "test_files/waveform_ecg.dcm",
)
PIXELS = {"00083002", "7FE00010"}
"""What depends on how frames are stored."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree as its program left it, and the files that it was made of."""

    root: Path
    files: Mapping[Identity, Path]


def identity(path: Path) -> Identity:
    image = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    return Identity(UID(image.StudyInstanceUID), UID(image.SeriesInstanceUID), UID(image.SOPInstanceUID))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = corpus.test_files()
    directory = tmp_path_factory.mktemp("in")
    real = corpus.distinct(directory, {name: found[f"pydicom/{name}"] for name in NAMES})
    return [*real.values(), *parts.odd_objects(directory)]


def build(writer: legacy.Writer | newer.Writer, files: list[Path]) -> Tree:
    for path in files:
        writer.add(path)
    return Tree(writer.finish(), {identity(path): path for path in files})


WRITERS: Mapping[str, Callable[[Path], legacy.Writer | newer.Writer]] = {
    "legacy": legacy.Writer,
    "transcoded": lambda root: legacy.Writer(root, Options(transcode=True)),
    "older": lambda root: legacy.Writer(
        root, Options(transcode=True, old_frames=True, old_bulk=True, old_series=True, untagged=True)
    ),
    "bare": lambda root: legacy.Writer(root, Options(transcode=True, bare=True)),
    "ungrouped": lambda root: legacy.Writer(root, Options(grouped=False)),
    "hashed": lambda root: legacy.Writer(root, Options(hashed="286/943")),
    "newer": newer.Writer,
}


@pytest.fixture(scope="module")
def published(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[Path, dict[str, Any]]:
    task = tmp_path_factory.mktemp("task")
    return {path: expected(path, task / path.stem) for path in files}


@pytest.fixture(scope="module", params=WRITERS)
def before(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> Tree:
    return build(WRITERS[request.param](tmp_path_factory.mktemp(request.param) / "root"), files)


@pytest.fixture(scope="module")
def after(before: Tree, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Report]:
    root = tmp_path_factory.mktemp("adopted") / "root"
    shutil.copytree(before.root, root)
    return Tree(root, before.files), adopt(root)


def adopt(root: Path) -> Report:
    return adopting.adopt(root, None, RULES, adopting.candidates(root), lambda: None)


def metadata(root: Path, instance: Identity) -> dict[str, Any]:
    (found,) = json.loads(gzip.decompress((root / layout.instance_dir(instance) / "metadata.gz").read_bytes()))
    return found


def record(root: Path, instance: Identity) -> Record:
    winner = Studies(root, 1 << 20).get(instance.study).versions(instance).winner
    assert winner
    return winner


def expected(path: Path, directory: Path) -> dict[str, Any]:
    """What `create` finds in a file; it publishes that, but for what depends on how it stores the frames."""
    source = look(path)
    assert isinstance(source, Source)
    staged = ingest(source, directory, RULES)
    assert isinstance(staged, Staged)
    return staged.record.source_dataset()


def reader(root: Path, instance: Identity) -> Callable[[str], Any]:
    own, study = stored_in(root / layout.instance_dir(instance)), stored_in(root / layout.study_dir(instance.study))
    return lambda name: (study if layout.is_bulk(name) else own)(name)


def payloads(directory: Path) -> dict[int, bytes]:
    found = spellings.frame_files(directory)
    return {number: bytes(spellings.read_part(paths[0]).payload) for number, paths in found.items()}


def test_nothing_is_left_to_adopt(after: tuple[Tree, Report]) -> None:
    tree_after, report = after
    assert (report.left, [each.lacks for each in report.studies if each.lacks]) == (0, [])
    assert [each.unknown for each in report.studies if each.unknown] == []
    assert adopting.candidates(tree_after.root) == []
    assert sum(each.instances for each in report.studies) == len(tree_after.files)


def test_a_second_run_changes_nothing(after: tuple[Tree, Report], capsys: pytest.CaptureFixture[str]) -> None:
    root = after[0].root
    state = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert execute(command, "adopt", [str(root), "--yes"]) == 0
    assert "nothing to adopt" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == state


def test_metadata_are_what_create_publishes(after: tuple[Tree, Report], published: dict[Path, dict[str, Any]]) -> None:
    for instance, path in after[0].files.items():
        wanted, found = published[path], metadata(after[0].root, instance)
        differing = {tag for tag in wanted.keys() | found.keys() if wanted.get(tag) != found.get(tag)}
        assert differing <= PIXELS, path.name


def test_frames_hold_what_they_held(before: Tree, after: tuple[Tree, Report]) -> None:
    directories = {each.uid: each.directory for each in tree.candidates(before.root)}
    compared = 0
    for instance in before.files:
        old = before.root / directories[instance.study] / "series" / instance.series / "instances" / instance.instance
        new = after[0].root / layout.instance_dir(instance)
        if (old / "index.mht.gz").exists() or not (new / "frames").exists():
            continue  # made anew of the original, or no image
        assert payloads(new / "frames") == payloads(old / "frames")
        compared += len(payloads(new / "frames"))
    assert compared > 40


def test_every_file_is_one_of_ours(after: tuple[Tree, Report]) -> None:
    root = after[0].root
    for instance in after[0].files:
        held = record(root, instance)
        for blob in held.blobs:
            home = layout.study_dir(instance.study) if layout.is_bulk(blob.path) else layout.instance_dir(instance)
            data = (root / home / blob.path).read_bytes()
            assert len(data) == blob.length
            if ".mht" in blob.path or layout.is_bulk(blob.path):
                content_type, _ = multipart.unwrap(gzipped.unpack(data) if blob.path.endswith(".gz") else data)
                if blob.path.startswith("frames/"):
                    uid = json.loads(held.dataset)["00083002"]["Value"][0]
                    assert content_type.endswith(f";transfer-syntax={uid}")
        study = Studies(root, 1 << 20).get(instance.study)
        assert rest.of_study(root, study) == rest.Rest()


def test_videos_and_documents_are_where_viewers_look(after: tuple[Tree, Report]) -> None:
    root, (*_, video, document) = after[0].root, after[0].files
    stream = parts.frames_of(parts.read(after[0].files[video])).payloads[0]
    assert (root / layout.instance_dir(video) / "rendered/index.mp4").read_bytes() == stream
    described = metadata(root, video)
    assert described["7FE00010"]["BulkDataURI"].endswith("/rendered")
    assert described["00083002"]["Value"] == ["1.2.840.10008.1.2.4.102"]
    pdf = parts.read(after[0].files[document]).EncapsulatedDocument
    assert (root / layout.instance_dir(document) / "rendered/index.pdf").read_bytes().rstrip(b"\0") == pdf.rstrip(b"\0")


def test_images_have_thumbnails(after: tuple[Tree, Report]) -> None:
    for instance in after[0].files:
        directory = after[0].root / layout.instance_dir(instance)
        if (directory / "frames").is_dir():
            assert max(imagecodecs.jpeg_decode((directory / "thumbnail").read_bytes()).shape) <= 512


def test_a_part_10_file_can_be_made_of_what_is_kept(
    after: tuple[Tree, Report], published: dict[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "task").mkdir()
    root = after[0].root
    for instance, path in after[0].files.items():
        held = record(root, instance)
        if held.source:
            continue
        made = tmp_path / "made.dcm"
        made.write_bytes(part10.rebuild(held, reader(root, instance)))
        image, original = pydicom.dcmread(made), pydicom.dcmread(path, force=True)
        assert image.ContributingEquipmentSequence[-1].ContributionDescription == part10.REBUILT
        assert image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID == instance.instance
        found, wanted = expected(made, tmp_path / "task" / path.stem), published[path]
        del found["0018A001"]
        differing = {tag for tag in wanted.keys() | found.keys() if wanted.get(tag) != found.get(tag)}
        assert differing <= PIXELS, path.name
        assert ("PixelData" in image) == ("PixelData" in original)
        if "PixelData" in image and image.get("Modality") != "ES":
            assert (image.pixel_array == original.pixel_array).all()


def test_an_original_that_was_kept_is_the_source(before: Tree, after: tuple[Tree, Report]) -> None:
    """One converter keeps the Part 10 file of what viewers ask for whole."""
    for instance, path in after[0].files.items():
        whole = list(before.root.rglob(f"{instance.instance}/index.mht.gz"))
        source = hashlib.sha256(path.read_bytes()).hexdigest() if whole else ""
        assert record(after[0].root, instance).source == source


@pytest.mark.parametrize("writer", [legacy.Writer, newer.Writer])
def test_nothing_is_done_before_somebody_says_yes(
    tmp_path: Path, files: list[Path], writer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    root = build(writer(tmp_path / "root"), files[:6]).root
    state = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert execute(command, "adopt", [str(root), "--dry-run"]) == 0
    assert "would adopt" in capsys.readouterr().out
    assert execute(command, "adopt", [str(root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["instances"], told["left"]) == (False, 6, 0)
    assert execute(command, "adopt", [str(root)]) == 2
    assert "nobody can be asked here" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == state


def test_rejected_instances_stay_rejected(tmp_path: Path, files: list[Path]) -> None:
    hidden = identity(files[4])
    root = build(legacy.Writer(tmp_path / "root", Options(rejected=frozenset({hidden.instance}))), files[4:6]).root
    report = adopt(root)
    assert sum(each.rejected for each in report.studies) == 1
    versions = Studies(root, 1 << 20).get(hidden.study).versions(hidden)
    assert not versions.visible
    assert versions.tombstones[0].action == "reject"
    assert not (root / layout.instance_dir(hidden)).exists()


def test_what_is_damaged_is_named_and_left(
    tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    made = build(newer.Writer(tmp_path / "root"), files[4:8])
    bad = identity(files[7])
    frame = next((made.root / layout.instance_dir(bad) / "frames").iterdir())
    frame.write_bytes(frame.read_bytes()[:-40])
    study = made.root / layout.study_dir(bad.study)
    state = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    assert execute(command, "adopt", [str(made.root), "--yes", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    (left,) = [each["left"] for each in told["problems"] if each["left"]]
    assert str(frame.relative_to(made.root)) in left
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == state
    listed = json.loads(gzip.decompress((made.root / layout.STUDIES_INDEX).read_bytes()))
    assert bad.study in {each["0020000D"]["Value"][0] for each in listed}
    assert [each.uid for each in adopting.candidates(made.root)] == [bad.study]


def _linked_frame(study: Path, outside: Path) -> None:
    frame = next(study.glob("series/*/instances/*/frames/*"))
    frame.unlink()
    frame.symlink_to(outside)


def _linked_instance(study: Path, outside: Path) -> None:
    instance = next(study.glob("series/*/instances/*/"))
    shutil.rmtree(instance)
    instance.symlink_to(outside.parent)


def _fifo(study: Path, _: Path) -> None:
    metadata = next(study.glob("series/*/instances/*/metadata.gz"))
    metadata.unlink()
    os.mkfifo(metadata)


def _directory(study: Path, _: Path) -> None:
    metadata = next(study.glob("series/*/instances/*/metadata.gz"))
    metadata.unlink()
    metadata.mkdir()


@pytest.mark.parametrize("plant", [_linked_frame, _linked_instance, _fifo, _directory])
def test_links_and_special_files_are_named_and_not_followed(
    tmp_path: Path, files: list[Path], plant: Callable[[Path, Path], None]
) -> None:
    made = build(newer.Writer(tmp_path / "root"), files[4:8])
    study = made.root / layout.study_dir(identity(files[7]).study)
    outside = tmp_path / "outside" / "secret"
    outside.parent.mkdir()
    outside.write_bytes(b"secret" * 100)
    plant(study, outside)
    report = adopt(made.root)
    assert [each.study for each in report.studies if each.left] == [study.name]
    assert not [path for path in (made.root / "studies").rglob("*") if not path.is_symlink() and _holds_secret(path)]


def test_a_directory_where_a_file_of_ours_comes_is_put_aside(tmp_path: Path, files: list[Path]) -> None:
    made = build(newer.Writer(tmp_path / "root"), files[4:5])
    thumbnail = made.root / layout.instance_dir(identity(files[4])) / "thumbnail"
    thumbnail.unlink(missing_ok=True)
    thumbnail.mkdir()
    (thumbnail / "note").write_text("somebody's")
    assert adopt(made.root).left == 0
    assert thumbnail.is_file()
    aside = (made.root / layout.ADOPTED).rglob("note*")
    assert [path.read_text() for path in aside] == ["somebody's"]


def _holds_secret(path: Path) -> bool:
    return path.is_file() and b"secret" in path.read_bytes()


def test_extracts_are_not_looked_for_outside_of_their_study(tmp_path: Path) -> None:
    (tmp_path / "secret.json.gz").write_bytes(gzip.compress(b'{"00104000":{"vr":"LT","Value":["secret"]}}'))
    marks = {
        "00090010": {"vr": "CS", "Value": ["dedupped"]},
        "00091010": {"vr": "LO", "Value": [f"abcde{tmp_path}/secret"]},
        "00091011": {"vr": "LO", "Value": ["f" * 64]},
        "00091012": {"vr": "LO", "Value": ["instance"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
    }
    record_file = tmp_path / "f.gz"
    record_file.write_bytes(gzip.compress(json.dumps([marks]).encode()))
    found = deduplicated.load(tmp_path / "study", [record_file])
    assert "00104000" not in found.instances["1.2.3"]
    assert found.lacking == {"1.2.3"}


@pytest.mark.parametrize(
    "value", [5, None, "x", [], {"Value": {"a": 1}}, {"Value": "x"}, {"vr": "SQ", "Value": [{"b": 1}]}]
)
def test_what_is_no_attribute_costs_only_itself(tmp_path: Path, files: list[Path], value: Any) -> None:
    made = build(legacy.Writer(tmp_path / "root"), files[4:5])
    own = identity(files[4])
    for path in [*made.root.glob("deduplicated/*/*.gz"), *made.root.glob("studies/*/deduplicated/*.gz")]:
        objects = json.loads(gzip.decompress(path.read_bytes()))
        for each in objects:
            each.update({"00104000": value, "00191010": value, "00190010": value})
        path.write_bytes(gzip.compress(json.dumps(objects).encode()))
    assert adopt(made.root).left == 0
    assert metadata(made.root, own)["00080018"]["Value"] == [own.instance]


def test_missing_frames_are_told_of(tmp_path: Path, files: list[Path]) -> None:
    path = next(each for each in files if pydicom.dcmread(each, force=True).get("NumberOfFrames", 1) == 15)
    root = build(legacy.Writer(tmp_path / "root"), [path]).root
    instance = root / layout.instance_dir(identity(path))
    (instance / "frames/3.mht.gz").unlink()
    (told,) = adopt(root).studies
    assert [each.partition(": ")[2] for each in told.lacks] == ["frames missing: 3 (1 of 15)"]
    assert len(payloads(instance / "frames")) == 14
    with pytest.raises(Exception, match="frame 3 was missing"):
        part10.rebuild(record(root, identity(path)), stored_in(instance))


def test_fragments_are_joined_to_frames(tmp_path: Path, files: list[Path]) -> None:
    path = next(each for each in files if pydicom.dcmread(each, force=True).get("NumberOfFrames", 1) == 30)
    root = build(newer.Writer(tmp_path / "root", fragments=True), [path]).root
    (told,) = adopt(root).studies
    assert any("joined" in note for note in told.notes)
    found = payloads(root / layout.instance_dir(identity(path)) / "frames")
    assert [*found.values()] == [*parts.frames_of(parts.read(path)).payloads]


def test_contradictions_are_named(tmp_path: Path, files: list[Path]) -> None:
    root = build(newer.Writer(tmp_path / "root"), files[4:5]).root
    of = identity(files[4])
    path = root / layout.series_dir(of.study, of.series) / "metadata.gz"
    (other,) = json.loads(gzip.decompress(path.read_bytes()))
    other["00080060"]["Value"] = ["MR"]
    parts.write_json(path, [other])
    (told,) = adopt(root).studies
    assert any("00080060" in note for note in told.notes)
    assert metadata(root, of)["00080060"]["Value"] == ["CT"]


def test_theirs_goes_aside_and_others_stay(tmp_path: Path, files: list[Path]) -> None:
    root = build(newer.Writer(tmp_path / "root"), files[4:6]).root
    instance = layout.instance_dir(identity(files[4]))
    theirs = ["index.json.gz", f"{instance}/frames/tempFile-908494628", "notifications/1.2-53291.notify"]
    others = ["README.txt", f"{layout.study_dir(identity(files[4]).study)}/notes.txt", f"{instance}/why.txt"]
    for name in (*theirs, *others):
        parts.write(root / name, name.encode())
    report = adopt(root)
    kept = [root / layout.ADOPTED / name for name in theirs]
    assert all(path.is_file() for path in kept)
    assert not any((root / name).exists() for name in theirs)
    assert all((root / name).read_bytes() == name.encode() for name in others)
    assert sorted(name for each in report.studies for name in each.unknown) == sorted(others[1:])
    assert not list((root / "studies").rglob("temp"))


def test_a_tree_of_both_converters(tmp_path: Path, files: list[Path], published: dict[Path, dict[str, Any]]) -> None:
    root = tmp_path / "root"
    older, newest = legacy.Writer(root), newer.Writer(root)
    for path in files[:8]:
        older.add(path)
    older.finish()
    for path in files[6:12]:
        newest.add(path)
    newest.finish()
    assert adopt(root).left == 0
    assert adopting.candidates(root) == []
    for path in files[:12]:
        wanted, found = published[path], metadata(root, identity(path))
        assert {tag for tag in wanted.keys() | found.keys() if wanted.get(tag) != found.get(tag)} <= PIXELS
