"""A UID as people give it: whole, or only its beginning."""

import re
from pathlib import Path

from staticwado_daemon.dicom.uids import MAXIMUM_LENGTH, UID
from staticwado_daemon.errors import StaticwadoError

_BEGINNING = re.compile(r"[0-9][0-9.]*", re.ASCII)
_NAMED = 3


def looks_like_uid(text: str) -> bool:
    """Whether a text can be a UID, or the beginning of one."""
    return bool(_BEGINNING.fullmatch(text)) and len(text) <= MAXIMUM_LENGTH


def completed(root: Path, beginning: str) -> UID:
    """The one Study or Series Instance UID of a tree that begins like this.

    Args:
        root: of the tree.
        beginning: what `looks_like_uid`.

    Raises:
        StaticwadoError: if there is none, or more than one.
    """
    found = _matching(root, f"studies/{beginning}*") or _matching(root, f"studies/*/series/{beginning}*")
    if len(found) == 1:
        return UID(found[0])
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise StaticwadoError(f"{beginning} is the beginning of several UIDs: {', '.join(found[:_NAMED])}{more}")
    raise StaticwadoError(
        f"{beginning} is no study, series or instance in {root}, nor the beginning of a study or series"
    )


def _matching(root: Path, pattern: str) -> list[str]:
    return sorted({path.name for path in root.glob(pattern) if path.is_dir()})
