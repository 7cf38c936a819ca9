"""Tombstones: what says of one content of an instance that it isn't to be shown, or is again; immutable as records.

A tombstone stands among the records of its study, one JSON object on a line of its own:

    {"format":2,"tombstone":"delete","number":1,"at":"2026-03-01T10:15:00Z","by":"anna","reason":"wrong patient",
     "study":…,"series":…,"instance":…,"content":…}

Of several over the same content the one with the highest number counts, a Lamport counter; its name decides where
nodes that didn't know of each other gave the same. So tombstones merge in any order, as records do. `at` is for people,
and for how long deleted files are kept; no clock has a say in what is shown. A program that knows records alone refuses
the format, rather than to show again what was deleted.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

import orjson

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Rejected

Action = Literal["delete", "reject", "undo"]

FORMAT = 2
BEGINNING = b'{"format":2,"tombstone":'
"""By which a tombstone's line is told from a record's."""

DONE: Final[Mapping[Action, str]] = {"delete": "deleted", "reject": "rejected", "undo": "brought back"}
"""What is said of a content once an action was done to it."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A decision about one content of an instance.

    Attributes:
        identity: Study, Series and SOP Instance UID.
        content: SHA-256 as in the record (`archive.record`).
        action: "delete" and "reject" cover the content: it is shown no more, and doesn't come back by being sent again.
            What is deleted is gone for good after a while. "undo" uncovers it.
        number: a Lamport counter among the tombstones over this content, from 1.
        at: when, ISO 8601 in UTC.
        by: who.
        reason: why, as they gave it; may be empty.
    """

    identity: Identity
    content: str
    action: Action
    number: int
    at: str
    by: str
    reason: str

    @property
    def covers(self) -> bool:
        """Whether the content isn't to be shown."""
        return self.action != "undo"

    def to_line(self) -> bytes:
        """The tombstone's serialised bytes."""
        return orjson.dumps(
            {
                "format": FORMAT,
                "tombstone": self.action,
                "number": self.number,
                "at": self.at,
                "by": self.by,
                "reason": self.reason,
                "study": str(self.identity.study),
                "series": str(self.identity.series),
                "instance": str(self.identity.instance),
                "content": self.content,
            }
        )

    @property
    def name(self) -> str:
        """SHA-256 of the serialised bytes."""
        return hashlib.sha256(self.to_line()).hexdigest()

    @property
    def precedence(self) -> tuple[int, str]:
        """The order among the tombstones over one content; the highest counts."""
        return self.number, self.name

    def sentence(self) -> str:
        """What was done, when, by whom and why: `rejected on 2026-03-01 by anna: wrong patient`."""
        because = f": {self.reason}" if self.reason else ""
        return f"{DONE[self.action]} on {self.at[:10]} by {self.by}{because}"


def moment(at: datetime | None = None) -> str:
    """A time as tombstones have it, by default the present one; such texts sort as the times do."""
    return (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(line: bytes) -> Tombstone:
    """Read a tombstone back from its line.

    Raises:
        Corrupt: if it isn't one.
    """
    try:
        return _tombstone(orjson.loads(line))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, Rejected) as error:
        raise Corrupt(f"not a tombstone: {error}") from error


def _tombstone(body: dict[str, Any]) -> Tombstone:
    if body["tombstone"] not in get_args(Action):
        raise ValueError("an action that isn't known")
    texts = [body[each] for each in ("content", "at", "by", "reason")]
    if not isinstance(body["number"], int) or not all(isinstance(each, str) for each in texts):
        raise TypeError("values of another kind")
    content, at, by, reason = texts
    identity = Identity(UID(body["study"]), UID(body["series"]), UID(body["instance"]))
    return Tombstone(identity, content, body["tombstone"], body["number"], at, by, reason)
