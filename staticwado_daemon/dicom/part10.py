"""One file: preamble, file meta information, data set (PS3.10 section 7).

`read` turns the bytes of a file into an `Instance`, or says why not. It finds out how the data set is
encoded, inflates it where it is deflated, lets one of the two readers take it apart and checks what
nobody can do without: the three UIDs, and that the file is as long as it says it is.

What isn't in memory as a whole is never loaded as a whole, unless it is deflated: pixel data are passed over, and so
are long values at its top level. All others are held, each bounded by the limits.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from staticwado_daemon.dicom import explicit_le, skeleton, with_pydicom
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    LONG_LENGTH_VRS,
    Buffer,
    BulkValue,
    DataSet,
    Encoding,
    Limits,
    PixelData,
    Place,
    Rules,
    encoding_of,
)
from staticwado_daemon.dicom.json_model import UTF8_CHARACTER_SET, VRS
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Ignored, Incomplete, Rejected

__all__ = ["Buffer", "BulkValue", "Instance", "Limits", "PixelData", "data_set_offset", "look", "read"]

_PREAMBLE_LENGTH: Final = 128
_PREFIX: Final = b"DICM"
_BEGINNING: Final = bytes(_PREAMBLE_LENGTH) + _PREFIX
"""Of nearly every file; some put the head of a TIFF file into the preamble."""
_DICOMDIR: Final = "1.2.840.10008.1.3.10"
_PLAIN_UIDS: Final = {
    transfer_syntax(uid).encoding: uid
    for uid in (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
}
"""The transfer syntaxes that say nothing but how the data set is encoded."""
_EXPLICIT_VRS: Final = frozenset(vr.encode() for vr in VRS)
_HEADER: Final = struct.Struct("<HH2sH")
_LENGTH: Final = struct.Struct("<I")
_LONGEST_UID: Final = 1024
"""Bytes of a UID that are looked at, padding and all; a valid one has 64 characters at most."""
_STUDY_INSTANCE_UID: Final = "0020000D"
_SERIES_INSTANCE_UID: Final = "0020000E"
_SOP_INSTANCE_UID: Final = "00080018"
_IDENTITY_TAGS: Final = frozenset((_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID, _SOP_INSTANCE_UID))
_SPECIFIC_CHARACTER_SET: Final = "00080005"
_DIRECTORY_RECORDS: Final = "00041220"
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}".encode()


@dataclass(frozen=True, slots=True)
class Instance:
    """A composite SOP instance as read from one file.

    Attributes:
        identity: Study, Series and SOP Instance UID.
        transfer_syntax_uid: as declared, or as found out where nothing is declared.
        attributes: the data set as DICOM JSON (PS3.18 annex F): little endian, UTF-8, without pixel
            data; values above the limits replaced by a BulkDataURI at any depth.
        bulk_values: the values so replaced, once each.
        pixel_data: where the pixels are in `buffer`, None if there are none.
        buffer: what offsets refer to: the file; if deflated, its meta information and the inflated data set.
        dataset_offset: first byte of the data set, in the file and in the buffer.
        warnings: what could not be kept as it was meant.
        places: where in `buffer` the long ones of the bulk values stand, in ascending order.
    """

    identity: Identity
    transfer_syntax_uid: str
    attributes: Attributes
    bulk_values: tuple[BulkValue, ...]
    pixel_data: PixelData | None
    buffer: Buffer
    dataset_offset: int
    warnings: tuple[str, ...]
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class _FileMeta:
    """What of group 0002 matters; "" for what isn't there."""

    dataset_offset: int
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""


