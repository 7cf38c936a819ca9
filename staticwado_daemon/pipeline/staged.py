"""The values that travel along the line, from a worker to the publisher and back."""

from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive.record import Record
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source


@dataclass(frozen=True, slots=True)
class Staged:
    """One instance whose files stand complete in the staging directory, not yet part of the tree.

    Attributes:
        source: the file it was read from.
        directory: the instance directory to be, and nothing else: thrown-away directories cost the file system dearly.
        record: what will be recorded of it; the writer gives it its revision.
        bulk: bulk data files, relative to the study and to `bulk_directory` alike.
        remainder: what the source holds besides its frames (`archive.restore`).
        warnings: what was degraded while reading.
    """

    source: Source
    directory: Path
    record: Record
    bulk: tuple[str, ...]
    remainder: bytes
    warnings: tuple[str, ...]

    @property
    def bulk_directory(self) -> Path:
        """Where the bulk data files stand; missing if there are none."""
        return bulk_directory(self.directory)


def bulk_directory(directory: Path) -> Path:
    """The directory for the bulk data of the instance that is staged in `directory`."""
    return directory.with_name(f"{directory.name}-bulk")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A source could not be read to its end this time; trying again may help.

    Attributes:
        incomplete: the file ends before it says it does, so that it may still be arriving.
        refused: nothing is wrong with the file, but the disk doesn't take what is made of it.
    """

    reason: str
    incomplete: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A source that has left the line: with its receipt, or to be tried again."""

    source: Source
    result: Receipt | Unfinished
