"""Renditions: the original where it is accepted, uncompressed where not, and never anything else."""

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom import part10, uncompressed
from staticwado_daemon.dicom.data_set import held
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LS_NEAR_LOSSLESS,
)
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse.sending import renditions
from staticwado_daemon.dimse.sending.instances import Chosen, of_targets
from staticwado_daemon.dimse.sending.renditions import Renditions
from staticwado_daemon.errors import Corrupt, Transient
from tests import corpus
from tests.system.programs import create, told

_ANY_ROOM = 0


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> corpus.Study:
    return corpus.ct_study(tmp_path_factory.mktemp("ct"), 6, 1, size=64)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> corpus.Study:
    return corpus.jpeg_study(tmp_path_factory.mktemp("jpeg"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, study: corpus.Study, coloured: corpus.Study) -> Path:
    root = tmp_path_factory.mktemp("renditions") / "root"
    create(root, [*study.files, *coloured.files])
    return root


def _chosen(root: Path, study: corpus.Study) -> list[Chosen]:
    return of_targets(root, [Target(UID(study.uid))])


def _data_set(path: Path) -> bytes:
    data = path.read_bytes()
    return data[part10.data_set_offset(data) :]


def test_the_original_data_set_where_its_syntax_is_accepted(
    root: Path, tmp_path: Path, study: corpus.Study, coloured: corpus.Study
) -> None:
    made = Renditions(root, tmp_path, _ANY_ROOM)
    for each, syntax in ((study, EXPLICIT_VR_LITTLE_ENDIAN), (coloured, JPEG_BASELINE)):
        found = [made.prepare(chosen, {syntax, IMPLICIT_VR_LITTLE_ENDIAN}) for chosen in _chosen(root, each)]
        assert {(rendition.transfer_syntax, rendition.is_original) for rendition in found} == {(syntax, True)}
        assert sorted(held(rendition.data_set) for rendition in found) == sorted(map(_data_set, each.files))


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ({IMPLICIT_VR_LITTLE_ENDIAN}, IMPLICIT_VR_LITTLE_ENDIAN),
        ({EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN}, EXPLICIT_VR_LITTLE_ENDIAN),
        ({JPEG_2000_LOSSLESS, IMPLICIT_VR_LITTLE_ENDIAN}, IMPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_uncompressed_where_it_is_not(
    root: Path, tmp_path: Path, coloured: corpus.Study, accepted: set[str], expected: str
) -> None:
    (chosen,) = _chosen(root, coloured)
    rendition = Renditions(root, tmp_path, _ANY_ROOM).prepare(chosen, accepted)
    assert (rendition.transfer_syntax, rendition.is_original) == (expected, False)
    (source,) = coloured.files
    assert held(rendition.data_set) == b"".join(uncompressed.data_set(source.read_bytes(), expected))


def test_what_nobody_can_be_given_says_why(root: Path, tmp_path: Path, study: corpus.Study) -> None:
    made = Renditions(root, tmp_path, _ANY_ROOM)
    chosen = _chosen(root, study)[0]
    with pytest.raises(Corrupt, match="doesn't accept its SOP class"):
        made.prepare(chosen, set())
    with pytest.raises(Corrupt, match="neither its transfer syntax nor an uncompressed one"):
        made.prepare(chosen, {JPEG_2000_LOSSLESS})


def test_long_ones_stand_in_a_file_without_a_name(
    root: Path, tmp_path: Path, study: corpus.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renditions, "HELD_BYTES", 1000)
    made = Renditions(root, tmp_path, _ANY_ROOM)
    chosen = _chosen(root, study)[0]
    for syntax in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
        rendition = made.prepare(chosen, {syntax})
        assert rendition.held == 0
        assert not [*tmp_path.iterdir()]
        source = next(path for path in study.files if chosen.identity.instance.encode() in path.read_bytes())
        expected = source.read_bytes()
        whole = _data_set(source) if rendition.is_original else b"".join(uncompressed.data_set(expected, syntax))
        assert held(rendition.data_set) == whole
        assert bytes(rendition.data_set[100:200]) == whole[100:200]


def test_a_disk_that_is_full_or_nobody_who_waits_ends_it(
    root: Path, tmp_path: Path, coloured: corpus.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renditions, "HELD_BYTES", 1000)
    (chosen,) = _chosen(root, coloured)
    with pytest.raises(Transient, match="too little room"):
        Renditions(root, tmp_path, 1 << 62).prepare(chosen, {JPEG_BASELINE})
    with pytest.raises(Transient, match="nobody waits"):
        Renditions(root, tmp_path, _ANY_ROOM).prepare(chosen, {JPEG_BASELINE}, lambda: True)
    assert not [*tmp_path.iterdir()]


def test_several_threads_get_what_they_ask_for(
    root: Path, tmp_path: Path, study: corpus.Study, coloured: corpus.Study
) -> None:
    """Of two studies in turn, so that each makes the other's be forgotten."""
    made = Renditions(root, tmp_path, _ANY_ROOM)
    pairs = [pair for pair in zip(_chosen(root, study), _chosen(root, coloured) * 6, strict=True) for _ in range(3)]
    mixed = [each for pair in pairs for each in pair]
    expected = {hashlib.sha256(_data_set(path)).digest() for path in (*study.files, *coloured.files)}
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda each: made.prepare(each, {each.transfer_syntax}), mixed)]
    assert {hashlib.sha256(held(each.data_set)).digest() for each in found} == expected


