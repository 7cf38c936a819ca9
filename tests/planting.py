"""A tree of several kinds of objects, and damage of every kind to plant in it."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from staticwado_daemon.archive import holdings, layout, record
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.uids import UID, Identity
from tests import corpus
from tests.system.programs import told

WITH_BULK = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
"""A CT of pydicom whose private values are long enough to be bulk data."""


WITH_REPORT = "1.2.276.0.7230010.3.1.2.1787205428.166.1117461927.5"
"""A structured report of pydicom, which is also kept whole."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A tree, the files it was made of, and what was planted: pairs of the kind and the path that must be told.

    Of these, `left` is what can't be mended.
    """

    root: Path
    sources: Path
    findings: set[tuple[str, str]] = field(default_factory=set)
    left: set[tuple[str, str]] = field(default_factory=set)

    def study(self, name: str) -> UID:
        return UID({"bulk": WITH_BULK, "sr": WITH_REPORT}.get(name) or corpus.uid(name))

    def identity(self, name: str, *numbers: int) -> Identity:
        return Identity(self.study(name), UID(corpus.uid(name, numbers[0])), UID(corpus.uid(name, *numbers)))

    def records(self, name: str) -> list[Record]:
        """The published versions of a study."""
        found = merge(holdings.held(self.root, self.study(name))).values()
        return [each.winner for each in found if each.winner]

    def record_file(self, name: str, *numbers: int) -> Path:
        """The file in which the record of an instance that came alone is."""
        directory = self.root / layout.pending_dir(self.study(name))
        found = (
            path
            for path in directory.iterdir()
            for each in record.from_file(path.read_bytes())
            if each.identity == self.identity(name, *numbers)
        )
        return next(found)

    def path(self, name: str, *numbers: int, file: str = "") -> str:
        directory = layout.instance_dir(self.identity(name, *numbers))
        return f"{directory}/{file}" if file else directory


def build(directory: Path) -> Planted:
    """A healthy tree: grey, colour, many frames, compressed ones, bulk data; and a file that came alone."""
    sources, root = directory / "sources", directory / "root"
    corpus.mr_study(sources / "mr", 6, 2)
    corpus.sc_rgb_multiframe(sources / "sc")
    corpus.jpeg_study(sources / "us")
    corpus.jpeg2000_study(sources / "j2k")
    corpus.ct_study(sources / "ct", 4, 1, size=64)
    (sources / "bulk").mkdir()
    shutil.copyfile(corpus.PYDICOM / "test_files/CT_small.dcm", sources / "bulk/1.dcm")
    (sources / "sr").mkdir()
    shutil.copyfile(corpus.PYDICOM / "test_files/reportsi.dcm", sources / "sr/1.dcm")
    alone = sources / "mr" / "2-0003.dcm"
    alone.rename(directory / "alone.dcm")
    told("create", sources, "--root", root)
    (directory / "alone.dcm").rename(alone)
    told("create", alone, "--root", root)
    return Planted(root, sources)


def plant(tree: Planted) -> None:
    """Twelve kinds of damage, each in a place of its own."""
    damages = (
        _truncated_gzip,
        _flipped_bit,
        _missing_frame,
        _missing_record,
        _extra_instance,
        _stale_summary,
        _wrong_count,
        _missing_thumbnail,
        _leftovers,
        _wrong_index_entry,
        _swapped_frames,
        _deleted_bulk,
    )
    for each in damages:
        each(tree)


def _truncated_gzip(tree: Planted) -> None:
    path = f"{layout.series_dir(tree.study('ct'), UID(corpus.uid('ct', 1)))}/{layout.METADATA}"
    data = (tree.root / path).read_bytes()
    _write(tree, path, data[: len(data) // 2])
    tree.findings.add(("summary_unreadable", path))


def _flipped_bit(tree: Planted) -> None:
    path = tree.path("us-jpeg", 1, 1, file="frames/3.mht")
    _flip(tree, path)
    tree.findings.add(("frame_damaged", path))


def _missing_frame(tree: Planted) -> None:
    path = tree.path("us-jpeg", 1, 1, file="frames/5.mht")
    (tree.root / path).unlink()
    tree.findings.add(("frame_missing", path))


def _missing_record(tree: Planted) -> None:
    tree.record_file("mr", 2, 3).unlink()
    tree.findings.add(("record_missing", tree.path("mr", 2, 3)))


def _extra_instance(tree: Planted) -> None:
    copy = f"{tree.path('us-jpeg2000', 1, 1)}.99"
    shutil.copytree(tree.root / tree.path("us-jpeg2000", 1, 1), tree.root / copy)
    tree.findings.add(("instance_orphaned", copy))


def _stale_summary(tree: Planted) -> None:
    path = f"{layout.study_dir(tree.study('ct'))}/{layout.METADATA}"
    _change(tree, path, lambda datasets: datasets[:-1])
    tree.findings.add(("summary_stale", path))


def _wrong_count(tree: Planted) -> None:
    path = f"{layout.study_dir(tree.study('sc-rgb'))}/index.json.gz"
    _change(tree, path, lambda answers: [{**each, "00201208": {"vr": "IS", "Value": [7]}} for each in answers])
    tree.findings.add(("count_wrong", path))


def _missing_thumbnail(tree: Planted) -> None:
    path = tree.path("ct", 1, 2, file=layout.THUMBNAIL)
    (tree.root / path).unlink()
    tree.findings.add(("thumbnail_missing", path))


def _leftovers(tree: Planted) -> None:
    for path in (f"{layout.PREPARING}/put-1-1", f"{layout.study_dir(tree.study('ct'))}/.index.json.gz.x1Yz"):
        (tree.root / path).write_bytes(b"half of it")
        tree.findings.add(("leftover", path))


def _wrong_index_entry(tree: Planted) -> None:
    study = tree.study("us-jpeg2000")

    def renamed(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = next(each for each in answers if each["0020000D"]["Value"] == [study])
        found["00081030"] = {"vr": "LO", "Value": ["somebody else's"]}
        return answers

    _change(tree, layout.STUDIES_INDEX, renamed)
    tree.findings.add(("index_entry_wrong", layout.STUDIES_INDEX))


def _swapped_frames(tree: Planted) -> None:
    (stored,) = tree.records("sc-rgb")
    names = sorted(blob.path for blob in stored.blobs if blob.path.startswith("frames/"))[:2]
    one, other = (tree.path("sc-rgb", 1, 1, file=name) for name in names)
    data = (tree.root / one).read_bytes(), (tree.root / other).read_bytes()
    assert data[0] != data[1]
    _write(tree, one, data[1])
    _write(tree, other, data[0])
    tree.findings.update({("frames_swapped", one), ("frames_swapped", other)})


def _deleted_bulk(tree: Planted) -> None:
    stored = next(each for each in tree.records("bulk") if any(layout.is_bulk(blob.path) for blob in each.blobs))
    name = next(blob.path for blob in stored.blobs if layout.is_bulk(blob.path))
    path = f"{layout.study_dir(tree.study('bulk'))}/{name}"
    (tree.root / path).unlink()
    tree.findings.add(("bulk_missing", path))


def plant_others(tree: Planted) -> None:
    """What isn't among the twelve."""
    damages = (
        _truncated_record,
        _misnamed_record,
        _damaged_pack,
        _missing_instance,
        _other_metadata,
        _missing_object,
        _other_thumbnails,
        _missing_summary,
        _wrong_index,
        _orphans,
        _unfinished,
        _nobodys,
    )
    for each in damages:
        each(tree)


