"""Rendered images show what pydicom shows, within one grey level, and the command makes them from the tree alone."""

import json
import shutil
import stat
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

from staticwado_daemon.archive import gzipped
from staticwado_daemon.cli import execute, staticwado
from staticwado_daemon.dicom.codecs import decode, photometric_interpretation
from staticwado_daemon.dicom.frames import describe, frame_segments
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.render import picture, rendered_frames
from staticwado_daemon.dicom.transcode import source_frames
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.dicom.voi import Window, presets
from staticwado_daemon.errors import StaticwadoError
from tests import corpus
from tests.corpus import PYDICOM, PYDICOM_DATA
from tests.synthetic import image_of, read
from tests.system.programs import create

Array = NDArray[Any]

RAMP = np.tile(np.arange(0, 4096, 32, dtype=np.uint16), (64, 1))
LARGEST = 400_000
UNREADABLE = (
    ValueError,
    RuntimeError,
    AttributeError,
    NotImplementedError,
    KeyError,
    StaticwadoError,
    InvalidDicomError,
)
# pydicom doesn't swap the tables of the first two; the last one says RGB but has a JFIF marker, which viewers believe.
CONTRADICTORY = {"OBXXXX1A_expb", "OBXXXX1A_expb_2frame", "SC_rgb_jpeg"}
JPEG = {f"1.2.840.10008.1.2.4.{last}" for last in (50, 51)}


def full_picture(instance: Instance, index: int = 0, voi: Window | None = None) -> NDArray[np.float64]:
    description = describe(instance)
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    uid = syntax.uid if syntax.compressed else EXPLICIT_VR_LITTLE_ENDIAN
    payload = source_frames(instance, description, frame_segments(instance, description))[index]
    frame = decode(payload, uid, description)
    kind = photometric_interpretation(payload, uid, description)
    shown = picture(
        frame,
        instance.attributes,
        replace(description, photometric_interpretation=kind),
        longest=max(frame.shape[:2]),
        index=index,
        bulk_values=instance.bulk_values,
        voi=voi,
    )
    return shown.astype(float)


