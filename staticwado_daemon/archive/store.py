"""The one writer: nothing else writes below the root, and each visible change is one rename.

A reader sees the old or the new version of a file or instance, never a gap and never a half. Everything unfinished
stands in the private directory of the same file system, from where `rename` can publish it.
"""

import ctypes
import errno
import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from staticwado_daemon.archive import gzipped, layout
from staticwado_daemon.errors import ConfigError

TREE_FORMAT = 1
UMASK = 0o027
"""Directories are 0750 and files 0640, so that nginx reads them through its group."""

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Stage:
    """The files of one instance while they are made, in a private directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, name: str, parts: Sequence[bytes | memoryview]) -> None:
        """Write one file, whose path is relative to the stage."""
        path = self._directory / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    rest = rest[file.write(rest) or 0 :]


class Store:
    """A tree's root, opened for writing by the one process that holds its lock.

    Raises:
        ConfigError: if the root can't be one, or another process is writing there.
    """

    def __init__(self, root: Path, group: str | None = None, wait_seconds: float = 0.0) -> None:
        """Create what is missing, take the lock, and sweep what an earlier process left unfinished."""
        self.root = root
        self._numbers = itertools.count()
        try:
            self._create(group)
            self._root_descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._lock = _take_lock(root, wait_seconds)
            self._check_format()
            for leftover in (root / layout.STAGING).iterdir():
                _sweep(leftover)
        except OSError as error:
            raise ConfigError(f"cannot write below {root}: {error.strerror}") from error

    def __enter__(self) -> Self:
        """The store closes at the end of a `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the lock."""
        os.close(self._lock)
        os.close(self._root_descriptor)

    def _create(self, group: str | None) -> None:
        os.umask(UMASK)
        fresh = not (self.root / layout.PRIVATE).exists()
        if fresh and (self.root / "studies").exists():
            raise ConfigError(
                f"{self.root}/studies was not made by staticwado; choose another rootDir, or move it aside"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        if fresh and group:
            # Set-group-ID: what is created below belongs to the group that nginx is in.
            try:
                shutil.chown(self.root, group=group)
            except LookupError:
                raise ConfigError(f"there is no group {group!r} on this machine") from None
            self.root.chmod(0o2750)
        for name in (layout.PRIVATE, layout.STAGING, layout.DIRTY, layout.REQUESTS, "studies"):
            (self.root / name).mkdir(exist_ok=True)

    def _check_format(self) -> None:
        data = self.read(layout.FORMAT)
        if data is None:
            engine = {"engine": gzipped.ENGINE, "level": gzipped.LEVEL}
            self.put(layout.FORMAT, orjson.dumps({"format": TREE_FORMAT, "gzip": engine}))
            return
        version = orjson.loads(data)["format"]
        if version > TREE_FORMAT:
            raise ConfigError(f"{self.root} has format {version}; this staticwado knows {TREE_FORMAT}: upgrade it")

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None if there is no such file."""
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, directory: str) -> list[str]:
        """What a directory holds, sorted; nothing if there is no such directory."""
        try:
            return sorted(each.name for each in (self.root / directory).iterdir())
        except FileNotFoundError:
            return []

    def put(self, path: str, data: bytes) -> bool:
        """Make `data` the content of a file; says whether that changed anything."""
        target = self.root / path
        old = self.read(path)
        if old == data:
            return False
        temporary = self._temporary()
        temporary.write_bytes(data)
        if old is not None and len(old) == len(data):
            _make_distinct(temporary, target)
        self._rename(temporary, target)
        return True

    def put_file(self, staged: Path, path: str) -> None:
        """Publish a staged content-addressed file, unless it is there already."""
        target = self.root / path
        if target.exists():
            staged.unlink()
        else:
            self._rename(staged, target)

    def put_instance(self, staged: Path, path: str) -> None:
        """Publish a staged instance directory.

        What stands there without a record (a crash came between the two) takes its place among the staged files.
        """
        target = self.root / path
        if target.exists():
            _exchange(staged, target)
        else:
            self._rename(staged, target)

    def replace_instance(self, staged: Path, path: str, kept_new: str, kept_old: str) -> None:
        """Publish a staged instance directory and keep the one that it supersedes.

        The new version goes through the kept ones, so that a crash at any point leaves both where they are looked for.
        """
        self._rename(staged, self.root / kept_new)
        _exchange(self.root / kept_new, self.root / path)
        self._rename(self.root / kept_new, self.root / kept_old)

    def remove(self, path: str) -> None:
        """Remove a file whose successor stands."""
        (self.root / path).unlink(missing_ok=True)

    def sync(self) -> None:
        """Everything written so far is on the disk when this returns."""
        if _libc.syncfs(self._root_descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(self.root))

    def _temporary(self) -> Path:
        return self.root / layout.STAGING / f"put-{os.getpid()}-{next(self._numbers)}"

    def _rename(self, source: Path, target: Path) -> None:
        try:
            source.rename(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)


def _take_lock(root: Path, wait_seconds: float) -> int:
    """Hold the root's lock file; a daemon that was killed may need a moment to let go of it."""
    lock = os.open(root / layout.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(lock)
                raise ConfigError(f"another staticwado is writing to {root}") from None
            time.sleep(0.05)
        else:
            return lock


def is_locked(root: Path) -> bool:
    """Whether a staticwado is writing to this root at the moment."""
    try:
        lock = os.open(root / layout.LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _make_distinct(new: Path, old: Path) -> None:
    """Let a file of the same size differ in the second of its mtime: of these two web servers make the ETag."""
    before, after = old.stat().st_mtime, new.stat().st_mtime
    if int(after) <= int(before):
        os.utime(new, (after, int(before) + 1))


def _sweep(leftover: Path) -> None:
    if leftover.is_dir():
        shutil.rmtree(leftover)
    else:
        leftover.unlink()


def _exchange(one: Path, other: Path) -> None:
    """Let two directories swap places in one step, so that neither name is ever missing (renameat2(2))."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), str(one), None, str(other))
    # A file system without exchange (NFS, old overlays): the published name is missing for an instant.
    aside = one.with_name(one.name + "-exchanged")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)
