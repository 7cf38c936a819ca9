"""Logging, configured once per process: structured events on stderr, never anything about a patient.

On a terminal the lines are for people, under systemd they are journal entries with fields, anywhere else one JSON
object each. Records of foreign libraries (pydicom, pynetdicom, watchdog, boto3, uvicorn) take the same way, but their
text is somebody else's: pydicom quotes attribute values in warnings, a web server logs the patient name somebody
searched for. So by default a foreign record says where it comes from and how grave it is, and keeps its text to itself;
so does an exception that isn't ours. `-v` shows everything, and is meant for test data.
"""

import importlib
import json
import logging
import os
import re
import select
import sys
import threading
import traceback
import warnings
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from staticwado_daemon.errors import StaticwadoError

Level = Literal["debug", "info", "warning"]
Style = Literal["auto", "console", "json", "journal"]

_OURS = "staticwado_daemon"
_SPEAKING = ("boto3", "botocore", "s3transfer", "urllib3", "uvicorn.error")
"""Libraries that know UIDs and hosts only: their words may be read."""

_QUIET = {
    "py.warnings": logging.CRITICAL,  # pydicom warns about every odd value, by quoting it
    "pydicom": logging.ERROR,  # the same as log records; what matters comes back as an exception
    "pynetdicom": logging.CRITICAL,  # a line for each thing that a peer gets wrong; ours says what became of it
    "uvicorn.access": logging.CRITICAL,  # a request line holds what was searched for; access logs are nginx's
}
_PATIENCE_MILLISECONDS = 500
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}  # syslog's, as journald wants them


def configure(level: Level = "info", style: Style = "auto") -> None:
    """Send this process's log to stderr; a later call replaces an earlier one.

    Plain arguments, so that `functools.partial(configure, level, style)` can travel to a worker process.

    Args:
        level: the least important level of our own events; "debug" also lets foreign records and exceptions speak.
        style: "auto" is "journal" when systemd-journald reads stderr, "console" on a terminal, otherwise "json".
    """
    outspoken = level == "debug"
    chosen = _style() if style == "auto" else style
    handler = _JournalHandler() if chosen == "journal" else _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, *([] if outspoken else [_withhold_text])],
            processors=[
                structlog.stdlib.add_logger_name,
                _full_exception if outspoken else _discreet_exception,
                *_endings(chosen),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO if outspoken else logging.WARNING, force=True)
    logging.captureWarnings(True)
    # Python remembers every text that it has warned of, and pydicom's hold values: more and more, for nobody.
    warnings.simplefilter("default" if outspoken else "ignore")
    logging.raiseExceptions = outspoken  # else a record that can't be written is shown raw
    logging.getLogger(_OURS).setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(logging.NOTSET if outspoken else least)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda told: _log_uncaught(told.exc_type, told.exc_value)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, *_: object) -> None:
    """Log what nobody caught; the interpreter would quote its words, and with them a file's name."""
    if not issubclass(kind, KeyboardInterrupt):
        structlog.get_logger(__name__).critical("uncaught", kind=kind.__name__, exc_info=error)


def _style() -> Style:
    """Choose by who reads stderr; JOURNAL_STREAM is inherited, so it must name this very stream (systemd.exec(5))."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return "json"
    if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return "journal"
    return "console" if sys.stderr.isatty() else "json"


def _endings(style: Style) -> list[Processor]:
    """The last processors, which make one string of an event."""
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if style == "console":
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        pretty = structlog.dev.ConsoleRenderer(
            colors=colors, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
        return [stamp, meta, pretty]
    if style == "journal":  # journald stamps the time itself
        return [meta, _as_json]
    return [structlog.processors.TimeStamper(fmt="iso"), meta, _as_json]


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # a folder's name with bytes that are no text; the standard library escapes them
        return json.dumps(event, default=str)


def _withhold_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    if not record.name.startswith(_SPEAKING):
        event["event"] = "foreign_record"
        event["where"] = f"{record.module}:{record.lineno}"
    return event


def _full_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if error := _exception(event):
        event["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return event


def _discreet_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Tell where an exception passed and of what type it is; its words only if they are ours or the system's."""
    if error := _exception(event):
        lines = [
            f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
            for frame in traceback.extract_tb(error.__traceback__)
        ]
        event["exception"] = "\n".join([*lines, _discreet_text(error)])
    return event


