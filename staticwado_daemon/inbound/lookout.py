"""How well an inbound folder can be watched just now, and the watcher that does it.

Most of the time: inotify. Folders on network file systems are polled, because what other machines write there raises no
event here; so are folders for which the kernel has no watches left. A folder that is missing, or whose mount has gone,
is unavailable until it is back; it is never taken for empty.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from staticwado_daemon.inbound.mounts import Mount, mount_of
from staticwado_daemon.inbound.watch import Hear, Watcher

_log = structlog.get_logger()

Mode = Literal["starting", "inotify", "polling", "unavailable"]

NO_WATCHES = "no inotify watches left; raise fs.inotify.max_user_watches (sysctl)"
_RETRY = 300.0  # seconds until refused watches are asked for again: it means to set all of them anew


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a folder's path leads to: while this stays the same, so does the folder."""

    mount: Mount
    device: int
    inode: int

    @classmethod
    def of(cls, root: str) -> "Anchor | None":
        """Look where the folder is; None if it is no directory that can be listed."""
        try:
            # Not what a symbolic link leads to, which somebody may have put into the path: files are deleted there.
            if os.path.realpath(root) != root:
                return None
            status = Path(root).stat()
            mount = mount_of(root)
        except OSError:
            return None
        if not stat.S_ISDIR(status.st_mode) or not os.access(root, os.R_OK | os.X_OK):
            return None
        return cls(mount, status.st_dev, status.st_ino)

    def is_gone(self, now: "Anchor") -> bool:
        """Whether the mount of this anchor is gone, and `now` is what lies beneath it.

        Another device on the same mount point is a new disk or a remount, and as good as the old one.
        """
        return self.mount.point != now.mount.point and self.mount.point.startswith(now.mount.point)


class Lookout:
    """Keeps one folder watched as well as its file system allows. Not thread-safe.

    Args:
        root: an absolute path without symbolic links.
        hear: receives hints from other threads; must not block.
    """

    def __init__(self, root: str, hear: Hear, clock: Callable[[], float] = time.monotonic) -> None:
        # The mode, and why it isn't inotify: they change together, for whoever asks from another thread.
        self.state: tuple[Mode, str | None] = "starting", None
        self.watches = 0  # how often watching has begun anew: what happened shortly before, nobody heard
        self._root = root
        self._hear = hear
        self._clock = clock
        self._retry_at = 0.0
        self._anchor: Anchor | None = None
        self._watcher: Watcher | None = None

    @property
    def mode(self) -> Mode:
        """How the folder is followed."""
        return self.state[0]

    @property
    def remote(self) -> bool:
        """Whether the folder's times come from another machine's clock."""
        return self._anchor is not None and self._anchor.mount.remote

    @property
    def unwatched(self) -> int:
        """How many directories below the folder raise no hints because the limit of watches is reached."""
        watcher = self._watcher  # another thread may ask while it is replaced
        return len(watcher.unwatched) if watcher is not None else 0

    @property
    def scans_only(self) -> bool:
        """Whether files may come of which only a scan will tell."""
        return self.mode == "polling" or self.unwatched > 0

    def check(self) -> bool:
        """Look where the folder is now, and watch it (again) if need be; say whether it can be scanned.

        Call it before each scan of the whole folder: what appears later raises hints, what was there is scanned.
        """
        now = Anchor.of(self._root)
        if now is None or (self._anchor is not None and self._anchor.is_gone(now)):
            self._give_up("its mount is gone" if now is not None else "it is missing or can't be listed")
            return False
        if now != self._anchor or not self._is_watched():
            self._anchor = now
            self._watch(now.mount)
        elif self.mode == "inotify":
            self._turn("inotify", NO_WATCHES if self.unwatched else None)
        return True

    def stop(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def _is_watched(self) -> bool:
        if self._anchor is not None and self._anchor.mount.remote:
            return self.mode == "polling"
        if self._watcher is None or not self._watcher.alive:
            return False
        return not self._watcher.unwatched or self._clock() < self._retry_at

    def _give_up(self, reason: str) -> None:
        self.stop()
        self._turn("unavailable", reason)

    def _watch(self, mount: Mount) -> None:
        self.stop()
        if mount.remote:
            self._turn("polling", f"{mount.kind} does not tell of files written by other machines")
            return
        try:
            self._watcher = Watcher(self._root, self._hear)
        except OSError as error:
            self._turn("polling", _explain(error))
        else:
            self.watches += 1
            self._retry_at = self._clock() + _RETRY
            self._turn("inotify", NO_WATCHES if self._watcher.unwatched else None)

    def _turn(self, mode: Mode, reason: str | None) -> None:
        """Change the mode, and say so once: a folder that stays as it is is no news."""
        if (mode, reason) == self.state:
            return
        if reason is not None:
            _log.warning("inbound_degraded", folder=self._root, mode=mode, reason=reason, unwatched=self.unwatched)
        elif self.mode != "starting":
            _log.info("inbound_restored", folder=self._root, mode=mode)
        self.state = mode, reason


def _explain(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return NO_WATCHES
    if error.errno == errno.EMFILE:
        return "no inotify instances left; raise fs.inotify.max_user_instances (sysctl)"
    return f"it can't be watched: {error.strerror}"
