"""The records of one study as somebody finds them who looks on: nothing is written, and a daemon may be at work."""

from pathlib import Path

from staticwado_daemon.archive import holdings, record
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.record import Held, Record
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt


class StudyRecords:
    """The records of one study, each with the file that it is in.

    Args:
        root: of the tree.
        study: whose records are read.
    """

    def __init__(self, root: Path, study: UID) -> None:
        self.root = root
        self.study = study
        self.unreadable: list[str] = []
        self._files: dict[tuple[Identity, str, int], str] = {}
        records: list[Held] = []
        for path in holdings.record_files(root, study):
            try:
                found = list(record.from_file((root / path).read_bytes()))
            except FileNotFoundError:
                continue  # it was merged into another one, which is read as well, or was read before
            except (Corrupt, OSError) as why:
                self.unreadable.append(f"{path}: {why}")
            else:
                records.extend(found)
                self._files |= {_key(each): path for each in found if isinstance(each, Record)}
        self.versions = merge(records)

    def record_file(self, version: Record) -> str | None:
        """The file that a record is in."""
        return self._files.get(_key(version))


def _key(version: Record) -> tuple[Identity, str, int]:
    return version.identity, version.content, version.revision
