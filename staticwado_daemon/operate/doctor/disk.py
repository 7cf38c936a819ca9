"""The tree's file system: whether it is of a kind that keeps its promises, and how long it lasts."""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Rejected
from staticwado_daemon.inbound.journal import JournalReader
from staticwado_daemon.inbound.mounts import mount_of
from staticwado_daemon.operate.doctor.finding import Finding, attention, fine

_FULL = 0.8
_SOON_DAYS = 30.0
_RECENT_DAYS = 28.0
_DAY = 86400.0
_SAMPLED_STUDIES = 20
_SAMPLED_FILES = 20_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What an instance costs on average: bytes as the disk counts them, and files and directories."""

    bytes: float
    inodes: float


def file_system(root: Path) -> Finding:
    """Whether the root's file system is local and does what the writer asks of it: rename, exchange, sync."""
    mount = mount_of(str(root.resolve()))
    if mount.remote:
        return attention(
            f"{root} is on {mount.kind}, where a rename needn't be one step nor a sync a promise: use a local disk"
        )
    private = root / layout.PRIVATE
    if not private.is_dir():
        return attention(f"{root} has no tree yet: start the daemon, which makes it")
    if not os.access(private, os.W_OK):
        return fine(f"{mount.kind}, a local file system (not tried: that takes root or the tree's owner)")
    probe = Path(tempfile.mkdtemp(prefix="doctor-", dir=private))
    try:
        _try(Disk(), probe)
    except OSError as error:
        return attention(f"{mount.kind} on {root} refuses what the daemon needs: {error.strerror}; see dmesg")
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    return fine(f"{mount.kind}, a local file system: rename, exchange and sync work")


def _try(disk: Disk, probe: Path) -> None:
    for name in ("one", "other"):
        disk.write(probe / f"{name}.part", [name.encode()])
        disk.rename(probe / f"{name}.part", probe / name)
    disk.exchange(probe / "one", probe / "other")
    descriptor = os.open(probe, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.syncfs(descriptor)
    finally:
        os.close(descriptor)


def room(root: Path, journal: Path, minimum_bytes: int, minimum_inodes: int) -> Finding:
    """How much of the disk is left, and for how many days at the rate of the last four weeks.

    Args:
        root: of the tree.
        journal: of its receipts; there may be none.
        minimum_bytes: below which intake stops.
        minimum_inodes: likewise.
    """
    state = os.statvfs(root)
    free, total = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
    left = [("bytes", free, total, minimum_bytes)]
    if state.f_files:  # some file systems make inodes as they need them
        left.append(("inodes", state.f_favail, state.f_files, minimum_inodes))
    cost, daily = cost_of_an_instance(root), instances_a_day(journal, time.time())
    days = min(_days(free - minimum_bytes, cost.bytes, daily), _days(left[-1][1] - left[-1][3], cost.inodes, daily))
    facts = f"{free / 1e9:,.1f} GB ({free / total:.0%})"
    facts += f" and {state.f_favail:,} inodes ({state.f_favail / state.f_files:.0%}) free" if state.f_files else " free"
    forecast = ""
    if daily and cost.bytes:
        forecast = f"; {daily:,.0f} instances a day at {cost.bytes / 1e3:,.0f} kB and {cost.inodes:.1f} files each"
        forecast += f" fill it in {days:,.0f} days" if days < 10_000 else " fill it in some decades"
    for unit, here, of_all, minimum in left:
        if here < minimum:
            return attention(f"fewer {unit} are free than intake needs: make room, or enlarge the disk; {facts}")
        if here / of_all < 1 - _FULL:
            return attention(
                f"{1 - here / of_all:.0%} of the {unit} on the disk of {root} are used: enlarge it or make room; "
                f"{facts}{forecast}"
            )
    if days < _SOON_DAYS:
        return attention(f"the disk of {root} is full soon, so enlarge it or make room: {facts}{forecast}")
    return fine(facts + forecast)


def _days(left: float, cost: float, daily: float) -> float:
    return max(left, 0.0) / (cost * daily) if cost and daily else float("inf")


def instances_a_day(journal: Path, now: float) -> float:
    """How many files a day were published of late; 0 if there is no telling.

    Args:
        journal: of the receipts.
        now: Unix time.
    """
    if not journal.exists():
        return 0.0
    with closing(JournalReader(journal)) as reader:
        if not reader.begun:
            return 0.0
        count, since = reader.published_since(now - _RECENT_DAYS * _DAY)
    return count / max((now - since) / _DAY, 1.0)


def cost_of_an_instance(root: Path) -> Cost:
    """The average of some studies, records and restore data included; zeros while there is none."""
    studies = [each.name for each in os.scandir(root / "studies") if each.is_dir(follow_symlinks=False)]
    instances = inodes = used = 0
    for name in random.Random(0).sample(studies, min(_SAMPLED_STUDIES, len(studies))):
        try:
            study = UID(name)
        except Rejected:
            continue
        for directory in map(str, _directories(root, study)):
            for entry in _entries(directory):
                inodes += 1
                used += entry.stat(follow_symlinks=False).st_blocks * 512
                instances += entry.is_dir(follow_symlinks=False) and Path(entry.path).parent.name == "instances"
        if inodes > _SAMPLED_FILES:
            break
    return Cost(used / instances, inodes / instances) if instances else Cost(0.0, 0.0)


def _directories(root: Path, study: UID) -> Iterator[Path]:
    for place in (layout.study_dir, layout.records_dir, layout.pending_dir, layout.restore_dir):
        if (directory := root / place(study)).is_dir():
            yield directory


def _entries(directory: str) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)
