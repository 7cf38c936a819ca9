"""Attribute matching of queries, on DICOM JSON (PS3.4 section C.2.2.2). Pure functions.

Where the standard leaves the choice, or is silent:

* Names (PN) match without regard to case, to full or half width of letters and kana, and to trailing "^". A key of one
  component group matches any group of a name; one with "=" matches group by group, its empty groups anything.
* All other text is matched as the standard has it, case included. Spaces at either end never count.
* Dates and times match by their meaning, and a value that leaves something open covers it (`dicom.moments`).
  Date and time are matched each on its own, never as one moment.
* IS, DS and the binary numbers are compared as numbers.
* A key with several values, of whatever VR, matches what one of them matches. A value "*" anywhere matches everything,
  also of a VR that has no wild cards, as of dates and UIDs: that is what those who send it mean. A value of two
  quotation marks matches what is empty or absent (C.2.2.2.7).
* Values of binary VRs and UN aren't matched: such a key asks for the attribute, and no more.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from staticwado_daemon.dicom import moments
from staticwado_daemon.errors import Rejected

Attribute: TypeAlias = Mapping[str, Any]
DataSet: TypeAlias = Mapping[str, Attribute]
_Accepts: TypeAlias = Callable[[Any], bool]
"""Whether one value of an attribute is what a value of a key asks for."""
_Test: TypeAlias = Callable[[Attribute | None], bool]
"""Whether an attribute, or its absence, is what a key asks for."""

WILD_CARD_VRS: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
UNMATCHED_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
NEVER_MATCHED: Final = frozenset(("00080005", "00080201"))
"""Specific Character Set and Timezone Offset From UTC say how to read the rest of a query."""

LONGEST_VALUE: Final = 1024
"""Characters of one value of a key; no attribute that is listed has a longer one."""
MOST_VALUES: Final = 100
"""Values of one key; of UIDs there may be as many as a query holds."""

EMPTY: Final = '""'
"""A key's value that asks for attributes without one (PS3.4 C.2.2.2.7)."""
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]+(?P<fraction>\.[0-9]*)?|(?P<point>\.[0-9]+))(?P<exponent>[eE][+-]?[0-9]{1,3})?"
)
_UID: Final = re.compile(r"[0-9.]{1,64}")
_TAG: Final = re.compile(r"[0-9A-F]{8}")
_WILD: Final = re.compile(r"\*+|\?|[^*?]+")


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute of a query. Without values and items it matches everything and asks for the attribute.

    Attributes:
        tag: as DICOM JSON writes it, "00100010".
        vr: value representation, by which it is matched.
        values: as text; a name with "=" between its component groups.
        items: of a sequence; an empty one matches everything.
    """

    tag: str
    vr: str
    values: tuple[str, ...] = ()
    items: tuple[tuple["Key", ...], ...] = ()


class Unmatchable(Rejected):
    """A key can't be matched with; `tag` says which, the text why, both without its values."""

    def __init__(self, tag: str, fault: str) -> None:
        super().__init__(f"({tag[:4]},{tag[4:]}) {fault}")
        self.tag = tag


def matches(keys: Sequence[Key], dataset: DataSet) -> bool:
    """Whether a data set, DICOM JSON, is what all keys ask for.

    Raises:
        Unmatchable: if one of them can't be matched with.
    """
    return matcher(keys)(dataset)


def matcher(keys: Sequence[Key]) -> Callable[[DataSet], bool]:
    """Make ready to match many data sets with the same keys.

    Raises:
        Unmatchable: if one of them can't be matched with.
    """
    tests = _tests(keys)
    return lambda dataset: _passes(tests, dataset)


def is_universal(key: Key) -> bool:
    """Whether the key matches everything.

    Raises:
        Unmatchable: if it can't be matched with.
    """
    return _test(key) is None


