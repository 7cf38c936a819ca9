"""What became of one input file: the only answer the line ever gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.inbound.source import Stamp

Outcome = Literal["published", "duplicate", "superseded", "rejected", "ignored"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

# Outcomes after which the archive holds the file's content, so that the file itself is no longer needed.
STORED: frozenset[Outcome] = frozenset({"published", "duplicate", "superseded"})


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome for one file in one state.

    `reason` is for people and says neither patient nor sender. `content` and `source` are SHA-256 in hex: of the
    data set without group 0002, and of the file.
    """

    path: Path
    stamp: Stamp | None
    outcome: Outcome
    reason: str | None = None
    identity: Identity | None = None
    content: str | None = None
    source: str | None = None
    at: float | None = None  # Unix time of the journal entry: for people, no decision rests on it
