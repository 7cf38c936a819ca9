import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from staticwado_daemon.archive import durably
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound.drop import bring_back, clear, prepare
from staticwado_daemon.inbound.receipt import Outcome, Receipt
from staticwado_daemon.inbound.reconcile import walk
from staticwado_daemon.inbound.source import Stamp


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    prepare(folder)
    return folder


def dropped(path: Path, outcome: Outcome, reason: str | None = None) -> Receipt:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"some bytes")
    identity = Identity(UID("1.2"), UID("1.3"), UID("1.4"))
    return Receipt(path, Stamp.of(path.lstat()), outcome, reason, identity, "c" * 64, "5" * 64, at=1_700_000_000.0)


def files(drop: Path) -> set[str]:
    return {str(path.relative_to(drop)) for path in drop.rglob("*") if not path.is_dir()}


def test_is_an_inbound_folder_that_is_emptied_and_excludes_its_own_rooms(drop: Path) -> None:
    spec = prepare(drop)  # a second time: nothing to do
    assert spec.after_ingest == "delete"
    (drop / ".part" / "a").write_bytes(b"half")
    (drop / "rejected" / "b").write_bytes(b"bad")
    (drop / "c").write_bytes(b"new")
    assert [path for path, _ in walk(str(drop), [str(each) for each in spec.exclude])] == [str(drop / "c")]


@pytest.mark.parametrize("outcome", ["published", "duplicate", "superseded"])
def test_what_the_archive_holds_is_deleted(drop: Path, outcome: Outcome) -> None:
    assert clear(drop, dropped(drop / "sub" / "a.dcm", outcome))
    assert files(drop) == set()


@pytest.mark.parametrize("outcome", ["rejected", "ignored"])
def test_what_it_does_not_hold_is_kept_with_the_reason(drop: Path, outcome: Outcome) -> None:
    assert clear(drop, dropped(drop / "sub" / "a.dcm", outcome, "no SOP Instance UID (0008,0018)"))
    assert files(drop) == {"rejected/sub/a.dcm", "rejected/sub/a.dcm.reason.json"}
    assert (drop / "rejected/sub/a.dcm").read_bytes() == b"some bytes"
    assert json.loads((drop / "rejected/sub/a.dcm.reason.json").read_bytes()) == {
        "path": "sub/a.dcm",
        "outcome": outcome,
        "reason": "no SOP Instance UID (0008,0018)",
        "studyInstanceUID": "1.2",
        "seriesInstanceUID": "1.3",
        "sopInstanceUID": "1.4",
        "sha256": "5" * 64,
        "at": "2023-11-14T22:13:20+00:00",
    }


def test_rejects_of_one_name_are_all_kept(drop: Path) -> None:
    for number in range(3):
        assert clear(drop, dropped(drop / "a.dcm", "rejected", f"reason {number}"))
    kept = {path for path in files(drop) if not path.endswith(".json")}
    assert kept == {"rejected/a.dcm", "rejected/a.dcm.2", "rejected/a.dcm.3"}
    assert json.loads((drop / "rejected/a.dcm.3.reason.json").read_bytes())["reason"] == "reason 2"


@pytest.mark.parametrize("name", [b"n" * 255, b"caf\xe9.dcm"])
def test_names_that_are_long_or_not_utf8(drop: Path, name: bytes) -> None:
    assert clear(drop, dropped(drop / os.fsdecode(name), "rejected", "bad"))
    assert len(files(drop)) == 2
    assert len(list((drop / "rejected").glob("*.reason.json"))) == 1


@pytest.mark.parametrize("outcome", ["published", "rejected"])
def test_a_file_that_changed_meanwhile_stays(drop: Path, outcome: Outcome) -> None:
    receipt = dropped(drop / "a.dcm", outcome)
    (drop / "a.dcm").write_bytes(b"something newer")
    assert not clear(drop, receipt)
    assert files(drop) == {"a.dcm"}


def test_a_file_that_is_gone_is_gone(drop: Path) -> None:
    for outcome in ("published", "rejected"):
        receipt = dropped(drop / "a.dcm", outcome)
        receipt.path.unlink()
        assert clear(drop, receipt)


