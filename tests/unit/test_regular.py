"""What stands where a file of the tree belongs, but isn't one, is found out and neither waited for nor read."""

import os
from pathlib import Path

import pytest

from staticwado_daemon.archive import holdings, layout, regular
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID

KINDS = ("fifo", "device", "loop", "directory")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def plant(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)


def test_it_is_not_opened(tmp_path: Path, kind: str) -> None:
    plant(tmp_path / "file", kind)
    with pytest.raises(OSError, match=r".") as caught:
        regular.opened(tmp_path / "file")
    assert caught.value.errno in regular.NOT_ONE


def test_a_link_is_followed_only_where_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with regular.opened(tmp_path / "link") as file:
        assert file.read() == b"content"
    with pytest.raises(OSError, match="symbolic links"):
        regular.opened(tmp_path / "link", follow=False)


def test_the_writer_puts_a_file_in_its_place(tmp_path: Path, kind: str) -> None:
    with Store(tmp_path / "root") as store:
        plant(store.root / "studies/1.2/metadata.gz", kind)
        assert store.read("studies/1.2/metadata.gz") is None
        assert store.put("studies/1.2/metadata.gz", b"new")
        assert store.read("studies/1.2/metadata.gz") == b"new"


def test_as_a_record_file_it_costs_only_itself(tmp_path: Path, kind: str) -> None:
    plant(tmp_path / layout.records_dir(UID("1.2")) / f"{'0' * 64}.gz", kind)
    assert holdings.held(tmp_path, UID("1.2")) == []
