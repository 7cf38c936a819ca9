"""What the main process and the publisher say to each other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TypeAlias

from staticwado_daemon.archive.hidden import NOTHING, Hidden
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Action
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.pipeline.staged import Staged

TOGETHER_BYTES: Final = 64 << 20
"""How long the sources may be that are stored with one sync."""


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
    """Make the studies index and the query index anew from the studies' own files; a flush waits for both."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Make every file of these studies anew that is computed from records, and list them anew."""

    studies: tuple[UID, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete, reject or bring back what is in the tree; the answer is an `Obeyed` of the same number.

    Attributes:
        number: the order's.
        action: what is to be done.
        targets: to what.
        at: the moment that the tombstones will have.
        by: who wants it.
        reason: why; may be empty.
    """

    number: int
    action: Action
    targets: tuple[Target, ...]
    at: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tidy:
    """Put the tree's files in order; the answer is an `Obeyed` of the same number.

    Attributes:
        number: the order's.
        aside: what is to be moved out of the way unless it is of use, below the root.
        grouped: studies whose record files and packs are to be merged now.
    """

    number: int
    aside: tuple[str, ...] = ()
    grouped: tuple[UID, ...] = ()


@dataclass(frozen=True, slots=True)
class Purge:
    """Remove for good what was deleted before a moment (as tombstones have it)."""

    before: str


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
        failure: why the disk refused some; None if those without a receipt have changed since they were read.
    """

    number: int
    receipts: tuple[Receipt | None, ...]
    superseded: tuple[tuple[Identity, str], ...] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What became of a `Remove` or `Tidy`: it is on the disk; what is computed follows with the next flush.

    Attributes:
        number: the order's.
        done: to what it was done: instances as targets, studies as well, or paths below the root.
        failure: why something could not be done; it wasn't for these studies, and can be tried again.
    """

    number: int
    done: tuple[str, ...]
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
        hidden: instances of which something is stored but not shown.
    """

    instances: int
    studies: int
    dirty: int
    failure: str | None = None
    taken: int = 0
    hidden: Hidden = NOTHING


Message: TypeAlias = Batch | Sweep | Reindex | Renew | Remove | Tidy | Purge | Flush | None
"""What the publisher is told; None ends it."""

Reply: TypeAlias = Committed | Obeyed | Flushed | Progress | StaticwadoError
"""What it answers; an error is its first and last word."""


def received(connection: Connection, timeout: float | None) -> list[Message]:
    """What the publisher has been told, waited for up to `timeout` seconds; what came together shares its syncs.

    Raises:
        EOFError, ConnectionResetError: if the other side is gone.
    """
    messages: list[Message] = []
    if connection.poll(timeout):
        messages.append(connection.recv())
    while messages and connection.poll(0):
        messages.append(connection.recv())
    return messages


def together(messages: Iterable[Message]) -> Iterator[tuple[Batch, ...]]:
    """The batches among messages, in their order, as many at once as are to be stored with one sync."""
    found: list[Batch] = []
    size = 0
    for batch in (each for each in messages if isinstance(each, Batch)):
        length = sum(staged.source.stamp.size for staged in batch.staged)
        if found and size + length > TOGETHER_BYTES:
            yield tuple(found)
            found, size = [], 0
        found.append(batch)
        size += length
    if found:
        yield tuple(found)
