"""What pydicom reads from: a buffer as a file, which says what an exception out of pydicom means."""

import os
from dataclasses import dataclass
from typing import Final

from staticwado_daemon.dicom.data_set import Buffer, Rules
from staticwado_daemon.errors import Incomplete, Rejected

_READS_PER_ELEMENT: Final = 5
"""pydicom reads an element in three pieces at most, and looks twice at the first one of an item."""


@dataclass(slots=True)
class ReadStream:
    """A buffer as a file that pydicom can read; refuses after too many reads.

    The refusal bounds the objects that pydicom builds before we see the first of them.
    """

    buffer: Buffer
    position: int
    reads_left: int

    @classmethod
    def over(cls, buffer: Buffer, position: int, rules: Rules) -> "ReadStream":
        """Read from a position on, as often as the limit on elements makes sense of."""
        return cls(buffer, position, rules.limits.maximum_elements * _READS_PER_ELEMENT)

    def read(self, size: int = -1) -> bytes:
        """Give so many bytes or what is left, as a file does; Rejected after too many reads."""
        self.reads_left -= 1
        if self.reads_left < 0:
            raise Rejected("too many elements")
        stop = len(self.buffer) if size < 0 else self.position + size
        piece = bytes(self.buffer[self.position : stop])
        self.position += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, counted from the beginning or from here."""
        self.position = offset + (self.position if whence == os.SEEK_CUR else 0)
        return self.position

    def tell(self) -> int:
        """Say where it is."""
        return self.position

    def fault(self, error: Exception) -> Rejected:
        """Return what an exception out of pydicom means.

        Raises:
            RecursionError: if it was one before pydicom made another of it.
        """
        if isinstance(error.__context__, RecursionError):
            raise error.__context__
        if self.reads_left < 0:
            return Rejected("too many elements")
        if self.position >= len(self.buffer):
            return Incomplete("the file ends inside a sequence")
        return Rejected(f"unreadable data set ({type(error).__name__})")
