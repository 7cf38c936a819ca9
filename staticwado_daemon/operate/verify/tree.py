"""What belongs to no study: the list of all studies, the format, originals kept whole, and what was left behind."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

import orjson

from staticwado_daemon.archive import gzipped, layout, restore, summary
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.lock import lock_holder
from staticwado_daemon.archive.store import TREE_FORMAT
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.data_set import pieces
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.inbound.names import reason_to_skip
from staticwado_daemon.operate.verify.finding import Finding
from staticwado_daemon.operate.verify.reading import Reader, Unreadable
from staticwado_daemon.operate.verify.sample import Sample

_LONGEST_FORMAT = 1 << 20


def studies(root: Path) -> list[UID]:
    """Every study of which there is something, sorted."""
    return sorted(
        {uid for name in layout.BY_STUDY for each in _names(root / name) if (uid := _study(root, name, each))}
    )


def foreign(root: Path) -> Iterator[Finding]:
    """What stands among the studies and is none."""
    for directory in layout.BY_STUDY:
        for name in _names(root / directory):
            path = f"{directory}/{name}"
            if path != layout.STUDIES_INDEX and not _study(root, directory, name):
                yield Finding("leftover" if reason_to_skip(name) else "file_orphaned", path)


def format_findings(reader: Reader) -> Iterator[Finding]:
    """Whether the tree says of which format it is."""
    try:
        version = orjson.loads(reader.read(layout.FORMAT, _LONGEST_FORMAT))["format"]
    except FileNotFoundError:
        yield Finding("format_missing", layout.FORMAT)
    except (ValueError, KeyError, TypeError, Unreadable):
        yield Finding("format_wrong", layout.FORMAT, detail="it can't be read")
    else:
        # An older tree is read as it is.
        if not isinstance(version, int) or not 0 < version <= TREE_FORMAT:
            yield Finding("format_wrong", layout.FORMAT, detail=f"it says {version}, this program knows {TREE_FORMAT}")


def leftovers(root: Path) -> Iterator[Finding]:
    """What was being made and is no longer; what a writer makes now is younger than the writer."""
    since = (root / layout.LOCK).stat().st_mtime if lock_holder(root) else time.time() + 1
    for directory in (layout.STAGING, layout.PREPARING):
        for name in _names(root / directory):
            path = f"{directory}/{name}"
            try:
                if (root / path).lstat().st_mtime < since:
                    yield Finding("leftover", path)
            except FileNotFoundError:
                continue  # it was swept away just now


def originals(reader: Reader, sample: Sample) -> Iterator[Finding]:
    """Whether the originals that were kept whole are what their names say."""
    for content in _names(reader.root / layout.ORIGINALS):
        directory = layout.originals_dir(content)
        for name in _names(reader.root / directory):
            path = f"{directory}/{name}"
            if sample.has(path) and (why := _fault(reader, path)) is not None:
                yield Finding("original_damaged", path, detail=why)


def _fault(reader: Reader, path: str) -> str | None:
    """What is wrong with an original, which may be long; "" if it is another one than its name says."""
    try:
        whole = reader.sliced(path)
        found = gzipped.unpack_pieces(pieces(whole, [(0, len(whole))]))
        return None if restore.matches(PurePath(path).stem, found) else ""
    except FileNotFoundError:
        return None
    except (Corrupt, Unreadable) as why:
        return str(why)


def listed(reader: Reader) -> dict[UID, bytes]:
    """What the list of all studies says of each: digests of the answers.

    Raises:
        Corrupt: if it can't be read, or isn't in order.
        FileNotFoundError: if there is none.
    """
    try:
        body = reader.unpacked(layout.STUDIES_INDEX, gzipped.LONGEST)
        queries = {UID(first_text(orjson.loads(each), "0020000D")): each for each in summary.objects(body)}
    except (Unreadable, ValueError, Rejected) as why:
        raise Corrupt(str(why)) from why
    index = StudiesIndex()
    index.put_all(queries.values())
    if gzipped.unpack(index.to_file(), gzipped.LONGEST) != body:
        raise Corrupt("its order is wrong, or it has a study twice")
    return {study: digest(query) for study, query in queries.items()}


def digest(query: bytes) -> bytes:
    """By what two answers are told apart; of a hundred thousand studies these are few bytes."""
    return hashlib.sha256(query).digest()


def index_finding(study: UID, told: Mapping[UID, bytes], queries: tuple[bytes, ...]) -> Finding | None:
    """What is wrong with what the list of all studies says of one of them.

    Args:
        study: which one.
        told: as `listed`.
        queries: digests of what it may say; nothing if the study isn't to be listed.
    """
    if study not in told:
        return Finding("index_entry_missing", layout.STUDIES_INDEX, study) if queries else None
    if not queries:
        return Finding("index_entry_foreign", layout.STUDIES_INDEX, study)
    return None if told[study] in queries else Finding("index_entry_wrong", layout.STUDIES_INDEX, study)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(each.name for each in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _study(root: Path, directory: str, name: str) -> UID | None:
    """The study whose directory this is; None if it isn't one."""
    try:
        return UID(name) if (root / directory / name).is_dir() else None
    except Rejected:
        return None
