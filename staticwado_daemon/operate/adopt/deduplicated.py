"""The deduplicated records of Static DICOMweb: an instance is what it has of its own plus extracts that it shares.

Private elements in group 0009 tell them apart: whoever says `dedupped` in (0009,00xx) has in xx10 the hashes of the
extracts, in xx11 the object's own hash, and in xx12 what it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from staticwado_daemon.operate.adopt import spellings

CREATOR: Final = "dedupped"
_TYPES: Final = frozenset({"info", "patient", "study", "series", "image", "instance", "deleted"})
_FIRST, _LAST = 0x10, 0x3F
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

DataSet = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Marks:
    """What the private elements say."""

    hash: str
    type: str
    references: tuple[str, ...]


@dataclass(slots=True)
class Deduplicated:
    """What a study's deduplicated files hold together.

    Attributes:
        instances: whole data sets by SOP Instance UID; of what was said more than once, the last.
        rejected: those of them that were rejected.
        lacking: those that lack an extract.
    """

    instances: dict[str, DataSet] = field(default_factory=dict)
    rejected: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)


def load(study: Path, files: list[Path]) -> Deduplicated:
    """Read the records of a study, as their own program does.

    Args:
        study: its directory, where lone extracts are.
        files: the record files, the current version first and the others newest first.

    Raises:
        Corrupt: naming a file that is damaged.
    """
    known: set[str] = set()
    extracts: dict[str, DataSet] = {}
    instances: dict[str, tuple[DataSet, _Marks]] = {}
    seen: set[str] = set()
    for path in files:
        if path.name.partition(".")[0] in known:
            continue
        for each in spellings.read_json(path):
            own, marks = _taken_apart(each)
            if marks.type == "info":
                known.update((marks.hash, *marks.references))
            elif marks.type not in {"instance", "deleted"}:
                extracts[marks.hash] = own
            elif marks.hash not in seen:
                seen.add(marks.hash)
                instances[_text(own, "00080018")] = own, marks
    return _joined(study, instances, extracts)


def _joined(study: Path, instances: dict[str, tuple[DataSet, _Marks]], extracts: dict[str, DataSet]) -> Deduplicated:
    result = Deduplicated()
    for uid, (own, marks) in instances.items():
        whole = dict(own)
        for reference in marks.references:
            if reference not in extracts:
                extracts[reference] = _extract(study, reference)
            for tag, attribute in extracts[reference].items():
                whole.setdefault(tag, attribute)
            if not extracts[reference]:
                result.lacking.add(uid)
        result.instances[uid] = whole
        if marks.type == "deleted":
            result.rejected.add(uid)
    return result


def _extract(study: Path, reference: str) -> DataSet:
    """An extract in a file of its own; empty if there is none."""
    if not _DIGEST.fullmatch(reference):
        return {}
    path = study / "bulkdata" / reference[:3] / reference[3:5] / f"{reference[5:]}.json.gz"
    if not path.exists():
        return {}
    return _taken_apart(next(iter(spellings.read_json(path)), {}))[0]


def without_marks(data_set: DataSet) -> DataSet:
    """A data set as it was before it was deduplicated."""
    own, _ = _taken_apart(data_set)
    leaked = _text(own, "00091011"), _text(own, "00091012")
    if len(leaked[0]) == 64 and leaked[1] in _TYPES:
        # Another owner of the block was given an extract's marks when the parts were joined.
        own = {tag: attribute for tag, attribute in own.items() if tag not in {"00091011", "00091012"}}
    return own


def is_marked(data_set: DataSet) -> bool:
    """Whether a data set went through deduplication."""
    return next(_blocks(data_set), None) is not None


def _taken_apart(data_set: DataSet) -> tuple[DataSet, _Marks]:
    block = next(_blocks(data_set), None)
    if block is None:
        return data_set, _Marks("", "instance", ())
    marks = _Marks(
        _text(data_set, f"0009{block}11"),
        _text(data_set, f"0009{block}12"),
        tuple(map(str, data_set.get(f"0009{block}10", {}).get("Value") or ())),
    )
    ours = {f"000900{block}", *(f"0009{block}{last}" for last in ("10", "11", "12"))}
    return {tag: attribute for tag, attribute in data_set.items() if tag not in ours}, marks


def _blocks(data_set: DataSet) -> Iterator[str]:
    for number in range(_FIRST, _LAST + 1):
        if _text(data_set, f"000900{number:02X}") == CREATOR:
            yield f"{number:02X}"


def _text(data_set: DataSet, tag: str) -> str:
    attribute = data_set.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    if isinstance(values, list):
        values = values[0] if values else None
    return values if isinstance(values, str) else ""


def is_foreign(data: bytes) -> bool:
    """Whether a record file, unpacked, is Static DICOMweb's."""
    return not data.startswith(b'[\n{"format":')
