"""What is left of a study, or of the root, when everything that becomes ours has: theirs is put aside, nothing deleted.

Files are told by their names. What isn't known by its name belongs to somebody else: it stays, and is told of.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.summary import study_thumbnail
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.operate.adopt.files import ASIDE, files_below
from staticwado_daemon.operate.adopt.spellings import names
from staticwado_daemon.pipeline.studies import Study

_UID: Final = r"[0-9.]+"
_FRAME: Final = r"[1-9][0-9]*(?:\.mht)?(?:\.gz|\.jls|\.jpeg|\.jll|\.jp2|\.jxl|\.jhc)?"
_INSTANCE: Final = (
    rf"[A-Za-z0-9_-]+/{_FRAME}|metadata/index\.json\.gz|pixeldata\.mp4|rendered|rendered\.pdf|rendered/[a-z0-9]+\.[a-z0-9]+"
    r"|thumbnail(?:-[0-9]+)?|index\.mht(?:\.gz)?"
)
_STUDY: Final = re.compile(
    rf"(?:deduplicated|temp|series/{_UID}/temp)/.*|(?:.*/)?tempFile-[0-9]+|.*{re.escape(ASIDE)}"
    r"|bulkdata/[0-9a-f]{2,3}/[0-9a-f]{2}/[0-9a-f]{59,60}[.a-z0-9]*"
    rf"|(?:series/{_UID}/)?thumbnail|series/{_UID}/series/index\.json\.gz|series/{_UID}/instances/{_UID}/(?:{_INSTANCE})"
)
_ROOT: Final = re.compile(
    r"index\.json\.gz|(?:studies/)?temp(?:/.*)?|(?:studies/)?tempFile-[0-9]+"
    r"|notifications/[^/]*\.(?:notify|progress)"
)
_HASH: Final = re.compile(r"[0-9a-f]{3}")


@dataclass(slots=True)
class Rest:
    """What is left.

    Attributes:
        theirs: files to put aside, below the root.
        unknown: files to leave.
    """

    theirs: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def of_study(root: Path, study: Study) -> Rest:
    """Sort the files of a study's directory that aren't ours."""
    rest = Rest()
    directory = layout.study_dir(study.uid)
    ours = set(_ours(study))
    for path in files_below(root / directory):
        name = path.relative_to(root / directory).as_posix()
        if name not in ours:
            (rest.theirs if _STUDY.fullmatch(name) else rest.unknown).append(f"{directory}/{name}")
    return rest


def _ours(study: Study) -> Iterator[str]:
    """The files, relative to the study's directory, that records speak of or that are made of them."""
    listed = study.series()
    yield from ("index.json.gz", layout.METADATA, "instances/index.json.gz", "series/index.json.gz")
    if study_thumbnail(listed):
        yield layout.THUMBNAIL
    for series in listed:
        own = f"series/{series.uid}"
        yield from (f"{own}/{layout.METADATA}", f"{own}/series-singleton.json.gz", f"{own}/instances/index.json.gz")
        if series.thumbnail():
            yield f"{own}/{layout.THUMBNAIL}"
    for versions in study.instances():
        for record in versions.records:
            own = f"series/{record.identity.series}/instances/{record.identity.instance}"
            yield f"{own}/{layout.METADATA}"
            yield from (blob.path if layout.is_bulk(blob.path) else f"{own}/{blob.path}" for blob in record.blobs)


def of_root(root: Path) -> Rest:
    """Sort the files of a root that belong to no study."""
    rest = Rest()
    for directory in ("", "studies/", "notifications/", "temp/", "studies/temp/"):
        for name in names(root / directory):
            path = f"{directory}{name}"
            if (root / path).is_file() and _ROOT.fullmatch(path):
                rest.theirs.append(path)
    return rest


def empty_directories(root: Path) -> list[str]:
    """Directories of theirs in which nothing is left, the deepest first."""
    found = [f"{above}/{name}" for above in ("studies", "deduplicated", "instances") for name in names(root / above)]
    hashed = [path for path in found if _HASH.fullmatch(path.rpartition("/")[2])]
    deeper = [f"{path}/{name}" for path in hashed for name in names(root / path)]
    candidates = [*deeper, *hashed, "temp", "studies/temp", "notifications"]
    return [path for path in candidates if (root / path).is_dir() and not any(files_below(root / path))]


def put_aside(store: Store, path: str) -> None:
    """Move a file or directory to where what was theirs is kept; what stands there already stays."""
    target = f"{layout.ADOPTED}/{path}"
    while (store.root / target).exists():
        target += "~"
    store.move(path, target)


def tidy(store: Store, study: UID) -> None:
    """Remove the directories of a study that have come to be empty."""
    top = store.root / layout.study_dir(study)
    for path in sorted((each for each in top.rglob("*") if each.is_dir()), reverse=True):
        if not any(path.iterdir()):
            store.discard(str(path.relative_to(store.root)))
