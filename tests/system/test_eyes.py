"""`explain` as people and programs use it: without a daemon."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pydicom
import pytest

from staticwado_daemon.archive import layout
from tests import corpus
from tests.system.eyes import Site
from tests.system.programs import told as run

# What became of a file


def test_a_stored_file_is_followed_to_its_bytes(site: Site) -> None:
    path = site.study.files[1]
    told = site.explain(path)
    assert (told["kind"], told["path"], told["now"]) == ("file", str(path), "unchanged")
    receipt, instance = told["receipts"][0], told["instance"]
    assert receipt["outcome"] in {"published", "duplicate"}
    assert receipt["source"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["sameContent"] == [str(site.inbound / "copy.dcm")]
    (version,) = instance["versions"]
    assert version["published"]
    assert version["source"] == receipt["source"]
    for stored in version["files"]:
        assert stored["there"]
        assert (site.root / stored["path"]).stat().st_size == stored["bytes"]
    assert any("/frames/" in stored["path"] for stored in version["files"])
    for name in ("record", "remainder"):
        assert (site.root / version[name]).is_file()
    printed = site.told("explain", path)
    assert f"\n  in         {version['directory']}\n" in printed
    assert "\n  came as    Explicit VR Little Endian\n" in printed
    assert "Test^" not in printed + json.dumps(told), "nobody's name"


def test_versions_of_one_instance_are_told_with_their_sources(site: Site) -> None:
    first, second = str(site.study.files[0]), str(site.inbound / "newer.dcm")
    uid = str(pydicom.dcmread(first).SOPInstanceUID)
    (told,) = site.explain(uid)["found"]
    shown, kept = told["versions"]
    assert [(each["revision"], each["published"]) for each in (shown, kept)] == [(2, True), (1, False)]
    assert {each["received"][0]["path"] for each in (shown, kept)} == {first, second}
    assert {each["received"][0]["outcome"] for each in (shown, kept)} == {"published", "superseded"}
    assert shown["directory"].startswith("studies/")
    assert kept["directory"].startswith(layout.KEPT)
    for version in (shown, kept):
        assert all(each["there"] for each in version["files"])
    loser = kept["received"][0]["path"]
    printed = site.told("explain", loser)
    assert "\n  superseded " in printed
    assert "\n  version    revision 1 of 2: kept, not shown\n" in printed
    assert site.told("explain", uid).count("\n  version    revision ") == 2


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [("bad.dcm", "rejected", "no Study Instance UID (0020,000D)"), ("README.txt", "ignored", "not a DICOM file")],
)
def test_a_file_that_was_not_stored_has_its_reason(site: Site, name: str, outcome: str, reason: str) -> None:
    told = site.explain(site.inbound / name)
    assert (told["receipts"][0]["outcome"], told["receipts"][0]["reason"]) == (outcome, reason)
    assert (told["now"], told["instance"]) == ("unchanged", None)
    assert f"\n  because    {reason}\n" in site.told("explain", site.inbound / name)


def test_what_was_set_aside_is_found_under_both_its_names(site: Site) -> None:
    aside = site.directory / "drop/rejected/handed-over.dcm"
    for name in (aside, site.directory / "drop/handed-over.dcm"):
        told = site.explain(name)
        assert told["path"] == str(site.directory / "drop/handed-over.dcm")
        assert (told["setAside"], told["receipts"][0]["outcome"]) == (str(aside), "rejected")
    assert f"was set aside, as {aside}" in site.told("explain", aside)


def test_a_file_without_a_receipt_is_told_why(site: Site, tmp_path: Path) -> None:
    litter = site.inbound / ".hidden.dcm"
    waits, fifo = site.inbound / "new.dcm", site.inbound / "fifo"
    outside = tmp_path / "outside.dcm"
    try:
        for path in (litter, waits, outside):
            path.touch()
        os.mkfifo(fifo)
        notes = {path: site.explain(path)["note"] for path in (litter, waits, outside, fifo, site.inbound)}
    finally:
        for path in (litter, waits, fifo):
            path.unlink()
    assert notes[litter] == (
        "it is passed over because of its name: .hidden.dcm is a hidden or temporary name; `staticwado create` takes it"
    )
    assert notes[waits] == notes[fifo] == "it has not been taken, because no daemon is running"
    assert notes[outside].startswith("it lies in none of the inbound folders")
    assert notes[site.inbound] == "it is a folder: name a file in it"
    tree = next(site.root.rglob("*.mht"))
    assert site.explain(tree)["note"] == "it is a file of the tree itself"
    site.told("explain", site.inbound / "nothing", expect=1)


# What a UID stands for


def test_a_study_is_told_with_what_it_takes(site: Site) -> None:
    (told,) = site.explain(site.study.uid)["found"]
    assert (told["kind"], told["study"], told["instances"], told["dirty"]) == ("study", site.study.uid, 6, False)
    assert [each["number"] for each in told["series"]] == [1, 2]
    assert [each["instances"] for each in told["series"]] == [3, 3]
    assert {each["modality"] for each in told["series"]} == {"CT"}
    assert told["series"][0]["description"] == "CT series 1"
    (conflict,) = [conflict for each in told["series"] for conflict in each["conflicts"]]
    assert (conflict["instance"], conflict["versions"]) == (corpus.uid("ct", 1, 1), 2)
    for usage, directory in (("published", "studies"), ("restore", "restore"), ("kept", layout.KEPT)):
        files = [path for path in (site.root / directory / site.study.uid).rglob("*") if path.is_file()]
        assert told[usage] == {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
        assert files
    printed = site.told("explain", site.study.uid)
    assert "\n  holds      6 instances in 2 series\n" in printed
    assert f"\n  conflicts  {corpus.uid('ct', 1, 1)}: 2 versions\n" in printed


def test_the_beginning_of_a_uid_is_enough_if_it_is_the_only_one(site: Site) -> None:
    series = corpus.uid("ct", 2)
    for text, kind in ((site.study.uid[:20], "study"), (series, "series"), (series[:20], "series")):
        assert [each["kind"] for each in site.explain(text)["found"]] == [kind]
    for text in ("9.9.9", f"{site.study.uid}.1", "1.2."):
        site.told("explain", text, expect=1)


def test_a_series_or_instance_is_found_without_the_journal(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.root, copy)
    for uid, kind in ((corpus.uid("ct", 2), "series"), (corpus.uid("ct", 1, 2), "instance")):
        told = json.loads(run("explain", uid, "--root", copy, "--json"))
        assert [each["kind"] for each in told["found"]] == [kind]
    assert "from a file that the journal no longer knows" in run("explain", uid, "--root", copy)


def test_what_is_missing_or_damaged_is_told(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.root, copy)
    uid = corpus.uid("ct", 1, 2)
    (frame,) = copy.glob(f"studies/*/series/*/instances/{uid}/frames/1.mht")
    frame.unlink()
    shutil.rmtree(copy / "restore" / site.study.uid)
    (copy / "deduplicated" / site.study.uid / "damaged.gz").write_bytes(b"no gzip")
    printed = run("explain", uid, "--root", copy)
    assert f"\n  MISSING    {frame.relative_to(copy)}\n" in printed
    assert "\n  remainder  is missing: no original without it\n" in printed
    assert f"\n  UNREADABLE deduplicated/{site.study.uid}/damaged.gz: " in printed
    told = json.loads(run("explain", uid, "--root", copy, "--json"))  # nothing but the object
    assert len(told["found"][0]["unreadable"]) == 1
