"""Files as they come: whole, cut off, compressed, mislabelled, hostile, or no DICOM at all."""

import mmap
import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from staticwado_daemon.dicom import explicit_le, with_pydicom
from staticwado_daemon.dicom import data_set as values
from staticwado_daemon.dicom.data_set import Limits, PixelData, Rules
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.part10 import read as read_instance
from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.errors import Ignored, Incomplete, Rejected, StaticwadoError
from tests.unit.dicom_bytes import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM_DELIMITER,
    JPEG_BASELINE,
    SEQUENCE_DELIMITER,
    SERIES,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY,
    UNDEFINED,
    element,
    file,
    fragments,
    implicit,
    item,
    meta,
    sequence,
)

URI = "bulkdata/{}".format
PIXELS = bytes(range(16))
PIXEL_DATA = element(0x7FE00010, "OW", PIXELS)
IMPLICIT_UIDS = (
    implicit(0x00080018, b"1.2.3.4\0") + implicit(0x0020000D, b"1.2\0") + implicit(0x0020000E, b"1.2.3\0")
)


def read(data: bytes, limits: Limits | None = None) -> Instance:
    return read_instance(data, limits or Limits(), URI)


def read_test_file(name: str) -> Instance:
    return read(test_file(name).read_bytes())


def test_file(name: str) -> Path:
    return Path(str(get_testdata_file(name)))


test_file.__test__ = False  # type: ignore[attr-defined]


# --- What an instance is -------------------------------------------------------------------------


def test_an_instance() -> None:
    data = file(PIXEL_DATA)
    instance = read(data)
    assert instance.identity == Identity("1.2", "1.2.3", "1.2.3.4")  # type: ignore[arg-type]
    assert instance.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert instance.transfer_syntax_uid == EXPLICIT_LITTLE
    assert instance.buffer is data
    assert data[instance.dataset_offset :].startswith(SOP_CLASS)
    assert instance.pixel_data == PixelData("7FE00010", "OW", len(data) - 16, 16)
    assert list(instance.attributes) == ["00080016", "00080018", "0020000D", "0020000E"]
    assert instance.bulk_values == ()
    assert instance.warnings == ()
