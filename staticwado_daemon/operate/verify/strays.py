"""What stands in a study's published directory although nothing speaks of it."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from staticwado_daemon.archive import gzipped, layout, regular, summary
from staticwado_daemon.archive.record import Blob, Record
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.inbound.names import reason_to_skip
from staticwado_daemon.operate.verify.finding import Finding

_BULK_URI = re.compile(rb"bulkdata/[0-9a-f]{3}/[0-9a-f]{2}/[0-9a-f]{59}")
_SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID = "00080018", "0020000D", "0020000E"


def unrecorded(root: Path, study: UID, known: Iterable[Identity]) -> Iterator[Record]:
    """The instances of a study that are complete but for their records, as far as that can be told without them.

    Each comes as a makeshift record: without revision, digests and remainder. A directory whose metadata name another
    instance isn't among them, nor one without metadata.
    """
    have = set(known)
    series_dir = root / layout.study_dir(study) / "series"
    for path in sorted(series_dir.glob("*/instances/*")):
        try:
            identity = Identity(study, UID(path.parts[-3]), UID(path.name))
        except Rejected:
            continue
        if identity not in have and (found := _makeshift(root, path, identity)):
            yield found


def _makeshift(root: Path, directory: Path, identity: Identity) -> Record | None:
    try:
        with regular.opened(directory / layout.METADATA) as file:
            datasets = summary.objects(gzipped.unpack(file.read(gzipped.MOST)))
        named = orjson.loads(datasets[0]) if len(datasets) == 1 else {}
    except (OSError, Corrupt, ValueError):
        return None
    tags = (_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID, _SOP_INSTANCE_UID)
    if tuple(first_text(named, tag) for tag in tags) != (identity.study, identity.series, identity.instance):
        return None
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != layout.METADATA)
    blobs = [Blob(str(path.relative_to(directory)), path.stat().st_size, "") for path in files]
    study = root / layout.study_dir(identity.study)
    for uri in sorted({each.decode() for each in _BULK_URI.findall(datasets[0])}):
        found = (name for name in (uri, f"{uri}.gz") if (study / name).is_file())
        blobs += (Blob(name, (study / name).stat().st_size, "") for name in found)
    return Record(
        identity=identity,
        revision=0,
        content="",
        source="",
        source_transfer_syntax="",
        blobs=tuple(blobs),
        remainder=("", 0),
        source_attributes=b"{}",
        dataset=datasets[0],
    )


def strays(root: Path, study: UID, known: Iterable[str]) -> Iterator[Finding]:
    """What nothing speaks of; of a whole directory of that only the directory.

    Args:
        root: of the tree.
        study: whose directory is looked at.
        known: the files that belong there, below the root.
    """
    files = set(known)
    directories = {parent for path in files for parent in _above(path)}
    top = layout.study_dir(study)
    if (root / top).is_dir():
        yield from _strays(root, top, study, files, directories) if top in directories else (_stray(top, study, True),)


def _strays(root: Path, directory: str, study: UID, files: set[str], directories: set[str]) -> Iterator[Finding]:
    with os.scandir(root / directory) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_directory in found:
        path = f"{directory}/{name}"
        if is_directory and path in directories:
            yield from _strays(root, path, study, files, directories)
        elif is_directory or path not in files:
            yield _stray(path, study, is_directory)


def _stray(path: str, study: UID, is_directory: bool) -> Finding:
    parts = path.split("/")
    if reason_to_skip(parts[-1]):
        return Finding("leftover", path, study)
    if is_directory and len(parts) == 2:
        return Finding("study_orphaned", path, study)
    if is_directory and len(parts) == 4 and parts[2] == "series":
        return Finding("series_orphaned", path, study)
    if is_directory and len(parts) == 6 and parts[4] == "instances":
        return Finding("instance_orphaned", path, study)
    return Finding("file_orphaned", path, study)


def _above(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:end]) for end in range(2, len(parts)))
