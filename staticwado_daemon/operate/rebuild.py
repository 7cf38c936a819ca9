"""Storing instances once more as today's settings would: their originals come from the tree itself.

Only the published version of an instance is stored anew, and only without loss: what loses something is another
instance. What is done is noted, so that a rebuild that was interrupted goes on where it was.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import orjson

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom import codings
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate import private
from staticwado_daemon.operate.export.originals import lacks_original
from staticwado_daemon.operate.verify import blobs, restored
from staticwado_daemon.operate.verify.blobs import Placed
from staticwado_daemon.operate.verify.reading import Reader, Unreadable
from staticwado_daemon.pipeline.images import Images

Part = Literal["summaries", "frames", "thumbnails", "index"]

BATCH_FILES = 256
BATCH_BYTES = 1 << 30
"""As many originals as there may be beside the tree at once, and as few publications of a large study."""

_SOP_INSTANCE_UID = "00080018"
_SAMPLES_PER_PIXEL = "00280002"
_AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"


@dataclass(frozen=True, slots=True)
class Left:
    """An instance that is left as it is, and why."""

    target: str
    reason: str

    @classmethod
    def of(cls, record: Record, reason: str) -> Self:
        """Name the instance of a record."""
        return cls(str(Target.of(record.identity)), reason)


class Ledger:
    """What has been stored as certain settings would have it, one content a line, in a private file of the tree.

    Args:
        root: of the tree.
        settings: anything that says, in words, how instances are stored: other words begin another ledger.
    """

    def __init__(self, root: Path, settings: str) -> None:
        name = hashlib.sha256(settings.encode()).hexdigest()[:16]
        self._root = root
        self._path = root / private.REBUILD / f"{name}.done"
        try:
            self._done = set(self._path.read_text("ascii").splitlines())
        except FileNotFoundError:
            self._done = set()

    def has(self, record: Record) -> bool:
        """Whether an instance is stored as the settings would have it."""
        return _key(record) in self._done

    def note(self, records: Iterable[Record]) -> None:
        """Remember that these are, whatever happens next.

        Raises:
            OSError: if that can't be written.
        """
        lines = [_key(each) for each in records]
        self._done.update(lines)
        with self._path.open("a", encoding="ascii") as file:
            file.writelines(f"{line}\n" for line in lines)
        private.give(self._path, self._root)

    def close(self) -> None:
        """Forget it all: everything is done, and what is asked for next is another rebuild."""
        self._path.unlink(missing_ok=True)


def _key(record: Record) -> str:
    return hashlib.sha256(f"{record.identity}\0{record.content}".encode()).hexdigest()


def candidates(root: Path, study: UID, targets: Sequence[Target]) -> Iterator[Placed]:
    """The published versions of what is meant of a study.

    Args:
        root: of the tree.
        study: to look at.
        targets: the parts that are meant; all of it without any.
    """
    for versions in merge(holdings.held(root, study)).values():
        for each in blobs.placed(versions):
            meant = not targets or any(target.names(each.version.identity) for target in targets)
            if meant and each.version is versions.winner:
                yield each


def needs(root: Path, placed: Placed, images: Images, parts: Sequence[Part]) -> bool:
    """Whether an instance may be stored otherwise than today's settings would, as far as that can be told cheaply.

    Args:
        root: of the tree.
        placed: the instance.
        images: today's settings.
        parts: which of its files are asked about; all of them, and its metadata, without any.
    """
    if not parts:
        return True
    paths = {blob.path.partition("/")[0] for blob in placed.version.blobs}
    if "frames" not in paths:
        return False
    has_thumbnail = (root / placed.directory / layout.THUMBNAIL).exists()
    return ("thumbnails" in parts and has_thumbnail != images.thumbnails) or (
        "frames" in parts and _other_frames(placed.version, images, paths)
    )


def _other_frames(record: Record, images: Images, paths: set[str]) -> bool:
    if not record.is_exact:
        return False
    dataset = orjson.loads(record.dataset)
    alternate = {images.alternates.name} if images.alternates else set()
    has = paths - {"frames", "rendered", "bulkdata", layout.THUMBNAIL, layout.FULL_INSTANCE}
    stored = first_text(dataset, _AVAILABLE_TRANSFER_SYNTAX_UID)
    return (
        stored != _wanted_syntax(record, dataset, images)
        or has != alternate
        or ("rendered" in paths) != images.rendered
    )


def _wanted_syntax(record: Record, dataset: dict[str, Any], images: Images) -> str:
    """The transfer syntax that frames should have, if they can."""
    source = record.source_transfer_syntax
    asked = images.choices.of(int(first_text(dataset, _SAMPLES_PER_PIXEL) or 1), source)
    coding = codings.coding(asked)
    if coding:
        return coding.transfer_syntax_uid
    as_it_came = transfer_syntax(source).compressed and not codings.is_native(asked)
    return source if as_it_came else EXPLICIT_VR_LITTLE_ENDIAN


def why_left(record: Record, images: Images) -> str:
    """Why an instance must not be stored anew; "" if nothing is against it."""
    if lacking := lacks_original(record):
        return lacking
    if _SOP_INSTANCE_UID in orjson.loads(record.source_attributes):
        return "its frames were stored with loss, which made it another instance than its original"
    dataset = orjson.loads(record.dataset)
    asked = images.choices.of(int(first_text(dataset, _SAMPLES_PER_PIXEL) or 1), record.source_transfer_syntax)
    coding = codings.coding(asked)
    if coding and not coding.lossless and any(blob.path.startswith("frames/") for blob in record.blobs):
        return "today's settings would lose something, which makes another instance: that is for `create`"
    return ""


def batches(found: Iterable[Placed]) -> Iterator[list[Placed]]:
    """Instances in portions."""
    batch: list[Placed] = []
    size = 0
    for each in found:
        length = sum(blob.length for blob in each.version.blobs) + each.version.remainder[1]
        if len(batch) == BATCH_FILES or (batch and size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += length
    if batch:
        yield batch


def originals(reader: Reader, batch: Iterable[Placed], folder: Path, left: list[Left]) -> dict[Path, Placed]:
    """Write the originals of instances, those of a study in a row; what doesn't come back is added to `left`.

    Raises:
        OSError: if the disk doesn't take them.
    """
    made: dict[Path, Placed] = {}
    for study, members in itertools.groupby(batch, key=lambda each: each.version.identity.study):
        whole = _originals(reader, study, found := list(members), folder)
        made |= whole
        names = {each.version.name for each in whole.values()}
        left += [
            Left.of(each.version, "its original doesn't come back: see `staticwado verify`")
            for each in found
            if each.version.name not in names
        ]
    return made


def _originals(reader: Reader, study: UID, found: Sequence[Placed], folder: Path) -> dict[Path, Placed]:
    by_remainder: dict[str, list[Placed]] = {}
    for each in found:
        by_remainder.setdefault(each.version.remainder[0], []).append(each)
    made: dict[Path, Placed] = {}
    for pack in holdings.pack_files(reader.root, study):
        try:
            held = restored.remainders(reader, pack, by_remainder.keys())
        except (Corrupt, Unreadable, FileNotFoundError):
            continue  # merged into another one, or damaged: then what is only in it is left
        for digest, remainder in held.items():
            for each in by_remainder.pop(digest, ()):
                if path := _original(reader, each, remainder, folder):
                    made[path] = each
    return made


def _original(reader: Reader, each: Placed, remainder: bytes, folder: Path) -> Path | None:
    path = folder / f"{each.version.name}.dcm"
    try:
        private.write(reader.root, path, each.version.source, restored.pieces(reader, each, remainder))
    except (Corrupt, Unreadable, ValueError, FileNotFoundError):
        return None
    return path
