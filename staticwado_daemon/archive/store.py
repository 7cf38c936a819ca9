"""The one writer of what is served or recorded; each visible change is one rename.

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
from typing import Literal, Self

import orjson

from staticwado_daemon.archive import gzipped, layout
from staticwado_daemon.errors import ConfigError

TREE_FORMAT = 1
UMASK = 0o027
"""Directories are 0750 and files 0640, so that nginx reads them through its group."""

Role = Literal["daemon", "create"]
"""Who holds a root's lock: a daemon takes requests, anyone else is to be waited for."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_REMEMBERED_VERSIONS = 1000
_REMEMBERED_PATHS = 10_000

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Stage:
    """The files of one instance while they are made, in a private directory of their own."""

    def __init__(self, directory: Path) -> None:
        """Begin in `directory`, whose parent may be missing as well, but not what is above."""
        directory.parent.mkdir(exist_ok=True)
        directory.mkdir()
        self._directory = directory

    def write(self, name: str, parts: Sequence[bytes | memoryview]) -> None:
        """Write one file, whose path is relative to the stage."""
        path = self._directory / name
        try:
            descriptor = os.open(path, _NEW_FILE, 0o666)
        except FileNotFoundError:
            for parent in reversed(path.relative_to(self._directory).parents):
                (self._directory / parent).mkdir(exist_ok=True)
            descriptor = os.open(path, _NEW_FILE, 0o666)
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

    def __init__(
        self, root: Path, group: str | None = None, *, role: Role = "create", wait_seconds: float = 0.0
    ) -> None:
        """Create what is missing, take the lock, and sweep what an earlier process left unfinished."""
        self.root = root
        self._numbers = itertools.count()
        self._versions: dict[str, set[tuple[int, int]]] = {}
        try:
            self._create(group)
            self._root_descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._lock = _take_lock(root, role, wait_seconds)
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
        foreign = (self.root / "studies").exists() and not any(
            (self.root / ours).exists() for ours in (layout.PRIVATE, layout.RESTORE)
        )
        if foreign:
            raise ConfigError(
                f"{self.root}/studies was not made by staticwado; choose another rootDir, or move it aside"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        for name in (layout.PRIVATE, layout.STAGING, layout.DIRTY, layout.REQUESTS, "studies"):
            (self.root / name).mkdir(exist_ok=True)
        if group:
            # Set-group-ID: what is created below belongs to the group that nginx is in.
            for directory in (self.root, self.root / "studies", self.root / layout.STAGING):
                _give_to_group(directory, group)

    def _check_format(self) -> None:
        data = self.read(layout.FORMAT)
        if data is None:
            engine = {"engine": gzipped.ENGINE, "level": gzipped.LEVEL}
            self.put(layout.FORMAT, orjson.dumps({"format": TREE_FORMAT, "gzip": engine}))
            self.sync()
            return
        try:
            version = int(orjson.loads(data)["format"])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{self.root / layout.FORMAT} can't be read; remove it if the tree is yours") from None
        if version > TREE_FORMAT:
            raise ConfigError(f"{self.root} has format {version}; this staticwado knows {TREE_FORMAT}: upgrade it")

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
        old = self.read(path)
        if old == data:
            return False
        prepared = self.prepare(data)
        if old is not None:
            self._make_distinct(path, prepared)
        try:
            self.publish(prepared, path)
        except OSError:
            prepared.unlink(missing_ok=True)
            raise
        return True

    def prepare(self, data: bytes) -> Path:
        """Write a file that `publish` will give its name, say after a `sync`."""
        prepared = self._temporary()
        try:
            prepared.write_bytes(data)
        except OSError:
            # On a full disk each leftover would make the next attempt less likely to succeed.
            prepared.unlink(missing_ok=True)
            raise
        return prepared

    def publish(self, prepared: Path, path: str) -> None:
        """Give a complete file or directory of the staging directory its name; what stood there is swept away."""
        target = self.root / path
        try:
            prepared.rename(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            prepared.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
                raise
            _exchange(prepared, target)
            _sweep(prepared)

    def replace(self, path: str, other: str) -> None:
        """Let two directories swap places in one step, of which `path` is the one that readers see."""
        for file in (self.root / other).rglob("*"):
            predecessor = self.root / path / file.relative_to(self.root / other)
            if file.is_file() and predecessor.is_file():
                _be_later(file, predecessor)
        _exchange(self.root / other, self.root / path)

    def move(self, path: str, other: str) -> None:
        """Move a directory that readers don't see; what stood at `other` is swept away."""
        self.publish(self.root / path, other)

    def discard(self, path: str) -> None:
        """Sweep away what stands at `path`, if anything does."""
        aside = self._temporary()
        try:
            (self.root / path).rename(aside)
        except FileNotFoundError:
            return
        _sweep(aside)

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

    def _make_distinct(self, path: str, prepared: Path) -> None:
        """Let each version of a file have its own mtime second or size: web servers make the ETag of these two."""
        status = (self.root / path).stat()
        used = self._versions.setdefault(path, set())
        used.add((int(status.st_mtime), status.st_size))
        new = prepared.stat()
        second = int(new.st_mtime)
        while (second, new.st_size) in used:
            second += 1
        if second != int(new.st_mtime):
            os.utime(prepared, (second, second))
        used.add((second, new.st_size))
        if len(used) > _REMEMBERED_VERSIONS or len(self._versions) > _REMEMBERED_PATHS:
            self._versions.clear()


def _give_to_group(directory: Path, group: str) -> None:
    try:
        shutil.chown(directory, group=group)
    except LookupError:
        raise ConfigError(f"there is no group {group!r} on this machine") from None
    directory.chmod(0o2750)


def _take_lock(root: Path, role: Role, wait_seconds: float) -> int:
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
            os.ftruncate(lock, 0)
            os.pwrite(lock, role.encode(), 0)
            return lock


def lock_holder(root: Path) -> Role | None:
    """Who is writing to this root at the moment; None if nobody is."""
    try:
        lock = os.open(root / layout.LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Shared, so that two who ask at once don't take each other for a writer.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "create" if os.pread(lock, 16, 0) == b"create" else "daemon"
    finally:
        os.close(lock)
    return None


def _be_later(new: Path, old: Path) -> None:
    """Give a file a later mtime second than its predecessor: web servers tell the two apart by it."""
    before = int(old.stat().st_mtime)
    if int(new.stat().st_mtime) <= before:
        os.utime(new, (before + 1, before + 1))


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