def _discreet_text(error: BaseException) -> str:
    words = ""
    if isinstance(error, StaticwadoError):
        words = str(error)
    elif isinstance(error, OSError):
        words = error.strerror or ""  # without the file name
    name = type(error).__qualname__
    text = f"{name}: {words}" if words else name
    cause = error.__cause__ or error.__context__
    return f"{text}, because of {_discreet_text(cause)}" if cause else text


def _exception(event: EventDict) -> BaseException | None:
    """Take `exc_info` out of an event, in whichever of its forms."""
    match event.pop("exc_info", None):
        case BaseException() as error:
            return error
        case (_, BaseException() as error, _):
            return error
        case asked:
            return sys.exc_info()[1] if asked else None


class _StderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at that moment, which a progress bar replaces to stay below the log.

    A pipe that nobody reads must not stop the daemon: once it is full, lines are dropped and counted until it is read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0
        self._is_cut = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, if it can be written now."""
        if not self._takes_more():
            self._lost += 1
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            structlog.get_logger(__name__).warning("log_lines_lost", count=lost)
        try:
            self._write(record)
        except Exception:  # noqa: BLE001  # a log line that can't be written must not stop the line
            self.handleError(record)

    def _write(self, record: logging.LogRecord) -> None:
        self._say(self.format(record) + "\n")

    def _say(self, text: str) -> None:
        """Write a portion at a time that a pipe takes if it takes anything; from where it doesn't, the text is lost."""
        portion = select.PIPE_BUF if text.isascii() else select.PIPE_BUF // 4
        if self._is_cut:
            text, self._is_cut = f"\n{text}", False
        for start in range(0, len(text), portion):
            if start and not self._takes_more():
                self._lost, self._is_cut = self._lost + 1, True
                return
            sys.stderr.write(text[start : start + portion])
            sys.stderr.flush()

    def _takes_more(self) -> bool:
        """Whether a line can be written without waiting; given a moment, if the last one could."""
        try:
            ready = select.poll()
            ready.register(sys.stderr, select.POLLOUT)
        except (OSError, ValueError, TypeError):
            return True  # it has no descriptor: whatever it is, it knows how to refuse
        return bool(ready.poll(0 if self._lost else _PATIENCE_MILLISECONDS))


class _JournalHandler(_StderrHandler):
    """Sends journal entries with a field for each key, or prefixed lines where systemd-python isn't installed."""

    def __init__(self) -> None:
        super().__init__()
        try:
            self._journal: Any = importlib.import_module("systemd.journal")  # an optional extra
        except ImportError:
            self._journal = None

    def _write(self, record: logging.LogRecord) -> None:
        """Send one record; its level becomes the priority that `journalctl -p` selects by."""
        event = orjson.loads(self.format(record))
        priority = _PRIORITIES.get(event.pop("level", ""), 6)
        message = _for_people(event)
        if not (self._journal and self._send(_fields(message, priority, event))):
            self._say("".join(f"<{priority}>{line}\n" for line in message.splitlines()))

    def _send(self, fields: list[str]) -> bool:
        """Hand an entry to the journal's socket; False if this process may not have one, as a confined worker."""
        try:
            # Not `send`, which would name this very line as the origin of each entry.
            self._journal.sendv(*fields)
        except PermissionError:
            self._journal = None  # what is written to stderr, journald reads as well
            return False
        return True


def _fields(message: str, priority: int, event: dict[str, Any]) -> list[str]:
    """An entry as systemd.journal-fields(7) has it: the usual fields, and one of ours for each key."""
    usual = {"MESSAGE": message, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "staticwado"}
    ours = {"STATICWADO_" + re.sub(r"[^A-Z0-9]", "_", name.upper()): value for name, value in event.items()}
    return [f"{name}={value}" for name, value in {**usual, **ours}.items()]


def _for_people(event: dict[str, Any]) -> str:
    exception = event.get("exception")
    words = [str(event.get("event", ""))]
    words += [f"{name}={value}" for name, value in event.items() if name not in {"event", "exception"}]
    return " ".join(words) + (f"\n{exception}" if exception else "")
