"""Loaded by every Python of a daemon that runs with STATICWADO_FAULTS: faults of ours that real files can't provoke.

A file that contains one of the words below ends its worker, or meets an error whose text, cause and local variables
quote the file. What would go to the journal of systemd goes to stderr, fields and all.
"""

import os
import sys
import types
from typing import Any, NoReturn

DEADLY, FAULTY = b"ends-its-worker", b"meets-a-fault"


def _read(data: bytes, *others: Any) -> Any:
    if DEADLY in data:
        os._exit(9)
    if FAULTY in data:
        _fail(bytes(data[:4096]))
    return _real(data, *others)


def _fail(patient: bytes) -> NoReturn:
    try:
        {}[patient]
    except KeyError as error:
        raise ValueError(f"can't go on with {patient!r}") from error


def _sendv(*fields: str) -> None:
    sys.stderr.write(" ".join(fields) + "\n")
    sys.stderr.flush()


if os.environ.get("STATICWADO_FAULTS"):
    from staticwado_daemon.dicom import part10

    _real, part10.read = part10.read, _read
    _journal: Any = types.ModuleType("systemd.journal")
    _journal.sendv = _sendv
    sys.modules["systemd.journal"] = _journal
