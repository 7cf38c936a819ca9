"""Where things stand below the root: pure arithmetic between UIDs, digests and relative paths.

The published files have the layout of Static DICOMweb. A path here is text relative to the root; only a `UID`
or a hexadecimal digest of our own ever becomes part of one.
"""

import re

from staticwado_daemon.dicom.uids import UID, Identity

STUDIES_INDEX = "studies/index.json.gz"
PRIVATE = ".staticwado"
"""Everything temporary and everything of the daemon's own lives below this directory."""

RESTORE = "restore"
"""Packs of remainders; no other program makes this directory, so it tells whose a tree is."""

BY_STUDY = ("studies", "deduplicated", "instances", RESTORE)
"""The directories in which each study has one of its own."""

FORMAT = f"{PRIVATE}/format.json"
LOCK = f"{PRIVATE}/lock"
STAGING = f"{PRIVATE}/staging"
PREPARING = f"{PRIVATE}/preparing"
KEPT = f"{PRIVATE}/kept"
ORIGINALS = f"{PRIVATE}/originals"
DIRTY = f"{PRIVATE}/dirty"
REQUESTS = f"{PRIVATE}/requests"
HIDDEN = f"{PRIVATE}/hidden"
REBUILD = f"{PRIVATE}/rebuild"
ADOPTED = f"{PRIVATE}/adopted"
ADOPTING = f"{PRIVATE}/adopting"

FULL_INSTANCE = "index.mht.gz"
METADATA = "metadata.gz"
THUMBNAIL = "thumbnail"

ALTERNATE_NAME = r"(?!(?:frames|rendered|bulkdata|metadata|thumbnail|instances)(?![A-Za-z0-9_-]))[A-Za-z0-9_-]{1,32}"
"""A directory of alternate renditions beside the frames: never one of our own names."""

_BULK = r"bulkdata/[0-9a-f]{3}/[0-9a-f]{2}/[0-9a-f]{59}(\.gz)?"
_FRAMES = rf"(?:frames|{ALTERNATE_NAME})/[1-9][0-9]{{0,8}}\.mht(\.gz)?"
_RENDERED = r"rendered/(?:index\.[a-z0-9]+|[1-9][0-9]{0,8}\.jpg)"
_BLOB = re.compile(rf"{_FRAMES}|{_RENDERED}|index\.mht\.gz|thumbnail|{_BULK}")


def study_dir(study: UID) -> str:
    """The directory of a study's published files."""
    return f"studies/{study}"


def series_dir(study: UID, series: UID) -> str:
    """The directory of a series' published files."""
    return f"studies/{study}/series/{series}"


def instance_dir(identity: Identity) -> str:
    """The directory of an instance's published files."""
    return f"studies/{identity.study}/series/{identity.series}/instances/{identity.instance}"


def frame(number: int, *, gzipped: bool) -> str:
    """A frame's file, relative to the instance directory; `number` counts from 1."""
    return f"frames/{number}.mht.gz" if gzipped else f"frames/{number}.mht"


def alternate_frame(name: str, number: int) -> str:
    """An alternate rendition of a frame, relative to the instance directory; `number` counts from 1."""
    return f"{name}/{number}.mht"


def rendered(extension: str) -> str:
    """A video's or document's file, relative to the instance directory."""
    return f"rendered/index.{extension}"


def rendered_frame(number: int) -> str:
    """The picture of a frame, relative to the instance directory; `number` counts from 1."""
    return f"rendered/{number}.jpg"


def bulk_uri(sha256: str) -> str:
    """The BulkDataURI of a value, relative to its study: also the end of its URL."""
    return f"bulkdata/{sha256[:3]}/{sha256[3:5]}/{sha256[5:]}"


def bulk_file(sha256: str, *, gzipped: bool) -> str:
    """A bulk value's file, relative to the study directory."""
    return bulk_uri(sha256) + (".gz" if gzipped else "")


def is_bulk(path: str) -> bool:
    """Whether a blob's path is that of bulk data, relative to the study, not to the instance."""
    return path.startswith("bulkdata/")


def is_by_study(path: str) -> bool:
    """Whether this leads to something in one of the directories `BY_STUDY`; links aren't looked at."""
    top, *below = path.split("/")
    return top in BY_STUDY and bool(below) and not {"", ".", ".."} & {*below} and "\0" not in path


def is_blob(path: str) -> bool:
    """Whether this may be the path of a blob: of bulk data relative to the study, of any other to the instance."""
    return _BLOB.fullmatch(path) is not None


def records_dir(study: UID) -> str:
    """The directory of a study's grouped records."""
    return f"deduplicated/{study}"


def pending_dir(study: UID) -> str:
    """The directory of a study's records that stand alone, one instance each."""
    return f"instances/{study}"


def restore_dir(study: UID) -> str:
    """The directory of the packs from which a study's original files are rebuilt."""
    return f"{RESTORE}/{study}"


def kept_study_dir(study: UID) -> str:
    """Where the blobs of a study stand that aren't served; below it bulk data have the paths that they have there."""
    return f"{KEPT}/{study}"


def kept_dir(identity: Identity, content: str) -> str:
    """Where the blobs of an instance stand that is stored but isn't the one published."""
    return f"{KEPT}/{identity.study}/{identity.series}/{identity.instance}/{content}"


def originals_dir(content: str) -> str:
    """Where the source files of a content are that are kept whole, for what is stored of it gives back none of them."""
    return f"{ORIGINALS}/{content}"


def original(content: str, source: str) -> str:
    """A source file kept whole, by its SHA-256."""
    return f"{originals_dir(content)}/{source}.gz"


def hidden_note(study: UID) -> str:
    """The file that says how much of a study is stored but not shown (`archive.hidden`)."""
    return f"{HIDDEN}/{study}"


def dirty_mark(study: UID) -> str:
    """The file that says: this study's published files may be older than its records. It may name doubtful ones."""
    return f"{DIRTY}/{study}"