def test_a_link_is_set_aside_itself(drop: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    link = drop / "link"
    link.symlink_to(tmp_path / "target")
    assert clear(drop, Receipt(link, Stamp.of(link.lstat()), "rejected", "not a regular file but a symbolic link"))
    assert (drop / "rejected" / "link").is_symlink()
    assert (tmp_path / "target").exists()


def test_a_folder_reached_through_a_link(drop: Path, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(drop)
    assert clear(alias, dropped(drop / "a.dcm", "rejected", "bad"))
    assert "rejected/a.dcm" in files(drop)


def test_a_full_disk_is_tried_again_and_loses_nothing(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = dropped(drop / "DOE^JANE.dcm", "rejected", "bad")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(receipt.path))

    with monkeypatch.context() as patch:
        patch.setattr(durably, "write", full)
        with pytest.raises(Transient) as caught:
            clear(drop, receipt)
    assert "DOE" not in str(caught.value)
    assert files(drop) == {"DOE^JANE.dcm"}
    assert clear(drop, receipt)


def test_what_was_set_aside_is_brought_back_without_its_reason(drop: Path) -> None:
    receipt = dropped(drop / "sub" / "a.dcm", "rejected", "bad")
    assert clear(drop, receipt)
    (drop / "sub").rmdir()
    assert bring_back(drop, receipt) == drop / "sub" / "a.dcm"
    assert files(drop) == {"sub/a.dcm"}
    assert Stamp.of((drop / "sub/a.dcm").lstat()) == receipt.stamp
    assert bring_back(drop, receipt) is None


def test_of_several_files_of_one_name_the_right_one_is_brought_back(drop: Path) -> None:
    receipts = []
    for number in range(4):
        receipt = dropped(drop / "a.dcm", "rejected", f"reason {number}")
        os.utime(receipt.path, ns=(number, number))
        receipts.append(replace(receipt, stamp=Stamp.of(receipt.path.lstat())))
        assert clear(drop, receipts[-1])
    for number in (2, 0, 3, 1):  # those that are left don't have consecutive names
        assert bring_back(drop, receipts[number]) == drop / "a.dcm"
        assert (drop / "a.dcm").stat().st_mtime_ns == number
        (drop / "a.dcm").unlink()
    assert files(drop) == set()


def test_what_is_brought_back_takes_no_other_files_place(drop: Path) -> None:
    receipt = dropped(drop / "a.dcm", "rejected", "bad")
    assert clear(drop, receipt)
    (drop / "a.dcm").write_bytes(b"came later")
    assert bring_back(drop, receipt) == drop / "a.dcm.2"
    assert (drop / "a.dcm").read_bytes() == b"came later"
    assert (drop / "a.dcm.2").read_bytes() == b"some bytes"


@pytest.mark.parametrize("name", [b"n" * 255, b"caf\xe9.dcm"])
def test_long_names_and_those_that_are_not_utf8_are_found_among_the_rejected(drop: Path, name: bytes) -> None:
    receipt = dropped(drop / os.fsdecode(name), "rejected", "bad")
    assert clear(drop, receipt)
    back = bring_back(drop, receipt)
    assert back is not None
    assert back.read_bytes() == b"some bytes"
    assert files(drop) == {back.name}


def test_only_what_was_set_aside_and_is_unchanged_is_brought_back(drop: Path, tmp_path: Path) -> None:
    receipt = dropped(drop / "a.dcm", "rejected", "bad")
    assert bring_back(drop, receipt) is None  # it was never moved
    assert clear(drop, receipt)
    assert bring_back(drop, replace(receipt, stamp=None)) is None
    assert bring_back(drop, replace(receipt, path=tmp_path / "a.dcm")) is None
    (drop / "rejected/a.dcm").write_bytes(b"mended by hand")
    assert bring_back(drop, receipt) is None
    assert files(drop) == {"rejected/a.dcm", "rejected/a.dcm.reason.json"}


def test_a_failure_to_bring_back_loses_nothing(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = dropped(drop / "DOE^JANE.dcm", "rejected", "bad")
    assert clear(drop, receipt)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system", str(receipt.path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(Transient) as caught:
            bring_back(drop, receipt)
    assert "DOE" not in str(caught.value)
    assert files(drop) == {"rejected/DOE^JANE.dcm", "rejected/DOE^JANE.dcm.reason.json"}
    assert bring_back(drop, receipt) == receipt.path


def test_a_rejected_file_with_the_name_of_anothers_directory(drop: Path) -> None:
    first = dropped(drop / "a", "rejected", "bad")
    assert clear(drop, first)
    second = dropped(drop / "a" / "b.dcm", "rejected", "worse")
    assert clear(drop, second)
    assert files(drop) == {f"rejected/{name}{end}" for name in ("a", "b.dcm") for end in ("", ".reason.json")}
    assert bring_back(drop, second) == drop / "a" / "b.dcm"


def test_a_full_disk_leaves_no_litter(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = dropped(drop / "a.dcm", "rejected", "bad")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Transient):
            clear(drop, receipt)
    assert files(drop) == {"a.dcm"}


@pytest.mark.parametrize("link", ["rejected", "rejected/sub"])
def test_a_link_leads_nothing_out_of_the_drop_folder(drop: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    if link == "rejected":
        (drop / "rejected").rmdir()
    (drop / link).symlink_to(outside)
    receipt = dropped(drop / "sub/deep/a.dcm", "rejected", "why")
    with pytest.raises(Transient, match="leads elsewhere"):
        clear(drop, receipt)
    assert list(outside.iterdir()) == []
    assert receipt.path.exists()
