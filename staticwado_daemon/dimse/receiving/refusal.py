"""Objects that aren't taken: said in the log, and where they came whole, kept with a receipt."""

import threading
import time
from pathlib import Path
from typing import Final

import structlog

from staticwado_daemon.dimse.receiving.audit import Fault
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound import refused

_SILENT_SECONDS: Final = 60.0
_MOST_REASONS: Final = 1000

_log = structlog.get_logger(__name__)


class Refusals:
    """What one process refuses. Thread-safe.

    Args:
        drop: the drop folder, a real path.
    """

    def __init__(self, drop: Path) -> None:
        self._drop = drop
        self._lock = threading.Lock()
        self._logged: dict[tuple[str, str], float] = {}
        self._unsaid: dict[tuple[str, str], int] = {}

    def keep(self, file: Path, name: str, fault: Fault, sender: str) -> None:
        """Keep an object that is of no use as it came, for somebody to look at.

        Args:
            file: that it was received into.
            name: what it would have been called.
            fault: what is wrong with it.
            sender: AE title.
        """
        self.log(fault.status, fault.reason, sender)
        try:
            refused.keep(self._drop, file, name, fault.reason, fault.identity)
        except (OSError, Transient) as error:
            # The sender has it and knows that we don't.
            _log.warning("refused_object_not_kept", reason=str(error))

    def log(self, status: int, reason: str, sender: str) -> None:
        """Say that an object was refused; what is the same as lately is only counted for a while."""
        key, now = (reason, sender), time.monotonic()
        with self._lock:
            if now - self._logged.get(key, now - _SILENT_SECONDS) < _SILENT_SECONDS:
                self._unsaid[key] = self._unsaid.get(key, 0) + 1
                return
            if len(self._logged) >= _MOST_REASONS:
                self._logged.clear()
                self._unsaid.clear()
            self._logged[key] = now
            count = 1 + self._unsaid.pop(key, 0)
        _log.warning("object_refused", status=f"{status:04X}", reason=reason, sender=sender, count=count)
