"""Bytes that are read slice by slice, as those of a file that is too large to be held."""

from staticwado_daemon.dicom import part10
from staticwado_daemon.dicom.data_set import Buffer, Limits
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.errors import StaticwadoError


class Slices:
    """Bytes that have a length and slices, and nothing else that `bytes` has.

    Attributes:
        longest: bytes of the longest slice so far.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.longest = 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: slice) -> bytes:
        piece = self.data[key]
        self.longest = max(self.longest, len(piece))
        return piece


def outcome(data: Buffer) -> Instance | tuple[type[StaticwadoError], str]:
    """What is read of a file: an instance, or why there is none."""
    try:
        return part10.read(data, Limits(), "bulkdata/{}".format)
    except StaticwadoError as why:
        return type(why), str(why)
