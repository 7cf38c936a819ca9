"""What somebody wants deleted, rejected or brought back: found, and counted, before anything is done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Action
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import ConfigError, Rejected, StaticwadoError
from staticwado_daemon.pipeline.removal import concerned

_NOTHING: dict[Action, str] = {
    "delete": "all of it is deleted already",
    "reject": "nothing of it is shown: it is rejected or deleted already",
    "undo": "nothing of it is deleted or rejected, or it was purged since",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A target, and what an action means for it.

    Attributes:
        target: what was named.
        series: how many series have something of it.
        instances: to which something is to be done.
        contents: of these instances: more where some came with several.
        size: bytes of what is stored of these contents, bulk data counted once for each.
    """

    target: Target
    series: int
    instances: int
    contents: int
    size: int


def find(root: Path, action: Action, texts: Sequence[str]) -> list[Wanted]:
    """Find what somebody names, each thing once.

    Args:
        root: of the tree.
        action: what is to be done.
        texts: whole UIDs, or `studies/S[/series/X[/instances/I]]`.

    Raises:
        ConfigError: if one of them is neither.
        StaticwadoError: if one is unknown, or in several studies, or there is nothing to be done to it.
    """
    targets = dict.fromkeys(_target(root, text) for text in texts)
    return [_count(root, action, each) for each in targets]


def _target(root: Path, text: str) -> Target:
    path = text.strip("/").removeprefix("dicomweb/")
    try:
        if path.startswith("studies/"):
            return Target.parse(path)
        uid = UID(path)
    except Rejected:
        raise ConfigError(
            f"{text!r} is no target: give a whole UID, or studies/STUDY[/series/SERIES[/instances/INSTANCE]]"
        ) from None
    found = list(_having(root, uid))
    if not found:
        raise StaticwadoError(f"{uid} is no study, series or instance in {root}")
    if len(found) > 1:
        raise StaticwadoError(f"{uid} is in several studies, name one of them: {', '.join(map(str, found))}")
    return found[0]


def _having(root: Path, uid: UID) -> Iterable[Target]:
    """What has this UID: shown, or kept."""
    if any(
        (root / each).is_dir() for each in (layout.study_dir(uid), layout.records_dir(uid), layout.pending_dir(uid))
    ):
        return [Target(uid)]
    shown, kept = root / "studies", root / layout.KEPT
    series = {
        *(path.parts[-3] for path in shown.glob(f"*/series/{uid}")),
        *(path.parts[-2] for path in kept.glob(f"*/{uid}")),
    }
    if series:
        return [Target(UID(study), uid) for study in sorted(series)]
    instances = {
        *((path.parts[-5], path.parts[-3]) for path in shown.glob(f"*/series/*/instances/{uid}")),
        *((path.parts[-3], path.parts[-2]) for path in kept.glob(f"*/*/{uid}")),
    }
    return [Target(UID(study), UID(of), uid) for study, of in sorted(instances)]


def _count(root: Path, action: Action, target: Target) -> Wanted:
    found = {
        identity: versions
        for identity, versions in merge(holdings.held(root, target.study)).items()
        if target.names(identity)
    }
    if not found:
        raise StaticwadoError(f"{target} is not in {root}")
    contents = {identity: concerned(action, versions) for identity, versions in found.items()}
    instances = [identity for identity, each in contents.items() if each]
    if not instances:
        raise StaticwadoError(f"{target}: {_NOTHING[action]}")
    return Wanted(
        target,
        len({identity.series for identity in instances}),
        len(instances),
        sum(map(len, contents.values())),
        sum(
            blob.length
            for identity, versions in found.items()
            for record in versions.records
            if record.content in contents[identity]
            for blob in record.blobs
        ),
    )
