"""What is wrong with a configuration file: everything at once, each with file, line, key and the way out."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from staticwado_daemon.config.document import Document, KeyPath, spell
from staticwado_daemon.config.reference import REFUSED, UNUSED
from staticwado_daemon.config.schema import AE_TITLE, BASE, MAPS, SECTIONS, Group, Key, keys


def errors(document: Document) -> Iterator[str]:
    """Yield a sentence for each key that can't be obeyed: unknown, misplaced, missing or of the wrong type."""
    for section, value in document.values.items():
        if section in SECTIONS:
            yield from _group_errors(document, (section,), SECTIONS[section], value)
        elif section in MAPS:
            yield from _map_errors(document, (section,), MAPS[section], value)
        elif section not in UNUSED:
            yield f"{document.where((section,))}: {section} isn't a section; {_nearest(section, SECTIONS | MAPS)}"


def warnings(document: Document) -> Iterator[str]:
    """Yield a sentence for each setting of static-wado that has no effect here."""
    for section, value in document.values.items():
        notes = UNUSED.get(section, {})
        if isinstance(notes, str):
            yield f"{document.where((section,))}: {section} isn't used by staticwado: {notes}"
        elif isinstance(value, dict):
            for name in [each for each in value if each in notes]:
                place = document.where((section, name))
                yield f"{place}: {section}.{name} isn't used by staticwado: {notes[name]}"


def _map_errors(document: Document, at: KeyPath, group: type[Group], value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _mistyped(document, at, "an object {…}", value)
        return
    for name, item in value.items():
        if not re.search(AE_TITLE, name):
            place = document.where((*at, name))
            yield f"{place}: {spell(at)}: {name!r} isn't an AE title (1 to 16 characters of ASCII)"
        yield from _group_errors(document, (*at, name), group, item)


def _group_errors(document: Document, at: KeyPath, group: type[Group], value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _mistyped(document, at, "an object {…}", value)
        return
    known = {key.name: key for key in keys(group)}
    for name, item in value.items():
        if name in known:
            yield from _value_errors(document, (*at, name), known[name], item)
        elif name in REFUSED:
            if item:
                yield f"{document.where((*at, name))}: {spell((*at, name))}: {REFUSED[name]}"
        elif not _is_unused(at, name):
            hint = _elsewhere(name) or _nearest(name, known)
            yield f"{document.where((*at, name))}: {spell((*at, name))} isn't a setting; {hint}"
    for name, key in known.items():
        if key.required and name not in value:
            yield f"{document.where(at)}: {spell(at)} lacks {name}"


def _value_errors(document: Document, at: KeyPath, key: Key, value: Any) -> Iterator[str]:
    if key.group and not key.is_list:
        if value is not None:
            yield from _group_errors(document, at, key.group, value)
    elif key.group and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _group_errors(document, (*at, index), key.group, item)
    elif key.group:
        yield _mistyped(document, at, "a list […]", value)
    else:
        try:
            msgspec.convert(value, key.annotation)
        except msgspec.ValidationError:
            yield _mistyped(document, at, expected(key), value)


def _mistyped(document: Document, at: KeyPath, wanted: str, value: Any) -> str:
    return f"{document.where(at)}: {spell(at)} must be {wanted}, not {_described(value)}"


def expected(key: Key) -> str:
    """Say what a key's value must be, in words: `a whole number from 1 to 65535`."""
    return _kind_in_words(inspect.type_info(key.annotation))


def _kind_in_words(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(extra={"words": str(words)}):
            return words
        case inspect.Metadata(type=inner):
            return _kind_in_words(inner)
        case inspect.UnionType(types=kinds):
            return " or ".join(_kind_in_words(each) for each in kinds if not isinstance(each, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(f'"{value}"' for value in values)
        case inspect.BoolType():
            return "true or false"
        case inspect.VarTupleType(item_type=item):
            return f"a list […], each {_kind_in_words(item)}"
        case inspect.DictType(value_type=item):
            return f"an object {{…}}, each value {_kind_in_words(item)}"
        case inspect.IntType(ge=least, le=most):
            return "a whole number" + _range_in_words(least, most)
        case inspect.FloatType(ge=least, le=most):
            return "a number" + _range_in_words(least, most)
        case _:
            return "text in quotes"


def _range_in_words(least: float | None, most: float | None) -> str:
    if most is not None:
        return f" from {least} to {most}"
    return f" of at least {least}" if least is not None else ""


def _described(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "an object {…}"
        case list():
            return "a list […]"
        case None:
            return "null"
        case "":
            return "empty text"
        case str():
            return f'"{value}"'
        case _:
            return f"{value}"


def _is_unused(at: KeyPath, name: str) -> bool:
    notes = UNUSED.get(str(at[0]), {}) if len(at) == 1 else {}
    return isinstance(notes, dict) and name in notes


def _elsewhere(name: str) -> str:
    homes = [section for section, group in SECTIONS.items() if any(key.name == name for key in keys(group))]
    if BASE in homes:
        return f"it belongs in {BASE}"  # from which the others inherit it
    return f"it belongs in {' or '.join(homes)}" if homes else ""


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    folded = {each.lower(): each for each in known}
    matches = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[matches[0]]}?" if matches else f"known here: {', '.join(known)}"
