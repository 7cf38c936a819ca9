"""How far a tree is: as its daemon says, or as its files say while none is running."""

import math
from pathlib import Path
from typing import Literal

import msgspec

from staticwado_daemon.archive import hidden, layout
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.errors import Corrupt, Transient
from staticwado_daemon.inbound.journal_reader import opened
from staticwado_daemon.inbound.receipt import OUTCOMES, STORED, Outcome
from staticwado_daemon.operate import network
from staticwado_daemon.operate.health import Health, judge
from staticwado_daemon.operate.network import NetworkReport
from staticwado_daemon.pipeline.report import REPORT, Report

State = Literal["ok", "busy", "degraded", "stopped", "unknown"]

REASONS = 5
"""How many reasons of each outcome are told, the most frequent first."""

_EXPLAINED: tuple[Outcome, ...] = ("rejected", "ignored")


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why files were rejected or ignored: how many of them, and one that is still in its place."""

    outcome: Outcome
    reason: str
    count: int
    example: str | None


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of a tree and of what is on its way to it.

    Attributes:
        running: whether a daemon is at work; None if there is one that hasn't said anything of late, say because it is
            just starting: then the rest is what the files say.
        state: all of this in one word: "stopped" and "unknown" where `running` isn't true, else "degraded" if anything
            is, else "busy" or "ok".
        backlog: sources without a receipt; after a daemon has ended, those that it knew of.
        waiting: those of the backlog that ended too early and wait for the rest.
        rate: sources per second that got their receipts, over the last minute.
        eta: seconds until the rest of the backlog is done at this rate; None if there is none, or no rate.
        published: sources whose content is in the tree.
        instances: visible now.
        studies: visible now.
        receipts: sources by outcome; every outcome is there.
        rejected: sources that could not be stored.
        published_at: when an instance was last published (Unix time); before a daemon's first one, when the list of
            studies was last written; None for an empty tree.
        idle: nothing is on its way, and every file of the tree is written.
        degraded: one sentence for each thing that isn't as it should be.
        folders: how each inbound folder is followed: "inotify", "polling", "unavailable" or at first "starting".
        reasons: the most frequent ones of what was rejected, then of what was ignored.
        conflicts: instances that came with several contents, of which one is shown.
        rejected_instances: instances of which something was rejected by `staticwado reject`.
        deleted_instances: instances of which something was deleted by `staticwado delete` and isn't purged as yet.
        dicom: what `staticwado scp` says of itself; None while it isn't running.
    """

    running: bool | None
    state: State
    backlog: int
    waiting: int = 0
    rate: float = 0.0
    eta: int | None = None
    published: int
    instances: int
    studies: int
    receipts: dict[str, int]
    rejected: int
    published_at: float | None = None
    idle: bool
    degraded: tuple[str, ...] = ()
    folders: dict[str, str] = {}
    reasons: tuple[Why, ...] = ()
    conflicts: int = 0
    rejected_instances: int = 0
    deleted_instances: int = 0
    dicom: NetworkReport | None = None


def read(root: Path, state_dir: Path, journal: Path, before: Status | None = None) -> Status:
    """Say how far the tree at `root` is. A journal that can't be read is a sentence of `degraded`.

    Args:
        root: of the tree.
        state_dir: where the daemon's report stands.
        journal: of receipts.
        before: an earlier answer. Its reasons are told again for as long as nothing was rejected or ignored since.

    Raises:
        PermissionError: if a report or the lock may not be read.
        Corrupt: if the list of studies is damaged.
    """
    found = judge(state_dir / REPORT, root)
    now = _as_told(found.report, root) if found.running and found.report else _as_it_stands(root, found, journal)
    return _with_reasons(msgspec.structs.replace(now, dicom=network.read(state_dir)), journal, before)


