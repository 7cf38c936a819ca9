"""Whether instances are safe here: recorded, whole on the disk, and such that their originals can be given back.

It reads, and writes nothing, so a daemon may be at work. What is being changed may look damaged for a moment: whoever
gets such an answer looks again.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import DISK
from staticwado_daemon.archive.merge import UNKNOWN, Versions, merge
from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom import attributes
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.inbound import drop as drop_folder
from staticwado_daemon.inbound import names
from staticwado_daemon.operate import health
from staticwado_daemon.operate.verify import blobs, recorded
from staticwado_daemon.operate.verify.reading import Reader
from staticwado_daemon.operate.verify.recorded import Recorded
from staticwado_daemon.operate.verify.sample import EVERYTHING

_SOP_CLASS_UID = "00080016"

Fault = Literal["unknown", "removed", "class", "damaged", "no_original"]
"""Why an instance isn't safe: no record of it can be read; all of it was deleted or rejected; it is of another SOP
class; a file of it is missing or isn't what was written; what came in can't be given back byte for byte."""


Wanted = tuple[Identity, str]
"""An instance, and the SOP Class UID that it is said to have."""


def look(root: Path, study: UID, wanted: Iterable[Wanted]) -> dict[Wanted, Fault | None]:
    """What keeps instances of a study from being safe, None of each that is.

    Every version that isn't deleted or rejected has to be whole: which of them is meant nobody can know. Each of its
    files is read and compared with its digest.

    Args:
        root: of the tree.
        study: whose instances they are.
        wanted: the instances.

    Raises:
        OSError: if something can't be read now, or has just been replaced.
    """
    reader = Reader(root)
    told = recorded.read(reader, study)
    known = merge(told.held)
    return {each: _fault(reader, told, known.get(each[0], UNKNOWN), each[1]) for each in wanted}


def _fault(reader: Reader, told: Recorded, versions: Versions, sop_class: str) -> Fault | None:
    if not versions.visible:
        return "removed" if versions.covered else "unknown"
    if not any(_sop_class(each) == sop_class for each in versions.visible):
        return "class"
    if not all(_gives_original(reader.root, told, each) for each in versions.visible):
        return "no_original"
    shown = [each for each in blobs.placed(versions) if not each.covered]
    # Of instances that share bulk data each must be found out: so each is looked at by itself.
    damage: Iterator[object] = blobs.Blobs(reader, EVERYTHING, shown).check()
    return "damaged" if next(damage, None) else None


def _sop_class(version: Record) -> str:
    return attributes.first_text(version.source_dataset(), _SOP_CLASS_UID)


def _gives_original(root: Path, told: Recorded, version: Record) -> bool:
    """Whether the remainder is in a pack, as its digest says, or the source was kept whole."""
    if version.is_exact and version.remainder[0] in told.remainders:
        return True
    return (root / layout.original(version.content, version.source)).exists()


def make_durable(root: Path) -> None:
    """Have everything on the disk that was seen in the tree so far: visible is sooner than durable.

    Raises:
        OSError: if that isn't possible.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        DISK.syncfs(descriptor)
    finally:
        os.close(descriptor)


def is_under_way(root: Path, drop: Path, report: Path) -> bool:
    """Whether something may be on its way into the tree.

    It may where the drop folder isn't empty, where the daemon has work, and where no daemon is there to ask.

    Args:
        root: of the tree.
        drop: the drop folder.
        report: the file in which the daemon says how it is.
    """
    if _holds_files(drop):
        return True
    how = health.look(report, root)
    if how.status == "down" or how.report is None:
        return True
    # What ended too early and waits for the rest may do so for good.
    return how.report.backlog > how.report.waiting


def _holds_files(drop: Path) -> bool:
    """Whether the drop folder holds a file that was handed over and isn't taken as yet."""
    for place, directories, files in os.walk(drop):
        if any(names.reason_to_skip(each) is None for each in files):
            return True
        aside = {drop_folder.REJECTED} if Path(place) == drop else set()
        directories[:] = [each for each in directories if each not in aside and not names.skip_directory(each)]
    return False
