"""The frames of an instance as they were stored: found by any of their names, unwrapped, and told what they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from staticwado_daemon.dicom import native
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.native import Payload
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.adopt import spellings, syntaxes

_BARE: Final = {
    ".jls": "1.2.840.10008.1.2.4.80",
    ".jpeg": "1.2.840.10008.1.2.4.50",
    ".jll": "1.2.840.10008.1.2.4.70",
    ".jp2": "1.2.840.10008.1.2.4.90",
    ".jxl": "1.2.840.10008.1.2.4.112",
    ".jhc": "1.2.840.10008.1.2.4.202",
}
"""What a codestream without a wrapper is, by its extension, if it doesn't say so itself."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        number: from 1.
        payload: as it is to be stored: little endian.
        transfer_syntax: of the payload.
        label: what its wrapper said, "" if that said nothing.
    """

    number: int
    payload: Payload
    transfer_syntax: str
    label: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of an instance's frames.

    Attributes:
        files: those of each frame, in the order in which they are joined.
        others: further files of the same frames under other names, which hold something else.
        same: further files that hold the same.
        joined: whether there are frames of several files.
    """

    files: dict[int, list[Path]]
    others: tuple[Path, ...] = ()
    same: tuple[Path, ...] = ()
    joined: bool = False


def find(directory: Path, expected: int) -> Listing:
    """Find the files of frames; `expected` is how many frames there should be, 0 if nobody knows.

    One converter takes each fragment for a frame where there is no offset table. They are joined again where it can be
    seen which ones begin a codestream.

    Raises:
        Corrupt: naming a file that is damaged.
    """
    found = spellings.frame_files(directory)
    first = {number: paths[0] for number, paths in found.items()}
    spare = [(paths[0], other) for paths in found.values() for other in paths[1:]]
    same = tuple(other for one, other in spare if _payload(one) == _payload(other))
    others = tuple(other for _, other in spare if other not in same)
    if 0 < expected < len(first):
        begins = [number for number, path in first.items() if syntaxes.begins_codestream(_payload(path))]
        if len(begins) == expected and begins[0] == min(first):
            groups: list[list[Path]] = []
            for number, path in first.items():
                if number in begins:
                    groups.append([])
                groups[-1].append(path)
            return Listing(dict(enumerate(groups, start=1)), others, same, joined=True)
    return Listing({number: [path] for number, path in first.items()}, others, same)


def read(listing: Listing, number: int, description: PixelDescription | None, vr: str) -> Frame:
    """Read one frame.

    Args:
        listing: where it is.
        number: which one.
        description: of the pixel data, None if the attributes don't describe any.
        vr: of the pixel data; it decides how big-endian bytes were swapped.

    Raises:
        Corrupt: naming a file that is damaged, or of which nobody can tell what it is.
    """
    files = listing.files[number]
    parts = [spellings.read_part(path) for path in files]
    payload = parts[0].payload if len(parts) == 1 else memoryview(b"".join(each.payload for each in parts))
    stated = parts[0].transfer_syntax
    label = stated or _BARE.get(files[0].suffix, "")
    try:
        syntax = syntaxes.actual(label, payload, description.frame_length if description else None)
    except Corrupt as why:
        raise Corrupt(f"{files[0]}: {why}") from why
    if syntax != EXPLICIT_VR_BIG_ENDIAN:
        return Frame(number, payload, syntax, stated)
    word = 2 if vr == "OW" else 1
    if description and description.bits_allocated > 8:
        word = description.bits_allocated // 8
    if len(payload) % word == 0:
        payload = memoryview(native.reverse_words(payload, word))
    return Frame(number, payload, EXPLICIT_VR_LITTLE_ENDIAN, stated)


def read_all(listing: Listing, description: PixelDescription | None, vr: str) -> Iterator[Frame]:
    """Read all frames, one at a time; errors as for `read`."""
    for number in listing.files:
        yield read(listing, number, description, vr)


def _payload(path: Path) -> memoryview:
    return spellings.read_part(path).payload
