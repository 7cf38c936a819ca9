"""The one writer of what is served or recorded; each visible change is one rename.

A reader sees the old or the new version of a file or instance, never a gap and never a half. Everything unfinished
stands in the private directory of the same file system, from where `rename` can publish it.
"""

import errno
import itertools
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
import structlog

from staticwado_daemon.archive import gzipped, layout, regular
from staticwado_daemon.archive.disk import DISK, Disk, SyncFailed
from staticwado_daemon.archive.lock import Role, take
from staticwado_daemon.errors import ConfigError, Transient

_log = structlog.get_logger(__name__)

TREE_FORMAT = 2  # since tombstones stand among the records, which an older program would not heed
UMASK = 0o027
"""Directories are 0750 and files 0640, so that nginx reads them through its group."""

_UNFINISHED = (layout.STAGING, layout.PREPARING)
"""What workers stage, and what the writer itself prepares, out of reach of a worker that was taken over."""

_SETTLED = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG})
"""Errors that don't pass by themselves: somebody has to change rights or the configuration."""


class Store:
    """A tree's root, opened for writing by the one process that holds its lock.

    Args:
        root: of the tree.
        group: that the tree's files shall belong to, or None.
        role: what others who want to write here are told.
        wait_seconds: how long to wait for the lock.
        disk: what takes the changes.

    Raises:
        ConfigError: if the root can't be one.
        Transient: if it can't be written to just now: another process is writing there, or the disk refuses.
    """

    def __init__(
        self,
        root: Path,
        group: str | None = None,
        *,
        role: Role = "create",
        wait_seconds: float = 0.0,
        disk: Disk = DISK,
    ) -> None:
        """Create what is missing, take the lock, and sweep what an earlier process left unfinished."""
        self.root = root
        self._disk = disk
        self._numbers = itertools.count()
        self._unsynced: set[str] = set()
        self._suspect: set[str] = set()
        self._doubted: frozenset[str] | None = frozenset()
        self._sync_failure: tuple[int | None, str | None] = 0, None
        self._litter: set[Path] = set()
        with ExitStack() as undo:
            try:
                if role != "adopt" and (root / layout.ADOPTING).exists():
                    raise ConfigError(f"{root} is half adopted: run `staticwado adopt {root} --yes` again, to its end")
                self._create(group)
                self._root_descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                undo.callback(os.close, self._root_descriptor)
                self._lock = take(root, role, wait_seconds)
                undo.callback(os.close, self._lock)
                self._open(group)
            except OSError as error:
                kind = ConfigError if error.errno in _SETTLED else Transient
                raise kind(f"cannot write below {root}: {error.strerror}") from error
            self._close = undo.pop_all().close

    def __enter__(self) -> Self:
        """The store closes at the end of a `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the lock."""
        self._close()

    def _create(self, group: str | None) -> None:
        os.umask(UMASK)
        foreign = (self.root / "studies").exists() and not any(
            (self.root / ours).exists() for ours in (layout.PRIVATE, layout.RESTORE)
        )
        if foreign:
            raise ConfigError(
                f"{self.root}/studies was not made by staticwado; choose another rootDir, or move it aside"
            )
        for name in (*_UNFINISHED, layout.DIRTY, layout.REQUESTS):
            self._disk.make_directories(self.root / name)
        if group:
            # Set-group-ID: what is created below belongs to the group that nginx is in.
            for directory in (self.root, *(self.root / name for name in _UNFINISHED)):
                self._give(directory, group)

    def _open(self, group: str | None) -> None:
        """Begin with what is there, now that nobody else writes here."""
        for name in _UNFINISHED:
            for leftover in (self.root / name).iterdir():
                self.sweep(leftover)
        self._check_format()
        # Last, for it is by the others that a tree is known to be ours, also after a power cut.
        self._disk.make_directories(self.root / "studies")
        if group:
            self._give(self.root / "studies", group)

    def _give(self, directory: Path, group: str) -> None:
        try:
            self._disk.give(directory, group)
        except LookupError:
            raise ConfigError(f"there is no group {group!r} on this machine") from None

    def _check_format(self) -> None:
        data = self.read(layout.FORMAT)
        try:
            version = int(orjson.loads(data)["format"]) if data is not None else 0
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{self.root / layout.FORMAT} can't be read; remove it if the tree is yours") from None
        if version > TREE_FORMAT:
            raise ConfigError(f"{self.root} has format {version}; this staticwado knows {TREE_FORMAT}: upgrade it")
        if version < TREE_FORMAT:
            # Not by `put`: an empty file, as a power cut may leave of one that was named before a sync, says no format.
            self.supersede((), layout.FORMAT, orjson.dumps({"format": TREE_FORMAT, "gzip": gzipped.SETTINGS}))

    def check(self) -> None:
        """Make sure that the root's name still leads to the root that was opened.

        Raises:
            OSError: if it doesn't, say because its file system was unmounted: what were written there would be lost.
        """
        opened = os.fstat(self._root_descriptor)
        try:
            now = self.root.stat()
        except FileNotFoundError:
            raise OSError(errno.ENODEV, "the root is gone", str(self.root)) from None
        if (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino):
            raise OSError(errno.ENODEV, "the root is another directory than before", str(self.root))

    def read(self, path: str, most: int | None = None) -> bytes | None:
        """A file's bytes, or None if there is no such file, or it is longer than `most` bytes."""
        try:
            with regular.opened(self.root / path) as file:
                if most is not None and os.fstat(file.fileno()).st_size > most:
                    return None
                return file.read()
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, *regular.NOT_ONE}:
                return None
            raise

    def names(self, directory: str) -> list[str]:
        """What a directory holds, sorted; nothing if there is no such directory."""
        try:
            return sorted(each.name for each in (self.root / directory).iterdir())
        except FileNotFoundError:
            return []

    def put(self, path: str, data: bytes) -> bool:
        """Make `data` the content of a file; says whether that changed anything."""
        old = self.read(path)
        if old == data and path not in self._suspect:
            return False
        prepared = self.prepare(data)
        try:
            if old is not None:
                self._be_later(prepared, self.root / path)
            self.publish(prepared, path)
        except OSError:
            self.sweep(prepared)
            raise
        self._suspect.discard(path)
        return True

    def prepare(self, data: bytes) -> Path:
        """Write a file that `publish` will give its name, say after a `sync`."""
        return self.prepare_pieces([data])

    def prepare_pieces(self, pieces: Iterable[bytes | memoryview]) -> Path:
        """Write such a file of what is too long to be held; what the pieces raise leaves nothing behind."""
        prepared = self._temporary()
        try:
            self._disk.write(prepared, pieces)
        except BaseException:
            # On a full disk each leftover would make the next attempt less likely to succeed.
            self.sweep(prepared)
            raise
        return prepared

    def publish(self, prepared: Path, path: str) -> None:
        """Give a complete file or directory of the staging directory its name; what stood there is swept away."""
        target = self.root / path
        self._unsynced.add(path)
        try:
            self._disk.rename(prepared, target)
        except FileNotFoundError:
            self._disk.make_directories(target.parent)
            self._disk.rename(prepared, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
                raise
            self._disk.swap(prepared, target, self._temporary())
            self.sweep(prepared)

    def supersede(self, old: Iterable[str], path: str, data: bytes) -> None:
        """Let one file take the place of any number, which go once it is on the disk under its name."""
        prepared = self.prepare(data)
        try:
            self.sync()
            self.publish(prepared, path)
        except OSError:
            self.sweep(prepared)
            raise
        self.sync()
        for each in old:
            if each != path:
                self.remove(each)

    def replace(self, path: str, other: str, spares: Sequence[str]) -> None:
        """Let two directories swap places, of which `path` is the one that readers see.

        Args:
            path: of the one.
            other: of the other.
            spares: where the one may be found after an interruption on a file system that can't swap in one step; the
                first of them that is free is used.
        """
        for file in (self.root / other).rglob("*"):
            predecessor = self.root / path / file.relative_to(self.root / other)
            if file.is_file() and predecessor.is_file():
                self._be_later(file, predecessor)
        free = next((spare for spare in spares if not (self.root / spare).exists()), spares[0])
        self._disk.swap(self.root / other, self.root / path, self.root / free)

    def move(self, path: str, other: str) -> None:
        """Move a directory that readers don't see; what stood at `other` is swept away."""
        self.publish(self.root / path, other)

    def discard(self, path: str) -> None:
        """Sweep away what stands at `path`, if anything does."""
        aside = self._temporary()
        try:
            self._disk.rename(self.root / path, aside)
        except FileNotFoundError:
            return
        self.sweep(aside)

    def remove(self, path: str) -> None:
        """Remove a file whose successor stands."""
        with suppress(FileNotFoundError):
            self._disk.unlink(self.root / path)

    def sweep(self, leftover: Path) -> None:
        """Remove what nobody needs; where the disk refuses, `tidy` tries it again."""
        try:
            if leftover.is_dir():
                self._disk.remove_tree(leftover)
            elif leftover.exists():
                self._disk.unlink(leftover)
        except OSError as error:
            if not self._litter:
                _log.warning("not_swept", reason=error.strerror)
            self._litter.add(leftover)
            return
        self._litter.discard(leftover)
        if self._doubted:
            self._doubted -= {leftover.name}

    def tidy(self) -> None:
        """Remove what could not be removed when it was no longer needed."""
        for leftover in list(self._litter):
            self.sweep(leftover)

    def sync(self) -> None:
        """Everything written so far is on the disk when this returns.

        Raises:
            SyncFailed: if some of it may be lost. The kernel tells that once and not of which file, and goes on
                showing what it could not write until it needs the memory. So nothing is believed that was written
                since the last success: `put` writes those files again, and `check_staged` refuses what was staged.
        """
        try:
            self._disk.syncfs(self._root_descriptor)
        except OSError as error:
            self._sync_failure = error.errno, error.strerror
            self._suspect |= self._unsynced
            self._doubted = None
            raise SyncFailed(error.errno, error.strerror, str(self.root)) from error
        self._unsynced.clear()

    def unsynced(self, *directories: str) -> list[str]:
        """The files directly in these directories that have got their names since the last sync that succeeded."""
        return sorted(path for path in self._unsynced if path.rpartition("/")[0] in directories)

    def check_staged(self, task: Path) -> None:
        """Make sure that this directory of the staging directory was begun after the last sync that failed.

        Raises:
            OSError: if it wasn't, for the same reason as that sync.
        """
        if self._doubted is None:
            self._doubted = frozenset(self.names(layout.STAGING))
        if task.name in self._doubted:
            raise OSError(*self._sync_failure)

    def _temporary(self) -> Path:
        return self.root / layout.PREPARING / f"put-{os.getpid()}-{next(self._numbers)}"

    def _be_later(self, new: Path, old: Path) -> None:
        """Give a file a later mtime second than its predecessor: web servers tell the two apart by it."""
        before = int(old.stat().st_mtime)
        if int(new.stat().st_mtime) <= before:
            self._disk.utime(new, before + 1)
