"""Dates, times and date-times as stretches on a line, so that a query can ask for them by their meaning.

A value covers what it leaves open: time "10" lasts until the end of that hour, date-time "2024" until the end of the
year (PS3.5 table 6.2-1). Two values, or a value and a range, agree where their stretches have a moment in common.
The colons and dots of ACR-NEMA's times and dates are understood, as PS3.5 asks for.
"""

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias


class Span(NamedTuple):
    """From the first to the last moment that a value may mean.

    Attributes:
        first: digits in descending weight, so that text compares as time does.
        last: likewise.
        utc: both once more in UTC, where the value says how far from it it is.
    """

    first: str
    last: str
    utc: tuple[str, str] | None = None


class Range(NamedTuple):
    """A range of spans, both ends included; None is an open end."""

    start: Span | None
    end: Span | None

    def meets(self, span: Span) -> bool:
        """Whether the span has a moment within the range."""
        return _reaches(span, self.start) and _reaches(self.end, span)

    @property
    def is_backward(self) -> bool:
        """Whether it ends before it starts, so that nothing lies within."""
        return not _reaches(self.end, self.start)


Reader: TypeAlias = Callable[[str], Span | None]

_DATE: Final = re.compile(r"([0-9]{4})\.?(0[1-9]|1[0-2])\.?(0[1-9]|[12][0-9]|3[01])")
_TIME: Final = re.compile(
    r"(?P<hour>[01][0-9]|2[0-3])(?::?(?P<minute>[0-5][0-9])(?::?(?P<second>[0-5][0-9]|60)(?:\.(?P<part>[0-9]{1,6}))?)?)?"
)
_DATE_TIME: Final = re.compile(
    r"(?P<year>[0-9]{4})(?:(?P<month>0[1-9]|1[0-2])(?:(?P<day>0[1-9]|[12][0-9]|3[01])(?P<time>[0-9.]*))?)?"
    r"(?P<offset>[+-](?:0[0-9]|1[0-4])[0-5][0-9])?"
)
_FORMAT: Final = "%Y%m%d%H%M%S%f"


def date(text: str) -> Span | None:
    """Read a DA value, None if it is none."""
    match = _DATE.fullmatch(text)
    if not match:
        return None
    day = "".join(match.groups())
    return Span(day, day)


def time(text: str) -> Span | None:
    """Read a TM value, None if it is none."""
    match = _TIME.fullmatch(text)
    if not match:
        return None
    hour, minute, second, part = match.group("hour", "minute", "second", "part")
    first = f"{hour}{minute or '00'}{second or '00'}{(part or '').ljust(6, '0')}"
    last = f"{hour}{minute or '59'}{second or '60'}{(part or '').ljust(6, '9')}"
    return Span(first, last)


def date_time(text: str) -> Span | None:
    """Read a DT value, None if it is none."""
    match = _DATE_TIME.fullmatch(text)
    if not match or match["year"] == "0000":
        return None
    within = time(match["time"]) if match["time"] else Span("0" * 12, "235960999999")
    if not within:
        return None
    last_month = match["month"] or "12"
    last_day = match["day"] or str(calendar.monthrange(int(match["year"]), int(last_month))[1])
    first = f"{match['year']}{match['month'] or '01'}{match['day'] or '01'}{within.first}"
    last = f"{match['year']}{last_month}{last_day}{within.last}"
    if not match["offset"]:
        return Span(first, last)
    try:
        return Span(first, last, (_in_utc(first, match["offset"]), _in_utc(last, match["offset"])))
    except (ValueError, OverflowError):  # a thirtieth of February, or a moment before the year 1
        return None


def within(text: str, read: Reader) -> Range | None:
    """Read what a key asks for: a value, "A-B", "A-" or "-B" (PS3.4 C.2.2.2.5); None if it is none of these.

    The hyphen of a date-time's offset may look like that of a range. What makes a range that runs forward is one.
    """
    ranges = list(_ranges(text, read))
    forward = next((each for each in ranges if not each.is_backward), None)
    single = read(text)
    return forward or (Range(single, single) if single else next(iter(ranges), None))


def _ranges(text: str, read: Reader) -> Iterator[Range]:
    for hyphen in re.finditer("-", text):
        start, end = text[: hyphen.start()].strip(), text[hyphen.end() :].strip()
        first, last = read(start), read(end)
        if bool(start) == bool(first) and bool(end) == bool(last) and (first or last):
            yield Range(first, last)


def _reaches(later: Span | None, earlier: Span | None) -> bool:
    """Whether the one's last moment isn't before the other's first; offsets count where both have one."""
    if later is None or earlier is None:
        return True
    if later.utc and earlier.utc:
        return later.utc[1] >= earlier.utc[0]
    return later.last >= earlier.first


def _in_utc(moment: str, offset: str) -> str:
    # A leap second has no name in datetime; the one before it is as near as matching needs.
    moment = f"{moment[:12]}59{moment[14:]}" if moment[12:14] == "60" else moment
    minutes = int(offset[:3]) * 60 + int(offset[0] + offset[3:])
    return (datetime.strptime(moment, _FORMAT) - timedelta(minutes=minutes)).strftime(_FORMAT)  # noqa: DTZ007 - UTC comes of it