def test_files_that_were_merged_meanwhile_are_found_in_their_successor(
    root: Path, tmp_path: Path, study: corpus.Study
) -> None:
    """What was read of the study before is of no use then, and is read anew."""
    copy = Path(shutil.copytree(root, tmp_path / "root"))
    chosen = _chosen(copy, study)
    made = Renditions(copy, tmp_path, _ANY_ROOM)
    made.prepare(chosen[0], {EXPLICIT_VR_LITTLE_ENDIAN})
    for number, pack in enumerate(holdings.pack_files(copy, UID(study.uid))):
        (copy / pack).rename((copy / pack).with_name(f"{number:064}.pack.gz"))
    made._originals._remainders._held.clear()  # as if there were so many that they were dropped
    assert all(made.prepare(each, {EXPLICIT_VR_LITTLE_ENDIAN}).is_original for each in chosen)


def test_what_is_damaged_or_removed_is_not_sent(root: Path, tmp_path: Path, study: corpus.Study) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "root"))
    chosen = _chosen(copy, study)
    made = Renditions(copy, tmp_path, _ANY_ROOM)
    (frame,) = (copy / layout.instance_dir(chosen[0].identity) / "frames").iterdir()
    data = frame.read_bytes()
    frame.write_bytes(data[:-120] + bytes(60) + data[-60:])
    with pytest.raises(Corrupt):
        made.prepare(chosen[0], {EXPLICIT_VR_LITTLE_ENDIAN})
    told("delete", chosen[1].identity.instance, "--root", copy, "--yes")
    with pytest.raises(Corrupt, match="removed meanwhile"):
        Renditions(copy, tmp_path, _ANY_ROOM).prepare(chosen[1], {EXPLICIT_VR_LITTLE_ENDIAN})
    assert _chosen(copy, study) == [chosen[0], *chosen[2:]]


def test_what_has_no_original_is_made_of_what_is_stored(tmp_path: Path, study: corpus.Study) -> None:
    root = tmp_path / "root"
    create(root, study.files[:1], "--content-type", "jls-lossy")
    (chosen,) = _chosen(root, study)
    assert chosen.transfer_syntax == JPEG_LS_NEAR_LOSSLESS
    made = Renditions(root, tmp_path, _ANY_ROOM)
    as_it_is = made.prepare(chosen, {JPEG_LS_NEAR_LOSSLESS})
    assert (as_it_is.transfer_syntax, as_it_is.is_original) == (JPEG_LS_NEAR_LOSSLESS, False)
    assert chosen.identity.instance.encode() in held(as_it_is.data_set)
    assert made.prepare(chosen, {IMPLICIT_VR_LITTLE_ENDIAN}).transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
