"""Verify where damage is of an odd kind: what is shared, what is no file, what would fill memory."""

import hashlib
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import cast

import pydicom
import pytest

from staticwado_daemon.archive import gzipped, holdings, layout
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.pack import from_pack, to_pack
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.journal_reader import JournalReader
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.operate import private
from staticwado_daemon.operate.verify import packs, recorded, repair, tree
from staticwado_daemon.operate.verify.blobs import Placed
from staticwado_daemon.operate.verify.check import Verified, verify
from staticwado_daemon.operate.verify.finding import Finding
from staticwado_daemon.operate.verify.reading import Reader
from staticwado_daemon.operate.verify.recorded import Recorded
from staticwado_daemon.operate.verify.sample import EVERYTHING
from staticwado_daemon.operate.verify.sources import Sources
from staticwado_daemon.operate.verify.study import Wish
from tests import corpus
from tests.system import programs


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with two instances of one study that share their bulk data."""
    directory = tmp_path_factory.mktemp("healthy")
    (directory / "in").mkdir()
    image = pydicom.dcmread(corpus.PYDICOM / "test_files/CT_small.dcm")
    image.private_block(0x0011, "TEST", create=True).add_new(0x01, "OB", bytes(range(250)) * 400)
    for number in (1, 2):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID}.{number}"
        image.save_as(directory / f"in/{number}.dcm")
    programs.create(directory / "root", [directory / "in"])
    return directory / "root"


@pytest.fixture
def root(healthy: Path, tmp_path: Path) -> Path:
    shutil.copytree(healthy, tmp_path / "root", symlinks=True)
    return tmp_path / "root"


def _study(root: Path) -> Path:
    return next((root / "studies").glob("*/"))


def _instance(root: Path) -> Path:
    return min(_study(root).glob("series/*/instances/*/"))


def _look(root: Path) -> Verified:
    return verify(root, Wish(EVERYTHING, restore=True))


def _told(found: Verified, root: Path) -> list[tuple[str, Path]]:
    return [(each.kind, root / each.where) for each in found.findings]


def test_bulk_data_that_several_share_are_told_of_once(root: Path) -> None:
    assert _look(root).findings == ()
    path = max(_study(root).glob("bulkdata/*/*/*"), key=lambda each: each.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert _told(_look(root), root) == [("bulk_damaged", path)]
    path.unlink()
    assert _told(_look(root), root) == [("bulk_missing", path)]


def test_what_is_no_file_is_told_and_stops_nothing(root: Path) -> None:
    frame = next(_instance(root).glob("frames/*"))
    frame.unlink()
    frame.symlink_to(frame.name)
    thumbnail = _instance(root) / layout.THUMBNAIL
    thumbnail.unlink()
    os.mkfifo(thumbnail)
    assert _told(_look(root), root) == [("frame_damaged", frame), ("thumbnail_damaged", thumbnail)]


def test_metadata_that_are_no_file_are_nobodys(root: Path) -> None:
    stray = _instance(root).with_name("1.2.3")
    stray.mkdir()
    os.mkfifo(stray / layout.METADATA)
    assert _told(_look(root), root) == [("instance_orphaned", stray)]


@pytest.mark.parametrize("directory", layout.BY_STUDY)
def test_a_file_that_is_called_like_a_study_is_told(root: Path, directory: str) -> None:
    (root / directory).mkdir(exist_ok=True)
    (root / directory / "1.2.3").touch()
    assert _told(_look(root), root) == [("file_orphaned", root / directory / "1.2.3")]


def test_no_more_is_read_of_a_list_than_can_be_right(root: Path) -> None:
    own, studys = _instance(root) / layout.METADATA, _study(root) / layout.METADATA
    for path in (own, studys):
        path.unlink()
        path.touch()
        os.truncate(path, 1 << 30)
    found = _look(root)
    assert sorted(_told(found, root)) == sorted([("metadata_wrong", own), ("summary_unreadable", studys)])
    assert found.bytes < 32 << 20


def test_the_list_of_studies_is_read_once_however_much_is_wrong_with_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as long as the archive is large, and a lost one lacks every study."""
    reads = 0
    listed = tree.listed

    def counted(reader: Reader) -> dict[UID, bytes]:
        nonlocal reads
        reads += 1
        return listed(reader)

    monkeypatch.setattr(tree, "listed", counted)
    index = root / layout.STUDIES_INDEX
    index.unlink()
    index.write_bytes(StudiesIndex().to_file())
    assert _told(_look(root), root) == [("index_entry_missing", index)]
    assert reads == 1