def _truncated_record(tree: Planted) -> None:
    path = tree.record_file("mr", 2, 3)
    path.write_bytes(path.read_bytes()[:-20])
    tree.findings.add(("record_unreadable", str(path.relative_to(tree.root))))
    tree.findings.add(("record_missing", tree.path("mr", 2, 3)))


def _misnamed_record(tree: Planted) -> None:
    path = tree.root / holdings.record_files(tree.root, tree.study("sc-rgb"))[0]
    other = path.with_name(f"{'0' * 64}.gz")
    path.rename(other)
    tree.findings.add(("record_misnamed", str(other.relative_to(tree.root))))


def _damaged_pack(tree: Planted) -> None:
    (pack,) = holdings.pack_files(tree.root, tree.study("bulk"))
    _flip(tree, pack)
    (stored,) = tree.records("bulk")
    tree.findings.update({("pack_damaged", pack), ("remainder_missing", layout.instance_dir(stored.identity))})
    name = next(blob.path for blob in stored.blobs if layout.is_bulk(blob.path))
    path = f"{layout.study_dir(tree.study('bulk'))}/{name}"
    _flip(tree, path)
    tree.findings.add(("bulk_damaged", path))


def _missing_instance(tree: Planted) -> None:
    shutil.rmtree(tree.root / tree.path("ct", 1, 1))
    tree.findings.add(("instance_missing", tree.path("ct", 1, 1)))


