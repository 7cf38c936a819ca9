"""What a running process says of itself: one small file, read by whoever wants to know how it is.

A disk that is full must not silence it, so the space of the next report is always the file's already.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog

_ALLOCATED = 8192  # bytes
_TOUCH_SECONDS = 5.0
_TRIES = 5

_log = structlog.get_logger(__name__)

AnyStruct = TypeVar("AnyStruct", bound=msgspec.Struct)


def padded(struct: msgspec.Struct) -> bytes:
    """JSON with blanks behind it, always of the same length, so that each report has room where another stood."""
    return msgspec.json.encode(struct).ljust(_ALLOCATED) + b"\n"


class StructFile(Generic[AnyStruct]):
    """A report's file, as the one process writes it that it speaks of.

    Args:
        path: of the file, which has a suffix other than `.part`.
        encode: makes JSON of it, of the same length each time.
    """

    def __init__(self, path: Path, encode: Callable[[AnyStruct], bytes] = padded) -> None:
        self._path = path
        self._encode = encode
        self._written: AnyStruct | None = None
        self._touched = 0.0
        self._is_refused = False

    def tell(self, report: AnyStruct) -> None:
        """As `write`; where that isn't possible the log says so, once, and the next report is tried again."""
        try:
            self.write(report)
        except OSError as error:
            # Whoever asks learns that the report is old.
            if not self._is_refused:
                _log.warning("report_not_written", reason=error.strerror)
            self._is_refused = True
        else:
            self._is_refused = False

    def write(self, report: AnyStruct) -> None:
        """Replace the file, or on a disk that takes no new one overwrite it; nothing but its time if nothing changed.

        Raises:
            OSError: if not even that is possible; whoever asks learns that the report is old.
        """
        now = time.monotonic()
        if report == self._written:
            if now - self._touched <= _TOUCH_SECONDS:
                return
            with suppress(FileNotFoundError):  # if somebody has removed it, it is written anew
                os.utime(self._path)
                self._touched = now
                return
        data = self._encode(report)
        try:
            self._replace(data)
        except OSError:
            self._overwrite(data)
        self._written, self._touched = report, now

    def _replace(self, data: bytes) -> None:
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(data)
            part.rename(self._path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _overwrite(self, data: bytes) -> None:
        """Write where the last report stands. Who reads it meanwhile may have to look twice."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size < len(data):
                os.posix_fallocate(descriptor, 0, len(data))  # all of it or nothing
            os.pwrite(descriptor, data, 0)
            os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)


def read_struct(path: Path, kind: type[AnyStruct]) -> AnyStruct | None:
    """What was last written; None if there is no telling (no file, an older version's).

    Raises:
        PermissionError: if the file may not be read.
    """
    for _ in range(_TRIES):
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            time.sleep(0.01)  # it may just be being overwritten
    return None


def lives(process: int) -> bool:
    """Whether a process is there still, be it ours to ask or not."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
