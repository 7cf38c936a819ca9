"""The files of one instance while it is adopted: what is made of the old ones, and which of them were used for that."""

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from isal import isal_zlib

from staticwado_daemon.archive import gzipped, layout, multipart
from staticwado_daemon.archive.stage import Stage
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.operate.adopt.frames import Frame, Listing
from staticwado_daemon.pipeline.files import FRAME_GZIP_LEVEL, Files
from staticwado_daemon.pipeline.staged import bulk_directory

ASIDE: Final = ".aside"
"""The ending that an old file gets for a moment where one of ours needs its name."""

FRAMES: Final = "frames"


@dataclass(slots=True)
class Adopting:
    """An instance's files, old and new.

    Attributes:
        old: the instance directory as it is.
        directory: the staged one.
        files: what writes into it.
        payloads: digests of what the frames hold, in order.
        used: old files that need not be taken along, for what they hold is in new ones.
        changes: attributes that say something else of the new files than they said of the old ones; None where one
            goes.
        lacks: what its own program should have kept and didn't.
        notes: what was contradictory, or had to be corrected.
    """

    old: Path
    directory: Path
    files: Files
    payloads: list[str] = field(default_factory=list)
    used: set[Path] = field(default_factory=set)
    changes: dict[str, bytes | None] = field(default_factory=dict)
    lacks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, old: Path, directory: Path) -> "Adopting":
        """Begin with nothing."""
        return cls(old, directory, Files(Stage(directory), Stage(bulk_directory(directory))))

    def add_frame(self, folder: str, frame: Frame) -> None:
        """Add a frame, or an alternate rendition of one, in our wrapper, its payload as it was."""
        syntax = transfer_syntax(frame.transfer_syntax)
        part_type = syntax.part_type
        if folder == FRAMES:
            self.files.add_frame(frame.number, part_type, frame.payload, compress=not syntax.compressed)
        else:
            body = multipart.wrap(part_type, frame.payload)
            name = layout.frame(frame.number, gzipped=not syntax.compressed).replace(FRAMES, folder)
            packed = body if syntax.compressed else isal_zlib.compress(body, FRAME_GZIP_LEVEL, gzipped.WINDOW)
            self.files.add(name, packed)
        self.payloads.append(hashlib.sha256(frame.payload).hexdigest())

    def add_stream(self, name: str, data: bytes | memoryview) -> None:
        """Add a video."""
        self.files.add_pieces(name, [data])
        self.payloads.append(self.files.blobs[-1].sha256)

    def use(self, listing: Listing) -> None:
        """Note that the frames of a listing, and copies of them, are in new files."""
        self.used.update(path for paths in listing.files.values() for path in paths)
        self.used.update(listing.same)

    def take_rest(self) -> None:
        """Take along what was not used, under its name: it may be asked for until the new metadata stand."""
        for path in files_below(self.old):
            name = path.relative_to(self.old)
            if path in self.used or (self.directory / name).is_file():
                continue
            target = str(name)
            if (self.directory / name).is_dir():
                target += ASIDE
            elif above := next((each for each in name.parents if (self.directory / each).is_file()), None):
                target = f"{above}{ASIDE}/{name.relative_to(above)}{ASIDE}"
            self.files.instance.write(target, [mapped(path)])


def files_below(directory: Path) -> Iterator[Path]:
    """Every file below a directory, in order; none if there is no such directory."""
    yield from sorted(path for path in directory.rglob("*") if path.is_file())


def mapped(path: Path) -> bytes | memoryview:
    """A file's bytes without reading them all at once: nobody else writes in this tree."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return b""
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