def normalised(group: str) -> str:
    """A component group of a name in the form in which names are compared; wild cards stay what they are."""
    if not group.isascii():
        # Twice, because folding can undo what the first one did (Unicode, section 3.13).
        group = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", group).casefold())
    components = [component.strip(" \0") for component in group.lower().split("^")]
    return "^".join(components).rstrip("^")


def normalised_groups(name: Any) -> tuple[str, ...]:
    """The component groups of a name's value in DICOM JSON, in the form in which they are compared; always three."""
    groups = name if isinstance(name, Mapping) else {"Alphabetic": name}
    return tuple(normalised(text) if isinstance(text := groups.get(group), str) else "" for group in _GROUPS)


def _tests(keys: Sequence[Key]) -> Sequence[tuple[str, _Test]]:
    """What decides, of each key that doesn't match everything."""
    return [(key.tag, test) for key in keys if (test := _test(key))]


def _passes(tests: Sequence[tuple[str, _Test]], dataset: DataSet) -> bool:
    return all(test(dataset.get(tag)) for tag, test in tests)


def _test(key: Key) -> _Test | None:
    """What decides about an attribute, None where the key matches everything."""
    if key.tag in NEVER_MATCHED or key.vr in UNMATCHED_VRS:
        return None
    if key.vr == "SQ":
        return _sequence_test(key)
    values = list(dict.fromkeys(stripped for value in key.values if (stripped := value.strip(" \0"))))
    _check_size(key, values)
    if not values or any(not value.strip("*") for value in values):
        return None
    asks_for_empty = EMPTY in values
    values = [value for value in values if value != EMPTY]
    accept = _ACCEPTANCE.get(key.vr)
    if accept is None:
        raise Unmatchable(key.tag, "has an unknown VR")
    accepts = accept(key.tag, values)
    if accepts is None:
        return None

    def test(attribute: Attribute | None) -> bool:
        return any(map(accepts, _values(attribute))) or (asks_for_empty and _is_empty(attribute))

    return test


def _check_size(key: Key, values: Sequence[str]) -> None:
    if key.vr != "UI" and len(values) > MOST_VALUES:
        raise Unmatchable(key.tag, f"has more than {MOST_VALUES} values")
    if any(len(value) > LONGEST_VALUE for value in values):
        raise Unmatchable(key.tag, f"has more than {LONGEST_VALUE} characters")


def _sequence_test(key: Key) -> _Test | None:
    """Each item of the key that asks for something must find an item that is it (C.2.2.2.6)."""
    asked = [tests for item in key.items if (tests := _tests(item))]
    if not asked:
        return None

    def test(attribute: Attribute | None) -> bool:
        items = [item for item in _values(attribute) if isinstance(item, Mapping)]
        return all(any(_passes(tests, item) for item in items) for tests in asked)

    return test


def _values(attribute: Attribute | None) -> list[Any]:
    values = attribute.get("Value") if attribute else None
    return [value for value in values if value is not None] if isinstance(values, list) else []


def _is_empty(attribute: Attribute | None) -> bool:
    return not attribute or (not _values(attribute) and not attribute.keys() & {"InlineBinary", "BulkDataURI"})


def _any_of(choices: Sequence[_Accepts]) -> _Accepts:
    return choices[0] if len(choices) == 1 else lambda value: any(accepts(value) for accepts in choices)


def _texts(_tag: str, values: Sequence[str]) -> _Accepts:
    patterns = [_pattern(value) for value in values]
    return lambda value: isinstance(value, str) and any(pattern(value.strip(" \0")) for pattern in patterns)


def _pattern(text: str) -> Callable[[str], bool]:
    """What finds whether a text is the one asked for, in time that grows with the product of both lengths at most."""
    if not re.search(r"[*?]", text):
        return text.__eq__
    # Between two stars the first place that fits is as good as any later one. An atomic group keeps the search from
    # trying those, which would take for ever with many stars.
    head, *rest = "".join("*" if part[0] == "*" else part for part in _WILD.findall(text)).split("*")
    found = "".join(f"(?>.*?{_literal(part)})" for part in rest[:-1])
    tail = f".*{_literal(rest[-1])}" if rest else ""
    compiled = re.compile(f"{_literal(head)}{found}{tail}", re.DOTALL)
    return lambda value: compiled.fullmatch(value) is not None


