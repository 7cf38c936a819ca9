"""What is really in an inbound folder: a walk that trusts no event.

The walk is a generator, so that whoever drives it decides how much is done at a time. Symbolic links are met, not
followed. Nothing is ever concluded from a file's absence: a folder may be unmounted, or somebody may tidy up.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.inbound import names
from staticwado_daemon.inbound.mounts import Mount, mount_of

Found = tuple[str, os.stat_result]


@dataclass(frozen=True, slots=True)
class Anchor:
    """What an inbound folder's path leads to: while this stays the same, so does the folder."""

    mount: Mount
    device: int
    inode: int


def anchor(root: str) -> Anchor | None:
    """Look where the folder is; None if it is no readable directory."""
    try:
        status = Path(root).stat()
        mount = mount_of(root)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode) or not os.access(root, os.R_OK | os.X_OK):
        return None
    return Anchor(mount, status.st_dev, status.st_ino)


def is_unmounted(before: Anchor, now: Anchor) -> bool:
    """Whether the folder shows what lies beneath its mount point because the mount has gone.

    A different device on the same mount point is a new disk or a remount, and as good as the old one.
    """
    return before.mount.point != now.mount.point and before.mount.point.startswith(now.mount.point)


def walk(top: str, exclude: Collection[str] = (), unreadable: Callable[[str], None] | None = None) -> Iterator[Found]:
    """Yield the path and lstat result of everything below `top` that is no directory and has no temporary name.

    Regular files, links, FIFOs, sockets and devices alike: each deserves a receipt.

    Args:
        top: an absolute path; names that are not UTF-8 come with surrogate escapes.
        exclude: absolute paths of directories that are not entered.
        unreadable: called with the path of every directory that can't be listed.
    """
    report = unreadable or _ignore
    pending = [top]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not names.skip_directory(entry.name) and entry.path not in exclude:
                            pending.append(entry.path)
                    elif names.reason_to_skip(entry.name) is None:
                        status = _status(entry, report)
                        if status is not None:
                            yield entry.path, status
        except (FileNotFoundError, NotADirectoryError):
            continue  # it was removed since it was listed
        except OSError:
            report(directory)


def _status(entry: "os.DirEntry[str]", report: Callable[[str], None]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # it was renamed or removed since it was listed
    except OSError:
        # The directory may be listed but not searched, or its disk fails here and there: go on with the others.
        report(entry.path.rpartition("/")[0])
        return None


def _ignore(_directory: str) -> None:
    return
