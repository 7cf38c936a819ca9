"""The tree's file system: whether it is of a kind that keeps its promises, and how long it lasts."""

import math
import os
import random
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import LACKS_EXCHANGE, Disk
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Rejected
from staticwado_daemon.inbound.journal_reader import opened
from staticwado_daemon.inbound.mounts import mount_of
from staticwado_daemon.operate.doctor.finding import Finding, attention, fine
from staticwado_daemon.units import size

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
        exchanges = _try(Disk(), probe)
    except OSError as error:
        return attention(f"{mount.kind} on {root} refuses what the daemon needs: {error.strerror}; see dmesg")
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    if not exchanges:
        return attention(
            f"{mount.kind} on {root} can't exchange two names in one step, so that an image that is replaced "
            "is missing for a moment: use ext4, XFS or btrfs"
        )
    return fine(f"{mount.kind}, a local file system: rename, exchange and sync work")


def _try(disk: Disk, probe: Path) -> bool:
    """Do there what the writer does; say whether exchange, the one call that there is a substitute for, works."""
    for name in ("one", "other"):
        disk.write(probe / f"{name}.part", [name.encode()])
        disk.rename(probe / f"{name}.part", probe / name)
    try:
        disk.exchange(probe / "one", probe / "other")
    except OSError as error:
        if error.errno not in LACKS_EXCHANGE:
            raise
        exchanges = False
    else:
        exchanges = True
    descriptor = os.open(probe, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.syncfs(descriptor)
    finally:
        os.close(descriptor)
    return exchanges


@dataclass(frozen=True, slots=True)
class _Stock:
    """What a disk has of bytes or of inodes: free, in all, and what intake leaves alone."""

    unit: str
    free: int
    total: int
    minimum: int

    @property
    def used(self) -> float:
        return 1 - self.free / self.total

    def days(self, each: float, daily: float) -> float:
        """For how many days it lasts at so much an instance, and so many instances a day."""
        return max(self.free - self.minimum, 0) / (each * daily) if each and daily else math.inf


def room(root: Path, journal: Path, minimum_bytes: int, minimum_inodes: int) -> Finding:
    """How much of the disk is left, and for how many days at the rate of the last four weeks.

    Args:
        root: of the tree.
        journal: of its receipts; there may be none.
        minimum_bytes: below which intake stops.
        minimum_inodes: likewise.
    """
    state = os.statvfs(root)
    space = _Stock("bytes", state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize, minimum_bytes)
    # Some file systems (btrfs, say) make inodes as they need them, and count none.
    inodes = _Stock("inodes", state.f_favail, state.f_files, minimum_inodes) if state.f_files else None
    cost, daily = cost_of_an_instance(root), instances_a_day(journal, time.time())
    days = min(space.days(cost.bytes, daily), inodes.days(cost.inodes, daily) if inodes else math.inf)
    facts = f"{size(space.free)} ({1 - space.used:.0%})"
    facts += f" and {inodes.free:,} inodes ({1 - inodes.used:.0%}) free" if inodes else " free"
    forecast = ""
    if daily and cost.bytes:
        forecast = f"; {daily:,.0f} instances a day at {size(cost.bytes)} and {cost.inodes:.1f} files each"
        forecast += f" fill it in {days:,.0f} days" if days < 3650 else " take more than ten years to fill it"
    for stock in (space, inodes) if inodes else (space,):
        if stock.free < stock.minimum:
            return attention(f"fewer {stock.unit} are free than intake needs: make room, or enlarge the disk; {facts}")
        if stock.used > _FULL:
            return attention(
                f"{stock.used:.0%} of the {stock.unit} on the disk of {root} are used: enlarge it or make room; "
                f"{facts}{forecast}"
            )
    if days < _SOON_DAYS:
        return attention(f"the disk of {root} is full soon, so enlarge it or make room: {facts}{forecast}")
    return fine(facts + forecast)


def instances_a_day(journal: Path, now: float) -> float:
    """How many files a day were published of late; 0 if there is no telling.

    Args:
        journal: of the receipts.
        now: Unix time.
    """
    with opened(journal) as reader:
        if reader is None:
            return 0.0
        count, since = reader.published_since(now - _RECENT_DAYS * _DAY)
    return count / max((now - since) / _DAY, 1.0)


def cost_of_an_instance(root: Path) -> Cost:
    """The average of some studies, records and restore data included; zeros while there is none."""
    studies = [each.name for each in _listed(f"{root}/studies") if each.is_dir(follow_symlinks=False)]
    instances = inodes = used = 0
    for name in random.Random(0).sample(studies, min(_SAMPLED_STUDIES, len(studies))):
        try:
            study = UID(name)
        except Rejected:
            continue
        for place in (layout.study_dir, layout.records_dir, layout.pending_dir, layout.restore_dir):
            for path, status in _below(f"{root}/{place(study)}"):
                inodes += 1
                used += status.st_blocks * 512
                instances += stat.S_ISDIR(status.st_mode) and PurePath(path).parent.name == "instances"
        if inodes > _SAMPLED_FILES:
            break
    return Cost(used / instances, inodes / instances) if instances else Cost(0.0, 0.0)


def _below(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """The paths of what is below a directory, at any depth, without what a daemon at work takes away meanwhile."""
    for entry in _listed(directory):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield entry.path, status
        if stat.S_ISDIR(status.st_mode):
            yield from _below(entry.path)


def _listed(directory: str) -> list["os.DirEntry[str]"]:
    """What is in a directory; nothing if there is none, or none any more."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
