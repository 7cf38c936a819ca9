"""What a C-GET or C-MOVE request asks for: from its unique keys to the instances that are to be sent (PS3.4 C.4.2)."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import orjson
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from staticwado_daemon.archive import holdings, search
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.query_index import QueryIndex
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.matching import Key
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Rejected
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Version

Level: TypeAlias = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
OpenIndex: TypeAlias = Callable[[], AbstractContextManager[QueryIndex]]

_LEVEL: Final = 0x00080052
_PATIENT_ID: Final = 0x00100020
_STUDY_INSTANCE_UID: Final = 0x0020000D
_UNIQUE_KEYS: Final[dict[Level, int]] = {
    "PATIENT": _PATIENT_ID,
    "STUDY": _STUDY_INSTANCE_UID,
    "SERIES": 0x0020000E,
    "IMAGE": 0x00080018,
}
"""By level, from the highest to the lowest (PS3.4 C.6)."""

_WILD_CARDS: Final = frozenset("*?")
_SOP_CLASS_UID: Final = "00080016"
_AVAILABLE_TRANSFER_SYNTAX_UID: Final = "00083002"


class Mismatch(Rejected):
    """The identifier doesn't fit the request; the text says so without its values, `tag` where."""

    def __init__(self, tag: int, fault: str) -> None:
        super().__init__(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {fault}")
        self.tag = tag


@dataclass(frozen=True, slots=True)
class Request:
    """The unique keys of an identifier: one for each level above the one that is asked about, any number for that.

    Attributes:
        level: of what is to be sent.
        patient: Patient ID; empty in the Study Root model.
        studies: Study Instance UIDs; none at level PATIENT.
        series: Series Instance UIDs; none above level SERIES.
        instances: SOP Instance UIDs; none above level IMAGE.
    """

    level: Level
    patient: str
    studies: tuple[UID, ...] = ()
    series: tuple[UID, ...] = ()
    instances: tuple[UID, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """An instance that is to be sent, and what has to be known of it before.

    Attributes:
        identity: Study, Series and SOP Instance UID.
        content: of the version that is published.
        sop_class: SOP Class UID.
        transfer_syntax: of the file that is given back, as far as records tell.
    """

    identity: Identity
    content: str
    sop_class: str
    transfer_syntax: str


def requested(identifier: Dataset, *, patient_root: bool) -> Request:
    """Read the identifier of a C-GET or C-MOVE request.

    Args:
        identifier: as it was decoded.
        patient_root: the information model is Patient Root, not Study Root.

    Raises:
        Mismatch: if it lacks a unique key, or has several values or wild cards where one value is needed.
    """
    levels = [level for level in _UNIQUE_KEYS if patient_root or level != "PATIENT"]
    wanted = "".join(_values(identifier, _LEVEL))
    level = next((each for each in levels if each == wanted), None)
    if level is None:
        raise Mismatch(_LEVEL, f"is none of {', '.join(levels)}")
    above = levels[: levels.index(level)]
    found = {each: _unique_key(identifier, each, single=each in above) for each in (*above, level)}
    return Request(
        level,
        patient=found.get("PATIENT", ("",))[0],
        studies=_uids(found, "STUDY"),
        series=_uids(found, "SERIES"),
        instances=_uids(found, "IMAGE"),
    )


def select(root: Path, open_index: OpenIndex, request: Request) -> list[Chosen]:
    """The published instances that a request asks for, in the order of their UIDs; none is no error.

    Args:
        root: of the tree.
        open_index: opens the query index, which knows the studies of a patient.
        request: what is asked for.

    Raises:
        Transient: if the index can't answer now.
    """
    studies: Iterable[UID] = request.studies
    if request.patient:
        with open_index() as index:
            studies = list(_of_patient(root, index, request))
    return list(_chosen(root, studies, lambda identity: _is_meant(request, identity)))


def select_targets(root: Path, targets: Collection[Target]) -> list[Chosen]:
    """The published instances of some studies, series and instances, each once, in the order of their UIDs."""
    studies = {target.study for target in targets}
    return list(_chosen(root, studies, lambda identity: any(target.names(identity) for target in targets)))


def _values(identifier: Dataset, tag: int) -> list[str]:
    """The values of a key as text, without padding; as far as they can be read."""
    try:
        value: Any = identifier[tag].value if tag in identifier else None
    except Exception as error:  # pydicom decodes when it is asked to, and raises many things
        raise Mismatch(tag, "can't be read") from error
    values = [value] if isinstance(value, str) or value is None else list(value)
    return [text for each in values if each is not None and (text := str(each).strip(" \0"))]


def _unique_key(identifier: Dataset, level: Level, *, single: bool) -> tuple[str, ...]:
    tag = _UNIQUE_KEYS[level]
    values = _values(identifier, tag)
    if not values:
        raise Mismatch(tag, f"is missing: {keyword_for_tag(tag)}")
    if len(values) > 1 and (single or level == "PATIENT"):
        raise Mismatch(tag, "must have a single value here")
    if any(_WILD_CARDS.intersection(each) for each in values):
        raise Mismatch(tag, "has wild cards, which retrieval doesn't know")
    return tuple(values)


def _uids(found: dict[Level, tuple[str, ...]], level: Level) -> tuple[UID, ...]:
    try:
        return tuple(UID(each) for each in dict.fromkeys(found.get(level, ())))
    except Rejected as why:
        raise Mismatch(_UNIQUE_KEYS[level], f"is {why.reason}") from why


def _of_patient(root: Path, index: QueryIndex, request: Request) -> Iterator[UID]:
    """The studies of a patient, those that are named or all."""
    keys = [
        Key(f"{_PATIENT_ID:08X}", "LO", (request.patient,)),
        Key(f"{_STUDY_INSTANCE_UID:08X}", "UI", request.studies),
    ]
    for answer in search.search(index, root, "STUDY", keys):
        yield UID(first_text(answer, f"{_STUDY_INSTANCE_UID:08X}"))


def _is_meant(request: Request, identity: Identity) -> bool:
    return (not request.series or identity.series in request.series) and (
        not request.instances or identity.instance in request.instances
    )


def _chosen(root: Path, studies: Iterable[UID], is_meant: Callable[[Identity], bool]) -> Iterator[Chosen]:
    originals = Originals(root)
    for study in sorted(set(studies)):
        for identity, known in merge(holdings.held(root, study)).items():
            if known.winner and is_meant(identity):
                version = Version(known.winner, published=True)
                yield _of_record(known.winner, has_original=originals.lacks(version) is None)


def _of_record(record: Record, *, has_original: bool) -> Chosen:
    attributes = orjson.loads(record.dataset)
    syntax = first_text(attributes, _AVAILABLE_TRANSFER_SYNTAX_UID) or EXPLICIT_VR_LITTLE_ENDIAN
    return Chosen(
        record.identity,
        record.content,
        first_text(attributes, _SOP_CLASS_UID),
        record.source_transfer_syntax if has_original else syntax,
    )
