"""What surrounds a data set or is missing: meta information, padding, private elements, pixels; and no objects."""

import struct
from collections.abc import Iterator
from pathlib import Path

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)

from tests.objects.made import Object, data_set, encode, encode_data_set, grey, image, item, native, with_pixels, write

_FRAME = slice(None, 32)


def objects(directory: Path) -> Iterator[Object]:
    frame = grey("i2")[_FRAME, _FRAME]

    def made(name: str) -> Dataset:
        return with_pixels(image(name, SecondaryCaptureImageStorage, "OT", [frame]), native([frame]))

    for word, uid in {
        "implicit": ImplicitVRLittleEndian,
        "explicit": ExplicitVRLittleEndian,
    }.items():
        name = f"file/bare {word} data set"
        yield write(directory, name, encode_data_set(made(name), uid), frames=(frame,))
    name = "file/bare explicit big endian data set"
    bare = with_pixels(made(name), native([frame], order=">"))
    yield write(directory, name, encode_data_set(bare, ExplicitVRBigEndian), frames=(frame,))
    name = "file/meta information without preamble"
    yield write(directory, name, encode(made(name))[132:], frames=(frame,))
    name = "file/preamble of a tiff file"
    yield write(directory, name, b"II*\0" + encode(made(name))[4:], frames=(frame,))
    name = "file/wrong group length"
    yield write(directory, name, _with_group_length(encode(made(name)), 8), frames=(frame,))
    for length in (1, 512):
        name = f"file/{length} bytes after the data set"
        yield write(directory, name, encode(made(name)) + bytes(length), frames=(frame,))
    name = "file/trailing padding element"
    padded = made(name)
    padded.add_new(0xFFFCFFFC, "OB", bytes(64))
    yield write(directory, name, padded, frames=(frame,))
    yield from _private(directory)
    yield from _without_pixels(directory)


def _private(directory: Path) -> Iterator[Object]:
    """Elements that only their vendor knows: text as UN, binary, and sequences in sequences."""
    frame = grey("i2")[_FRAME, _FRAME]
    for word, uid in {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian}.items():
        name = f"file/private elements {word}"
        private = with_pixels(image(name, SecondaryCaptureImageStorage, "OT", [frame]), native([frame]))
        block = private.private_block(0x0029, "TESTS PRIVATE", create=True)
        block.add_new(0x01, "UN", "Größe 12 mm".encode())
        block.add_new(0x02, "UN", bytes(range(256)))
        block.add_new(0x03, "OB", bytes(range(256)) * 64)
        block.add_new(0x04, "LO", ["one", "two"])
        block.add_new(0x05, "SQ", [item(PatientComments="Inside", ContentSequence=[item(TextValue="deeper")])])
        yield write(directory, name, encode(private, uid), frames=(frame,))


def _without_pixels(directory: Path) -> Iterator[Object]:
    name = "file/image without pixel data"
    frame = grey("i2")[_FRAME, _FRAME]
    yield write(directory, name, image(name, CTImageStorage, "CT", [frame]))
    name = "file/dicomdir"
    directory_set = Dataset()
    directory_set.FileSetID = "TESTS"
    directory_set.FileSetConsistencyFlag = 0
    directory_set.DirectoryRecordSequence = []
    directory_set.SOPClassUID, directory_set.SOPInstanceUID = MediaStorageDirectoryStorage, "2.25.5"
    yield write(directory, name, directory_set, outcome="ignored", reason="DICOMDIR")
    name = "file/cut off"
    image_ = with_pixels(image(name, SecondaryCaptureImageStorage, "OT", [frame]), native([frame]))
    yield write(directory, name, encode(image_)[:-100], outcome="rejected", reason="the file ends 100 bytes before")
    name = "file/without study"
    image_ = with_pixels(image(name, SecondaryCaptureImageStorage, "OT", [frame]), native([frame]))
    del image_.StudyInstanceUID
    yield write(directory, name, image_, outcome="rejected", reason="no Study Instance UID")
    name = "file/path as a uid"
    made = data_set(name, SecondaryCaptureImageStorage, "OT")
    made["StudyInstanceUID"] = DataElement(0x0020000D, "UI", "../../../evil", validation_mode=IGNORE)
    yield write(directory, name, made, outcome="rejected", reason="is no UID")


def _with_group_length(data: bytes, wrong: int) -> bytes:
    """A file whose (0002,0000) is off by some bytes."""
    (length,) = struct.unpack_from("<I", data, 140)
    return data[:140] + struct.pack("<I", length + wrong) + data[144:]
