"""Room on the disk that intake leaves alone: a full disk is told before it is met, and never filled by us."""

import os
import time
from pathlib import Path

from staticwado_daemon.units import size

_SECONDS = 1.0
"""How long one look holds."""


class Space:
    """Watches what is free on a tree's file system.

    Args:
        root: of the tree.
        minimum_bytes: what intake leaves free; 0 for no minimum.
        minimum_inodes: likewise; file systems that don't count inodes have enough.
    """

    def __init__(self, root: Path, minimum_bytes: int, minimum_inodes: int) -> None:
        self.root = root
        self._minimum_bytes = minimum_bytes
        self._minimum_inodes = minimum_inodes
        self._looked = 0.0
        self._shortage: str | None = None

    def shortage(self) -> str | None:
        """One sentence on what there is too little of, and what to do; None while there is enough.

        A root that can't be asked has no shortage: whoever writes there will say what is wrong.
        """
        now = time.monotonic()
        if not self._looked or now - self._looked > _SECONDS:
            self._looked, self._shortage = now, self._look()
        return self._shortage

    def _look(self) -> str | None:
        try:
            free = os.statvfs(self.root)
        except OSError:
            return None
        # Of root too, so that a daemon run as root leaves alone what is reserved for it.
        if (left := free.f_bavail * free.f_frsize) < self._minimum_bytes:
            wanted = f"{size(left)} free, minFreeBytes is {size(self._minimum_bytes)}"
            return f"intake waits for space on the disk of {self.root}: {wanted}; make room or lower it"
        if free.f_files and free.f_favail < self._minimum_inodes:
            wanted = f"{free.f_favail:,} inodes free, minFreeInodes is {self._minimum_inodes:,}"
            return f"intake waits for inodes on the disk of {self.root}: {wanted}; make room or lower it"
        return None
