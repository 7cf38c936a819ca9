"""One file: preamble, file meta information, data set (PS3.10 section 7).

`read` turns the bytes of a file into an `Instance`, or says why not. It finds out how the data set is
encoded, inflates it where it is deflated, lets one of the two readers take it apart and checks what
nobody can do without: the three UIDs, and that the file is as long as it says it is.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from staticwado_daemon.dicom import explicit_le, with_pydicom
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Buffer,
    BulkValue,
    DataSet,
    Encoding,
    Limits,
    PixelData,
    Rules,
)
from staticwado_daemon.dicom.json_model import UTF8_CHARACTER_SET, VRS
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Ignored, Incomplete, Rejected

__all__ = ["Buffer", "BulkValue", "Instance", "Limits", "PixelData", "read"]

_PREAMBLE_LENGTH: Final = 128
_PREFIX: Final = b"DICM"
_DICOMDIR: Final = "1.2.840.10008.1.3.10"
_IMPLICIT_LITTLE_UID: Final = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE_UID: Final = "1.2.840.10008.1.2.1"
_EXPLICIT_BIG_UID: Final = "1.2.840.10008.1.2.2"
_DEFLATED_UIDS: Final = frozenset(
    ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
)
"""Deflated Explicit VR Little Endian and the two JPIP syntaxes whose data sets are deflated."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}".encode()


@dataclass(frozen=True, slots=True)
class Instance:
    """A composite SOP instance as read from one file.

    Attributes:
        identity: Study, Series and SOP Instance UID.
        sop_class_uid: from the data set, else from the file meta information; "" if in neither.
        transfer_syntax_uid: as declared, or as found out where nothing is declared.
        attributes: the data set as DICOM JSON (PS3.18 annex F): little endian, UTF-8, without pixel
            data; values above the limits replaced by a BulkDataURI at any depth.
        bulk_values: the values so replaced, once each.
        pixel_data: where the pixels are in `buffer`, None if there are none.
        buffer: what offsets refer to: the file; if deflated, its meta information and the inflated data set.
        dataset_offset: first byte of the data set, in the file and in the buffer.
        warnings: what could not be kept as it was meant.
    """

    identity: Identity
    sop_class_uid: str
    transfer_syntax_uid: str
    attributes: Attributes
    bulk_values: tuple[BulkValue, ...]
    pixel_data: PixelData | None
    buffer: Buffer
    dataset_offset: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _FileMeta:
    """What of group 0002 matters; "" for what isn't there."""

    dataset_offset: int
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""


def read(data: Buffer, limits: Limits, bulk_uri: Callable[[str], str]) -> Instance:
    """Read a DICOM file.

    Args:
        data: the whole file.
        limits: caps and thresholds.
        bulk_uri: URI under which the value with this SHA-256 (hexadecimal) will be found; a pure function.

    Raises:
        Ignored: if it isn't a DICOM file, or is a DICOMDIR.
        Incomplete: if the file is shorter than it says.
        Rejected: if it can't be kept.
    """
    rules = Rules(limits, bulk_uri)
