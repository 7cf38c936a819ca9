"""Files and folders that are named: what `create` takes is what the daemon would take."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from staticwado_daemon.inbound import reconcile
from staticwado_daemon.inbound.named import Named, find, look
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.reconcile import walk
from staticwado_daemon.inbound.source import Source, Stamp


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "in"


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_are_found_sorted_and_once(top: Path) -> None:
    touch(*(top / name for name in ("b/2.dcm", "b/1.dcm", "a.dcm", "c/DICOMDIR")))
    assert find([top]) == Named(tuple(top / name for name in ("a.dcm", "b/1.dcm", "b/2.dcm", "c/DICOMDIR")), ())
    assert find([top / "b/2.dcm", top / "b", top / "b/1.dcm"]).files == (top / "b/1.dcm", top / "b/2.dcm")


def test_folders_hold_what_the_daemon_finds_in_them(top: Path) -> None:
    touch(*(top / name for name in ("a.dcm", ".hidden", ".git/config", "__MACOSX/._a.dcm", "@eaDir/x.dcm")))
    touch(*(top / name for name in ("a.dcm.part", "sub/Thumbs.db", "sub/b.dcm~", "sub/c.dcm")))
    (top / "circle").symlink_to(top)
    (top / "nowhere.dcm").symlink_to(top / "nonexistent")
    os.mkfifo(top / "fifo")
    found = find([top]).files
    assert [path.name for path in found] == ["a.dcm", "circle", "fifo", "nowhere.dcm", "c.dcm"]
    assert {str(path) for path in found} == {path for path, _ in walk(str(top))}


def test_what_is_named_itself_is_taken_whatever_its_name(top: Path, tmp_path: Path) -> None:
    touch(top / ".hidden", top / "b.part", top / ".folder/c.dcm", tmp_path / "elsewhere.dcm")
    (top / "link.dcm").symlink_to(tmp_path / "elsewhere.dcm")
    (top / "linked").symlink_to(top / ".folder")
    named = [top / ".hidden", top / "b.part", top / "linked", top / "link.dcm", top / "none.dcm"]
    expected = [
        tmp_path / "elsewhere.dcm",
        *(top / name for name in (".folder/c.dcm", ".hidden", "b.part", "none.dcm")),
    ]
    assert find(named).files == tuple(expected)


def test_the_tree_itself_is_not_entered(top: Path) -> None:
    touch(top / "a.dcm", top / "tree/studies/index.json.gz")
    assert find([top], [top / "tree"]).files == (top / "a.dcm",)
    assert find([top / "tree/studies"], [top / "tree"]).files == (top / "tree/studies/index.json.gz",)


def test_a_folder_that_cannot_be_listed_is_one_rejected_receipt(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(top / "a.dcm", top / "closed/b.dcm", top / "z/c.dcm")
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(reconcile.os, "scandir", scandir)  # the tests may run as root, whom nobody refuses
    refused = Receipt(top / "closed", None, "rejected", "the folder can't be listed: Permission denied")
    assert find([top]) == Named((top / "a.dcm", top / "z/c.dcm"), (refused,))
    assert find([top, top / "closed"]).unlisted == (refused,)
    assert len(find([top])) == 3


def test_what_lies_where_nobody_may_look_is_taken_and_rejected_with_the_reason(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(top / "a.dcm", top / "closed/b.dcm")

    def guarded(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def ask(path: str | Path, **named: bool) -> os.stat_result:
            if "closed/" in str(path):
                raise PermissionError(13, "Permission denied")
            return real(path, **named)

        return ask

    monkeypatch.setattr(os, "stat", guarded(os.stat))  # the tests may run as root, whom nobody refuses
    monkeypatch.setattr(os, "lstat", guarded(os.lstat))
    assert find([top / "closed/b.dcm", top / "a.dcm"]).files == (top / "a.dcm", top / "closed/b.dcm")
    refused = Receipt(top / "closed/b.dcm", None, "rejected", "cannot be read: Permission denied")
    assert look(top / "closed/b.dcm") == refused


def test_names_that_are_not_utf8_are_found(top: Path) -> None:
    touch(top / os.fsdecode(b"caf\xe9.dcm"))
    assert [os.fsencode(path.name) for path in find([top]).files] == [b"caf\xe9.dcm"]


def test_a_file_is_taken_as_it_stands_and_a_vanished_one_is_rejected(top: Path) -> None:
    touch(top / "a.dcm")
    assert look(top / "a.dcm", "7") == Source(
        top / "a.dcm", Stamp.of((top / "a.dcm").stat()), requested="7", final=True
    )
    assert look(top / "b.dcm") == Receipt(top / "b.dcm", None, "rejected", "cannot be read: No such file or directory")
