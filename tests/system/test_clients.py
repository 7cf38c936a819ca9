"""What a program sees: Python's dicomweb-client against nginx, every frame compared with pydicom's own decoding."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from staticwado_daemon.archive import multipart
from tests import corpus
from tests.system.programs import create
from tests.system.servers import start_nginx_for

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
"""What is odd in a source is odd in what is served, and pydicom says so."""

NOT_COMPARED: dict[str, str] = tomllib.loads(
    Path(__file__).parents[1].joinpath("data/frames-not-compared.toml").read_text(encoding="utf-8")
)
"""Names of test files whose pixels aren't compared, and why. The bytes of their frames are, where they have frames."""

IMAGES = corpus.images()
DECOMPRESSED = {
    f"pydicom/test_files/{kind}{frames}.dcm"
    for kind, several in {"SC_rgb_rle_16bit": "_2frame", "SC_rgb_rle_32bit": "_2frame", "rtdose_rle": "_1frame"}.items()
    for frames in ("", several)
}
"""RLE of more bits than viewers decode."""
LOSSLESS_OURS = {"1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.80", ExplicitVRLittleEndian}


@dataclass(frozen=True, slots=True)
class Archive:
    """Every image of the test files as an instance of its own, served by nginx."""

    origin: str
    client: DICOMwebClient
    files: dict[str, Path]
    receipts: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    directory = tmp_path_factory.mktemp("clients")
    files = corpus.distinct(directory / "inbound", IMAGES)
    answer = create(directory / "root", [directory / "inbound"], expect=3)
    receipts = {receipt["path"]: receipt for receipt in answer["receipts"]}
    (directory / "nginx").mkdir()
    with start_nginx_for(directory / "root", directory / "nginx") as server:
        client = DICOMwebClient(f"{server.url}/dicomweb")
        yield Archive(server.url, client, files, {name: receipts[str(path)] for name, path in files.items()})


@pytest.fixture(scope="module")
def published(archive: Archive) -> dict[str, Dataset]:
    """The instances that were published, by SOP Instance UID, as their sources say."""
    names = (name for name, receipt in archive.receipts.items() if receipt["outcome"] == "published")
    sources = (_source(archive.files[name]) for name in names)
    return {str(source.SOPInstanceUID): source for source in sources}


def test_search_for_studies_finds_each_study_once(archive: Archive, published: dict[str, Dataset]) -> None:
    found = [Dataset.from_json(study) for study in archive.client.search_for_studies()]
    counts = {str(study.StudyInstanceUID): study.NumberOfStudyRelatedInstances for study in found}
    assert len(counts) == len(found)
    assert counts == _count(published, "StudyInstanceUID")


def test_search_ends_by_itself_when_a_client_pages(archive: Archive, published: dict[str, Dataset]) -> None:
    found = archive.client.search_for_studies(limit=10, get_remaining=True)
    assert len(found) == len(_count(published, "StudyInstanceUID"))


def test_search_for_series_and_instances_finds_all(archive: Archive, published: dict[str, Dataset]) -> None:
    series_counts, instances = {}, set()
    for study in _count(published, "StudyInstanceUID"):
        for found in map(Dataset.from_json, archive.client.search_for_series(study)):
            series = str(found.SeriesInstanceUID)
            series_counts[series] = found.NumberOfSeriesRelatedInstances
            of_series = archive.client.search_for_instances(study, series)
            assert len(of_series) == found.NumberOfSeriesRelatedInstances
        of_study = [Dataset.from_json(instance) for instance in archive.client.search_for_instances(study)]
        instances |= {str(instance.SOPInstanceUID) for instance in of_study}
    assert series_counts == _count(published, "SeriesInstanceUID")
    assert instances == set(published)


def test_metadata_is_the_same_at_every_level(archive: Archive, published: dict[str, Dataset]) -> None:
    by_level: dict[str, dict[str, Any]] = {"study": {}, "series": {}, "instance": {}}
    for study in _count(published, "StudyInstanceUID"):
        by_level["study"] |= _by_instance(archive.client.retrieve_study_metadata(study))
    for study, series in {(s.StudyInstanceUID, s.SeriesInstanceUID) for s in published.values()}:
        by_level["series"] |= _by_instance(archive.client.retrieve_series_metadata(study, series))
    for source in published.values():
        by_level["instance"] |= _by_instance([archive.client.retrieve_instance_metadata(*_address(source))])
    assert set(by_level["instance"]) == set(published)
    assert by_level["study"] == by_level["series"] == by_level["instance"]


