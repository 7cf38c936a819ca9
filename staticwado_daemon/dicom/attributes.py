"""The attributes of a data set, as DICOM JSON."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from staticwado_daemon.dicom.json_model import json_object


@dataclass(frozen=True, slots=True, eq=False)
class Attributes(Mapping[str, bytes]):
    """The top-level attributes of a data set in ascending order of tag; immutable.

    A key is a tag as DICOM JSON writes it ("00080018"); a value is the JSON attribute as compact UTF-8
    (`b'{"vr":"UI","Value":["1.2.3"]}'`, PS3.18 section F.2.2). Values are decoded only when asked for,
    and unusable ones never raise.

    Attributes:
        fragments: the tags and their JSON attributes, ascending; not to be changed by anyone.
    """

    fragments: dict[str, bytes]

    def __getitem__(self, tag: str) -> bytes:
        return self.fragments[tag]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fragments)

    def __len__(self) -> int:
        return len(self.fragments)

    def value(self, tag: str) -> Any:
        """Return the decoded JSON attribute (`{"vr": ..., "Value": [...]}`), None if absent."""
        fragment = self.fragments.get(tag)
        return None if fragment is None else orjson.loads(fragment)

    def text(self, tag: str, default: str = "") -> str:
        """Return the first value as text, of a name the first group that it has; `default` if absent or empty."""
        return next((_as_text(value) for value in self._values(tag)), "") or default

    def integer(self, tag: str, default: int | None = None) -> int | None:
        """Return the first value as an integer, or `default` if it is absent or isn't one."""
        number = next((_as_number(value) for value in self._values(tag)), None)
        return int(number) if number is not None and number.is_integer() else default

    def numbers(self, tag: str) -> list[float]:
        """Return the values that are finite numbers; empty and unusable ones are left out."""
        numbers = (_as_number(value) for value in self._values(tag))
        return [number for number in numbers if number is not None]

    def sequence(self, tag: str) -> list[dict[str, Any]]:
        """Return the items of a sequence as decoded JSON objects; none if it is absent or no sequence."""
        return [item for item in self._values(tag) if isinstance(item, dict)]

    def with_changes(self, changes: Mapping[str, bytes | None]) -> "Attributes":
        """Return a copy in which each given attribute is set, or removed where it is None."""
        merged: dict[str, bytes | None] = {**self.fragments, **changes}
        return Attributes({tag: fragment for tag, fragment in sorted(merged.items()) if fragment is not None})

    def to_json(self) -> bytes:
        """Return the DICOM JSON object of the data set, compact UTF-8."""
        return json_object(self.fragments)

    def _values(self, tag: str) -> list[Any]:
        attribute = self.value(tag)
        values = attribute.get("Value") if isinstance(attribute, dict) else None
        return values if isinstance(values, list) else []


def first_text(attributes: Mapping[str, Mapping[str, Any]], tag: str) -> str:
    """The first value of an attribute of decoded DICOM JSON as text, "" if it has none."""
    attribute = attributes.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]) if isinstance(values, list) and values and values[0] is not None else ""


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        value = next((value[group] for group in ("Alphabetic", "Ideographic", "Phonetic") if group in value), "")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def _as_number(value: Any) -> float | None:
    # Python would also take "1_0", and digits of any script.
    if isinstance(value, str) and not (value.isascii() and "_" not in value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
