"""The audit log: who deleted, rejected, brought back, exported or sent what, and when.

One JSON object a line, appended to and never rewritten, at ROOT/.staticwado/audit.jsonl:

    {"at":"2026-03-01T10:15:00Z","by":"anna","action":"export","targets":["1.2.3"],
     "counts":{"instances":12},"reason":null}

Beside the one writer of the tree, others may append here, each with a lock for the one call: to export or to send is no
change of the tree, waits for nobody, and leaves its line all the same. Nothing is ever computed from this file.
"""

import fcntl
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec
import orjson
import structlog

from staticwado_daemon.archive import durably, layout, regular
from staticwado_daemon.archive.tombstone import moment

_log = structlog.get_logger(__name__)

PATH = f"{layout.PRIVATE}/audit.jsonl"
MODE = 0o640

_NEW = os.O_CREAT | os.O_EXCL
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


def user() -> str:
    """The name of the user this process works for: of the one behind sudo, if there is one."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    behind = os.environ.get("SUDO_USER") if uid == 0 else None
    return f"{behind} (sudo)" if behind else name


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log; it names neither patients nor files outside the tree.

    Attributes:
        action: what was done: "export", "send", "delete", "reject", "undo", "purge".
        targets: UIDs or `studies/S[/series/X[/instances/I]]`, as they were named.
        counts: of what it was done to: instances, bytes, failed.
        reason: that was given for it.
        by: who did it; the daemon says who asked for it.
        at: when, as ISO 8601 in UTC.
    """

    action: str
    targets: Sequence[str]
    counts: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None
    by: str = field(default_factory=user)
    at: str = field(default_factory=moment)


def append(root: Path, entry: Entry) -> None:
    """Add a line; it is on the disk when this returns.

    Raises:
        OSError: if it can't be written.
    """
    line = orjson.dumps(asdict(entry) | {"targets": list(entry.targets)}) + b"\n"
    descriptor = _open(root / PATH)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A line that a full disk cut short must not swallow this one.
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        rest = memoryview(line)
        while rest:  # more than once only where the disk gets full, and then the second time raises
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(root: Path) -> Iterator[Entry]:
    """The lines of the log, oldest first; nothing if there is no log. One that was cut short is passed over.

    Raises:
        OSError: if it can't be read, or isn't a regular file.
    """
    try:
        with regular.opened(root / PATH, follow=False) as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            entry = msgspec.json.decode(line, type=Entry)
            yield replace(entry, targets=tuple(entry.targets))
        except ValueError:
            _log.warning("audit_line_unreadable", line=number)


def _open(path: Path) -> int:
    """Open the log for appending; a new one belongs to whom its directory belongs to, or root's would be nobody's."""
    try:
        descriptor = os.open(path, _APPEND | _NEW, MODE)
    except FileExistsError:
        return os.open(path, _APPEND)
    owner, own = path.parent.stat(), os.fstat(descriptor)
    if (owner.st_uid, owner.st_gid) != (own.st_uid, own.st_gid) and os.geteuid() == 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    os.fchmod(descriptor, MODE)
    durably.sync(path.parent)
    return descriptor
