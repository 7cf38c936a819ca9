"""C-GET and C-MOVE: what was stored comes back, bit for bit where the receiver takes it so, at every level."""

import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from staticwado_daemon.errors import Rejected
from tests import corpus
from tests.system import dcmtk, nodes
from tests.system.nodes import TITLE
from tests.system.programs import staticwado
from tests.system.retrieving import (
    IMPLICIT,
    PATIENT_MOVE,
    STUDY_GET,
    STUDY_MOVE,
    SUCCESS,
    WARNING,
    Archive,
    Received,
    Source,
    Witness,
    as_they_came,
    asking,
    final,
    identifier,
    is_whole,
    listening,
    moved,
    only,
)
from tests.system.servers import free_port

ENOUGH = 8
"""So many images of each transfer syntax have their pixels compared."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Every test file of pydicom that can be stored, each an instance of its own, and a CT of two series."""
    directory = tmp_path_factory.mktemp("retrieve")
    witness = free_port()
    node = nodes.prepare(directory / "node", {"WITNESS": witness, "ABSENT": free_port()})
    ct = corpus.ct_study(directory / "ct", instances=24, series=2, size=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd on purpose
        copies = corpus.distinct(directory / "copies", corpus.instances())
    staticwado("-c", node.config, "create", *copies.values(), *ct.files, expect=3)
    kept = {each.name for each in (node.root / "studies").glob("*/series/*/instances/*")}
    sources = [source for path in copies.values() if (source := _source(path)) and source.uids[2] in kept]
    assert len(sources) > 200, "or there is no tree"
    with nodes.receiving(node):
        yield Archive(node, witness, tuple(sources), tuple(map(Source.of, ct.files)))


def _source(path: Path) -> Source | None:
    try:
        return Source.of(path)
    except Rejected:
        return None


def test_everything_moves_bit_for_bit_to_who_takes_it_as_it_is(archive: Archive) -> None:
    with listening(archive.witness, as_they_came(archive.sources)) as witness:
        done = moved(archive, STUDY_MOVE, identifier("STUDY", StudyInstanceUID=archive.studies))
    assert (done.status, done.counts, done.failed) == (SUCCESS, (len(archive.sources), 0, 0), [])
    is_whole(witness.received, archive.sources)
    assert {each.originator for each in witness.received.values()} == {("ASKER", 77)}
    assert witness.callers == {TITLE}
    numbers = [each.message_id for each in witness.received.values()]
    assert len(set(numbers)) == len(numbers)
    first, *_ = done.pending
    assert sum(first) == len(archive.sources)


def test_everything_is_got_bit_for_bit_by_who_takes_it_as_it_is(archive: Archive) -> None:
    witness = Witness()
    with asking(archive.node, STUDY_GET, as_they_came(archive.sources), witness) as association:
        keys = identifier("STUDY", StudyInstanceUID=archive.studies)
        done = final(association.send_c_get(keys, STUDY_GET))
    assert (done.status, done.counts) == (SUCCESS, (len(archive.sources), 0, 0))
    is_whole(witness.received, archive.sources)


def test_who_takes_only_implicit_vr_gets_the_same_pixels_and_private_elements(archive: Archive) -> None:
    with listening(archive.witness, only(archive.sources, IMPLICIT)) as witness:
        done = moved(archive, STUDY_MOVE, identifier("STUDY", StudyInstanceUID=archive.studies))
    lost = [each for each in archive.sources if each.uids[2] not in witness.received]
    assert len(lost) == 1, "the one without any pixels that could be decoded"
    assert (done.status, done.counts) == (WARNING, (len(archive.sources) - 1, 1, 0))
    assert done.failed == [each.uids[2] for each in lost]
    compared: Counter[str] = Counter()
    for each in archive.sources:
        if each not in lost and compared[each.transfer_syntax] < ENOUGH:
            compared[each.transfer_syntax] += _compare(
                pydicom.dcmread(each.path, force=True), witness.received[each.uids[2]]
            )
    assert len(compared) > 10
    assert sum(compared.values()) > 50


def _compare(source: Dataset, received: Received) -> bool:
    """Compare private elements, and pixels if a decoder has an opinion about both."""
    assert received.transfer_syntax == IMPLICIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd on purpose
        copy = received.file()
        assert _private(copy) == _private(source)
        try:
            pixels = source.pixel_array
        except Exception:  # noqa: BLE001 - pydicom raises many things for what has no pixels, or none that it decodes
            return False
        if received.sop_class and source.get("PhotometricInterpretation") == "RGB" and _is_jpeg(source):
            return False  # the codestream says something else, which pydicom doesn't believe
        assert np.array_equal(copy.pixel_array, pixels)
    return True


def _is_jpeg(source: Dataset) -> bool:
    return str(source.file_meta.TransferSyntaxUID).endswith((".50", ".51"))


def _private(data_set: Dataset) -> list[int]:
    tags = [*data_set.keys()]
    return sorted(int(tag) for tag in tags if tag.is_private and tag.element)


LEVELS = [
    *(("-P", level) for level in ("PATIENT", "STUDY", "SERIES", "IMAGE")),
    *(("-S", level) for level in ("STUDY", "SERIES", "IMAGE")),
]
_KEYWORDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def _asked(archive: Archive, model: str, level: str) -> tuple[list[str], list[Source]]:
    """Keys, as tools want them, and what of the CT they ask for: two instances at most at the lowest level."""
    some = archive.ct[-1]
    depth = ("PATIENT", "STUDY", "SERIES", "IMAGE").index(level)
    values = (some.patient, *some.uids)
    used = list(zip(_KEYWORDS, values, strict=True))[model == "-S" : depth + 1]
    keys = [f"QueryRetrieveLevel={level}", *(f"{keyword}={value}" for keyword, value in used)]
    expected = [each for each in archive.ct if (each.patient, *each.uids)[: depth + 1] == values[: depth + 1]]
    if level == "IMAGE":
        other = next(each for each in archive.ct if each.uids[:2] == some.uids[:2])
        return [*keys[:-1], f"{keys[-1]}\\{other.uids[2]}"], [other, some]
    assert len(expected) >= 12
    return keys, expected


@pytest.mark.parametrize(("model", "level"), LEVELS)
def test_dcmtks_tools_at_every_level_of_both_models(archive: Archive, tmp_path: Path, model: str, level: str) -> None:
    keys, expected = _asked(archive, model, level)
    options = [part for key in keys for part in ("-k", key)]
    called = ("-aec", TITLE)
    got = tmp_path / "got"
    got.mkdir()
    dcmtk.run("getscu", "+B", model, *called, "-od", got, *options, "127.0.0.1", archive.node.port)
    assert _data_sets(got) == sorted(each.data_set for each in expected)
    with listening(archive.witness, as_they_came(expected)) as witness:
        dcmtk.run("movescu", model, *called, "-aem", "WITNESS", *options, "127.0.0.1", archive.node.port)
    is_whole(witness.received, expected)


def _data_sets(directory: Path) -> list[bytes]:
    return sorted(Source.of(path).data_set for path in directory.iterdir())


@pytest.mark.parametrize("level", ["STUDY", "IMAGE"])
def test_pynetdicoms_applications(archive: Archive, tmp_path: Path, level: str) -> None:
    keys, expected = _asked(archive, "-S", level)
    options = [part for key in keys for part in ("-k", key)]
    where = ("127.0.0.1", str(archive.node.port), "-aec", TITLE, "-S", *options)
    run = [sys.executable, "-m", "pynetdicom"]
    subprocess.run([*run, "getscu", *where, "-od", str(tmp_path)], check=True, capture_output=True, timeout=120)
    assert sorted(str(pydicom.dcmread(path).SOPInstanceUID) for path in tmp_path.iterdir()) == sorted(
        each.uids[2] for each in expected
    )
    with listening(archive.witness, as_they_came(expected)) as witness:
        subprocess.run([*run, "movescu", *where, "-aem", "WITNESS"], check=True, capture_output=True, timeout=120)
    is_whole(witness.received, expected)


@pytest.mark.parametrize(
    ("model", "keys", "comment"),
    [
        (STUDY_MOVE, {}, "Study Instance UID"),
        (STUDY_MOVE, {"StudyInstanceUID": "1.2.*"}, "(0020,000D) has wild cards"),
        (PATIENT_MOVE, {"StudyInstanceUID": "1.2"}, "(0010,0020) is missing"),
        (PATIENT_MOVE, {"StudyInstanceUID": "1.2", "PatientID": ["a", "b"]}, "(0010,0020) must have a single value"),
    ],
)
def test_an_identifier_against_the_rules_is_refused_and_says_where(
    archive: Archive, model: str, keys: dict[str, str | list[str]], comment: str
) -> None:
    done = moved(archive, model, identifier("STUDY", **keys))
    assert (done.status, done.counts) == (0xA900, None)
    assert comment in done.comment or not keys
