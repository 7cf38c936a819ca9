"""What the archive holds of a study, read from its own files: no lock is needed, nothing is written.

A file that can't be read costs only what it holds. It is reported and left where it is.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import structlog

from staticwado_daemon.archive import layout, record, restore
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt

_log = structlog.get_logger(__name__)


def record_files(root: Path, study: UID) -> list[str]:
    """The paths of a study's record files."""
    return [*_files(root, layout.records_dir(study)), *_files(root, layout.pending_dir(study))]


def pack_files(root: Path, study: UID) -> list[str]:
    """The paths of a study's packs of remainders."""
    return _files(root, layout.restore_dir(study))


def records(root: Path, study: UID) -> list[Record]:
    """Every readable record of a study."""
    found: list[Record] = []
    for path in record_files(root, study):
        try:
            found.extend(record.from_file((root / path).read_bytes()))
        except (Corrupt, OSError) as why:
            _log.error("record_file_unreadable", study=study, file=path, reason=str(why))
    return found


def remainders(root: Path, study: UID) -> Iterator[tuple[str, bytes]]:
    """Every readable remainder of a study, with its SHA-256."""
    for path in pack_files(root, study):
        try:
            yield from restore.from_pack((root / path).read_bytes())
        except (Corrupt, OSError) as why:
            _log.error("pack_unreadable", study=study, file=path, reason=str(why))


def place(version: Record, *, published: bool) -> str:
    """Where the blobs of one version of an instance belong."""
    identity = version.identity
    return layout.instance_dir(identity) if published else layout.kept_dir(identity, version.content)


def holds(directory: Path, version: Record) -> bool:
    """Whether a directory has all of a version's own blobs, by length and digest; bulk data are the study's."""
    return all(
        _is(directory / blob.path, blob.length, blob.sha256) for blob in version.blobs if not layout.is_bulk(blob.path)
    )


def holds_bulk(root: Path, version: Record) -> bool:
    """Whether the study has all bulk data of a version, by length and digest."""
    directory = root / layout.study_dir(version.identity.study)
    return all(
        _is(directory / blob.path, blob.length, blob.sha256) for blob in version.blobs if layout.is_bulk(blob.path)
    )


def _is(path: Path, length: int, sha256: str) -> bool:
    try:
        if path.stat().st_size != length:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _files(root: Path, directory: str) -> list[str]:
    try:
        return sorted(f"{directory}/{each.name}" for each in (root / directory).iterdir())
    except FileNotFoundError:
        return []
