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
        self.versions = merge(self._read())

    def _read(self) -> list[Held]:
        found: list[Held] = []
        seen: set[str] = set()
        gone = True
        while gone:
            gone = False
            for path in holdings.record_files(self.root, self.study):
                if path in seen:
                    continue
                seen.add(path)
                try:
                    held = list(record.from_file((self.root / path).read_bytes()))
                except FileNotFoundError:
                    gone = True  # it was merged into another one, which may have come since they were listed
                except (Corrupt, OSError) as why:
                    self.unreadable.append(f"{path}: {why}")
                else:
                    found.extend(held)
                    self._files |= {_key(each): path for each in held if isinstance(each, Record)}
        return found

    def record_file(self, version: Record) -> str | None:
        """The file that a record is in."""
        return self._files.get(_key(version))


def _key(version: Record) -> tuple[Identity, str, int]:
    return version.identity, version.content, version.revision
