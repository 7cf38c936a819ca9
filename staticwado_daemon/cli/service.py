"""Being a service: what systemd is told of the daemon while it runs (sd_notify(3)).

Signs of life are sent from here alone, and so by the work loop alone: a daemon whose loop hangs is replaced, however
well its threads may feel.
"""

import importlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.pipeline.report import Report

Told = Callable[["Report"], None]

_STATUS_SECONDS = 2.0
_PATIENCE_SECONDS = 20.0
_STATUS_LENGTH = 500

_log = structlog.get_logger(__name__)


def told() -> Told:
    """Whom a daemon of this process is to tell: systemd, if it started the process as a service that reports.

    Raises:
        ConfigError: if systemd waits for word, and there is no way to send any.
    """
    return Notifier(sender(), _watchdog_seconds()) if os.environ.get("NOTIFY_SOCKET") else _nobody


def sender() -> Callable[[str], object]:
    """What takes assignments for systemd in the format of sd_notify(3), one a line; nothing where it doesn't listen.

    Raises:
        ConfigError: if systemd waits for word, and there is no way to send any.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        return len
    try:
        daemon = importlib.import_module("systemd.daemon")  # an optional extra
    except ImportError:
        raise ConfigError(
            "systemd waits for word from this service (Type=notify), which takes the extra `systemd`: "
            "pip install 'staticwado-daemon[systemd]', or set Type=exec and WatchdogSec=0"
        ) from None
    notify: Callable[[str], object] = daemon.notify
    return notify


def _nobody(_report: "Report") -> None:
    """Tell nobody."""


class Notifier:
    """Tells systemd by each report when the daemon is ready, how far it is, that it lives, and that it stops.

    Args:
        send: takes assignments in the format of sd_notify(3), one a line.
        watchdog: seconds within which systemd wants a sign of life; None if it doesn't.
        clock: monotonic seconds.
    """

    def __init__(
        self, send: Callable[[str], object], watchdog: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._interval = watchdog / 2 if watchdog else None
        self._clock = clock
        self._began = clock()
        self._lived_at = self._began
        self._said, self._said_at = "", self._began - _STATUS_SECONDS
        self._ready = False
        self._unheard = False

    def __call__(self, report: "Report") -> None:
        """Say what is new since the last report."""
        now = self._clock()
        words = []
        if not report.running:
            words.append("STOPPING=1")
        elif not self._ready and (_is_up(report) or now - self._began > _PATIENCE_SECONDS):
            # A folder whose server hangs is one folder's trouble: the others are watched, and the status says it.
            self._ready = True
            words.append("READY=1")
        if self._interval and now - self._lived_at >= self._interval:
            self._lived_at = now
            words.append("WATCHDOG=1")
        sentence = status(report)
        if sentence != self._said and (words or now - self._said_at >= _STATUS_SECONDS):
            self._said, self._said_at = sentence, now
            words.append(f"STATUS={sentence}")
        if words:
            self._tell("\n".join(words))

    def _tell(self, words: str) -> None:
        try:
            self._send(words)
        except OSError as error:
            if not self._unheard:
                _log.warning("systemd_not_told", reason=error.strerror)
            self._unheard = True
        else:
            self._unheard = False


def status(report: "Report") -> str:
    """The line that `systemctl status` shows: counts, and what isn't as it should be."""
    counts = [f"{report.published:,} published", f"{report.rejected:,} rejected", f"{report.backlog:,} waiting"]
    sentence = "; ".join([", ".join(counts), *(f"degraded: {each}" for each in report.degraded)])
    line = sentence.encode("utf-8", "backslashreplace").decode().replace("\n", " ")
    return line if len(line) <= _STATUS_LENGTH else line[: _STATUS_LENGTH - 1] + "…"


def _is_up(report: "Report") -> bool:
    """Whether every inbound folder is watched, or it is known why not."""
    return "starting" not in report.folders.values()


def _watchdog_seconds() -> float | None:
    """Seconds of systemd's patience with this very process; None if it has no end."""
    patience, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not patience.isdecimal() or (process and process != str(os.getpid())):
        return None
    return int(patience) / 1e6 or None
