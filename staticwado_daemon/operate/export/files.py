"""Files that get their name when they are whole, and never one that something else has; the export into a folder."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Named


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of one file.

    Attributes:
        identity: Study, Series and SOP Instance UID.
        content: of the version.
        path: of the file: on disk, inside the zip archive, or on the medium; None if there is a `problem`.
        length: of the file in bytes.
        problem: why there is none.
        present: that the file was there before, with the very bytes.
        reconstructed: that it isn't the original, but made of what is stored.
    """

    identity: Identity
    content: str
    path: Path | None
    length: int = 0
    problem: str | None = None
    present: bool = False
    reconstructed: bool = False


def failed(named: Named, why: Exception) -> Exported:
    """What there is to say of a file that could not be exported."""
    record = named.version.record
    problem = str(why)
    if isinstance(why, OSError):
        problem = f"{why.filename}: {why.strerror}" if why.filename else why.strerror or problem
    if isinstance(why, FileNotFoundError):
        problem += "; run `staticwado verify`"
    return Exported(record.identity, record.content, None, problem=problem)


def done(originals: Originals, named: Named, path: Path, length: int, *, present: bool = False) -> Exported:
    """What there is to say of a file that was exported."""
    record = named.version.record
    made = originals.lacks(named.version) is not None
    return Exported(record.identity, record.content, path, length, present=present, reconstructed=made)


def to_folder(originals: Originals, chosen: Iterable[Named], directory: Path) -> Iterator[Exported]:
    """Write original files below `directory`.

    Every file is compared with the digest of the one that came in before it gets its name. Nobody but the user may
    read the files, or look into a directory that is new. What has one of the names already stays as it is, and is a
    problem unless it is that file.
    """
    make_private(directory)
    for each in chosen:
        path = directory / each.path
        try:
            length = _length_there(path, each.version.record.source)
            present = length is not None
            if length is None:
                make_private(path.parent)
                length = _write(originals, each, path)
        except (Corrupt, OSError) as why:
            yield failed(each, why)
        else:
            yield done(originals, each, path, length, present=present)


def make_private(directory: Path) -> None:
    """Make a directory, and what is missing above it, that nobody else may look into."""
    if not directory.is_dir():
        make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file for nobody else to read, which gets its name at the end of the block, on the disk; or doesn't exist.

    Raises:
        Corrupt: if something has that name by then.
    """
    descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _give_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _give_name(temporary: Path, path: Path) -> None:
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise taken(path) from None
    except OSError:  # no hard links there: FAT on a memory stick
        if os.path.lexists(path):
            raise taken(path) from None
        temporary.rename(path)


def taken(path: Path) -> Corrupt:
    """The error that a name is taken."""
    return Corrupt(f"{path} is there already and isn't this file: move it away, or name another folder")


def _length_there(path: Path, source: str) -> int | None:
    """The length of a file that is there already; None if nothing is.

    Raises:
        Corrupt: if something else has its name.
    """
    if not os.path.lexists(path):
        return None
    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == source:
                return file.tell()
    raise taken(path)


def _write(originals: Originals, chosen: Named, path: Path) -> int:
    with new_file(path) as file:
        return sum(file.write(piece) for piece in originals.pieces(chosen.version))
