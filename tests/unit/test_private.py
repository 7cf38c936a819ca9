"""The folder for originals on their way through the line once more: whose it is, and what is given away."""

import hashlib
import os
from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate import private


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / layout.PRIVATE).mkdir()
    return tmp_path


def test_a_folder_goes_with_all_that_is_in_it_and_with_what_was_left_behind(root: Path) -> None:
    left = root / private.REBUILD / "999999999"
    left.mkdir(parents=True)
    with private.folder(root) as folder:
        assert not left.exists()
        data = b"original"
        private.write(root, folder / "1.dcm", hashlib.sha256(data).hexdigest(), [data])
        assert (folder / "1.dcm").stat().st_mode & 0o777 == 0o600
        with pytest.raises(Corrupt):
            private.write(root, folder / "2.dcm", "0" * 64, [data])
        assert [each.name for each in folder.iterdir()] == ["1.dcm"]
    assert not folder.exists()


def test_root_gives_away_a_link_and_not_what_it_leads_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Path] = []

    def chown(path: Path, _user: int, _group: int, *, follow_symlinks: bool = True) -> None:
        given.append(path.resolve() if follow_symlinks else path)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    (root / "elsewhere").mkdir()
    (root / private.REBUILD).symlink_to(root / "elsewhere")
    with private.folder(root) as folder:
        assert given == [root / private.REBUILD, folder]
