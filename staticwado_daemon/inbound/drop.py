"""The drop folder: files that were handed over for good, by C-STORE, STOW-RS or a user.

It is an inbound folder that is emptied: what the archive holds is deleted, everything else is moved to `rejected/` with
the reason beside it. Both happen only after the receipt is in the journal. Receivers write below `.part/`, make the
file durable, and rename it into the drop folder.
"""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

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
    for directory in (drop / PART, drop / REJECTED):
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
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


def _set_aside(drop: Path, receipt: Receipt, stamp: Stamp) -> bool:
    try:
        if Stamp.of(os.lstat(receipt.path)) != stamp:
            return False
        target = _free_name(drop / REJECTED / receipt.path.relative_to(drop))
        target.parent.mkdir(parents=True, exist_ok=True)
        # The reason comes first: a reason without its file is harmless, a file without its reason is a riddle.
        _write(target.with_name(target.name + REASON_SUFFIX), _reason(drop, receipt))
        receipt.path.rename(target)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise Transient(f"a rejected file can't be moved aside: {error.strerror}") from error
    return True


def _free_name(wanted: Path) -> Path:
    """Find a name that is free, the wanted one if possible, with room for the reason's suffix."""
    name = os.fsencode(wanted.name)
    if len(name) > _MAXIMUM_NAME:
        digest = hashlib.sha256(name).hexdigest()[:16].encode()
        name = name[: _MAXIMUM_NAME - len(digest) - 1] + b"-" + digest
    target = wanted.with_name(os.fsdecode(name))
    number = 1
    while os.path.lexists(target):
        number += 1
        target = target.with_name(f"{os.fsdecode(name)}.{number}")
    return target


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


def _write(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all."""
    temporary = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
