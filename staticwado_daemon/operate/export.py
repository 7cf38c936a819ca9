"""Getting the original files back."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive import holdings, layout, restore
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected, StaticwadoError
from staticwado_daemon.operate.uids import completed


@dataclass(frozen=True, slots=True)
class Exported:
    """One instance asked for.

    Attributes:
        instance: its SOP Instance UID.
        path: of the file, unless there is a `problem`.
        problem: why there is none.
        present: that the file was there before, with the very bytes.
    """

    instance: UID
    path: Path | None
    problem: str | None
    present: bool = False


def find(root: Path, text: str) -> tuple[UID, list[Record]]:
    """What a UID names, a study, a series or an instance, and the published records of that.

    Args:
        root: of the tree.
        text: a UID, or what `looks_like_uid`: the beginning of no more than one Study or Series Instance UID.

    Raises:
        StaticwadoError: if it is unknown, or the beginning of several.
    """
    try:
        uid = UID(text)
    except Rejected:  # it ends with a dot
        uid = completed(root, text)
    if not (records := _records(root, uid)):
        uid = completed(root, text)
        records = _records(root, uid)
    if not records:
        raise StaticwadoError(f"{uid} is known, but {root} has no readable record of it")
    return uid, records


def _records(root: Path, uid: UID) -> list[Record]:
    studies = [uid] if (root / layout.study_dir(uid)).is_dir() else _holding(root, uid)
    return [
        versions[0]
        for study in studies
        for identity, versions in merge(holdings.records(root, study)).items()
        if uid in (identity.study, identity.series, identity.instance)
    ]


def _holding(root: Path, uid: UID) -> list[UID]:
    """The studies that have a series or an instance of this UID."""
    found = [*root.glob(f"studies/*/series/{uid}"), *root.glob(f"studies/*/series/*/instances/{uid}")]
    return sorted({UID(path.relative_to(root).parts[1]) for path in found})


def export(root: Path, records: list[Record], directory: Path) -> Iterator[Exported]:
    """Write the original Part 10 file of each record into `directory`, as `SOPInstanceUID.dcm`.

    Every file is compared with the digest of the one that came in before it gets its name. Where several studies
    have an instance of the same UID, the later ones are named `SOPInstanceUID-2.dcm` and so on. Nobody but the user
    may read the files, or look into a directory that is new. What has one of the names already stays as it is, and
    is a problem unless it is that file.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    remainders = _Remainders(root)
    taken: dict[UID, int] = {}
    for each in records:
        uid = each.identity.instance
        taken[uid] = taken.get(uid, 0) + 1
        name = f"{uid}.dcm" if taken[uid] == 1 else f"{uid}-{taken[uid]}.dcm"
        try:
            present = _is_there(directory / name, each)
            if not present:
                _write(root, each, remainders.get(each), directory / name)
        except (Corrupt, OSError) as why:
            yield Exported(uid, None, str(why))
        else:
            yield Exported(uid, directory / name, None, present)


def _is_there(path: Path, source: Record) -> bool:
    """Whether a file is there already.

    Raises:
        Corrupt: if something else has its name.
    """
    if not os.path.lexists(path):
        return False
    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == source.source:
                return True
    raise Corrupt(f"{path} is there already and isn't this file: move it away, or name another folder")


def _write(root: Path, source: Record, remainder: bytes, path: Path) -> None:
    instance = root / layout.instance_dir(source.identity)
    digest = hashlib.sha256()
    descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)  # for nobody else to read
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in restore.rebuild(source, remainder, lambda name: (instance / name).read_bytes()):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != source.source:
            raise Corrupt("what was stored no longer gives the original file; run a check of the disk")
        _is_there(path, source)  # or it would be lost, if it has come in the meantime
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Remainders:
    """The remainders of one study at a time, found by their digests in its packs."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._study: UID | None = None
        self._found: dict[str, bytes] = {}

    def get(self, source: Record) -> bytes:
        """The remainder of a record.

        Raises:
            Corrupt: if no pack has it.
        """
        study = source.identity.study
        if study != self._study:
            self._found = dict(holdings.remainders(self._root, study))
            self._study = study
        try:
            return self._found[source.remainder[0]]
        except KeyError:
            raise Corrupt("the pack with the file's remainder is missing") from None
