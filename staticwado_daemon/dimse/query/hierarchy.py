"""The levels of the Query/Retrieve information models and their unique keys (PS3.4 C.6), for queries and retrievals."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

from staticwado_daemon.archive.query_index import QueryIndex
from staticwado_daemon.archive.search import Level
from staticwado_daemon.dicom.matching import Unmatchable
from staticwado_daemon.dimse.query.identifier import QUERY_RETRIEVE_LEVEL, Identifier

OpenIndex: TypeAlias = Callable[[], AbstractContextManager[QueryIndex]]
"""Opens a tree's query index; StaticwadoError while that can't answer."""

PATIENT_ID: Final = "00100020"
STUDY_INSTANCE_UID: Final = "0020000D"
UNIQUE_KEYS: Final[Mapping[Level, str]] = {
    "PATIENT": PATIENT_ID,
    "STUDY": STUDY_INSTANCE_UID,
    "SERIES": "0020000E",
    "IMAGE": "00080018",
}
"""By level, from the highest to the lowest."""

_WILD_CARDS: Final = frozenset("*?")


def levels(*, patient_root: bool) -> tuple[Level, ...]:
    """The levels of the Patient Root or the Study Root model, from the highest to the lowest."""
    return tuple(level for level in UNIQUE_KEYS if patient_root or level != "PATIENT")


def level_of(asked: Identifier, known: Sequence[Level]) -> Level:
    """The level that an identifier asks about, one of those known.

    Raises:
        Unmatchable: if it is none of them.
    """
    level = next((each for each in known if each == asked.level), None)
    if level is None:
        raise Unmatchable(QUERY_RETRIEVE_LEVEL, f"is none of {', '.join(known)}")
    return level


def unique_values(asked: Identifier, level: Level) -> tuple[str, ...]:
    """The values of a level's unique key, each once.

    Raises:
        Unmatchable: if there is none, or one with wild cards.
    """
    tag = UNIQUE_KEYS[level]
    key = asked.key(tag)
    values = tuple(dict.fromkeys(text for each in (key.values if key else ()) if (text := each.strip(" \0"))))
    if not values:
        raise Unmatchable(tag, "is missing")
    if any(_WILD_CARDS.intersection(each) for each in values):
        raise Unmatchable(tag, "has wild cards, and must be exact at this level")
    return values


def unique_value(asked: Identifier, level: Level) -> str:
    """The one value of a level's unique key.

    Raises:
        Unmatchable: if it isn't one, or has wild cards.
    """
    value, *others = unique_values(asked, level)
    if others:
        raise Unmatchable(UNIQUE_KEYS[level], "must have a single value at this level")
    return value
