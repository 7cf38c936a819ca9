"""Long values are stored once, as bulk data: originals are made of these, wherever they stand and however long."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from staticwado_daemon.archive import gzipped, holdings, layout, multipart, restore
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom import part10, raw_elements, skeleton
from staticwado_daemon.dicom.data_set import LEAST_PLACED, Limits, Place
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound import source as sources
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Version
from staticwado_daemon.operate.verify import blobs, restored, strays
from staticwado_daemon.operate.verify.reading import Reader
from staticwado_daemon.pipeline import ingest, removal
from staticwado_daemon.pipeline.commit import commit
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.messages import Remove
from staticwado_daemon.pipeline.notes import Notes
from staticwado_daemon.pipeline.purge import purge_due
from staticwado_daemon.pipeline.staged import Staged
from staticwado_daemon.pipeline.studies import Studies
from tests.slices import Slices
from tests.unit.dicom_bytes import EXPLICIT_BIG, IMPLICIT_LITTLE, element, file, implicit, item, meta, sequence

NOISE = os.urandom(3 * LEAST_PLACED)
NUMBERS = bytes(range(256)) * (LEAST_PLACED // 64)
CREATOR = element(0x00290010, "LO", b"ACME")
_NUMBERS = {0x00280002: 1, 0x00280010: 2, 0x00280011: 4, 0x00280100: 16, 0x00280101: 16, 0x00280102: 15, 0x00280103: 0}
_IMAGE = {tag: element(tag, "US", struct.pack("<H", number)) for tag, number in _NUMBERS.items()}
_IMAGE |= {0x00280004: element(0x00280004, "CS", b"MONOCHROME2 ")}
PIXELS = b"".join(each for _, each in sorted(_IMAGE.items())) + element(0x7FE00010, "OW", bytes(range(16)))
ITEM = item(CREATOR, element(0x00291001, "OB", NOISE))
DOCUMENT = element(0x00420011, "OB", NOISE) + element(0x00420012, "LO", b"application/pdf ")
UIDS = {0x00080018: b"1.2.3.4\0", 0x0020000D: b"1.2\0", 0x0020000E: b"1.2.3\0"}
IMPLICIT = b"".join(implicit(tag, value) for tag, value in UIDS.items())
BIG = b"".join(element(tag, "UI", value, big=True) for tag, value in UIDS.items())
CREATOR_BIG = element(0x00290010, "LO", b"ACME", big=True)

FILES = {
    "a document": file(DOCUMENT),
    "a private value": file(CREATOR, element(0x00291001, "OB", NOISE)),
    "what gzip makes shorter": file(CREATOR, element(0x00291001, "UN", NUMBERS)),
    "one value twice": file(CREATOR, element(0x00291001, "OB", NOISE), element(0x00291002, "OB", NOISE)),
    "two values": file(CREATOR, element(0x00291001, "OB", NOISE), element(0x00291002, "OB", NUMBERS)),
    "in a sequence": file(sequence(0x00400275, ITEM)),
    "in a sequence without a length": file(sequence(0x00400275, ITEM, undefined=True)),
    "two deep": file(sequence(0x00400275, item(sequence(0x00400275, ITEM)))),
    "padding, for the thorough reader": file(sequence(0x00400275, ITEM)) + bytes(100),
    "two deep, for the thorough reader": file(sequence(0x00400275, item(sequence(0x00400275, ITEM)))) + bytes(100),
    "behind pixels": file(PIXELS, element(0x7FE10010, "LO", b"ACME"), element(0x7FE11001, "OB", NOISE)),
    "ASCII text": file(CREATOR, element(0x00291001, "UT", b"a" * LEAST_PLACED)),
    "implicit": meta(IMPLICIT_LITTLE) + IMPLICIT + implicit(0x00290010, b"ACME") + implicit(0x00291001, NOISE),
    "big endian bytes": meta(EXPLICIT_BIG) + BIG + CREATOR_BIG + element(0x00291001, "OB", NOISE, big=True),
}
ELSEWHERE = {
    "text in another character set": file(
        element(0x00080005, "CS", b"ISO_IR 100"), CREATOR, element(0x00291001, "UT", b"\xe4" * LEAST_PLACED)
    ),
    "big endian words": meta(EXPLICIT_BIG) + BIG + CREATOR_BIG + element(0x00291001, "OW", NUMBERS, big=True),
    "a short value": file(CREATOR, element(0x00291001, "OB", NOISE[: LEAST_PLACED - 2])),
}
"""What is stored in other bytes than it stands in the source, or isn't worth it."""


def read(data: bytes | Slices) -> part10.Instance:
    return part10.read(data, Limits(), "bulkdata/{}".format)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("most_held", [16 << 20, 1000])
