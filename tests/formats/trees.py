"""A tree made by `staticwado create`, asked what it holds of a source."""

import gzip
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian

from staticwado_daemon.archive import multipart
from tests.formats.sources import Array, Source, decoded, payloads, samples, transfer_syntax
from tests.system.programs import create, staticwado

FLOATS = ("FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree.

    Attributes:
        receipts: by the source's path.
        instances: the directories of the published ones by SOP Instance UID.
        exported: where the original files are that it gave back.
    """

    receipts: dict[str, dict[str, Any]]
    instances: dict[str, Path]
    exported: Path

    def receipt(self, source: Source) -> dict[str, Any]:
        return self.receipts[str(source.path)]

    def instance(self, source: Source) -> Path:
        """The directory of a published instance."""
        return self.instances[self.receipt(source)["sopInstanceUID"]]


def make(directory: Path, sources: list[Source], *options: str) -> Tree:
    """Create a tree from all sources, and export all of it."""
    root, exported = directory / "root", directory / "exported"
    answer = create(root, [source.path for source in sources], *options, expect=3)
    receipts = {receipt["path"]: receipt for receipt in answer["receipts"]}
    staticwado(
        "export", "--root", root, *(path.name for path in sorted((root / "studies").glob("[0-9]*"))), "-o", exported
    )
    instances = {path.name: path for path in root.glob("studies/*/series/*/instances/[0-9]*")}
    return Tree(receipts, instances, exported)


def has_thumbnail(tree: Tree, source: Source) -> bool:
    return (tree.instance(source) / "thumbnail").is_file()


def is_restored(tree: Tree, source: Source) -> bool:
    """Whether `export` gave back the very file."""
    file = tree.exported / f"{tree.receipt(source)['sopInstanceUID']}.dcm"
    return file.is_file() and file.read_bytes() == source.path.read_bytes()


def difference(tree: Tree, source: Source) -> str:
    """What the stored frames have in which the source's haven't their like; "" if nothing.

    Compressed frames that were passed through are compared byte for byte, all others as pydicom decodes them.
    """
    directory = tree.instance(source)
    if not (directory / "frames").is_dir():
        (video,) = (directory / "rendered").glob("index.*")
        return "" if video.read_bytes() == b"".join(payloads(source)) else "the video has other bytes"
    (metadata,) = json.loads(gzip.decompress((directory / "metadata.gz").read_bytes()))
    published = Dataset.from_json(metadata, lambda _: b"")
    stored = [_frame(directory, number) for number in range(1, int(published.get("NumberOfFrames") or 1) + 1)]
    syntax = published.AvailableTransferSyntaxUID
    if source.read is None:
        raise AssertionError(f"{source.name} is published, but pydicom can't read it")
    if syntax != ExplicitVRLittleEndian and syntax == transfer_syntax(source.read):
        return "" if stored == payloads(source) else "the codestreams have other bytes"
    single_bits = published.BitsAllocated == 1 and syntax == ExplicitVRLittleEndian
    ours = map(partial(_bits, published), stored) if single_bits else decoded(_image(published, stored))
    try:
        for number, (mine, other) in enumerate(zip(ours, samples(source), strict=True), start=1):
            if mine.shape != other.shape or not np.array_equal(mine, other):
                return f"frame {number} has other samples"
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"pydicom decodes one of them only ({type(error).__name__})"
    return ""


def _frame(directory: Path, number: int) -> bytes:
    plain, packed = (directory / "frames" / name for name in (f"{number}.mht", f"{number}.mht.gz"))
    _, payload = multipart.unwrap(plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes()))
    return bytes(payload)


def _image(published: Dataset, stored: list[bytes]) -> Any:
    """The published metadata and frames as a data set that pydicom decodes."""
    published.file_meta = FileMetaDataset()
    published.file_meta.TransferSyntaxUID = published.AvailableTransferSyntaxUID
    compressed = published.AvailableTransferSyntaxUID != ExplicitVRLittleEndian
    joined = b"".join(stored)
    value = encapsulate(stored) if compressed else joined + bytes(len(joined) % 2)
    keyword = next((word for word in FLOATS if word in published), "PixelData")
    setattr(published, keyword, value)
    if keyword == "PixelData":
        published["PixelData"].VR = "OB" if published.BitsAllocated <= 8 or compressed else "OW"
        published["PixelData"].is_undefined_length = compressed
    published.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    return published


def _bits(published: Dataset, frame: bytes) -> Array:
    """A frame of single bits, which begins with a byte of its own; pydicom reads only whole values."""
    shape = (published.Rows, published.Columns)
    return np.unpackbits(np.frombuffer(frame, "u1"), count=shape[0] * shape[1], bitorder="little").reshape(shape)
