"""A private folder for originals on their way through the line once more."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.errors import Corrupt

REBUILD = layout.REBUILD
"""Below the root, so that the daemon may read there, and so that nothing leaves the archive's own disk."""


@contextmanager
def folder(root: Path) -> Iterator[Path]:
    """A folder that nobody but the tree's owner may look into, and that is gone in the end.

    Raises:
        OSError: if it can't be made.
    """
    base = root / REBUILD
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = base / str(os.getpid())
    for each in base.iterdir():
        # Of processes that were killed; one of our own number is an earlier one's.
        if each.name.isdecimal() and (each == own or not Path(f"/proc/{each.name}").exists()):
            shutil.rmtree(each, ignore_errors=True)
    own.mkdir(mode=0o700)
    try:
        for each in (base, own):
            give(each, root)
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def write(root: Path, path: Path, source: str, pieces: Iterable[bytes | memoryview]) -> None:
    """Write an original, for the tree's owner to read.

    Args:
        root: of the tree.
        path: of the file, in a `folder`.
        source: the SHA-256 that it must have.
        pieces: its bytes.

    Raises:
        Corrupt: if it has another one; then there is no file.
        OSError: if the disk doesn't take it.
    """
    digest = hashlib.sha256()
    try:
        with path.open("xb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
            os.fchmod(file.fileno(), 0o600)
        give(path, root)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if digest.hexdigest() != source:
        path.unlink()
        raise Corrupt("what was stored no longer gives the original file")


def give(path: Path, root: Path) -> None:
    """Let it belong to whom the tree belongs to: the daemon is rarely the user that a command runs as.

    Of what that user has put a link to in its place only the link is given away.
    """
    if os.geteuid() == 0:
        owner = (root / layout.PRIVATE).stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
