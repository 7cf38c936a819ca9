"""The frames and long values of a source file as they were, made again from what is stored, one at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from staticwado_daemon.archive import gzipped, layout, multipart
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.data_set import Buffer, held, pieces
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.transcode import native_bytes, native_value
from staticwado_daemon.errors import Corrupt

_RENDERED = "rendered/index."


def stored_in(directory: Path) -> Callable[[str], Buffer]:
    """How `restore.rebuild` reads blobs that stand in this directory of an instance, or, bulk data, of a study."""

    def read(name: str) -> Buffer:
        return StoredFile(directory / name) if may_be_long(name) else (directory / name).read_bytes()

    return read


def may_be_long(name: str) -> bool:
    """Whether a blob, by its path, is a video or of bulk data: these are read in pieces."""
    return name.startswith(_RENDERED) or layout.is_bulk(name)


class StoredFile:
    """A file as what can be sliced; it is open only while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: slice) -> bytes:
        start, stop, _ = key.indices(self._size)
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(max(0, stop - start))


class SourceFrames:
    """Frames and long values of an instance as they were in the source, each made again when it is first asked for.

    Args:
        record: of the instance.
        read: gives the stored bytes of one of the record's blobs by its path.
        description: of native frames; None for compressed ones.
        word: how many bytes of native pixel data were in reverse order together.
        shared: frame 1 stands for the value of all native frames.
    """

    def __init__(
        self,
        record: Record,
        read: Callable[[str], Buffer],
        description: PixelDescription | None,
        *,
        word: int,
        shared: bool,
    ) -> None:
        self._paths = {number: blob.path for blob in record.blobs if (number := _frame_number(blob.path))}
        self._values = {blob.path.removesuffix(".gz"): blob.path for blob in record.blobs if layout.is_bulk(blob.path)}
        self._read = read
        self._description = description
        self._word = word
        self._shared = shared
        self._which: int | str = 0
        self._position = 0
        self._current: Buffer | _Flow = b""

    def take(self, which: int | str, start: int, length: int) -> bytes | memoryview:
        """Return bytes of a frame, by its number, or of a value, by its digest; fewer than asked for if it has no more.

        Raises:
            Corrupt: if it isn't stored, or can't be decoded.
        """
        if which != self._which or start < self._position:  # the same value may come twice
            self._current = b""  # or there would be two frames at a time
            self._current = self._begin(which)
            self._which = which
        self._position = start + length
        return self._current[start : start + length]

    def _begin(self, which: int | str) -> "Buffer | _Flow":
        if isinstance(which, str):
            return self._value(which)
        return self._all() if self._shared else _sliceable(self._frame(which))

    def _value(self, sha256: str) -> "_Flow":
        """A value that is kept outside the metadata."""
        path = self._values.get(layout.bulk_uri(sha256))
        if path is None:
            raise Corrupt("the record has no bulk data of this digest")
        stored = self._read(path)
        body = pieces(stored, [(0, len(stored))])
        return _Flow(multipart.unwrap_pieces(gzipped.unpack_pieces(body) if path.endswith(".gz") else body))

    def _all(self) -> "_Flow":
        """All native frames one after the other."""
        if self._description is None:
            raise Corrupt("remainder of shared frames that aren't described")
        numbers = sorted(self._paths)
        syntax = self._stored(numbers[0])[0] if numbers else ""
        payloads = (self._stored(number)[1] for number in numbers)
        return _Flow(native_value(payloads, syntax, self._description, word=self._word))

    def _frame(self, number: int) -> Buffer:
        if number not in self._paths:
            raise Corrupt(f"the record has no frame {number}")
        if self._paths[number].startswith(_RENDERED):
            return self._read(self._paths[number])
        syntax, payload = self._stored(number)
        if self._description is None:
            return payload
        return native_bytes(payload, syntax, self._description, word=self._word)

    def _stored(self, number: int) -> tuple[str, memoryview]:
        """The transfer syntax of a stored frame and its payload."""
        path = self._paths[number]
        data = held(self._read(path))
        content_type, payload = multipart.unwrap(
            gzipped.unpack(data, gzipped.LONGEST) if path.endswith(".gz") else data
        )
        return content_type.rpartition("=")[2], payload


class _Flow:
    """Bytes that are made from the first to the last, and sliced in that order: none is held for long."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._start = 0

    def __getitem__(self, key: slice) -> bytes:
        found: list[bytes] = []
        position = key.start
        while position < key.stop:
            while position >= self._start + len(self._held):
                self._start += len(self._held)
                held = next(self._pieces, None)
                if held is None:
                    return b"".join(found)
                self._held = held
            found.append(self._held[position - self._start : key.stop - self._start])
            position += len(found[-1])
        return b"".join(found)


def _sliceable(buffer: Buffer) -> Buffer:
    """The same, but slices of what is in memory are no copies."""
    return memoryview(buffer) if isinstance(buffer, bytes) else buffer


def _frame_number(path: str) -> int:
    """The frame that a blob holds; a video is frame 1, anything else 0."""
    if path.startswith(_RENDERED):
        return 1
    return int(PurePosixPath(path).name.partition(".")[0]) if path.startswith("frames/") else 0