def test_a_target_costs_the_other_studies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    names = Target.names

    def counted(self: Target, identity: Identity) -> bool:
        nonlocal asked
        asked += 1
        return names(self, identity)

    monkeypatch.setattr(Target, "names", counted)
    studies = [UID(f"1.2.{number}") for number in range(1, 200)]
    wish = Wish(EVERYTHING, targets=tuple(map(Target, studies)))
    assert all(wish.has(Identity(each, UID("1"), UID("2"))) for each in studies)
    assert not wish.has(Identity(UID("1.3"), UID("1"), UID("2")))
    assert asked == len(studies)


REMAINDERS = [b"", b"one", b"two" * 1000, os.urandom(3000)]


def _pack(directory: Path, data: bytes) -> Reader:
    (directory / "pack").write_bytes(data)
    return Reader(directory)


def test_a_pack_is_looked_through_as_it_is_read(tmp_path: Path) -> None:
    name, data = to_pack(REMAINDERS)
    digest, held = packs.look_through(_pack(tmp_path, data), "pack")
    assert (f"{digest}.pack.gz", held) == (name, [each for each, _ in from_pack(data)])
    assert packs.look_through(_pack(tmp_path, to_pack([])[1]), "pack")[1] == []


def test_a_remainder_that_is_another_one_isnt_held(tmp_path: Path) -> None:
    body = gzipped.unpack(to_pack(REMAINDERS)[1]).replace(b"one", b"two")
    digest, held = packs.look_through(_pack(tmp_path, gzipped.pack(body)), "pack")
    assert digest == hashlib.sha256(body).hexdigest()
    assert sorted(held) == sorted(hashlib.sha256(each).hexdigest() for each in REMAINDERS if each != b"one")
    short = gzipped.pack(body[:-1])
    assert len(packs.look_through(_pack(tmp_path, short), "pack")[1]) == len(held) - 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip",
        to_pack(REMAINDERS)[1][:-1],
        to_pack(REMAINDERS)[1] + b"more",
        gzipped.pack(b"no table"),
        gzipped.pack(b"5\n"),
        gzipped.pack(b"[[1]]\n"),
        gzipped.pack(b'[["x","long"]]\n'),
    ],
)
def test_what_is_no_pack_is_corrupt(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Corrupt):
        packs.look_through(_pack(tmp_path, data), "pack")


def test_a_pack_that_unpacks_to_much_fills_no_memory(tmp_path: Path) -> None:
    count, zeros = 256, bytes(1 << 20)
    digest = hashlib.sha256(zeros * count).hexdigest()
    table = f'[["{digest}",{count << 20}]]\n'.encode()
    data = b"".join(gzipped.pack_pieces([table, *[zeros] * count]))
    reader = _pack(tmp_path, data)
    tracemalloc.start()
    try:
        assert packs.look_through(reader, "pack")[1] == [digest]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 80 << 20


class Remembered:
    """A journal that remembers one receipt."""

    def __init__(self, receipt: Receipt) -> None:
        self._receipt = receipt

    def find(self, _: object) -> list[Receipt]:
        return [self._receipt]


def test_a_source_that_can_not_be_looked_at_costs_no_other_way(root: Path, tmp_path: Path) -> None:
    (each, *_) = holdings.records(root, UID(_study(root).name))
    away = Receipt(tmp_path / ("x" * 300), None, "published", identity=each.identity, source=each.source)
    wanted = Placed(each, layout.instance_dir(each.identity))
    packs = holdings.pack_files(root, each.identity.study)
    with private.folder(root) as folder:
        sources = Sources(Reader(root), cast("JournalReader", Remembered(away)), folder)
        made = sources.of(wanted, [f"{layout.restore_dir(each.identity.study)}/merged-since.pack.gz", *packs])
        assert made == folder / f"{each.source}.dcm"
        assert hashlib.sha256(made.read_bytes()).hexdigest() == each.source


def test_a_repair_goes_on_although_a_daemon_merges_files_meanwhile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (each, *_) = holdings.records(root, UID(_study(root).name))
    thumbnail = f"{layout.instance_dir(each.identity)}/{layout.THUMBNAIL}"
    found = Finding("thumbnail_missing", thumbnail, each.identity.study, each.identity, each.content)
    read, gone = recorded.read, [FileNotFoundError()]

    def merged(reader: Reader, study: UID) -> Recorded:
        if gone:
            raise gone.pop()
        return read(reader, study)

    monkeypatch.setattr(recorded, "read", merged)
    with private.folder(root) as folder:
        planned = repair.plan(Sources(Reader(root), None, folder), [found])
    assert planned.originals == (folder / f"{each.source}.dcm",)
    assert planned.renewed == (each.identity.study,)
