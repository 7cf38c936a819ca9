"""The options that say how images are stored, through the real command: what stands in the tree, what comes back."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from staticwado_daemon.archive import multipart, routes
from staticwado_daemon.cli.create import _leave_to_the_daemon
from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.frames import describe
from tests import corpus
from tests.synthetic import read
from tests.system.programs import create, staticwado

CT = "pydicom/test_files/CT_small.dcm"
COLOR = "pydicom/test_files/examples_rgb_color.dcm"
RLE = "pydicom/test_files/MR_small_RLE.dcm"
J2K = "pydicom/test_files/examples_jpeg2k.dcm"
PALETTE = "pydicom/test_files/examples_palette.dcm"
PREFIX = "1.2.840.10008.1.2.4."


def copied(directory: Path, *names: str) -> list[Path]:
    directory.mkdir(exist_ok=True)
    return [Path(shutil.copy2(corpus.test_files()[name], directory)) for name in names]


def instances(root: Path) -> dict[str, dict[str, Any]]:
    """The published metadata of each instance, by its SOP Instance UID."""
    found = (json.loads(gzip.decompress(path.read_bytes())) for path in root.glob("studies/*/series/*/metadata.gz"))
    return {each["00080018"]["Value"][0]: each for series in found for each in series}


def directory_of(root: Path, uid: str) -> Path:
    (found,) = root.glob(f"studies/*/series/*/instances/{uid}")
    return found


def uid_of(root: Path, source: str) -> str:
    """The SOP Instance UID of a source as it is stored."""
    for uid, instance in instances(root).items():
        references = values(instance, "00082112")
        if uid == source or (references and references[-1]["00081155"]["Value"] == [source]):
            return uid
    raise AssertionError(source)


def part(path: Path) -> tuple[str, bytes]:
    """The transfer syntax that a part names, and its payload."""
    data = path.read_bytes()
    kind, payload = multipart.unwrap(gzip.decompress(data) if path.suffix == ".gz" else data)
    return kind.partition("transfer-syntax=")[2], bytes(payload)


def values(instance: dict[str, Any], tag: str) -> list[Any]:
    found: list[Any] = instance.get(tag, {}).get("Value", [])
    return found


def pixels(name: str) -> NDArray[Any]:
    found: NDArray[Any] = pydicom.dcmread(corpus.test_files()[name]).pixel_array
    return found


def digests(paths: Sequence[Path]) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lossy")


@pytest.fixture(scope="module")
def root(place: Path) -> Path:
    options = ["-t", "jls-lossy", "-T", "jpeg", "--alternate", "jhcLossless", "--alternate-name", "htj2k"]
    answer = create(place / "root", copied(place / "in", CT, COLOR, PALETTE), *options, "--no-thumb")
    reasons = {Path(receipt["path"]).name: receipt["reason"] for receipt in answer["receipts"]}
    assert reasons == {
        "CT_small.dcm": None,
        "examples_rgb_color.dcm": None,
        "examples_palette.dcm": "not stored as jls-lossy: indices of a palette mean nothing after a loss",
    }
    return place / "root"


class TestLossy:
    @pytest.mark.parametrize(("name", "syntax", "method"), [(CT, "81", "ISO_14495_1"), (COLOR, "50", "ISO_10918_1")])
    def test_makes_an_instance_that_says_so(self, root: Path, name: str, syntax: str, method: str) -> None:
        source = pydicom.dcmread(corpus.test_files()[name])
        (derived,) = (
            each
            for each in instances(root).values()
            if values(each, "00082112") and values(each, "00082112")[-1]["00081155"]["Value"] == [source.SOPInstanceUID]
        )
        uid = values(derived, "00080018")[0]
        stored, payload = part(directory_of(root, uid) / "frames/1.mht")
        assert stored == values(derived, "00083002")[0] == PREFIX + syntax
        assert uid.startswith("2.25.")
        assert derived["7FE00010"]["BulkDataURI"] == f"instances/{uid}/frames"
        assert values(derived, "00080008")[0] == "DERIVED"
        assert values(derived, "00282110") == ["01"]
        assert values(derived, "00282114")[-1:] == [method]
        assert values(derived, "00282112")[-1] == pytest.approx(source.pixel_array.nbytes / len(payload), abs=0.01)

    def test_alternates_are_exact_where_their_name_says_so(self, root: Path) -> None:
        for name in (CT, COLOR, PALETTE):
            source = read(corpus.test_files()[name])
            series = directory_of(root, uid_of(root, source.identity.instance))
            syntax, payload = part(series / "htj2k/1.mht")
            assert syntax == PREFIX + "202"
            assert np.array_equal(decode(payload, syntax, describe(source)), pixels(name))
            url = f"/dicomweb/{(series / 'htj2k/1').relative_to(root)}"
            assert (root / routes.find(url).files[0].path) == series / "htj2k/1.mht"

    def test_no_thumbnails_means_none(self, root: Path) -> None:
        assert not list(root.rglob("thumbnail"))

    def test_sources_that_do_not_come_back_are_kept_before_they_are_deleted(self, root: Path, place: Path) -> None:
        paths = sorted((place / "in").iterdir())
        wanted = digests([path for path in paths if "palette" not in path.name])
        lossy = next(uid for uid, each in instances(root).items() if values(each, "00282110") == ["01"])
        assert "none: the source can't be given back" in staticwado("explain", lossy, "--root", root)
        answer = create(root, paths, "-t", "jls-lossy", "-T", "jpeg", "--delete-input")
        assert "none, for the original was kept whole" in staticwado("explain", lossy, "--root", root)
        assert answer["duplicate"] == len(paths)
        assert not list((place / "in").iterdir())
        originals = {path.name.removesuffix(".gz"): path for path in (root / ".staticwado/originals").glob("*/*")}
        assert originals.keys() == wanted
        for digest, path in originals.items():
            assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == digest
        targets = [path.parent.name for path in root.glob("studies/*/series")]
        staticwado("export", *targets, "-o", place / "out", "--root", root)
        assert digests([path for path in (place / "out").rglob("*") if path.is_file()]) >= wanted


@pytest.mark.parametrize(
    ("options", "syntaxes"),
    [
        (("-t", "jls", "-r", "true", "--recompress-color", "true"), {PREFIX + "80"}),
        (("-t", "jhc-lossy", "-r", "uncompressed,rle"), {PREFIX + "203", PREFIX + "90"}),
    ],
)
def test_deleted_sources_come_back_byte_for_byte(tmp_path: Path, options: tuple[str, ...], syntaxes: set[str]) -> None:
    paths = copied(tmp_path / "in", CT, RLE, J2K)
    wanted = digests(paths)
    create(tmp_path / "root", paths, *options, "--delete-input")
    assert not list((tmp_path / "in").iterdir())
    assert {values(each, "00083002")[0] for each in instances(tmp_path / "root").values()} == syntaxes
    studies = [path.name for path in (tmp_path / "root/studies").iterdir() if path.is_dir()]
    staticwado("export", *studies, "-o", tmp_path / "out", "--root", tmp_path / "root")
    assert digests([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == wanted


def test_quiet_prints_nothing_unless_something_went_wrong(tmp_path: Path) -> None:
    assert staticwado("create", *copied(tmp_path / "in", CT), "--quiet", "-o", tmp_path / "root") == ""
    broken = copied(tmp_path / "in", "pydicom/test_files/MR_truncated.dcm")
    assert "MR_truncated.dcm" in staticwado("create", *broken, "--quiet", "-o", tmp_path / "root", expect=3)


def test_what_a_daemon_does_otherwise_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _leave_to_the_daemon([])
    assert not capsys.readouterr().err
    _leave_to_the_daemon(["contentType", "workers"])
    assert "its own contentType, workers hold" in capsys.readouterr().err