@pytest.mark.parametrize("name", IMAGES)
def test_frames_are_those_of_the_source(archive: Archive, name: str) -> None:
    receipt, source = archive.receipts[name], _source(archive.files[name])
    if receipt["outcome"] != "published":
        assert name in NOT_COMPARED, f"{receipt['outcome']}: {receipt['reason']}"
        return
    served = _retrieve(archive, source)
    if name in DECOMPRESSED:
        assert served.transfer_syntax in LOSSLESS_OURS
    elif source.file_meta.TransferSyntaxUID.is_encapsulated:
        _assert_codestreams_untouched(source, served)
    if name not in NOT_COMPARED:
        _assert_pixels_equal(source, served)
        return
    with pytest.raises((AssertionError, AttributeError, RuntimeError, ValueError)):
        _assert_pixels_equal(source, served)


def test_files_not_compared_are_test_files() -> None:
    assert set(NOT_COMPARED) <= set(IMAGES)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One instance as a client gets it: metadata, transfer syntax and frames."""

    metadata: Dataset
    frames: list[bytes]

    @property
    def transfer_syntax(self) -> UID:
        return UID(self.metadata.AvailableTransferSyntaxUID)


def _retrieve(archive: Archive, source: Dataset) -> Retrieved:
    address = _address(source)
    metadata = Dataset.from_json(archive.client.retrieve_instance_metadata(*address), lambda _: b"")
    count = int(metadata.get("NumberOfFrames") or 1)
    numbers = range(1, count + 1)
    # A static server answers for one frame at a time.
    frames = [archive.client.retrieve_instance_frames(*address, [number])[0] for number in numbers]
    study, series, instance = address
    url = f"{archive.origin}/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames"
    for number, frame in zip(numbers, frames, strict=True):
        answer = httpx.get(f"{url}/{number}").raise_for_status()
        content_type, payload = multipart.unwrap(answer.content)
        assert f"transfer-syntax={metadata.AvailableTransferSyntaxUID}" in content_type
        assert payload == frame
    assert httpx.get(f"{url}/{count + 1}").status_code == httpx.codes.NOT_FOUND
    return Retrieved(metadata, frames)


def _assert_codestreams_untouched(source: FileDataset, served: Retrieved) -> None:
    assert served.transfer_syntax == source.file_meta.TransferSyntaxUID
    count = int(source.get("NumberOfFrames") or 1)
    for frame, original in zip(served.frames, generate_frames(source.PixelData, number_of_frames=count), strict=True):
        assert frame == original


def _assert_pixels_equal(source: FileDataset, served: Retrieved) -> None:
    """Compare stored values as pydicom decodes them, without any conversion between colour spaces."""
    if not source.file_meta.TransferSyntaxUID.is_encapsulated:
        assert served.transfer_syntax in LOSSLESS_OURS
    image = served.metadata
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = served.transfer_syntax
    if served.transfer_syntax.is_encapsulated:
        image.PixelData = encapsulate(served.frames)
    else:
        data = b"".join(served.frames)
        image.PixelData = data + bytes(len(data) % 2)
    image["PixelData"].VR = "OB" if image.BitsAllocated <= 8 or served.transfer_syntax.is_encapsulated else "OW"
    image["PixelData"].is_undefined_length = served.transfer_syntax.is_encapsulated
    image.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    ours, theirs = pixel_array(image, raw=True), pixel_array(source, raw=True)
    assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")
    np.testing.assert_array_equal(ours, theirs)


def _source(path: Path) -> FileDataset:
    source = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in source.file_meta:
        implicit, _ = source.original_encoding
        source.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return source


def _address(source: Dataset) -> tuple[str, str, str]:
    return str(source.StudyInstanceUID), str(source.SeriesInstanceUID), str(source.SOPInstanceUID)


def _count(instances: dict[str, Dataset], keyword: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for instance in instances.values():
        counts[str(instance[keyword].value)] = counts.get(str(instance[keyword].value), 0) + 1
    return counts


def _by_instance(metadata: list[dict[str, Any]]) -> dict[str, Any]:
    return {instance["00080018"]["Value"][0]: instance for instance in metadata}