def output_range(source: Dataset) -> tuple[float, float]:
    """Between what pydicom's windowed values lie: PS3.3 C.11.2.1.2 leaves it open."""
    bits, signed = source.BitsStored, source.PixelRepresentation
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    slope, intercept = float(source.get("RescaleSlope", 1)), float(source.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


def by_pydicom(source: Dataset) -> Array | None:
    """The first frame as pydicom windows or colours it, from 0 to 255; None where the object says nothing."""
    pixels = source.pixel_array
    pixels = pixels[0] if int(source.get("NumberOfFrames") or 1) > 1 else pixels
    kind = source.PhotometricInterpretation
    if source.SamplesPerPixel == 3:
        return pixels.astype(float) / ((1 << source.BitsStored) - 1) * 255
    if kind == "PALETTE COLOR":
        colors = apply_color_lut(pixels, source)
        return (colors >> 8 if colors.dtype.itemsize == 2 else colors).astype(float)
    if "WindowCenter" not in source or "ModalityLUTSequence" in source or source.get("BitsAllocated") == 1:
        return None
    low, high = output_range(source)
    levels = (apply_voi_lut(apply_modality_lut(pixels, source), source) - low) / (high - low) * 255
    return 255 - levels if kind == "MONOCHROME1" else levels


def sources() -> Iterator[tuple[str, Dataset, Instance]]:
    """The test files of a moderate size that both can read."""
    for name, path in corpus.images().items():
        with warnings.catch_warnings(), suppress(*UNREADABLE):
            warnings.simplefilter("ignore")  # odd on purpose
            source = pydicom.dcmread(path)
            if source.Rows * source.Columns * int(source.get("NumberOfFrames") or 1) <= LARGEST:
                yield name, source, read(path)


def test_the_test_files_look_as_pydicom_shows_them() -> None:
    differences: dict[str, float] = {}
    for name, source, instance in sources():
        with warnings.catch_warnings(), suppress(*UNREADABLE):
            warnings.simplefilter("ignore")
            expected = by_pydicom(source)
            if expected is not None and Path(name).stem not in CONTRADICTORY:
                differences[name] = float(np.abs(full_picture(instance) - np.clip(expected, 0, 255)).max())
                if source.file_meta.TransferSyntaxUID in JPEG:
                    differences[name] -= 1  # decoders round differently
    assert {name: each for name, each in differences.items() if each > 1} == {}
    assert len(differences) >= 40


class TestPresets:
    @staticmethod
    def table(name: str | None, outputs: Array) -> Dataset:
        table = Dataset()
        table.LUTDescriptor = [len(outputs), 0, 8]
        table["LUTDescriptor"].VR = "US"
        table.LUTExplanation = name
        table.LUTData = outputs.astype("<u2").tobytes()
        table["LUTData"].VR = "OW"
        return table

    def test_windows_come_first_and_then_tables_by_their_names(self) -> None:
        inverted = np.clip(255 - np.arange(4096) // 16, 0, 255)
        instance = image_of(
            RAMP,
            WindowCenter=[40, 300],
            WindowWidth=[400, 1500],
            WindowCenterWidthExplanation=["SOFT", "BONE"],
            VOILUTSequence=[self.table("INVERTED", inverted), self.table(None, inverted)],
        )
        known = presets(instance.attributes, 0)
        assert [preset.name for preset in known] == ["SOFT", "BONE", "INVERTED", ""]
        assert known[1].voi == Window(300, 1500)
        assert np.abs(full_picture(instance, voi=known[2].voi) - inverted[RAMP]).max() <= 1

    def test_unusable_ones_are_left_out(self) -> None:
        instance = image_of(RAMP, WindowCenter=[40, 300, 7], WindowWidth=[0, 1500], WindowCenterWidthExplanation="A")
        assert [(preset.name, preset.voi) for preset in presets(instance.attributes, 0)] == [("", Window(300, 1500))]

    def test_the_shape_and_the_table_of_presentation(self) -> None:
        attributes = {"WindowCenter": 2048, "WindowWidth": 4096}
        plain = full_picture(image_of(RAMP, **attributes))
        assert np.array_equal(full_picture(image_of(RAMP, **attributes, PresentationLUTShape="IDENTITY")), plain)
        for more in ({}, {"PhotometricInterpretation": "MONOCHROME1"}):
            inverse = full_picture(image_of(RAMP, **attributes, **more, PresentationLUTShape="INVERSE"))
            assert np.abs(255 - inverse - plain).max() <= 1
        darker = self.table(None, np.arange(256) // 2)
        assert (
            np.abs(full_picture(image_of(RAMP, **attributes, PresentationLUTSequence=[darker])) - plain / 2).max() <= 1
        )


def test_each_frame_becomes_a_picture_of_its_own_size() -> None:
    frames = np.stack([np.full((40, 60), level, np.uint8) for level in (0, 100, 200)])
    instance = image_of(frames, NumberOfFrames=3, WindowCenter=128, WindowWidth=256)
    pictures = rendered_frames(instance, describe(instance), frame_segments(instance, describe(instance)))
    shown = [imagecodecs.jpeg8_decode(each) for each in pictures if each]
    assert [each.shape for each in shown] == [(40, 60)] * 3
    assert np.abs([each.mean() for each in shown] - np.array([0, 100, 200])).max() <= 1


NAMES = ("693_UNCR", "OT-PAL-8-face", "color3d_jpeg_baseline", "US1_J2KR", "OBXXXX1A_rle")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rendered")
    (directory / "in").mkdir()
    for path in (*(PYDICOM_DATA / f"{name}.dcm" for name in NAMES), PYDICOM / "test_files/liver_1frame.dcm"):
        shutil.copy(path, directory / "in")
    create(directory / "root", [directory / "in"])
    return directory / "root"


def instance_of(name: str) -> Dataset:
    return pydicom.dcmread(PYDICOM_DATA / f"{name}.dcm", force=True)


class TestCommand:
    def run(self, tree: Path, *arguments: str, expect: int = 0) -> None:
        assert execute(staticwado, "staticwado", ["rendered", "--root", str(tree), *arguments]) == expect

    @pytest.mark.parametrize("name", NAMES)
    def test_a_picture_of_the_tree_is_one_of_the_source(self, tree: Path, tmp_path: Path, name: str) -> None:
        source = instance_of(name)
        path = tmp_path / "picture.png"
        self.run(tree, source.SOPInstanceUID, "-o", str(path))
        shown = imagecodecs.png_decode(path.read_bytes()).astype(float)
        expected = full_picture(read(PYDICOM_DATA / f"{name}.dcm"))
        assert np.abs(shown - expected.astype(np.uint8)).max() <= 1
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_window_a_size_and_what_was_made(
        self, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = instance_of("693_UNCR")
        target = (
            f"studies/{source.StudyInstanceUID}/series/{source.SeriesInstanceUID}/instances/{source.SOPInstanceUID}"
        )
        path = tmp_path / "small.jpg"
        wishes = ("--window", "40,400,linear-exact", "--size", "100x700", "--quality", "100", "-o", str(path), "--json")
        self.run(tree, target, *wishes)
        told = json.loads(capsys.readouterr().out)
        assert (told["file"], told["frame"], told["rows"], told["columns"]) == (str(path), 1, 100, 100)
        values = source.pixel_array * float(source.RescaleSlope) + float(source.RescaleIntercept)
        expected = np.clip((values - 40) / 400 + 0.5, 0, 1) * 255
        shown = imagecodecs.jpeg8_decode(path.read_bytes())
        assert abs(shown.mean() - expected.mean()) < 3
        self.run(tree, target, "--size", "1024x2048", "-o", str(path))
        assert imagecodecs.jpeg8_decode(path.read_bytes()).shape == (1024, 1024)

    def test_a_frame_to_stdout(self, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        source = instance_of("color3d_jpeg_baseline")
        self.run(tree, source.StudyInstanceUID, "--frame", "7", "-o", "-")
        shown = imagecodecs.jpeg8_decode(capfdbinary.readouterr().out).astype(float)
        assert np.abs(shown - full_picture(read(PYDICOM_DATA / "color3d_jpeg_baseline.dcm"), 6)).mean() < 2

    def test_by_default_it_gets_its_uid_as_name(
        self, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        source = instance_of("US1_J2KR")
        self.run(tree, source.SOPInstanceUID)
        assert (tmp_path / f"{source.SOPInstanceUID}-1.jpg").read_bytes()[:2] == b"\xff\xd8"

    @pytest.mark.parametrize(
        ("arguments", "expect", "sentence"),
        [
            (("--window", "40"), 2, "'40' is no window: say CENTER,WIDTH"),
            (("--window", "40,0"), 2, "a linear width is at least 1"),
            (("--window", "40,400,cubic"), 2, "is no window"),
            (("--window", "40,400", "--preset", "1"), 2, "exclude each other"),
            (("--size", "100"), 2, "'100' is no size: say COLUMNSxROWS"),
            (("--size", "0x5"), 2, "is no size"),
            (("-o", "x.gif"), 2, "x.gif ends with neither .png nor .jpg"),
            (("-o", "-", "--json"), 2, "can't both go to stdout"),
            (("--preset", "LUNG"), 1, "the image has no preset 'LUNG': it has 1"),
            (("--preset", "2"), 1, "the image has no preset '2'"),
            (("--frame", "2"), 1, "has 1 frame, no frame 2"),
        ],
    )
    def test_what_cannot_be_done_is_said(
        self, tree: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expect: int, sentence: str
    ) -> None:
        self.run(tree, instance_of("693_UNCR").SOPInstanceUID, *arguments, expect=expect)
        assert sentence in capsys.readouterr().err

    def test_what_is_not_there_is_said(self, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.run(tree, "9.9.9", expect=1)
        self.run(tree, "nonsense", expect=2)
        self.run(tmp_path, "1.2.3", expect=2)
        assert capsys.readouterr().err.count("\n") == 3

    def test_a_file_that_is_damaged_or_missing_is_named_with_what_to_do(
        self, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(tree, tmp_path / "root")
        uid = instance_of("693_UNCR").SOPInstanceUID
        (instance,) = (tmp_path / "root").glob(f"studies/*/series/*/instances/{uid}")
        for path in (next(instance.glob("frames/1.*")), instance / "metadata.gz"):
            for data in (b"no gzip", gzipped.pack(b"{}")):
                path.write_bytes(data)
                self.run(tmp_path / "root", uid, expect=1)
                assert f"{path} is damaged: run `staticwado verify --repair`" in capsys.readouterr().err
            path.unlink()
            self.run(tmp_path / "root", uid, expect=1)
            assert "is missing: run `staticwado verify --repair`" in capsys.readouterr().err
            path.symlink_to("/dev/zero")
            self.run(tmp_path / "root", uid, expect=1)
            assert str(path) in capsys.readouterr().err
            path.unlink()
            shutil.copy(next(tree.glob(f"studies/*/series/*/instances/{uid}")) / path.relative_to(instance), path)