def read(data: Buffer, limits: Limits, bulk_uri: Callable[[str], str]) -> Instance:
    """Read a DICOM file.

    Args:
        data: the whole file, or what reads it slice by slice.
        limits: caps and thresholds.
        bulk_uri: URI under which the value with this SHA-256 (hexadecimal) will be found; a pure function.

    Raises:
        Ignored: if it isn't a DICOM file, or is a DICOMDIR.
        Incomplete: if the file is shorter than it says.
        Rejected: if it can't be kept.
    """
    look(bytes(data[: len(_BEGINNING)]), len(data))
    prefixed = data[_PREAMBLE_LENGTH : len(_BEGINNING)] == _PREFIX
    meta = _file_meta(data, _PREAMBLE_LENGTH + len(_PREFIX) if prefixed else 0)
    if meta.sop_class_uid == _DICOMDIR:
        raise Ignored("DICOMDIR")
    if meta.transfer_syntax_uid:
        _valid(meta.transfer_syntax_uid, "Transfer Syntax UID (0002,0010)")
    deflated = transfer_syntax(meta.transfer_syntax_uid).deflated
    buffer = _inflated(data, meta.dataset_offset, limits) if deflated else data
    encoding, warnings = _encoding(buffer, meta)
    data_set = _data_set(buffer, meta.dataset_offset, encoding, Rules(limits, bulk_uri))
    if not prefixed and not _IDENTITY_TAGS & data_set.fragments.keys():
        raise Ignored("not a DICOM file")
    attributes, more_warnings = _published(data_set.fragments)
    identity = _identity(attributes)
    return Instance(
        identity=identity,
        transfer_syntax_uid=_transfer_syntax_uid(meta, encoding, data_set.pixel_data),
        attributes=_identified(attributes, identity),
        bulk_values=data_set.bulk_values,
        pixel_data=data_set.pixel_data,
        buffer=buffer,
        dataset_offset=meta.dataset_offset,
        warnings=(*warnings, *data_set.warnings, *more_warnings),
        places=data_set.places,
    )


def data_set_offset(data: Buffer) -> int:
    """Return where in a DICOM file the data set begins.

    Raises:
        Incomplete: if there is none.
    """
    prefixed = data[_PREAMBLE_LENGTH : len(_BEGINNING)] == _PREFIX
    return _file_meta(data, _PREAMBLE_LENGTH + len(_PREFIX) if prefixed else 0).dataset_offset


def look(beginning: bytes, size: int) -> None:
    """Pass what may be a DICOM file, by its first 132 bytes or more and its size.

    It has the prefix, or is a data set without preamble: then it begins with an element of group 0002 or 0008.

    Raises:
        Ignored: if it begins like anything else.
        Incomplete: if it hardly begins.
    """
    beginning = beginning[: len(_BEGINNING)]
    if beginning.endswith(_PREFIX) and len(beginning) == len(_BEGINNING):
        return
    if len(beginning) < len(_BEGINNING) and (_BEGINNING.startswith(beginning) or not any(beginning)):
        raise Incomplete("the file ends inside its preamble")
    if len(beginning) >= _HEADER.size:
        group, _, vr, _ = _HEADER.unpack_from(beginning)
        (length,) = _LENGTH.unpack_from(beginning, 4)
        explicit = vr in _EXPLICIT_VRS
        if group in (0x0002, 0x0008) and (explicit or length <= size):
            return
        if group == 0x0800 and explicit:  # 0008, big endian
            return
    raise Ignored("not a DICOM file")


def _file_meta(data: Buffer, position: int) -> _FileMeta:
    """Read group 0002, if there is one, whatever its group length says.

    Raises:
        Incomplete: if nothing comes after it.
    """
    values: dict[int, str] = {}
    while position + _HEADER.size <= len(data):
        header = data[position : position + _HEADER.size]
        group, element, vr, length = _HEADER.unpack(header)
        if group != 0x0002:
            return _FileMeta(position, values.get(0x0002, ""), values.get(0x0010, ""))
        start = position + _HEADER.size
        if vr not in _EXPLICIT_VRS:  # some write this group, too, in implicit VR
            (length,) = _LENGTH.unpack_from(header, 4)
        elif vr.decode() in LONG_LENGTH_VRS:
            if start + _LENGTH.size > len(data):
                break
            (length,) = _LENGTH.unpack(data[start : start + _LENGTH.size])
            start += _LENGTH.size
        position = start + length
        if element in (0x0002, 0x0010):
            values[element] = bytes(data[start : start + min(length, _LONGEST_UID)]).decode("latin-1").strip(" \0")
    raise Incomplete("the file ends before its data set")


def _inflated(data: Buffer, offset: int, limits: Limits) -> bytes:
    """Return the file with its data set inflated (PS3.5 section A.5).

    Raises:
        Incomplete: if the deflated stream has no end.
        Rejected: if it is damaged, or swells beyond the limits.
    """
    length = len(data) - offset
    maximum = max(
        limits.inflate_floor,
        min(limits.inflate_ratio * length, limits.inflate_ceiling),
        limits.inflate_plain_ratio * length,
    )
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data[offset:], maximum + 1)
    except zlib.error:
        raise Rejected("damaged deflated data set") from None
    if len(inflated) > maximum:
        raise Rejected(f"the deflated data set swells to more than {maximum} bytes")
    if not inflater.eof:
        raise Incomplete("the file ends inside its deflated data set")
    return bytes(data[:offset]) + inflated


