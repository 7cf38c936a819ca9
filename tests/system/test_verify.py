"""Verify finds what was planted, and nothing where nothing is; repair mends what has a source."""

import json
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest

from staticwado_daemon.archive import gzipped, layout
from staticwado_daemon.operate.verify.finding import KINDS
from staticwado_daemon.pipeline.tidy import ORPHANS
from tests.crash.oracle import differences
from tests.crash.oracle import tree as files_of
from tests.planting import Planted, build, plant, plant_others
from tests.system.programs import told


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return build(tmp_path_factory.mktemp("healthy"))


@pytest.fixture
def tree(healthy: Planted, tmp_path: Path) -> Planted:
    """A copy of the healthy tree, whose journal knows the same sources."""
    shutil.copytree(healthy.root, tmp_path / "root")
    return Planted(tmp_path / "root", healthy.sources)


def verified(tree: Planted, *options: str, expect: int = 0) -> dict[str, Any]:
    printed = told("verify", "--root", tree.root, "--json", *options, expect=expect)
    answer: dict[str, Any] = json.loads(printed)
    return answer


def told_of(answer: dict[str, Any], outcome: str | None = None) -> list[tuple[str, str]]:
    found = (each for each in answer["findings"] if each["outcome"] == outcome)
    return sorted((each["kind"], each["where"]) for each in found)


def test_a_healthy_tree_has_no_findings(healthy: Planted) -> None:
    answer = verified(healthy, "--restore")
    assert answer["findings"] == []
    assert answer["clean"]
    assert answer["instances"] == len(list(healthy.sources.rglob("*.dcm")))


def test_twelve_kinds_of_damage_are_told_and_mended(tree: Planted) -> None:
    before = files_of(tree.root / "studies")
    plant(tree)
    assert told_of(verified(tree, expect=1)) == sorted(tree.findings)

    repaired = verified(tree, "--repair")
    assert told_of(repaired, "mended") == sorted(tree.findings)
    assert verified(tree, "--restore")["findings"] == []
    assert differences(files_of(tree.root / "studies"), before) == []
    extra = next(where for kind, where in tree.findings if kind == "instance_orphaned")
    assert (tree.root / ORPHANS / extra / layout.METADATA).exists()


def test_every_other_kind_is_told_and_mended_where_that_can_be(tree: Planted) -> None:
    plant_others(tree)
    assert told_of(verified(tree, "--restore", expect=1)) == sorted(tree.findings)

    repaired = verified(tree, "--restore", "--repair", expect=3)
    assert told_of(repaired, "mended") == sorted(tree.findings - tree.left)
    assert told_of(verified(tree, "--restore", expect=1)) == sorted(tree.left)


def test_every_kind_is_planted(tree: Planted, healthy: Planted, tmp_path: Path) -> None:
    plant(tree)
    shutil.copytree(healthy.root, tmp_path / "other")
    others = Planted(tmp_path / "other", tree.sources)
    planted = {kind for kind, _ in tree.findings}
    assert len(planted) == 12
    plant_others(others)
    planted |= {kind for kind, _ in others.findings}
    assert set(KINDS) - planted == {"file_damaged", "format_wrong"}


def test_the_rest(tree: Planted) -> None:
    (stored,) = tree.records("sr")
    path = f"{layout.instance_dir(stored.identity)}/{layout.FULL_INSTANCE}"
    with (tree.root / path).open("ab") as file:
        file.write(b"more")
    assert told_of(verified(tree, "--repair"), "mended") == [("file_damaged", path)]
    (tree.root / layout.FORMAT).write_bytes(b'{"format": 99}')
    assert told_of(verified(tree, expect=1)) == [("format_wrong", layout.FORMAT)]


def test_what_has_no_source_stays_told(tree: Planted, tmp_path: Path) -> None:
    frame = tree.path("us-jpeg", 1, 1, file="frames/2.mht")
    (tree.root / frame).unlink()
    sources = tree.sources / "us"
    sources.rename(tmp_path / "away")
    try:
        answer = verified(tree, "--repair", expect=3)
        assert told_of(answer, "left") == [("frame_missing", frame)]
        assert answer["findings"][0]["study"] == tree.study("us-jpeg")
    finally:
        (tmp_path / "away").rename(sources)
    assert told_of(verified(tree, "--repair"), "mended") == [("frame_missing", frame)]
    assert verified(tree)["clean"]


def test_what_is_left_gives_back_what_was_made_of_it(tree: Planted, tmp_path: Path) -> None:
    """Thumbnails, metadata, bulk data and a lost record, without any source: from frames and remainder."""
    before = files_of(tree.root / "studies")
    lost = [
        ("thumbnail_missing", tree.path("mr", 1, 1, file=layout.THUMBNAIL)),
        ("metadata_missing", tree.path("mr", 1, 2, file=layout.METADATA)),
    ]
    for _, path in lost:
        (tree.root / path).unlink()
    tree.record_file("mr", 2, 3).unlink()
    lost.append(("record_missing", tree.path("mr", 2, 3)))
    aside = tree.sources / "mr"
    aside.rename(tmp_path / "away")
    try:
        assert told_of(verified(tree, "--repair"), "mended") == sorted(lost)
    finally:
        (tmp_path / "away").rename(aside)
    assert differences(files_of(tree.root / "studies"), before) == []


def test_conflicts_and_what_is_deleted_or_rejected(tree: Planted, tmp_path: Path) -> None:
    """All is well with them; and what is damaged of what was deleted stays so, for it must not come back."""
    changed = pydicom.dcmread(tree.sources / "mr/1-0001.dcm")
    changed.StudyDescription = "another"
    changed.save_as(tmp_path / "changed.dcm")
    told("create", tmp_path / "changed.dcm", "--root", tree.root)
    told("reject", tree.path("mr", 1, 1), "--yes", "--root", tree.root)
    told("undo", tree.path("mr", 1, 1), "--root", tree.root)
    told("reject", tree.path("mr", 2, 1), "--yes", "--root", tree.root)
    told("delete", tree.study("bulk"), tree.study("us-jpeg"), "--yes", "--root", tree.root)
    assert verified(tree, "--restore")["findings"] == []

    kept = tree.root / layout.kept_study_dir(tree.study("us-jpeg"))
    (frame,) = kept.rglob("frames/4.mht")
    frame.unlink()
    answer = verified(tree, "--repair", expect=3)
    assert told_of(answer, "left") == [("frame_missing", frame.relative_to(tree.root).as_posix())]
    assert tree.records("us-jpeg") == []


def test_a_file_that_would_fill_memory_is_damaged(tree: Planted) -> None:
    bomb = gzipped.pack(bytes(32 << 20))
    instance = next((tree.root / "studies").glob(f"*/series/*/instances/*/{layout.METADATA}"))
    study = instance.parents[4] / layout.METADATA
    for path in (instance, study):
        path.unlink()
        path.write_bytes(bomb)
    answer = verified(tree, expect=1)
    assert {each["kind"] for each in answer["findings"]} == {"metadata_wrong", "summary_unreadable"}
    assert all("can be right" in each["sentence"] for each in answer["findings"])
