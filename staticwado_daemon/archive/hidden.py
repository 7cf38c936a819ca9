"""How much of a study is stored but not shown: a small note, so that nobody has to read records to count.

There is a note for each study that has anything of the kind, and none for the others. It follows from the records, and
is written with the study's other derived files.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.merge import Versions
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Rejected


class Hidden(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Instances of which something isn't shown.

    Attributes:
        conflicts: with several contents, of which one is published and none of the others deleted or rejected.
        rejected: with a content that was rejected.
        deleted: with a content that was deleted and isn't purged as yet.
        oldest: when the first of these was deleted, as tombstones have it; None if there are none.
    """

    conflicts: int = 0
    rejected: int = 0
    deleted: int = 0
    oldest: str | None = None

    @classmethod
    def of(cls, instances: Iterable[Versions]) -> "Hidden":
        """Count a study's instances."""
        conflicts = rejected = deleted = 0
        oldest: str | None = None
        for versions in instances:
            conflicts += len(versions.visible) > 1
            actions = {each.tombstone.action for each in versions.covered}
            rejected += "reject" in actions
            deleted += "delete" in actions
            for each in versions.covered:
                if each.tombstone.action == "delete":
                    oldest = min(oldest or each.tombstone.at, each.tombstone.at)
        return cls(conflicts=conflicts, rejected=rejected, deleted=deleted, oldest=oldest)

    def to_file(self) -> bytes:
        """The note."""
        return msgspec.json.encode(self)


NOTHING = Hidden()


def read(root: Path) -> dict[UID, Hidden]:
    """The notes of a tree; one that can't be read counts for nothing until its study is written again."""
    directory = root / layout.HIDDEN
    found = {}
    for path in directory.iterdir() if directory.is_dir() else ():
        try:
            found[UID(path.name)] = msgspec.json.decode(path.read_bytes(), type=Hidden)
        except (Rejected, OSError, msgspec.DecodeError):
            continue
    return found


def total(notes: Iterable[Hidden]) -> Hidden:
    """The sum of notes."""
    notes = tuple(notes)
    return Hidden(
        conflicts=sum(each.conflicts for each in notes),
        rejected=sum(each.rejected for each in notes),
        deleted=sum(each.deleted for each in notes),
        oldest=min((each.oldest for each in notes if each.oldest), default=None),
    )
