"""The drop folder: files that were handed over for good, by C-STORE, STOW-RS or a user.

It is an inbound folder that is emptied: what the archive holds is deleted, everything else is moved to `rejected/` with
the reason beside it. Both happen only after the receipt is in the journal. Receivers write below `.part/`, make the
file durable, and rename it into the drop folder.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from staticwado_daemon.archive import durably
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound.folder import InboundDir
from staticwado_daemon.inbound.receipt import STORED, Receipt
from staticwado_daemon.inbound.source import Source, Stamp, remove

PART = ".part"  # hidden, so that no inbound folder ever looks into it
REJECTED = "rejected"
REASON_SUFFIX = ".reason.json"

_MAXIMUM_NAME = 255 - len(REASON_SUFFIX) - len(".12345")  # bytes


def prepare(drop: Path) -> InboundDir:
    """Create the drop folder with its two sub-directories, and describe it as an inbound folder.

    Raises:
        OSError: if that isn't possible.
    """
    is_new = not drop.is_dir()
    for directory in (drop / PART, drop / REJECTED):
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    if is_new:  # what becomes durable in it would be lost with it
        durably.sync(drop.parent)
    return InboundDir(drop, "delete", frozenset({drop / REJECTED}), sets_aside=True)


def clear(drop: Path, receipt: Receipt) -> bool:
    """Take a file with its receipt out of the drop folder; say whether it is gone from there.

    A file that has changed since is a new one and stays.

    Raises:
        Transient: if it can't be removed or moved now.
    """
    if receipt.stamp is None:
        return False
    if receipt.outcome in STORED:
        return remove(Source(receipt.path, receipt.stamp))
    return _set_aside(drop.resolve(), receipt, receipt.stamp)


def set_aside(drop: Path, file: Path, receipt: Receipt) -> Path:
    """Move a file of the drop folder's file system to where its receipt, which isn't for "stored", says it was refused.

    Args:
        drop: the drop folder, a real path.
        file: where it is now.
        receipt: its path is where it is, or would have been, in the drop folder.

    Returns:
        where it is now, with the reason beside.

    Raises:
        OSError: if it can't be moved now.
        Transient: if somebody has put a link in the way.
    """
    target = _free_name(_room(drop, receipt.path))
    # The reason comes first: a reason without its file is harmless, a file without its reason is a riddle.
    durably.write(_reason_beside(target), _reason(drop, receipt))
    file.rename(target)
    return target


def bring_back(drop: Path, receipt: Receipt) -> Path | None:
    """Move a file that was set aside back into the drop folder, so that it is taken again; on return it is durable.

    The reason beside it goes; its receipt, which is history, is for the caller to withdraw.

    Returns:
        where the file is now: where the receipt says, or at a free name beside that if another file has come there.
        None if it is no longer among the rejected, or no longer what it was.

    Raises:
        Transient: if it can't be moved now.
    """
    drop = drop.resolve()
    try:
        kept = find_rejected(drop, receipt)
        if kept is None:
            return None
        target = _free_name(receipt.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        kept.rename(target)
        for directory in (target.parent, kept.parent):
            durably.sync(directory)
        _reason_beside(kept).unlink(missing_ok=True)
    except OSError as error:
        raise Transient(f"a rejected file can't be brought back: {error.strerror}") from error
    return target


def find_rejected(drop: Path, receipt: Receipt) -> Path | None:
    """Find what was set aside with this receipt; several files of one name may have been."""
    if receipt.stamp is None or not receipt.path.is_relative_to(drop):
        return None
    for place in (receipt.path.relative_to(drop), receipt.path.name):
        first = _short_name(drop / REJECTED / place)
        for path in (first, *_others(first)):
            if _is_like(path, receipt.stamp):
                return path
    return None


def _others(first: Path) -> Iterator[Path]:
    """What was set aside when the first name was taken."""
    try:
        names = [entry.name for entry in os.scandir(first.parent) if entry.name.startswith(f"{first.name}.")]
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (first.with_name(name) for name in sorted(names) if not name.endswith(REASON_SUFFIX))


def _is_like(path: Path, stamp: Stamp) -> bool:
    try:
        return Stamp.of(path.lstat()).is_like(stamp)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _set_aside(drop: Path, receipt: Receipt, stamp: Stamp) -> bool:
    try:
        if not stamp.is_untouched(receipt.path.lstat()):
            return False
        set_aside(drop, receipt.path, receipt)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise Transient(f"a rejected file can't be moved aside: {error.strerror}") from error
    return True


def _room(drop: Path, path: Path) -> Path:
    """Where a file of the drop folder goes when it is rejected; its directory is there on return."""
    target = drop / REJECTED / path.relative_to(drop)
    if os.path.realpath(target.parent) != str(target.parent):
        # Whoever hands files over may have put it there, for the daemon to write where they can't.
        raise Transient(f"{drop / REJECTED} leads elsewhere by a symbolic link; remove that")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        # A rejected file has the name of this one's directory.
        return drop / REJECTED / path.name
    return target


def _free_name(wanted: Path) -> Path:
    """Find a name that is free, the wanted one if possible, with room for the reason's suffix."""
    first = target = _short_name(wanted)
    number = 1
    while os.path.lexists(target):
        number += 1
        target = first.with_name(f"{first.name}.{number}")
    return target


def _short_name(wanted: Path) -> Path:
    name = os.fsencode(wanted.name)
    if len(name) > _MAXIMUM_NAME:
        digest = hashlib.sha256(name).hexdigest()[:16].encode()
        name = name[: _MAXIMUM_NAME - len(digest) - 1] + b"-" + digest
    return wanted.with_name(os.fsdecode(name))


def _reason_beside(path: Path) -> Path:
    return path.with_name(path.name + REASON_SUFFIX)


def _reason(drop: Path, receipt: Receipt) -> bytes:
    at = datetime.now(UTC) if receipt.at is None else datetime.fromtimestamp(receipt.at, UTC)
    identity = receipt.identity
    reason = {
        "path": os.fsencode(receipt.path.relative_to(drop)).decode("utf-8", "backslashreplace"),
        "outcome": receipt.outcome,
        "reason": receipt.reason,
        "studyInstanceUID": identity.study if identity else None,
        "seriesInstanceUID": identity.series if identity else None,
        "sopInstanceUID": identity.instance if identity else None,
        "sha256": receipt.source,
        "at": at.isoformat(timespec="seconds"),
    }
    return json.dumps(reason, indent=2, ensure_ascii=False).encode() + b"\n"
