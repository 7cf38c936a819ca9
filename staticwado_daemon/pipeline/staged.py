"""The values that travel along the line, from a worker to the publisher and back."""

from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.uids import Identity
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


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a batch, once it is on the disk.

    Attributes:
        number: the batch's.
        receipts: one for each of its instances, in its order; None for those that could not be stored and are to be
            read again.
        superseded: identities and contents that are published no more.
        failure: why some could not be stored.
    """

    number: int
    receipts: tuple[Receipt | None, ...]
    superseded: tuple[tuple[Identity, str], ...] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Flushed:
    """Everything that was known when a flush was asked for is written, or `failure` says why not.

    Attributes:
        number: the flush's.
    """

    number: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far publishing is.

    Attributes:
        instances: published and listed.
        studies: listed.
        dirty: studies of which some file is yet to be written.
        failure: what the disk says that it refuses; None while it doesn't.
        taken: how many messages the publisher has obeyed so far.
    """

    instances: int
    studies: int
    dirty: int
    failure: str | None = None
    taken: int = 0
