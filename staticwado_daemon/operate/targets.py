"""What people name when they mean a part of a tree: a UID, its beginning, or a path of DICOMweb."""

from collections.abc import Iterable
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import ConfigError, Rejected, StaticwadoError
from staticwado_daemon.operate.uids import completed, looks_like_uid

_ANY = "[0-9]*"
"""Any UID: other names among the kept are those of files that were set aside."""


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


def parse(text: str) -> Target:
    """What a path of DICOMweb means, be it there or not.

    Raises:
        ConfigError: if it is none.
    """
    try:
        return Target.parse(text.strip("/").removeprefix("dicomweb/"))
    except Rejected:
        raise no_target(text) from None


def no_target(text: str) -> ConfigError:
    """The error that a text names nothing."""
    return ConfigError(f"{text!r} is no target: give a UID, or studies/S[/series/X[/instances/I]]")


def named(root: Path, uid: UID) -> list[Target]:
    """What has exactly this UID: shown or kept, a study, or as many series or instances as there are."""
    if is_study(root, uid):
        return [Target(uid)]
    shown, kept = root / "studies", root / layout.KEPT
    found = {
        *(path.relative_to(shown).parts[::2] for path in shown.glob(f"{_ANY}/series/{uid}")),
        *(path.relative_to(kept).parts for path in kept.glob(f"{_ANY}/{uid}")),
        *(path.relative_to(shown).parts[::2] for path in shown.glob(f"{_ANY}/series/{_ANY}/instances/{uid}")),
        *(path.relative_to(kept).parts for path in kept.glob(f"{_ANY}/{_ANY}/{uid}")),
    }
    return [Target(*map(UID, each)) for each in sorted(found)]


def is_study(root: Path, uid: UID) -> bool:
    """Whether there is a study of this UID, if only as records."""
    places = (layout.study_dir(uid), layout.records_dir(uid), layout.pending_dir(uid))
    return any((root / each).is_dir() for each in places)


def _resolve(root: Path, text: str) -> list[Target]:
    text = text.strip("/")
    if "/" in text:
        return [_there(root, text)]
    if not looks_like_uid(text):
        raise no_target(text)
    try:
        found = named(root, UID(text))
    except Rejected:  # it ends with a dot
        found = []
    return found or named(root, completed(root, text))


def _there(root: Path, text: str) -> Target:
    target = parse(text)
    if is_study(root, target.study) if target.series is None else _is_part(root, target):
        return target
    raise StaticwadoError(f"there is no {target} in {root}")


def _is_part(root: Path, target: Target) -> bool:
    parts = str(target).split("/")[1::2]
    return (root / str(target)).is_dir() or (root / layout.KEPT).joinpath(*parts).is_dir()
