"""What people name when they mean a part of a tree: a UID, its beginning, or a path of DICOMweb."""

from collections.abc import Iterable
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import ConfigError, Rejected, StaticwadoError
from staticwado_daemon.operate.uids import completed, looks_like_uid


def resolve(root: Path, texts: Iterable[str]) -> tuple[Target, ...]:
    """What is meant, each once; a UID that several studies have means all of it.

    Args:
        root: of the tree.
        texts: each a Study, Series or SOP Instance UID, as much of the beginning of one of the first two as no other
            begins with, or `studies/S[/series/X[/instances/I]]`.

    Raises:
        ConfigError: if a text is none of these.
        StaticwadoError: if the tree has no such thing, or a beginning is that of several.
    """
    return tuple(dict.fromkeys(each for text in texts for each in _resolve(root, text)))


def _resolve(root: Path, text: str) -> list[Target]:
    if "/" in text:
        return [_there(root, text)]
    if not looks_like_uid(text):
        raise ConfigError(f"{text!r} is no target: give a UID, or studies/S[/series/X[/instances/I]]")
    try:
        found = _named(root, UID(text))
    except Rejected:  # it ends with a dot
        found = []
    return found or _named(root, completed(root, text))


def _there(root: Path, text: str) -> Target:
    try:
        target = Target.parse(text.strip("/"))
    except Rejected as why:
        raise ConfigError(f"{text!r} is {why.reason}") from why
    if _is_study(root, target.study) if target.series is None else (root / str(target)).is_dir():
        return target
    raise StaticwadoError(f"there is no {target} in {root}")


def _is_study(root: Path, uid: UID) -> bool:
    places = (layout.study_dir(uid), layout.records_dir(uid), layout.pending_dir(uid))
    return any((root / each).is_dir() for each in places)


def _named(root: Path, uid: UID) -> list[Target]:
    if _is_study(root, uid):
        return [Target(uid)]
    found = [*root.glob(f"studies/*/series/{uid}"), *root.glob(f"studies/*/series/*/instances/{uid}")]
    return [Target.parse(path.relative_to(root).as_posix()) for path in sorted(found)]