def _other_metadata(tree: Planted) -> None:
    missing, wrong = (tree.path("ct", 1, number, file=layout.METADATA) for number in (2, 3))
    (tree.root / missing).unlink()
    _change(tree, wrong, lambda datasets: [{**each, "00200013": {"vr": "IS", "Value": [99]}} for each in datasets])
    tree.findings.update({("metadata_missing", missing), ("metadata_wrong", wrong)})


def _missing_object(tree: Planted) -> None:
    (stored,) = tree.records("sr")
    path = f"{layout.instance_dir(stored.identity)}/{layout.FULL_INSTANCE}"
    (tree.root / path).unlink()
    tree.findings.add(("file_missing", path))


def _other_thumbnails(tree: Planted) -> None:
    path = tree.path("ct", 1, 4, file=layout.THUMBNAIL)
    _flip(tree, path)
    series = f"{layout.series_dir(tree.study('ct'), UID(corpus.uid('ct', 1)))}/{layout.THUMBNAIL}"
    _write(tree, series, b"another picture")
    tree.findings.update({("thumbnail_damaged", path), ("thumbnail_stale", series)})


def _missing_summary(tree: Planted) -> None:
    path = f"{layout.study_dir(tree.study('ct'))}/series/index.json.gz"
    (tree.root / path).unlink()
    tree.findings.add(("summary_missing", path))


def _wrong_index(tree: Planted) -> None:
    study = tree.study("sc-rgb")

    def changed(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        left = [each for each in answers if each["0020000D"]["Value"] != [study]]
        return [*left, {"0020000D": {"vr": "UI", "Value": ["0.0"]}}]

    _change(tree, layout.STUDIES_INDEX, changed)
    tree.findings.update({(f"index_entry_{kind}", layout.STUDIES_INDEX) for kind in ("missing", "foreign")})


def _orphans(tree: Planted) -> None:
    study = layout.study_dir(tree.study("mr"))
    found = {
        ("study_orphaned", "studies/9.9.9"),
        ("series_orphaned", f"{study}/series/9.9"),
        ("file_orphaned", f"{study}/notes.pdf"),
        ("file_orphaned", f"{layout.records_dir(tree.study('mr'))}/readme"),
        ("file_orphaned", "studies/readme"),
    }
    (tree.root / layout.FORMAT).unlink()
    tree.findings.add(("format_missing", layout.FORMAT))
    for kind, path in found:
        place = tree.root / path / "x" if kind.startswith("s") else tree.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"whatever")
    tree.findings.update(found)


def _unfinished(tree: Planted) -> None:
    mark = layout.dirty_mark(tree.study("us-jpeg2000"))
    _write(tree, mark, b"")
    tree.findings.add(("unfinished", mark))


def _nobodys(tree: Planted) -> None:
    """What nothing can be done about: an original, and a record that speaks of another source."""
    original = layout.original("c" * 64, "a" * 64)
    (tree.root / original).parent.mkdir(parents=True)
    _write(tree, original, gzip.compress(b"not what it says"))
    (stored,) = tree.records("us-jpeg")
    for path in holdings.record_files(tree.root, tree.study("us-jpeg")):
        (tree.root / path).unlink()
    name, data = record.to_file([replace(stored, source="b" * 64)])
    _write(tree, f"{layout.pending_dir(tree.study('us-jpeg'))}/{name}", data)
    tree.left.update({("original_damaged", original), ("not_restorable", tree.path("us-jpeg", 1, 1))})
    tree.findings.update(tree.left)


def _flip(tree: Planted, path: str) -> None:
    data = bytearray((tree.root / path).read_bytes())
    data[len(data) // 2] ^= 1
    _write(tree, path, bytes(data))


def _change(tree: Planted, path: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Replace what a list says, in the form that lists have."""
    answers = change(json.loads(gzip.decompress((tree.root / path).read_bytes())))
    lines = ",\n".join(json.dumps(each, separators=(",", ":"), ensure_ascii=False) for each in answers)
    _write(tree, path, gzip.compress(f"[\n{lines}\n]".encode()))


def _write(tree: Planted, path: str, data: bytes) -> None:
    (tree.root / path).write_bytes(data)
