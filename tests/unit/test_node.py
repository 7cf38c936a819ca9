"""How the parts of the DICOM node are put together."""

import os
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.store import Store
from staticwado_daemon.cli.node import sending_directory

IS_ROOT = os.geteuid() == 0


def test_what_is_being_sent_is_for_the_owner_of_the_tree_alone_whoever_sends(tmp_path: Path) -> None:
    with Store(tmp_path):
        pass
    private = tmp_path / layout.PRIVATE
    owner = 12345 if IS_ROOT else os.geteuid()
    os.chown(private, owner, -1)
    for _ in range(2):
        found = sending_directory(tmp_path, private).stat()
        assert (found.st_uid, found.st_mode & 0o777) == (owner, 0o700)
