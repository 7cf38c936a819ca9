"""What somebody wants deleted, rejected or brought back: found, and counted, before anything is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive import holdings
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Action
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Rejected, StaticwadoError
from staticwado_daemon.operate import targets
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
    return [_count(root, action, each) for each in dict.fromkeys(_target(root, text) for text in texts)]


def _target(root: Path, text: str) -> Target:
    text = text.strip("/")
    if "/" in text:
        return targets.parse(text)
    try:
        uid = UID(text)
    except Rejected:
        raise targets.no_target(text) from None
    found = targets.named(root, uid)
    if not found:
        raise StaticwadoError(f"{uid} is no study, series or instance in {root}: give a whole UID")
    if len(found) > 1:
        raise StaticwadoError(f"{uid} is in several studies, name one of them: {', '.join(map(str, found))}")
    return found[0]


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
