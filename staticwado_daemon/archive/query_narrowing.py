"""From the keys of a query to conditions in SQL, which let through at least what `dicom.matching` accepts.

Wild cards become comparisons of fixed text. SQLite would know patterns as well, but what takes how long there is for
it to say, and the text comes from the network.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import orjson

from staticwado_daemon.archive.query_tables import UNDECIDED
from staticwado_daemon.archive.summary import LONGEST_LISTED
from staticwado_daemon.dicom import moments
from staticwado_daemon.dicom.matching import EMPTY, Key, is_universal, normalised

_ONE_OF: Final = "IN (SELECT value FROM json_each(?))"
_WILD: Final = re.compile(r"[*?]")
_IN_NAMES: Final = re.compile(r"[*?^=]+")
"""What parts the fixed texts of a name: "Doe^*" is to find "Doe" as well."""

_MOST_TEXTS: Final = 8
"""Of one name: there may be hundreds between wild cards, and each is looked for in every study."""

_HIGHEST: Final = "\U0010ffff" * LONGEST_LISTED
"""Put behind a prefix, it makes a text that stands behind all that go on from the prefix."""


class Condition(NamedTuple):
    """A condition and the values for its question marks."""

    sql: str
    values: tuple[str, ...] = ()


ANYTHING: Final = Condition("1")


_Narrows: TypeAlias = Callable[[str, Sequence[str]], Condition | None]
"""Says that a column has one of a key's values; None if nothing can be said of one of them."""


class _Column(NamedTuple):
    """What a key is compared with.

    Attributes:
        name: the column, with its table.
        vr: the key's value representation; one that has another isn't narrowed by.
        condition: for the values of the key.
    """

    name: str
    vr: str
    condition: _Narrows


def condition(keys: Sequence[Key], columns: Mapping[str, _Column]) -> Condition:
    """What rows have to fulfil; there may be some among them that the keys don't match, but none is missing.

    Args:
        keys: of the query; those that there is no column for don't narrow it.
        columns: `STUDY`, or `SERIES`, which has those of its study as well.

    Raises:
        Unmatchable: if a key can't be matched with.
    """
    asked = [(columns[key.tag], key) for key in keys if not is_universal(key) and key.tag in columns]
    parts = [part for column, key in asked if key.vr == column.vr and (part := _any_value(column, key))]
    return _joined(" AND ", parts) if parts else ANYTHING


def _any_value(column: _Column, key: Key) -> Condition | None:
    values = [stripped for value in key.values if (stripped := value.strip(" \0"))]
    return column.condition(column.name, values)


def _each(one: Callable[[str, str], Condition | None]) -> _Narrows:
    """Compare value by value."""

    def condition(column: str, values: Sequence[str]) -> Condition | None:
        parts = [Condition(f"{column} = ''") if value == EMPTY else one(column, value) for value in values]
        return _joined(" OR ", [part for part in parts if part]) if all(parts) else None

    return condition


def _uids(column: str, values: Sequence[str]) -> Condition:
    """All at once: there may be thousands."""
    return Condition(f"{column} {_ONE_OF}", (orjson.dumps(values).decode(),))


def _text(column: str, value: str) -> Condition | None:
    """One value or none: by equality, by what it begins with, or by the longest text that it must hold."""
    prefix, *others = _WILD.split(value)
    if not others:
        return Condition(f"{column} IN (?, ?)", (value, UNDECIDED))
    if prefix:
        return Condition(f"({column} BETWEEN ? AND ? OR {column} = ?)", (prefix, prefix + _HIGHEST, UNDECIDED))
    held = max(others, key=len)
    return Condition(f"(instr({column}, ?) OR {column} = ?)", (held, UNDECIDED)) if held else None


def _texts(column: str, value: str) -> Condition | None:
    """One of several values, each between backslashes."""
    held = max(_WILD.split(f"\\{value}\\"), key=len)
    return Condition(f"instr({column}, ?)", (held,))


def _name(column: str, value: str) -> Condition | None:
    """A name, by the longest fixed texts in it."""
    groups = [normalised(group) for group in value.split("=", 2)]
    texts = dict.fromkeys(text for group in groups for text in _IN_NAMES.split(group) if text)
    held = sorted(texts, key=len, reverse=True)[:_MOST_TEXTS]
    return _joined(" AND ", [Condition(f"instr({column}, ?)", (text,)) for text in held]) if held else None


def _day(column: str, value: str) -> Condition | None:
    """A date or a range of dates."""
    found = moments.within(value, moments.date)
    if not found:
        return None
    start = found.start.first if found.start else "0"
    end = found.end.last if found.end else "9" * 8
    return Condition(f"({column} BETWEEN ? AND ? OR {column} = ?)", (start, end, UNDECIDED))


def _joined(word: str, parts: Iterable[Condition]) -> Condition:
    parts = list(parts)
    values = tuple(value for part in parts for value in part.values)
    return Condition(f"({word.join(part.sql for part in parts)})", values)


STUDY: Final[Mapping[str, _Column]] = {
    "0020000D": _Column("studies.uid", "UI", _uids),
    "00080020": _Column("studies.day", "DA", _each(_day)),
    "00100030": _Column("studies.birth_date", "DA", _each(_day)),
    "00100020": _Column("studies.patient_id", "LO", _each(_text)),
    "00100021": _Column("studies.issuer", "LO", _each(_text)),
    "00100010": _Column("studies.patient_name", "PN", _each(_name)),
    "00080050": _Column("studies.accession", "SH", _each(_text)),
    "00200010": _Column("studies.study_id", "SH", _each(_text)),
    "00080090": _Column("studies.referring", "PN", _each(_name)),
    "00081030": _Column("studies.description", "LO", _each(_text)),
    "00080061": _Column("studies.modalities", "CS", _each(_texts)),
}

SERIES: Final[Mapping[str, _Column]] = {
    # Of its referring physician a series may say something else than its study, and is found by that.
    **{tag: column for tag, column in STUDY.items() if tag != "00080090"},
    "0020000E": _Column("series.uid", "UI", _uids),
    "00080060": _Column("series.modality", "CS", _each(_text)),
}
