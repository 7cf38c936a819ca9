"""The content of an open file, read slice by slice.

Never mapped: users truncate files, and a truncated mapping kills the process.
"""

import os

from staticwado_daemon.errors import Transient

_AHEAD_BYTES = 16 * 1024
_SHORT_BYTES = 1024

CHANGED = "the file changed while it was read"


class Content:
    """A file of known size as what can be sliced; it holds no more of it than a few headers.

    Slices have no step, and end where the file ends. Headers are asked for one after the other: short slices come out
    of a block that is read ahead.

    Args:
        descriptor: of the file; whoever has opened it closes it.
        size: of the file in bytes.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._ahead = b""
        self._ahead_start = 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: slice) -> bytes:
        """Return a slice.

        Raises:
            Transient: if the file has become shorter, or the storage fails.
        """
        start, stop, _ = key.indices(self._size)
        length = max(0, stop - start)
        if length > _SHORT_BYTES:
            return self._read(start, length)
        if start < self._ahead_start or stop > self._ahead_start + len(self._ahead):
            self._ahead = self._read(start, min(_AHEAD_BYTES, self._size - start))
            self._ahead_start = start
        start -= self._ahead_start
        return self._ahead[start : start + length]

    def _read(self, start: int, length: int) -> bytes:
        try:
            # One call returns up to 2 GiB; only more than that needs its pieces joined.
            first = os.pread(self._descriptor, length, start)
            if len(first) == length:
                return first
            pieces, read = [first], len(first)
            while piece := os.pread(self._descriptor, length - read, start + read):
                pieces.append(piece)
                read += len(piece)
        except OSError as error:
            raise Transient(f"the file can't be read: {error.strerror}") from error
        if read != length:
            raise Transient(CHANGED)
        return b"".join(pieces)
