"""Dates that move with the day: `today-7-` is what C-FIND is asked for as `20260103-`."""

import re
from datetime import date, timedelta

_RELATIVE = re.compile(r"today(?:-(\d{1,4})(?!\d))?")
_DATE = r"(?:\d{8})?"
_RANGE = re.compile(rf"{_DATE}(?:-{_DATE})?")
WORDS = "a date as 20260131 or today or today-7 (seven days ago), or a range of two with - between, one may be left out"


def absolute(text: str, today: date) -> str:
    """The same date or range, with `today` and `today-DAYS` written out.

    Args:
        text: DICOM's form (PS3.4 C.2.2.2.5), in which each date may be one of these.
        today: which day it is.

    Raises:
        ValueError: if it is neither a date nor a range of dates.
    """
    found = _RELATIVE.sub(lambda match: f"{today - timedelta(days=int(match[1] or 0)):%Y%m%d}", text.strip())
    if not _RANGE.fullmatch(found) or found in {"", "-"}:
        raise ValueError(f"{text!r} is no date: give {WORDS}")
    return found