def _encoding(buffer: Buffer, meta: _FileMeta) -> tuple[Encoding, tuple[str, ...]]:
    """Return how the data set is encoded, by its transfer syntax and by its looks, and what was odd about it."""
    if meta.dataset_offset + _HEADER.size > len(buffer):
        raise Incomplete("the file ends before its data set")
    if not meta.transfer_syntax_uid:
        group = int.from_bytes(buffer[meta.dataset_offset : meta.dataset_offset + 2], "little")
        # Group 0008 read with the wrong byte order is 0800.
        likely = EXPLICIT_BIG if group >= 0x0400 else EXPLICIT_LITTLE
        return encoding_of(buffer, meta.dataset_offset, likely), ("no transfer syntax (0002,0010)",)
    declared = transfer_syntax(meta.transfer_syntax_uid).encoding
    found = encoding_of(buffer, meta.dataset_offset, declared)
    if found == declared:
        return found, ()
    if declared.implicit:
        return found, ("explicit VR where the transfer syntax says implicit",)
    return found, ("implicit VR where the transfer syntax says explicit",)


def _data_set(buffer: Buffer, offset: int, encoding: Encoding, rules: Rules) -> DataSet:
    """Read the data set by the first reader that answers."""
    data_set = None
    if encoding == EXPLICIT_LITTLE:
        if isinstance(buffer, bytes):
            data_set = explicit_le.read(buffer, offset, rules)
        else:
            data_set = skeleton.read(buffer, offset, rules)
    return data_set or with_pydicom.read(buffer, offset, encoding, rules)


def _published(fragments: dict[str, bytes]) -> tuple[Attributes, tuple[str, ...]]:
    """Return the attributes with (0008,0005) as UTF-8 needs it, and what was wrong with the text."""
    attributes = Attributes(fragments)
    text = b"".join(fragments.values())
    if text.isascii():
        return attributes, ()
    warnings = ["undecodable text"] if _REPLACEMENT in text else []
    if _SPECIFIC_CHARACTER_SET in fragments:
        return attributes, tuple(warnings)
    warnings.append("text beyond ASCII without Specific Character Set (0008,0005)")
    return attributes.with_changes({_SPECIFIC_CHARACTER_SET: UTF8_CHARACTER_SET}), tuple(warnings)


def _identity(attributes: Attributes) -> Identity:
    if _DIRECTORY_RECORDS in attributes:
        raise Ignored("DICOMDIR")
    return Identity(
        _uid(attributes, _STUDY_INSTANCE_UID, "Study Instance UID (0020,000D)"),
        _uid(attributes, _SERIES_INSTANCE_UID, "Series Instance UID (0020,000E)"),
        _uid(attributes, _SOP_INSTANCE_UID, "SOP Instance UID (0008,0018)"),
    )


def _identified(attributes: Attributes, identity: Identity) -> Attributes:
    """Let the three UIDs read in the metadata as they do in the paths, without tabs, padding or a wrong VR."""
    uids = {
        _STUDY_INSTANCE_UID: identity.study,
        _SERIES_INSTANCE_UID: identity.series,
        _SOP_INSTANCE_UID: identity.instance,
    }
    fragments = {tag: b'{"vr":"UI","Value":["%b"]}' % uid.encode() for tag, uid in uids.items()}
    if all(attributes[tag] == fragment for tag, fragment in fragments.items()):
        return attributes
    return attributes.with_changes(fragments)


def _uid(attributes: Attributes, tag: str, name: str) -> UID:
    text = attributes.text(tag)
    if not text:
        raise Rejected(f"no {name}")
    return _valid(text, name)


def _valid(text: str, name: str) -> UID:
    try:
        return UID(text)
    except Rejected as why:
        raise Rejected(f"{name} is {why.reason}") from None


def _transfer_syntax_uid(meta: _FileMeta, encoding: Encoding, pixel_data: PixelData | None) -> str:
    """Return the transfer syntax: of native data the one it is really in, otherwise the declared one."""
    if meta.transfer_syntax_uid and meta.transfer_syntax_uid not in _PLAIN_UIDS.values():
        return meta.transfer_syntax_uid
    if pixel_data and pixel_data.length is None:
        raise Rejected("encapsulated pixel data without a transfer syntax that says how")
    return _PLAIN_UIDS[encoding]
