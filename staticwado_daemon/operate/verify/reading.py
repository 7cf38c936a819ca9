"""Reading much, counting it, and no faster than somebody allows."""

import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from staticwado_daemon.archive import gzipped, regular
from staticwado_daemon.archive.source_frames import StoredFile

_CHUNK = 1 << 20
_GZIP_BYTES = 4096
"""JSON gets shorter by gzip, unless it is a few bytes."""
_UNREADABLE = frozenset({*regular.NOT_ONE, errno.EIO, errno.EBADMSG})
"""What says that a file's bytes are lost, or that it isn't a file: that is damage, and no reason to stop."""


class Unreadable(Exception):
    """A file is there whose bytes can't be had."""


class Reader:
    """Reads the files of one tree.

    Args:
        root: of the tree.
        rate: bytes a second at most; None for as fast as it goes.
        on_read: told after each step how many bytes were read in it.

    All methods take paths below the root, and raise FileNotFoundError where there is no such file, `Unreadable` where
    its bytes are lost, and OSError where it can't be read now.
    """

    def __init__(self, root: Path, rate: float | None = None, on_read: Callable[[int], None] = lambda _: None) -> None:
        self.root = root
        self.bytes = 0
        self.files = 0
        self._rate = rate
        self._on_read = on_read
        self._due = time.monotonic()

    def read(self, path: str, most: int | None = None) -> bytes:
        """A file's bytes; `Unreadable` also if there are more than `most`: what is so long may fill memory."""
        chunks, length = list[bytes](), 0
        for chunk in self._chunks(path):
            chunks.append(chunk)
            length += len(chunk)
            if most is not None and length > most:
                raise Unreadable(f"it is longer than {most:,} bytes, but no more can be right")
        return b"".join(chunks)

    def unpacked(self, path: str, most: int) -> bytes:
        """What a gzipped file of JSON holds.

        Args:
            path: of the file.
            most: bytes that this may be.

        Raises:
            Corrupt: if the file is damaged, or holds more.
        """
        return gzipped.unpack(self.read(path, most + _GZIP_BYTES), most)

    def digest(self, path: str) -> str:
        """The SHA-256 of a file's bytes."""
        digest = hashlib.sha256()
        for chunk in self._chunks(path):
            digest.update(chunk)
        return digest.hexdigest()

    def length(self, path: str) -> int | None:
        """A file's length; None if there is no such file."""
        try:
            with _named():
                return (self.root / path).stat().st_size
        except FileNotFoundError:
            return None

    def sliced(self, path: str) -> "Sliced":
        """A file, which may be long, to be read in pieces."""
        self.files += 1
        return Sliced(self, self.root / path)

    def _chunks(self, path: str) -> Iterator[bytes]:
        self.files += 1
        with _named(), regular.opened(self.root / path) as file:
            while chunk := file.read(_CHUNK):
                self.count(len(chunk))
                yield chunk

    def count(self, count: int) -> None:
        """Note that so many bytes were read, and pause if that was too quick."""
        self.bytes += count
        self._on_read(count)
        if self._rate:
            now = time.monotonic()
            # What a pause left unused isn't made up for: a burst is what a busy server has no room for.
            self._due = max(self._due, now) + count / self._rate
            time.sleep(self._due - now)


@contextmanager
def _named() -> Iterator[None]:
    """Give errors the names that `Reader` promises."""
    try:
        yield
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, error.filename) from error
    except OSError as error:
        if error.errno in _UNREADABLE:
            raise Unreadable(error.strerror) from error
        raise


class Sliced:
    """A file as what can be sliced, read no faster than its reader may; it is open only while it is read."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self._reader = reader
        with _named():
            self._file = StoredFile(path)

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, key: slice) -> bytes:
        with _named():
            data = self._file[key]
        self._reader.count(len(data))
        return data
