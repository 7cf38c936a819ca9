"""Every file to be judged, and what its pixels are."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests import corpus
from tests.objects import objects

Array = NDArray[Any]

# The codestream and the data set contradict each other on the sign; of pydicom's plug-ins this one heeds the latter.
_DECODING_PLUGIN = {"J2K_pixelrep_mismatch": "pylibjpeg"}


@dataclass(frozen=True, slots=True)
class Source:
    """One file.

    Attributes:
        name: the same on every machine; begins with "pydicom/", "pydicom-data/" or "objects/".
        path: the file that is given to the program.
        frames: its samples as they were before it was encoded, where it was made for the tests.
        payloads: the bytes of its encapsulated frames, where it was made for the tests.
    """

    name: str
    path: Path
    frames: Sequence[Array] = ()
    payloads: Sequence[bytes] = ()
    read: FileDataset | None = field(default=None, compare=False)


def sources(directory: Path) -> Iterator[Source]:
    """All of them, each an instance of its own; files that had to be written stand below `directory`."""
    files = corpus.test_files()
    copies = corpus.distinct(directory / "copies", corpus.instances())
    for name, path in files.items():
        copy = copies.get(name, path)
        yield Source(name, copy, read=_read(copy))
    for made in objects(directory / "objects"):
        yield Source(f"objects/{made.name}", made.path, made.frames, made.payloads, _read(made.path))


def transfer_syntax(source: FileDataset) -> UID:
    """The declared one, or else what the data set looks like."""
    declared = source.file_meta.get("TransferSyntaxUID")
    if declared:
        return UID(declared)
    implicit, little = source.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def payloads(source: Source) -> list[bytes]:
    """The bytes of each frame of encapsulated pixel data."""
    if source.payloads or source.read is None:
        return list(source.payloads)
    count = int(source.read.get("NumberOfFrames") or 1)
    return list(generate_frames(source.read.PixelData, number_of_frames=count))


def samples(source: Source) -> Iterator[Array]:
    """Each frame's samples, not converted to another colour space: as known, or else as pydicom decodes them."""
    if source.frames or source.read is None:
        yield from source.frames
        return
    source.read.file_meta.TransferSyntaxUID = transfer_syntax(source.read)
    yield from decoded(source.read, _DECODING_PLUGIN.get(Path(source.name).stem, ""))


def decoded(image: FileDataset, plugin: str = "") -> Iterator[Array]:
    """The frames of a data set as pydicom decodes them, with all bits of the word and colour as it is."""
    decoder = get_decoder(image.file_meta.TransferSyntaxUID)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd on purpose
        for frame, _ in decoder.iter_array(image, raw=True, correct_unused_bits=False, decoding_plugin=plugin):
            yield frame


def _read(path: Path) -> FileDataset | None:
    """The data set, None if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read = pydicom.dcmread(path, force=True)
            return read if len(read) else None
        except (EOFError, KeyError, NotImplementedError, TypeError, ValueError):
            return None