def studies_index(root: Path) -> StudiesIndex:
    """The list of all studies as it is published; empty if there is none.

    Raises:
        Corrupt: if it is damaged.
    """
    path = root / layout.STUDIES_INDEX
    try:
        return StudiesIndex.from_file(path.read_bytes())
    except FileNotFoundError:
        return StudiesIndex()
    except Corrupt as why:
        raise Corrupt(f"{path} is damaged ({why}): `staticwado index` makes it anew") from why


def _as_told(told: Report, root: Path) -> Status:
    """What the daemon says."""
    to_do = told.backlog - told.waiting
    return Status(
        running=True,
        state="degraded" if told.degraded else "ok" if told.idle else "busy",
        backlog=told.backlog,
        waiting=told.waiting,
        rate=told.rate,
        eta=math.ceil(to_do / told.rate) if to_do > 0 and told.rate > 0 else None,
        published=told.published,
        instances=told.instances,
        studies=told.studies,
        receipts={outcome: told.receipts.get(outcome, 0) for outcome in OUTCOMES},
        rejected=told.rejected,
        published_at=told.published_at or _listed_at(root, told.studies),
        idle=told.idle,
        degraded=told.degraded,
        folders=told.folders,
        conflicts=told.hidden.conflicts,
        rejected_instances=told.hidden.rejected,
        deleted_instances=told.hidden.deleted,
    )


def _as_it_stands(root: Path, found: Health, journal: Path) -> Status:
    """What the files say, and of what can't be known from them what the latest daemon said."""
    told, index = found.report, studies_index(root)
    aside = hidden.total(hidden.read(root).values())
    backlog = told.backlog if told else 0
    counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    degraded: tuple[str, ...] = ()
    try:
        with opened(journal) as reader:
            counts |= reader.counts() if reader else {}
    except (Transient, Corrupt) as why:
        degraded = (_unreadable(why),)
    return Status(
        running=found.running,
        state="unknown" if found.running is None else "stopped",
        backlog=backlog,
        waiting=told.waiting if told else 0,
        published=sum(counts[outcome] for outcome in STORED),
        instances=index.instances,
        studies=len(index),
        receipts={str(outcome): count for outcome, count in counts.items()},
        rejected=counts["rejected"],
        published_at=(told and told.published_at) or _listed_at(root, len(index)),
        idle=found.holder is None and not backlog and not _dirty(root),
        degraded=degraded,
        conflicts=aside.conflicts,
        rejected_instances=aside.rejected,
        deleted_instances=aside.deleted,
    )


def _with_reasons(now: Status, journal: Path, before: Status | None) -> Status:
    if before and all(before.receipts[each] == now.receipts[each] for each in _EXPLAINED):
        return msgspec.structs.replace(now, reasons=before.reasons)
    try:
        return msgspec.structs.replace(now, reasons=_reasons(journal))
    except (Transient, Corrupt) as why:
        sentence = _unreadable(why)
        if sentence in now.degraded:
            return now
        state: State = "degraded" if now.running else now.state
        return msgspec.structs.replace(now, state=state, degraded=(*now.degraded, sentence))


def _reasons(journal: Path) -> tuple[Why, ...]:
    with opened(journal) as reader:
        return tuple(
            Why(
                outcome=outcome,
                reason=each.text or "no reason given",
                count=each.count,
                example=str(each.example) if each.example else None,
            )
            for outcome in _EXPLAINED
            for each in (reader.reasons(outcome, REASONS) if reader else ())
        )


def _unreadable(why: Exception) -> str:
    return f"the journal can't be read, so that receipts and reasons are missing here: {why}"


def _listed_at(root: Path, studies: int) -> float | None:
    """When the list of studies was written, if there are any."""
    try:
        return (root / layout.STUDIES_INDEX).stat().st_mtime if studies else None
    except FileNotFoundError:
        return None


def _dirty(root: Path) -> bool:
    marks = root / layout.DIRTY
    return marks.is_dir() and any(marks.iterdir())
