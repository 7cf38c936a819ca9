"""A Part 10 file made of what is kept of an adopted instance: valid, of the same content, and not the original.

What a sender wrote besides values (the order of bytes, lengths, padding, file meta information) is unknown, and so is
the transfer syntax before the frames were stored. The file says so in its Contributing Equipment Sequence.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from staticwado_daemon.archive import gzipped, layout, multipart
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom import native
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import Buffer
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.adopt import elements

REBUILT: Final = "made of what a DICOMweb archive holds; not the file that was received"

_PREFIX: Final = bytes(128) + b"DICM"
_PIXEL_DATA: Final = ("7FE00010", "7FE00008", "7FE00009")
_AVAILABLE_TRANSFER_SYNTAX_UID: Final = "00083002"
_SOP_CLASS_UID: Final = "00080016"
_CONTRIBUTING_EQUIPMENT: Final = "0018A001"
_EQUIPMENT: Final = {
    "00080070": {"vr": "LO", "Value": ["staticwado"]},
    "0018A003": {"vr": "ST", "Value": [REBUILT]},
    "0040A170": {
        "vr": "SQ",
        "Value": [
            {
                "00080100": {"vr": "SH", "Value": ["109103"]},
                "00080102": {"vr": "SH", "Value": ["DCM"]},
                "00080104": {"vr": "LO", "Value": ["Modifying Equipment"]},
            }
        ],
    },
}
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_SEQUENCE_DELIMITER: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def rebuild(record: Record, read: Callable[[str], Buffer]) -> bytes:
    """Make a Part 10 file of an adopted instance.

    Args:
        record: of the instance.
        read: gives the stored bytes of one of the record's blobs by its path; of bulk data that is below the study.

    Raises:
        Corrupt: if a frame is missing, or a blob isn't what it should be.
    """
    data_set: dict[str, Any] = orjson.loads(record.dataset)
    equipment = data_set.get(_CONTRIBUTING_EQUIPMENT, {}).get("Value") or []
    data_set[_CONTRIBUTING_EQUIPMENT] = {"vr": "SQ", "Value": [*equipment, _EQUIPMENT]}
    paths = {blob.path.removesuffix(".gz"): blob.path for blob in record.blobs if layout.is_bulk(blob.path)}

    def bulk(uri: str) -> bytes | None:
        return bytes(_payload(read, paths[uri])[1]) if uri in paths else None

    body, _ = elements.encode(data_set, bulk, "characters", short_decimals=True)
    syntax, pixel_data = _pixel_data(record, data_set, read)
    tag = next((each for each in _PIXEL_DATA if each in data_set), _PIXEL_DATA[0])
    if pixel_data:
        body[int(tag, 16)] = pixel_data
    head = _meta(data_set, record, syntax)
    return b"".join((_PREFIX, head, *(element for _, element in sorted(body.items()))))


def _meta(data_set: Mapping[str, Any], record: Record, syntax: str) -> bytes:
    attributes = _attributes(data_set, (_SOP_CLASS_UID,))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(attributes.text(_SOP_CLASS_UID) or "1.2.840.10008.5.1.4.1.1.66")
    meta.MediaStorageSOPInstanceUID = UID(record.identity.instance)
    meta.TransferSyntaxUID = UID(syntax)
    file = DicomBytesIO()
    write_file_meta_info(file, meta)
    return bytes(file.getvalue())


def _pixel_data(record: Record, data_set: Mapping[str, Any], read: Callable[[str], Buffer]) -> tuple[str, bytes]:
    """The transfer syntax of the file to be, and the pixel data element; empty if there is none."""
    video = next((b.path for b in record.blobs if b.path.startswith("rendered/index.")), None)
    stated = _attributes(data_set, (_AVAILABLE_TRANSFER_SYNTAX_UID,)).text(_AVAILABLE_TRANSFER_SYNTAX_UID)
    if video and transfer_syntax(stated).is_video:
        return stated, _encapsulated([bytes(read(video)[:])])
    numbered = {_number(blob.path): blob.path for blob in record.blobs if blob.path.startswith("frames/")}
    if not numbered:
        return EXPLICIT_VR_LITTLE_ENDIAN, b""
    parts = [_payload(read, path) for _, path in sorted(numbered.items())]
    syntaxes = {content_type.rpartition("=")[2] for content_type, _ in parts}
    description = PixelDescription.of(_attributes(data_set, data_set))
    absent = sorted(set(range(1, description.number_of_frames + 1)) - numbered.keys())
    if absent:
        raise Corrupt(f"frame {absent[0]} was missing when the instance was adopted: there is no valid file without it")
    if len(syntaxes) > 1:
        raise Corrupt("its frames have different transfer syntaxes: no file can hold them")
    (syntax,) = syntaxes
    payloads = [payload for _, payload in parts]
    if transfer_syntax(syntax).compressed:
        return syntax, _encapsulated([bytes(each) for each in payloads])
    tag = next((each for each in _PIXEL_DATA if each in data_set), _PIXEL_DATA[0])
    return EXPLICIT_VR_LITTLE_ENDIAN, _native(int(tag, 16), payloads, description)


def _encapsulated(payloads: list[bytes]) -> bytes:
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, _UNDEFINED_LENGTH)
    return b"".join((head, encapsulate(payloads), _SEQUENCE_DELIMITER))


def _native(tag: int, payloads: list[memoryview], description: PixelDescription) -> bytes:
    value = b"".join(native.source_value(payloads, description, 1))
    value += bytes(len(value) % 2)
    floats = {0x7FE00008: b"OF", 0x7FE00009: b"OD"}
    vr = floats.get(tag, b"OW" if description.bits_allocated > 8 else b"OB")
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value


def _payload(read: Callable[[str], Buffer], path: str) -> tuple[str, memoryview]:
    data = bytes(read(path)[:])
    return multipart.unwrap(gzipped.unpack(data) if path.endswith(".gz") else data)


def _attributes(data_set: Mapping[str, Any], tags: Any) -> Attributes:
    return Attributes({tag: orjson.dumps(data_set[tag]) for tag in tags if tag in data_set})


def _number(path: str) -> int:
    return int(path.rpartition("/")[2].partition(".")[0])
