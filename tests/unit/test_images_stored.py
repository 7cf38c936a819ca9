"""What staging makes of images as somebody chose it: frames, what stands beside them, and how the source comes back."""

import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import orjson
import pydicom
import pytest
from pydicom.data import get_testdata_file

from staticwado_daemon.archive import multipart, restore
from staticwado_daemon.archive.source_frames import stored_in
from staticwado_daemon.dicom.codecs import decode
from staticwado_daemon.dicom.frames import describe
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.inbound.source import AfterIngest, Source, Stamp
from staticwado_daemon.pipeline import staging
from staticwado_daemon.pipeline.images import Alternates, Images
from staticwado_daemon.pipeline.ingest import Rules, ingest
from staticwado_daemon.pipeline.staged import Staged, bulk_directory
from tests.corpus import PYDICOM
from tests.synthetic import read

FILES = PYDICOM / "test_files"
RECOMPRESS = Images(Choices("jls", None, ("true",)))


def staged(place: Path, name: str, images: Images, after_ingest: AfterIngest = "keep") -> Staged:
    path = Path(shutil.copy(str(get_testdata_file(name)), place))
    result = ingest(Source(path, Stamp.of(path.lstat()), after_ingest), place / "task" / "0", Rules(images, Limits()))
    assert isinstance(result, Staged)
    return result


def paths(result: Staged) -> list[str]:
    found = [path.relative_to(result.directory).as_posix() for path in result.directory.rglob("*") if path.is_file()]
    blobs = {blob.path for blob in result.record.blobs} - set(result.bulk)
    assert blobs == set(found) - {"metadata.gz"}
    return sorted(found)


def syntax(result: Staged, name: str) -> str:
    kind, _ = multipart.unwrap((result.directory / name).read_bytes())
    return kind.rpartition(".4.")[2]


@pytest.mark.parametrize("after_ingest", ["keep", "delete"])
def test_a_recompressed_source_is_kept_whole(tmp_path: Path, after_ingest: AfterIngest) -> None:
    result = staged(tmp_path, "MR_small_RLE.dcm", RECOMPRESS, after_ingest)
    assert syntax(result, "frames/1.mht") == "80"
    assert result.remainder.endswith((FILES / "MR_small_RLE.dcm").read_bytes())
    assert result.record.is_exact
    assert result.warnings == ()


def test_a_source_that_is_too_large_for_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_KEPT_WHOLE", 1000)
    result = staged(tmp_path, "MR_small_RLE.dcm", RECOMPRESS)
    kind, _ = multipart.unwrap((result.directory / "frames/1.mht").read_bytes())
    assert kind.endswith("=1.2.840.10008.1.2.5")
    assert result.warnings == ("not stored as jls: the source is too large to be kept beside such frames",)
    assert len(result.remainder) < 10_000


@pytest.mark.parametrize("after_ingest", ["keep", "delete"])
def test_a_source_that_was_coded_with_loss_is_kept_only_if_it_would_be_gone(
    tmp_path: Path, after_ingest: AfterIngest
) -> None:
    result = staged(tmp_path, "CT_small.dcm", Images(Choices("jls-lossy")), after_ingest)
    assert syntax(result, "frames/1.mht") == "81"
    assert result.record.is_exact == (after_ingest == "delete")
    assert len(result.remainder) == result.record.remainder[1]
    assert result.record.identity.instance.startswith("2.25.")
    assert result.record.source_dataset()["00080018"]["Value"] == [read(FILES / "CT_small.dcm").identity.instance]
    assert "00282110" not in result.record.source_dataset()


@pytest.mark.parametrize("by_name", [False, True])
def test_what_was_asked_for_by_name_and_not_done_is_a_warning(tmp_path: Path, by_name: bool) -> None:
    result = staged(tmp_path, "CT_small.dcm", Images(Choices("jpeg", by_name=by_name)))
    assert result.warnings == (("not stored as jpeg: Bits Allocated is 16",) if by_name else ())
    assert syntax(result, "frames/1.mht") == "202"


