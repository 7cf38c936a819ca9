"""Times and durations as people say them, and values as programs read them."""

import json
import textwrap
import time
from datetime import datetime
from typing import Any

_TIMES = frozenset({"at", "publishedAt"})
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def duration(seconds: float) -> str:
    """How long something takes: `12 s`, `1 minute`, `3 hours`."""
    for length, noun in _UNITS:
        if seconds >= length:
            count = round(seconds / length)
            return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
    return f"{max(0, round(seconds))} s"


def moment(at: float, now: float | None = None) -> str:
    """A Unix time in local time, with how long ago that is: `20:03:11 (12 s ago)`; with the date on another day."""
    now = time.time() if now is None else now
    day, today = (datetime.fromtimestamp(each).astimezone() for each in (at, now))
    shown = day.strftime("%H:%M:%S" if day.date() == today.date() else "%Y-%m-%d %H:%M:%S")
    return f"{shown} ({duration(now - at)} ago)" if now - at >= 1 else f"{shown} (just now)"


def date_time(at: float) -> str:
    """A Unix time in local time, date and all."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def to_json(told: Any) -> str:
    """A struct, or several, on one line; Unix times as ISO 8601, and bytes of names that are no text as PEP 383."""
    import msgspec

    return json.dumps(_with_times(msgspec.to_builtins(told, enc_hook=str)))


def _with_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _iso(each) if key in _TIMES else _with_times(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_with_times, value)]
    return value


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")


def wrapped(text: str, first: str, rest: str, width: int | None) -> str:
    """A text behind the indentation of its first line and of the others, for a terminal of `width` columns.

    A word that is longer, such as a path, stays whole, so that it can be copied; without a width nothing is broken.
    """
    if width is None:
        return first + text
    return "\n".join(
        textwrap.wrap(
            text,
            max(width, 40),
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
