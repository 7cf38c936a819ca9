"""Storage commitment transactions as they are kept: what others were promised an answer to, until they have had it.

One file for each stands below the state directory, made durable before the request is answered. Its name is a digest:
nothing that a peer sent becomes part of a path.
"""

import hashlib
from pathlib import Path

import msgspec

from staticwado_daemon.archive import durably, regular
from staticwado_daemon.errors import Corrupt, Transient

DIRECTORY = "commitments"
"""Below the state directory."""

MAXIMUM_OPEN = 1_000
MAXIMUM_OPEN_OF_PEER = 250
MAXIMUM_REFERENCES = 1_000_000
"""So many transactions are kept, so many of one AE title, and so many references in all of them together."""

_SUFFIX = ".json"


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """An instance that somebody refers to: SOP Class UID and SOP Instance UID."""

    sop_class: str
    instance: str


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """A reference that isn't committed to, and the Failure Reason (0008,1197)."""

    reference: Reference
    reason: int


class Transaction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One request for storage commitment.

    Attributes:
        peer: the AE title of who asked, and of who is to be told.
        uid: Transaction UID.
        at: when it was asked (Unix time).
        references: the instances, each once, in the order of the request.
        failures: those that aren't committed to; None while that isn't decided.
    """

    peer: str
    uid: str
    at: float
    references: tuple[Reference, ...]
    failures: tuple[Failure, ...] | None = None

    @property
    def name(self) -> str:
        """By which it is known here: a digest of who asked and of the Transaction UID."""
        return hashlib.sha256(f"{self.peer}\0{self.uid}".encode()).hexdigest()


class Transactions:
    """The transactions that aren't answered yet, in their directory.

    Args:
        state_dir: of the program; the directory is made below it.

    Raises:
        OSError: if that isn't possible.
    """

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / DIRECTORY
        self._prepare()
        durably.sweep(self._directory)

    def names(self) -> list[str]:
        """Those that are kept."""
        return sorted(path.stem for path in self._directory.glob(f"*{_SUFFIX}"))

    def read(self, name: str) -> Transaction:
        """One that is kept.

        Raises:
            Corrupt: if the file is none.
            OSError: if it can't be read now.
        """
        with regular.opened(self._path(name), follow=False) as file:
            try:
                return msgspec.json.decode(file.read(), type=Transaction)
            except msgspec.DecodeError as error:
                raise Corrupt(f"{DIRECTORY}/{name}{_SUFFIX} is no storage commitment request: {error}") from error

    def keep(self, transaction: Transaction) -> None:
        """Write one, in the place of what was known of it; on return it is durable.

        Raises:
            Transient: if that isn't possible now.
        """
        try:
            self._prepare()  # somebody may have removed it
            durably.write(self._path(transaction.name), msgspec.json.encode(transaction))
            durably.sync(self._directory)
        except OSError as error:
            raise Transient(f"a storage commitment request can't be kept: {error.strerror}") from error

    def forget(self, name: str) -> None:
        """Remove one that is answered; after a power cut it may be there again, and is answered once more.

        Raises:
            OSError: if that isn't possible.
        """
        self._path(name).unlink(missing_ok=True)

    def _prepare(self) -> None:
        """Let the directory be there, and be on the disk."""
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            durably.sync(self._directory.parent)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}"
