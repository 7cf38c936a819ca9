"""What the main process and the publisher say to each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.pipeline.staged import Staged


@dataclass(frozen=True, slots=True)
class Batch:
    """Staged instances to store; the answer is a `Committed` of the same number."""

    number: int
    staged: tuple[Staged, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove the staging directory of a task that has failed, in which nobody writes any more."""

    directory: Path


@dataclass(frozen=True, slots=True)
class Reindex:
    """Make the studies index anew from the studies' own files."""


@dataclass(frozen=True, slots=True)
class Flush:
    """Write everything now, the cold files included; the answer is a `Flushed` of the same number."""

    number: int


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


Message: TypeAlias = Batch | Sweep | Reindex | Flush | None
"""What the publisher is told; None ends it."""

Reply: TypeAlias = Committed | Flushed | Progress | StaticwadoError
"""What it answers; an error is its first and last word."""
