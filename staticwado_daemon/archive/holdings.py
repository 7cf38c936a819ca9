"""What the archive holds of a study, read from its own files: no lock is needed, nothing is written.

A damaged file costs only what it holds. It is reported and left where it is. That a file can't be read now (too many
are open, a server is away) says nothing about what it holds, and is an OSError.
"""

import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import structlog

from staticwado_daemon.archive import gzipped, layout, record, regular, summary
from staticwado_daemon.archive.pack import from_pack
from staticwado_daemon.archive.record import Held, Record
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt

_log = structlog.get_logger(__name__)

_Item = TypeVar("_Item")

_MISSING = frozenset({*regular.NOT_ONE, errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.EBADMSG})
"""What says that a blob isn't there, or is there no more: the last two that its sectors can't be read."""

_GZIP_BYTES = 4096
"""What gzip may add to what it can't compress: five bytes for each block of many thousand, and its head and tail."""


def record_files(root: Path, study: UID) -> list[str]:
    """The paths of a study's record files."""
    return [*_files(root, layout.records_dir(study)), *_files(root, layout.pending_dir(study))]


def pack_files(root: Path, study: UID) -> list[str]:
    """The paths of a study's packs of remainders."""
    return _files(root, layout.restore_dir(study))


def held(root: Path, study: UID) -> list[Held]:
    """Every record and tombstone of a study that isn't damaged."""
    return list(_items(root, study, record_files, record.from_file))


def records(root: Path, study: UID) -> list[Record]:
    """Every record of a study that isn't damaged, be it shown or not."""
    return [each for each in held(root, study) if isinstance(each, Record)]


def remainders(root: Path, study: UID) -> Iterator[tuple[str, bytes]]:
    """Every remainder of a study that isn't damaged, with its SHA-256."""
    return _items(root, study, pack_files, from_pack)


def place(version: Record, *, published: bool) -> str:
    """Where the blobs of one version of an instance belong."""
    identity = version.identity
    return layout.instance_dir(identity) if published else layout.kept_dir(identity, version.content)


def holds(directory: Path, version: Record) -> bool:
    """Whether a directory has a version's metadata and all its own blobs, by digest; bulk data are the study's."""
    return _has_metadata(directory, version) and all(
        _is(directory / blob.path, blob.length, blob.sha256) for blob in version.blobs if not layout.is_bulk(blob.path)
    )


def _has_metadata(directory: Path, version: Record) -> bool:
    """Whether the metadata are this version's: two that differ in an attribute alone have the same blobs."""
    expected = summary.array([version.dataset])
    try:
        # No more is read or unpacked than can be right: the file may be anything that a worker made.
        with regular.opened(directory / layout.METADATA) as file:
            packed = file.read(len(expected) + _GZIP_BYTES)
        if not packed.endswith(gzipped.length_mark(expected)):
            return False
        return gzipped.unpack(packed, len(expected)) == expected
    except Corrupt:
        return False
    except OSError as error:
        if error.errno in _MISSING:
            return False
        raise


def holds_bulk(root: Path, version: Record, *, kept: bool = False) -> bool:
    """Whether the study has all bulk data of a version, by length and digest; with `kept` if not served, too."""
    study = version.identity.study
    homes = [layout.study_dir(study), layout.kept_study_dir(study)][: 1 + kept]
    return all(
        any(_is(root / home / blob.path, blob.length, blob.sha256) for home in homes)
        for blob in version.blobs
        if layout.is_bulk(blob.path)
    )


def _is(path: Path, length: int, sha256: str) -> bool:
    try:
        if path.stat().st_size != length:
            return False
        with regular.opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError as error:
        if error.errno in _MISSING:
            return False
        raise


def _items(
    root: Path, study: UID, files: Callable[[Path, UID], list[str]], parse: Callable[[bytes], Iterable[_Item]]
) -> Iterator[_Item]:
    """What the files hold; where some have gone since they were listed, their successor has what they held."""
    seen: set[str] = set()
    gone = True
    while gone:
        gone = False
        for path in files(root, study):
            if path in seen:
                continue
            seen.add(path)
            try:
                yield from parse(_read(root / path))
            except FileNotFoundError:
                gone = True
            except Corrupt as why:
                _log.error("file_unreadable", study=study, file=path, reason=str(why))


def _read(path: Path) -> bytes:
    try:
        with regular.opened(path) as file:
            return file.read()
    except OSError as error:
        if error.errno in regular.NOT_ONE:
            raise Corrupt(str(error.strerror)) from error
        raise


def _files(root: Path, directory: str) -> list[str]:
    try:
        return sorted(f"{directory}/{each.name}" for each in (root / directory).iterdir())
    except (FileNotFoundError, NotADirectoryError):  # there is none, whatever has its name
        return []
