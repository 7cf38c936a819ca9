"""What is exported, and under which names: decided before a byte is written, and the same for the same records."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive import holdings
from staticwado_daemon.archive.merge import Versions, merge
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import ConfigError, StaticwadoError

PUBLISHED, ALL = "published", "all"
_CONTENT = re.compile(r"[0-9a-f]{8,64}")
_SHOWN_DIGITS = 12
"""So many of a content's digits tell two versions of an instance apart in a file name."""


@dataclass(frozen=True, slots=True)
class Version:
    """One stored content of an instance, and whether it is the one that is published or one that is kept."""

    record: Record
    published: bool


@dataclass(frozen=True, slots=True)
class Named:
    """A version and the path, relative to wherever it is exported to, that its file gets."""

    path: str
    version: Version


def check_wish(versions: str) -> str:
    """Make sure that a text says which versions are wanted: "published", "all", or the beginning of a content.

    Raises:
        ConfigError: if it doesn't.
    """
    if versions in {PUBLISHED, ALL} or _CONTENT.fullmatch(versions):
        return versions
    raise ConfigError(
        f"{versions!r} is no version: give all, or at least 8 digits of a content as `staticwado explain` shows it"
    )


def select(root: Path, targets: Iterable[Target], versions: str = PUBLISHED) -> list[Version]:
    """The versions of the instances that are meant, each once, in the order of their UIDs.

    What was deleted or rejected, and is still kept, is found only by its content.

    Args:
        root: of the tree.
        targets: what is meant.
        versions: which ones of each instance: see `check_wish`.

    Raises:
        StaticwadoError: if there is no such version of any.
    """
    by_study: dict[UID, list[Target]] = {}
    for target in targets:
        by_study.setdefault(target.study, []).append(target)
    meant = [
        known
        for study in sorted(by_study)
        for identity, known in merge(holdings.held(root, study)).items()
        if any(target.names(identity) for target in by_study[study])
    ]
    if found := [version for known in meant for version in _wanted(known, versions)]:
        return found
    names = ", ".join(str(target) for each in by_study.values() for target in each)
    if versions not in {PUBLISHED, ALL}:
        raise StaticwadoError(f"{root} has no version {versions} of {names}")
    covered = [each for known in meant for each in known.covered]
    why = covered[0].tombstone.sentence() if covered else "run `staticwado verify`"
    raise StaticwadoError(f"{root} has no {'published' if covered else 'readable'} record of {names}: {why}")


def _wanted(known: Versions, versions: str) -> list[Version]:
    shown = [Version(record, published=record is known.winner) for record in known.visible]
    if versions == PUBLISHED:
        return shown[:1]
    if versions == ALL:
        return shown
    every = [*shown, *(Version(each.record, published=False) for each in known.covered)]
    return [each for each in every if each.record.content.startswith(versions)]


def flat(identity: Identity) -> str:
    """`I.dcm`."""
    return f"{identity.instance}.dcm"


def by_series(identity: Identity) -> str:
    """`S/X/I.dcm`."""
    return f"{identity.study}/{identity.series}/{identity.instance}.dcm"


def as_static_wado(identity: Identity) -> str:
    """`studies/S/I`, as static-wado's part10 command calls it."""
    return f"studies/{identity.study}/{identity.instance}"


def named(versions: Iterable[Version], name: Callable[[Identity], str]) -> list[Named]:
    """Give each version a name of its own.

    A kept version has the beginning of its content at the end of its name. Where a name is taken, by an instance of
    the same UID elsewhere, `-2` and so on are added.
    """
    taken: Counter[str] = Counter()
    result = []
    for version in versions:
        path = name(version.record.identity)
        if not version.published:
            path = _with(path, version.record.content[:_SHOWN_DIGITS])
        taken[path] += 1
        result.append(Named(path if taken[path] == 1 else _with(path, str(taken[path])), version))
    return result


def _with(path: str, addition: str) -> str:
    stem = path.removesuffix(".dcm")
    return f"{stem}-{addition}{path[len(stem) :]}"
