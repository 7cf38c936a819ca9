"""Which names in an inbound folder are not inputs: files still being written, and litter.

Transfer tools write under a temporary name and rename at the end; the rename is what makes the file ours.
Desktops and network storage leave files and folders that no modality ever sent. Neither is looked into.
"""

from functools import lru_cache

# What copying programs append to the final name until the file is whole.
TEMPORARY_SUFFIXES = (
    ".part",  # Firefox, curl wrappers, KDE, our own receiver
    ".partial",  # Internet Explorer, wget wrappers, rsync wrappers
    ".tmp",
    ".temp",
    ".filepart",  # WinSCP
    ".crdownload",  # Chromium
    ".opdownload",  # Opera
    ".download",  # Safari
    ".aria2",
    ".!ut",  # BitTorrent clients
    ".!qb",
    ".bc!",
    ".upload",
    ".uploading",
    ".swp",  # editors
    "~",
)
# "~$report.docx" is an office lock, "~syncthing~x.tmp" a file in transit: nothing final begins with a tilde.
TEMPORARY_PREFIX = "~"

LITTER_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "autorun.inf"})
LITTER_DIRECTORIES = frozenset(
    {
        "@eadir",  # Synology thumbnails
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "$recycle.bin",  # Windows
        "system volume information",
        "__macosx",  # macOS archives
        "lost+found",  # a file system's own
    }
)


def reason_to_skip(name: str) -> str | None:
    """Say why a file of this name is not an input; None if it is one.

    Args:
        name: the last component of a path; bytes that are not UTF-8 as surrogate escapes.
    """
    folded = name.casefold()
    if folded.startswith("."):
        # rsync's .NAME.XXXXXX, .nfs*, ._NAME, .DS_Store, .stfolder: a leading dot says "not for you" everywhere.
        return "hidden or temporary name"
    if folded.startswith(TEMPORARY_PREFIX) or folded.endswith(TEMPORARY_SUFFIXES):
        return "temporary name of a file in transfer"
    if folded in LITTER_FILES:
        return "desktop or storage litter"
    return None


def skip_directory(name: str) -> bool:
    """Whether a directory of this name holds no inputs at any depth (`.~tmp~`, `@eaDir`, `__MACOSX`, …)."""
    folded = name.casefold()
    return folded in LITTER_DIRECTORIES or reason_to_skip(name) is not None


@lru_cache(maxsize=4096)
def _skip_below(directory: str) -> bool:
    return any(skip_directory(name) for name in directory.split("/") if name)


def skip_path(relative: str) -> bool:
    """Whether a file at this path, relative to its inbound folder, is to be passed over for any name in it."""
    directory, _, name = relative.rpartition("/")
    return reason_to_skip(name) is not None or _skip_below(directory)
