"""The file system as the kernel offers it, and what is said of one that lacks something."""

import errno
import os
from pathlib import Path

import pytest

from staticwado_daemon import libc
from staticwado_daemon.archive import disk as module
from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import LACKS_EXCHANGE, Disk
from staticwado_daemon.operate.doctor import disk as doctor


@pytest.fixture
def names(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    return tmp_path / "one", tmp_path / "other"


def _holds(names: tuple[Path, Path]) -> list[list[str]]:
    return [[each.name for each in name.iterdir()] for name in names]


def test_two_names_are_exchanged_in_one_step(names: tuple[Path, Path]) -> None:
    Disk().exchange(*names)
    assert _holds(names) == [["other"], ["one"]]


def test_nothing_is_exchanged_with_what_is_not_there(names: tuple[Path, Path]) -> None:
    with pytest.raises(FileNotFoundError):
        Disk().exchange(names[0], names[0].parent / "nothing")
    assert _holds(names) == [["one"], ["other"]]


def test_there_is_no_substitute_behind_it(names: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel itself says so: a flag that it doesn't know is what a file system without exchange doesn't know."""
    monkeypatch.setattr(module, "_RENAME_EXCHANGE", 1 << 20)
    with pytest.raises(OSError, match="Invalid argument") as why:
        Disk().exchange(*names)
    assert why.value.errno in LACKS_EXCHANGE
    assert _holds(names) == [["one"], ["other"]]


def test_a_machine_of_unknown_numbers_has_none(names: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libc.platform, "machine", lambda: "vax")
    with pytest.raises(OSError, match="not implemented") as why:
        Disk().exchange(*names)
    assert why.value.errno in LACKS_EXCHANGE


def test_the_doctor_says_what_a_disk_without_exchange_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / layout.PRIVATE).mkdir()
    assert doctor.file_system(tmp_path).ok
    monkeypatch.setattr(module, "_RENAME_EXCHANGE", 1 << 20)
    found = doctor.file_system(tmp_path)
    assert not found.ok
    assert "exchange two names" in found.sentence
    assert list((tmp_path / layout.PRIVATE).iterdir()) == []


def test_what_this_c_library_lacks_is_an_error_like_any_other() -> None:
    with pytest.raises(OSError, match="not implemented") as why:
        libc.call("no_such_function")
    assert why.value.errno == errno.ENOSYS
    with pytest.raises(OSError, match="Bad file descriptor"):
        libc.call("syncfs", -1)
    assert libc.call("getpid") == os.getpid()


def test_where_nothing_can_be_made_that_is_said_once(tmp_path: Path) -> None:
    """Some places, such as /proc and an automounter's, say that the parent is missing though it is there."""

    class Nowhere(Disk):
        def mkdir(self, path: Path) -> None:
            if path.parent == tmp_path / "there":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            super().mkdir(path)

    with pytest.raises(FileNotFoundError):
        Nowhere().make_directories(tmp_path / "there/a")
    Nowhere().make_directories(tmp_path / "elsewhere/b/c")
    assert (tmp_path / "elsewhere/b/c").is_dir()
