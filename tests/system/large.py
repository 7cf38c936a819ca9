"""Objects larger than memory, as sparse files: they are mostly zeros, which no disk has to hold."""

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.unit.dicom_bytes import (
    EXPLICIT_LITTLE,
    ITEM,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    element,
    implicit,
    item,
    meta,
    sequence,
)

SIDE = 1024
FRAME = SIDE * SIDE
FRAGMENTS = 5
"""That each encapsulated frame consists of."""

_ENCAPSULATED = "1.2.840.10008.1.2.1.98"
_MPEG4 = "1.2.840.10008.1.2.4.102"
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_VIDEO = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True, slots=True)
class Large:
    """A large file and what it holds.

    Attributes:
        uid: SOP Instance UID.
        path: of the file.
        frame: bytes of its largest frame; a video has none that would have to be held.
    """

    uid: str
    path: Path
    frame: int = FRAME


def slide(path: Path, frames: int) -> Large:
    """A whole slide, native: one element of at most 4 GiB."""
    uid = "1.2.826.0.1.3680043.8.498.81"
    length = frames * FRAME
    start = element(_PIXEL_DATA, "OB", length=length)
    _write(path, [_header(uid, EXPLICIT_LITTLE, _WHOLE_SLIDE, frames), _functional_groups(frames), start, length])
    return Large(uid, path)


def encapsulated_slide(path: Path, frames: int) -> Large:
    """A whole slide whose frames are native, but encapsulated in fragments: of any length."""
    uid = "1.2.826.0.1.3680043.8.498.82"
    sizes = [FRAME // FRAGMENTS // 2 * 2] * (FRAGMENTS - 1)
    sizes.append(FRAME - sum(sizes))
    step = FRAME + 8 * FRAGMENTS
    offsets = struct.pack(f"<{frames}Q", *range(0, frames * step, step))
    lengths = struct.pack(f"<{frames}Q", *[step] * frames)
    tables = element(0x7FE00001, "OV", offsets), element(0x7FE00002, "OV", lengths)

    def pixels() -> Iterator[bytes | int]:
        yield element(_PIXEL_DATA, "OB", item(), length=UNDEFINED)
        for _ in range(frames):
            for size in sizes:
                yield implicit(ITEM, length=size)
                yield size
        yield implicit(SEQUENCE_DELIMITER)

    header = _header(uid, _ENCAPSULATED, _WHOLE_SLIDE, frames)
    _write(path, [header, _functional_groups(frames), *tables, *pixels()])
    return Large(uid, path)


def video(path: Path, length: int) -> Large:
    """A video in one fragment."""
    uid = "1.2.826.0.1.3680043.8.498.83"
    start = element(_PIXEL_DATA, "OB", item() + implicit(ITEM, length=length), length=UNDEFINED)
    _write(path, [_header(uid, _MPEG4, _VIDEO, 1000), start, length, implicit(SEQUENCE_DELIMITER)])
    return Large(uid, path, 0)


def document(path: Path, length: int) -> Large:
    """An encapsulated document, of an even length less than 2 GiB."""
    uid = "1.2.826.0.1.3680043.8.498.84"
    texts = {0x00080016: _PDF, 0x00080018: uid, 0x0020000D: f"{uid}.1", 0x0020000E: f"{uid}.2"}
    uids = [element(tag, "UI", _even(text, "UI")) for tag, text in texts.items()]
    start = element(0x00420011, "OB", b"%PDF-1.7", length=length)
    end = element(0x00420012, "LO", b"application/pdf "), element(0x00430010, "LO", b"AFTER IT")
    _write(path, [meta(EXPLICIT_LITTLE), *uids, start, length - len(b"%PDF-1.7"), *end])
    return Large(uid, path, 0)


def _write(path: Path, parts: Iterable[bytes | int]) -> None:
    """Write bytes, and holes of so many."""
    with path.open("wb") as file:
        for part in parts:
            if isinstance(part, int):
                file.seek(part, io.SEEK_CUR)
            else:
                file.write(part)
        file.truncate()


def _header(uid: str, transfer_syntax_uid: str, sop_class_uid: str, frames: int) -> bytes:
    texts = {
        0x00080016: ("UI", sop_class_uid),
        0x00080018: ("UI", uid),
        0x00080060: ("CS", "SM"),
        0x0020000D: ("UI", f"{uid}.1"),
        0x0020000E: ("UI", f"{uid}.2"),
        0x00280004: ("CS", "MONOCHROME2"),
        0x00280008: ("IS", str(frames)),
    }
    numbers = {0x00280002: 1, 0x00280010: SIDE, 0x00280011: SIDE, 0x00280100: 8, 0x00280101: 8, 0x00280102: 7}
    elements = {tag: element(tag, vr, _even(text, vr)) for tag, (vr, text) in texts.items()}
    elements |= {tag: element(tag, "US", struct.pack("<H", value)) for tag, value in numbers.items()}
    return meta(transfer_syntax_uid) + b"".join(value for _, value in sorted(elements.items()))


def _even(text: str, vr: str) -> bytes:
    return text.encode() + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)


def _functional_groups(frames: int) -> bytes:
    """Per-Frame Functional Groups, all lengths undefined: that is what has to be walked through header by header."""
    items = (
        item(
            _alone(0x00209111, element(0x00209157, "UL", struct.pack("<II", 1, number))),
            _alone(0x0048021A, element(0x0048021E, "SL", struct.pack("<i", SIDE * number))),
            undefined=True,
        )
        for number in range(frames)
    )
    return sequence(0x52009230, *items, undefined=True)


def _alone(tag: int, value: bytes) -> bytes:
    return sequence(tag, item(value, undefined=True), undefined=True)