def test_the_readers_say_where_values_stand(name: str, most_held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_elements, "MOST_HELD", most_held)
    monkeypatch.setattr(skeleton, "MOST_HELD", most_held)
    data = FILES[name]
    for given in (data, data, Slices(data)):  # the second time by heart
        instance = read(given)
        values = {each.sha256: bytes(each.data[: len(each.data)]) for each in instance.bulk_values}
        assert {sha256 for sha256, _, _ in instance.places} == values.keys()
        assert len(instance.places) == data.count(NOISE) + data.count(NUMBERS) + (name == "ASCII text")
        for sha256, offset, length in instance.places:
            assert data[offset : offset + length] == values[sha256]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_stands_there_otherwise_has_no_place(name: str) -> None:
    for given in (ELSEWHERE[name], Slices(ELSEWHERE[name])):
        instance = read(given)
        assert len(instance.bulk_values) == 1
        assert instance.places == ()


def test_a_long_value_is_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_elements, "MOST_HELD", 1 << 20)
    slices = Slices(file(element(0x00420011, "OB", bytes(5 << 20))))
    instance = read(slices)
    assert [len(each.data) for each in instance.bulk_values] == [5 << 20]
    assert slices.longest <= 1 << 20


def stage(path: Path, directory: Path, *, force: bool = False) -> Staged:
    source = Source(path, Stamp.of(path.lstat()), "delete", final=True, force=force)
    staged = ingest.ingest(source, directory, ingest.Rules(Images(Choices("htj2k")), Limits()))
    assert isinstance(staged, Staged), staged
    return staged