def _literal(text: str) -> str:
    return ".".join(map(re.escape, text.split("?")))


def _names(_tag: str, values: Sequence[str]) -> _Accepts | None:
    choices = [_name(value) for value in values]
    return _any_of([each for each in choices if each]) if all(choices) else None


def _name(value: str) -> _Accepts | None:
    """What decides about a name, None where each is accepted ("*=*", "^")."""
    asked = [normalised(group) for group in value.split("=", 2)]
    patterns = [(index, _name_pattern(group)) for index, group in enumerate(asked) if group.strip("*")]
    if not patterns:
        return None
    if "=" not in value:
        return lambda name: any(group and patterns[0][1](group) for group in normalised_groups(name))

    def accepts(name: Any) -> bool:
        groups = normalised_groups(name)
        return all(groups[index] and pattern(groups[index]) for index, pattern in patterns)

    return accepts


def _name_pattern(group: str) -> Callable[[str], bool]:
    carets, pattern = group.count("^"), _pattern(group)
    # "Doe^*" is to find "Doe", which is "Doe^^^^" as well.
    return lambda text: pattern(text + "^" * (carets - text.count("^")))


def _uids(tag: str, values: Sequence[str]) -> _Accepts:
    if not all(map(_UID.fullmatch, values)):
        raise Unmatchable(tag, "is no UID or list of UIDs")
    wanted = frozenset(values)
    return lambda value: isinstance(value, str) and value in wanted


def _tags(tag: str, values: Sequence[str]) -> _Accepts:
    wanted = frozenset(value.upper() for value in values)
    if not all(map(_TAG.fullmatch, wanted)):
        raise Unmatchable(tag, "is no attribute tag")
    return lambda value: isinstance(value, str) and value.upper() in wanted


def _numbers(tag: str, values: Sequence[str]) -> _Accepts:
    wanted = [_number(value) for value in values]
    if None in wanted:
        raise Unmatchable(tag, "is no number")
    return lambda value: (_number(value.strip()) if isinstance(value, str) else value) in wanted


def _number(text: str) -> float | None:
    """The number, exact where it is an integer; None if it is none."""
    match = _NUMBER.fullmatch(text)
    if not match:
        return None
    return float(text) if any(match.group("fraction", "point", "exponent")) else int(text)


def _exactly(_tag: str, values: Sequence[str]) -> _Accepts:
    wanted = frozenset(values)
    return lambda value: isinstance(value, str) and value in wanted


def _in_time(read: moments.Reader, what: str) -> Callable[[str, Sequence[str]], _Accepts]:
    def accept(tag: str, values: Sequence[str]) -> _Accepts:
        ranges = [found for value in values if (found := moments.within(value, read))]
        if len(ranges) != len(values):
            raise Unmatchable(tag, f"is no {what} or range of {what}s")
        forward = [each for each in ranges if not each.is_backward]

        def accepts(value: Any) -> bool:
            span = read(value.strip(" \0")) if isinstance(value, str) else None
            return span is not None and any(each.meets(span) for each in forward)

        return accepts

    return accept


_ACCEPTANCE: Final[Mapping[str, Callable[[str, Sequence[str]], _Accepts | None]]] = {
    **dict.fromkeys(WILD_CARD_VRS, _texts),
    **dict.fromkeys(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"), _numbers),
    "AS": _exactly,
    "AT": _tags,
    "DA": _in_time(moments.date, "date"),
    "DT": _in_time(moments.date_time, "date-time"),
    "PN": _names,
    "TM": _in_time(moments.time, "time"),
    "UI": _uids,
}