@pytest.fixture
def _broken_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third frame comes out wrong."""
    encode, calls = imagecodecs.jpegls_encode, []

    def wrong_the_third_time(frame: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return encode(frame ^ (len(calls) == 3), *arguments, **options)

    monkeypatch.setattr(imagecodecs, "jpegls_encode", wrong_the_third_time)


@pytest.mark.usefixtures("_broken_encoder")
def test_frames_before_one_that_does_not_come_back_are_taken_back(tmp_path: Path) -> None:
    result = staged(tmp_path, "emri_small.dcm", Images(Choices("jls", by_name=True), thumbnails=False))
    assert result.warnings == ("not stored as jls: the encoded frame decodes to something else",)
    assert paths(result) == sorted(["metadata.gz", *(f"frames/{number}.mht.gz" for number in range(1, 11))])


@pytest.mark.parametrize("thumbnails", [False, True])
def test_alternates_and_thumbnails_stand_beside_the_frames(tmp_path: Path, thumbnails: bool) -> None:
    images = Images(alternates=Alternates("jlsLossless", "jls"), thumbnails=thumbnails)
    result = staged(tmp_path, "emri_small.dcm", images)
    frames = [f"frames/{number}.mht" for number in range(1, 11)]
    assert [each for each in paths(result) if each.startswith("jls/")] == sorted(f"jls/{each[7:]}" for each in frames)
    assert ("thumbnail" in paths(result)) == thumbnails


def test_an_alternate_is_decoded_to_its_source(tmp_path: Path) -> None:
    result = staged(tmp_path, "MR_small_RLE.dcm", Images(alternates=Alternates("jhcLossless", "htj2k")))
    source = read(FILES / "MR_small.dcm")
    assert source.pixel_data is not None
    start = source.pixel_data.offset
    _, payload = multipart.unwrap((result.directory / "htj2k/1.mht").read_bytes())
    native = decode(bytes(source.buffer[start : start + 8192]), "1.2.840.10008.1.2.1", describe(source))
    assert np.array_equal(decode(payload, "1.2.840.10008.1.2.4.202", describe(source)), native)


@pytest.mark.usefixtures("_broken_encoder")
def test_alternates_that_can_not_be_made_are_a_warning_and_no_files(tmp_path: Path) -> None:
    result = staged(tmp_path, "emri_small.dcm", Images(alternates=Alternates("jlsLossless")))
    assert result.warnings == ("no alternate jlsLossless: the encoded frame decodes to something else",)
    assert not [path for path in paths(result) if path.startswith("lossy/")]


@pytest.mark.parametrize("mime_type", ["application/pdf", "model/stl", "video/mp4", "text/html"])
def test_an_image_with_a_document_in_it_comes_back_from_its_frames(tmp_path: Path, mime_type: str) -> None:
    image = pydicom.dcmread(FILES / "CT_small.dcm")
    image.EncapsulatedDocument = b"\0\0\0\x18ftypmp42" + bytes(image.PixelData)
    image.MIMETypeOfEncapsulatedDocument = mime_type
    path = tmp_path / "both.dcm"
    image.save_as(path)
    result = ingest(Source(path, Stamp.of(path.lstat())), tmp_path / "task" / "0", Rules(Images(), Limits()))
    assert isinstance(result, Staged)
    assert not [name for name in paths(result) if name.startswith("rendered/")]
    read_blob, bulk = stored_in(result.directory), stored_in(bulk_directory(result.directory))
    pieces = restore.rebuild(result.record, result.remainder, lambda n: (bulk if n in result.bulk else read_blob)(n))
    assert b"".join(bytes(piece) for piece in pieces) == path.read_bytes()


def test_what_was_lost_before_the_coding_is_told_too(tmp_path: Path) -> None:
    """Colours of 16 bits are published with 8, and these as JPEG: the description names both."""
    result = staged(tmp_path, "SC_rgb_16bit.dcm", Images(Choices("jpeg")))
    (told,) = orjson.loads(result.record.dataset)["00082111"]["Value"]
    assert "Colours reduced from 16 to 8 bits" in told
    assert "Lossy compression: " in told
