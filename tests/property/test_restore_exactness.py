"""Any valid file comes back byte for byte from what is stored of it, and its frames hold the pixels put in."""

import tempfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from staticwado_daemon.archive import gzipped, layout, multipart
from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Version, select
from staticwado_daemon.pipeline.commit import commit
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules, ingest_batch
from staticwado_daemon.pipeline.publish import group
from staticwado_daemon.pipeline.staged import Staged
from staticwado_daemon.pipeline.studies import Studies
from tests.property.random_files import File, files, to_bytes
from tests.property.random_pixels import ENCAPSULATED, EXPLICIT, JPEG_LS, Image, bare_codestreams

FILES = 10
"""In each example, committed together; each is one of the files that are counted."""

COUNTS = (220, pytest.param(2200, marks=pytest.mark.soak))
"""Examples: more than 2,000 different files, and 20,000."""

HTJ2K = "1.2.840.10008.1.2.4.202"
DECODERS = {JPEG_LS: imagecodecs.jpegls_decode, HTJ2K: imagecodecs.jpeg2k_decode}


class NoSync(Disk):
    """Power isn't cut here."""

    def syncfs(self, descriptor: int) -> None:
        pass


@pytest.mark.parametrize("examples", COUNTS)
def test_every_file_comes_back(examples: int) -> None:
    profile = settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples == COUNTS[0],
        database=None if examples == COUNTS[0] else DirectoryBasedExampleDatabase(".hypothesis/examples"),
        suppress_health_check=[*HealthCheck],
    )
    batches = st.lists(files(), min_size=FILES, max_size=FILES)
    profile(given(batches, st.sampled_from(("htj2k", "jls", "none")))(comes_back))()


def comes_back(batch: list[File], content_type: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        sources = {number: to_bytes(file, number) for number, file in enumerate(batch)}
        root = Path(directory) / "root"
        stored = _store(Path(directory), root, sources, content_type)
        originals = Originals(root)
        for number, version in stored.items():
            assert b"".join(originals.pieces(version)) == sources[number], f"file {number} differs"
            if image := batch[number].image:
                _compare(root, version, image, batch[number].syntax)


def _store(directory: Path, root: Path, sources: dict[int, bytes], content_type: str) -> dict[int, Version]:
    """Put the files into a new tree; return what it then holds, by their numbers."""
    given_files = []
    for number, data in sources.items():
        path = directory / f"{number}.dcm"
        path.write_bytes(data)
        given_files.append(Source(path, Stamp.of(path.stat())))
    with Store(root, disk=NoSync()) as store:
        rules = Rules(Images(Choices(content_type), thumbnails=False), Limits())
        results = ingest_batch(given_files, root / layout.STAGING / "task", rules)
        for number, result in enumerate(results):
            assert isinstance(result, Staged), f"file {number}: {result.reason}"
        receipts = commit(
            store, Studies(root, 1 << 20), [each for each in results if isinstance(each, Staged)]
        ).receipts
        assert [receipt.outcome for receipt in receipts] == ["published"] * len(sources)
        studies = {receipt.identity.study for receipt in receipts if receipt.identity}
        for study in studies:
            group(store, study)
    return {
        int(str(each.record.identity.instance).removeprefix("2.25.9")): each
        for each in select(root, [Target(study) for study in sorted(studies)])
    }


def _compare(root: Path, version: Version, image: Image, syntax: str) -> None:
    """Make sure that the published frames are those of the source, decoded by a library that we don't use for it."""
    published = orjson.loads(version.record.dataset)
    if (published["00280004"]["Value"], published["00280100"]["Value"]) != ([image.photometric], [image.bits]):
        return  # published in the nearest form that viewers show true: other tests say which
    bare = bare_codestreams(image, syntax) if syntax in ENCAPSULATED else []
    directory = root / layout.instance_dir(version.record.identity)
    for number in range(image.frames):
        (path,) = (directory / "frames").glob(f"{number + 1}.mht*")
        data = path.read_bytes()
        content_type, payload = multipart.unwrap(gzipped.unpack(data) if path.suffix == ".gz" else data)
        stored_as = content_type.rpartition("=")[2]
        if bare:
            assert stored_as == syntax, (stored_as, syntax)
            assert bytes(payload).removesuffix(b"\0") == bare[number].removesuffix(b"\0")
            continue
        expected = image.pixels()[number]
        if stored_as == EXPLICIT:
            _compare_native(bytes(payload), expected, image, published)
        else:
            found = DECODERS[stored_as](bytes(payload))
            assert found.reshape(-1).tobytes() == expected.reshape(-1).tobytes()


def _compare_native(payload: bytes, expected: np.ndarray, image: Image, published: dict[str, Any]) -> None:
    if image.bits == 1:
        bits = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little", count=expected.size)
        assert bits.tolist() == expected.reshape(-1).tolist()
        return
    if published.get("00280006", {}).get("Value") == [1]:
        expected = np.moveaxis(expected, -1, 0)
    assert payload == np.ascontiguousarray(expected).tobytes()
