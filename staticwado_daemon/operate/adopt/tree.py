"""Which studies of a root aren't ours, where they stand, and what there is to say of them before anything is done."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from staticwado_daemon.archive import gzipped, layout, record
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.operate.adopt import deduplicated, metadata, spellings
from staticwado_daemon.operate.adopt.metadata import Found

_HASH: Final = re.compile(r"[0-9a-f]{3}")
_UNDER_WAY: Final = "under-way.json.gz"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A study that isn't ours, or not all of it.

    Attributes:
        uid: the study's.
        directory: where it stands, below the root.
        record_files: of theirs, in the order in which they are read.
        under_way: an adoption has begun to change it.
    """

    uid: UID
    directory: Path
    record_files: tuple[Path, ...] = ()
    under_way: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """What of a study is to become ours.

    Attributes:
        instances: those without a record of ours.
        known: how many have one.
        rejected: those, with or without a record, that aren't to be shown.
    """

    instances: list[Found] = field(default_factory=list)
    known: int = 0
    rejected: tuple[Identity, ...] = ()


def notes_of(study: UID) -> str:
    """The file in which an adoption under way notes what it has read: what it was read from is being replaced."""
    return f"{layout.ADOPTED}/{layout.study_dir(study)}/{_UNDER_WAY}"


def candidates(root: Path) -> Iterator[Candidate]:
    """The studies of a root that aren't ours, in the order of their directories."""
    record_dirs = {name: _record_dirs(root, name) for name in ("deduplicated", "instances")}
    seen: set[UID] = set()
    for uid, directory in _study_dirs(root):
        if uid in seen:
            # Both ways of naming directories were in use; the second is found when the first is ours.
            continue
        seen.add(uid)
        files = _record_files(root, directory, [each[uid] for each in record_dirs.values() if uid in each])
        under_way = (root / notes_of(uid)).exists()
        if under_way or files or not _is_ours(root / directory):
            yield Candidate(uid, directory, tuple(files), under_way)


def _study_dirs(root: Path) -> Iterator[tuple[UID, Path]]:
    """Studies where we have them, then those below directories named by a hash."""
    yield from _hashed(root, "studies", deep=False)
    yield from _hashed(root, "studies", deep=True)


def _hashed(root: Path, top: str, *, deep: bool) -> Iterator[tuple[UID, Path]]:
    for name in spellings.names(root / top):
        path = Path(top, name)
        if deep and _HASH.fullmatch(name):
            for other in spellings.names(root / path):
                yield from _hashed(root, str(path / other), deep=False) if _HASH.fullmatch(other) else ()
        elif not deep and (root / path).is_dir() and not _is_hash_dir(root / path):
            try:
                yield UID(name), path
            except Rejected:
                continue


def _is_hash_dir(path: Path) -> bool:
    """Whether a directory whose name may be a UID, "286", is rather one named by a hash."""
    inside = spellings.names(path)
    return bool(_HASH.fullmatch(path.name)) and bool(inside) and all(map(_HASH.fullmatch, inside))


def _record_dirs(root: Path, top: str) -> dict[UID, list[Path]]:
    found: dict[UID, list[Path]] = {}
    for deep in (False, True):
        for uid, path in _hashed(root, top, deep=deep):
            found.setdefault(uid, []).append(path)
    return found


def _record_files(root: Path, directory: Path, record_dirs: list[list[Path]]) -> list[Path]:
    """Their record files: the current version, then groups, then single instances, each the newest first."""
    current = directory / "deduplicated" / "index.json.gz"
    found = [current] if (root / current).is_file() else []
    for directories in record_dirs:
        files = [each / name for each in directories for name in spellings.names(root / each) if name.endswith(".gz")]
        theirs = [each for each in files if _is_theirs(root / each)]
        found += sorted(theirs, key=lambda each: (-(root / each).stat().st_mtime, each.name))
    return found


def _is_theirs(path: Path) -> bool:
    try:
        return deduplicated.is_foreign(spellings.read(path))
    except Corrupt:
        return True  # to be named when it is read


def _is_ours(directory: Path) -> bool:
    """Whether all that is published of a study was written by us."""
    series = directory / "series"
    lists = [directory / "index.json.gz", series / "index.json.gz"]
    lists += [series / name / layout.METADATA for name in spellings.names(series) if (series / name).is_dir()]
    return all(map(metadata.is_ours, lists))


def own_identities(root: Path, study: UID) -> set[Identity]:
    """The instances of a study that have records of ours."""
    found: set[Identity] = set()
    for directory in (layout.records_dir(study), layout.pending_dir(study)):
        for name in spellings.names(root / directory):
            path = root / directory / name
            if path.is_file() and not _is_theirs(path):
                found.update(each.identity for each in record.from_file(path.read_bytes()) if isinstance(each, Record))
    return found


def read(root: Path, candidate: Candidate) -> Contents:
    """Read what a study says of its instances.

    Raises:
        Corrupt: naming a file that is damaged.
        Rejected: naming a link or a special file: nobody knows whose it is, and where it leads.
    """
    _refuse_odd_files(root / candidate.directory)
    known = own_identities(root, candidate.uid)
    if candidate.under_way:
        notes = root / notes_of(candidate.uid)
        try:
            found = metadata.from_json(gzipped.unpack(notes.read_bytes()))
        except Corrupt as why:
            raise Corrupt(f"{notes}: {why}") from why
    else:
        files = [root / each for each in candidate.record_files]
        found = metadata.read(root, candidate.uid, candidate.directory, files)
    rejected = tuple(each.identity for each in found if each.rejected)
    return Contents([each for each in found if each.identity not in known], len(known), rejected)


def _refuse_odd_files(study: Path) -> None:
    for path in (study, *sorted(study.rglob("*"))):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Rejected(f"{path}: neither a regular file nor a directory")