@pytest.mark.parametrize("name", [*FILES, *ELSEWHERE])
@pytest.mark.parametrize(("whole", "most_held"), [(1 << 30, 1 << 30), (0, 1 << 30), (0, 1000)])
def test_originals_come_back_from_bulk_data(
    name: str, whole: int, most_held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (raw_elements, skeleton):
        monkeypatch.setattr(module, "MOST_HELD", most_held)
    monkeypatch.setattr(sources, "WHOLE_BYTES", whole)
    data = (FILES | ELSEWHERE)[name]
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    with Store(tmp_path / "root") as store:
        staged = stage(path, store.root / layout.STAGING / "task" / "0")
        commit(store, Studies(store.root, 1 << 20), [staged])
        assert b"".join(Originals(store.root).pieces(Version(staged.record, published=True))) == data
        placed = blobs.Placed(staged.record, layout.instance_dir(staged.record.identity))
        assert b"".join(restored.pieces(Reader(store.root), placed, staged.remainder)) == data
    assert (len(staged.remainder) < 1500) == (name in FILES)
    if name in {"a private value", "what gzip makes shorter"}:
        assert [each.endswith(".gz") for each in staged.bulk] == [name == "what gzip makes shorter"]


class Site:
    """A tree with two documents of the same bytes, whose publisher is the test."""

    def __init__(self, directory: Path, store: Store) -> None:
        self.store, self.studies, self.notes = store, Studies(store.root, 1 << 20), Notes(store)
        self.data = {}
        self.records = {}
        for name in ("1.2.3.4\0", "1.2.3.6\0"):
            path = directory / name.strip("\0")
            path.write_bytes(file(DOCUMENT).replace(UIDS[0x00080018], name.encode()))
            staged = stage(path, store.root / layout.STAGING / path.name / "0")
            assert [each.outcome for each in commit(store, self.studies, [staged]).receipts] == ["published"]
            self.data[path.name], self.records[path.name] = path.read_bytes(), staged.record

    def do(self, action: str, name: str) -> None:
        target = Target(*(getattr(self.records[name].identity, each) for each in ("study", "series", "instance")))
        order = Remove(1, action, (target,), "2026-03-01T10:15:00Z", "anna", "why")
        removal.remove(self.store, self.studies, UID("1.2"), order)
        removal.clear(self.store, self.studies.get(UID("1.2")))
        self.notes.note(self.studies.get(UID("1.2")))

    def is_there(self, name: str, *, published: bool) -> bool:
        """Whether an original comes back by export as by verify."""
        version, root = self.records[name], self.store.root
        (placed,) = (
            each
            for versions in self.studies.get(UID("1.2")).instances()
            for each in blobs.placed(versions)
            if each.version.identity == version.identity
        )
        remainder = dict(holdings.remainders(root, UID("1.2")))[version.remainder[0]]
        given = b"".join(Originals(root).pieces(Version(version, published=published)))
        return given == b"".join(restored.pieces(Reader(root), placed, remainder)) == self.data[name]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Store(tmp_path / "root") as store:
        yield Site(tmp_path, store)


def test_what_is_deleted_comes_back_and_a_purge_leaves_what_others_need(site: Site) -> None:
    one, other = site.data
    bulk = site.store.root / layout.study_dir(UID("1.2")) / site.records[one].blobs[0].path
    assert site.records[one].blobs[0] == site.records[other].blobs[0]
    site.do("delete", one)
    assert site.is_there(one, published=False)
    assert site.is_there(other, published=True)
    site.do("reject", other)
    assert not bulk.exists()
    assert site.is_there(one, published=False)
    assert site.is_there(other, published=False)
    purge_due(site.store, site.studies, site.notes, "2026-04-01T10:15:00Z")
    assert site.is_there(other, published=False)
    site.do("undo", other)
    assert bulk.exists()
    assert site.is_there(other, published=True)
    site.do("delete", other)
    purge_due(site.store, site.studies, site.notes, "2026-04-01T10:15:00Z")
    assert not list((site.store.root / layout.KEPT).rglob("bulkdata/*/*/*"))


def test_an_instance_that_lost_its_record_finds_its_bulk_data(site: Site) -> None:
    root, study = site.store.root, UID("1.2")
    for lost in strays.unrecorded(root, study, ()):
        version = site.records[str(lost.identity.instance)]
        remainder = dict(holdings.remainders(root, study))[version.remainder[0]]
        placed = blobs.Placed(lost, layout.instance_dir(lost.identity))
        assert b"".join(restored.pieces(Reader(root), placed, remainder)) == site.data[str(lost.identity.instance)]
        assert {each.path for each in lost.blobs} == {each.path for each in version.blobs}
    assert len(list(strays.unrecorded(root, study, ()))) == len(site.records)


@pytest.mark.parametrize("damage", [b"", b"?"])
def test_bulk_data_that_are_damaged_are_corrupt(site: Site, damage: bytes) -> None:
    name = next(iter(site.data))
    bulk = site.store.root / layout.study_dir(UID("1.2")) / site.records[name].blobs[0].path
    bulk.write_bytes(bulk.read_bytes()[:5000] + damage)
    with pytest.raises(Corrupt):
        list(Originals(site.store.root).pieces(Version(site.records[name], published=True)))


def test_a_value_that_no_bulk_data_hold_is_corrupt(site: Site) -> None:
    record = next(iter(site.records.values()))
    remainder = restore.split(NOISE, restore.Pixels(), [Place("0" * 64, 0, 5000)])
    with pytest.raises(Corrupt, match="no bulk data of this digest"):
        list(restore.rebuild(record, remainder, lambda _: b""))


def test_forced_again_a_remainder_of_the_old_kind_is_replaced(tmp_path: Path) -> None:
    """An older program held long values in the remainder, too."""
    path = tmp_path / "a.dcm"
    path.write_bytes(file(DOCUMENT))
    with Store(tmp_path / "root") as store:
        studies, split = Studies(store.root, 1 << 20), restore.split
        with pytest.MonkeyPatch.context() as older:
            older.setattr(restore, "split", lambda source, pixels, *_: split(source, pixels))
            old = stage(path, store.root / layout.STAGING / "old" / "0")
        new = stage(path, store.root / layout.STAGING / "new" / "0", force=True)
        again = stage(path, store.root / layout.STAGING / "again" / "0", force=True)
        outcomes = [commit(store, studies, [each]).receipts[0].outcome for each in (old, new, again)]
        assert outcomes == ["published", "published", "duplicate"]
        winner = studies.get(UID("1.2")).versions(new.record.identity).winner
        assert winner
        assert winner.remainder == new.record.remainder
        for each in (old.record, new.record):
            assert b"".join(Originals(store.root).pieces(Version(each, published=True))) == path.read_bytes()


@pytest.mark.parametrize("piece", [[], [0], [0, -1], [0, "1"], [0, 1, 2], [-1, 0, 2], [1, 0], ["a", 0], {}, None, "ab"])
def test_pieces_of_an_unknown_kind_are_corrupt(piece: object) -> None:
    recipe = {"pieces": [[0, 2], piece], "word": 1, "shared": False, "pixels": None}
    with pytest.raises(Corrupt, match="unknown kind"):
        restore.Remainder.of(orjson.dumps(recipe) + b"\n1234")


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_long_parts_are_unwrapped_and_unpacked_in_pieces(size: int) -> None:
    for payload in (b"", b"\r\n\r\n", NOISE, NUMBERS):
        for pack in (bytes, gzipped.pack):
            body = multipart.wrap("a/b", payload)
            packed = pack(body)
            parts = [packed[at : at + size] for at in range(0, len(packed), size)]
            unpacked = iter(parts) if pack is bytes else gzipped.unpack_pieces(parts)
            assert b"".join(multipart.unwrap_pieces(unpacked)) == payload
            with pytest.raises(Corrupt):
                list(multipart.unwrap_pieces(parts[:-1] if pack is bytes else gzipped.unpack_pieces(parts[:-1])))
