"""What a C-GET or C-MOVE request asks for: from its unique keys to the instances that are to be sent (PS3.4 C.4.2)."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import orjson

from staticwado_daemon.archive import holdings, search
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.query_index import QueryIndex
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.matching import Key, Unmatchable
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse.query.identifier import QUERY_RETRIEVE_LEVEL, Identifier
from staticwado_daemon.errors import Rejected
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Version

Level: TypeAlias = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
OpenIndex: TypeAlias = Callable[[], AbstractContextManager[QueryIndex]]

_PATIENT_ID: Final = "00100020"
_STUDY_INSTANCE_UID: Final = "0020000D"
_UNIQUE_KEYS: Final[dict[Level, str]] = {
    "PATIENT": _PATIENT_ID,
    "STUDY": _STUDY_INSTANCE_UID,
    "SERIES": "0020000E",
    "IMAGE": "00080018",
}
"""By level, from the highest to the lowest (PS3.4 C.6)."""

_WILD_CARDS: Final = frozenset("*?")
_SOP_CLASS_UID: Final = "00080016"
_AVAILABLE_TRANSFER_SYNTAX_UID: Final = "00083002"


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


def requested(asked: Identifier, *, patient_root: bool) -> Request:
    """Check the identifier of a C-GET or C-MOVE request against its information model (PS3.4 C.4.2.1.4, C.4.2.2.1).

    Args:
        asked: the identifier; keys that aren't unique ones are passed over.
        patient_root: the model is Patient Root, not Study Root.

    Raises:
        Unmatchable: if it lacks a unique key, or has several values or wild cards where one value is needed.
    """
    # Study Root has no level PATIENT; Orthanc asks for it there all the same.
    levels = [level for level in _UNIQUE_KEYS if patient_root or level != "PATIENT" or asked.level == "PATIENT"]
    level = next((each for each in levels if each == asked.level), None)
    if level is None:
        raise Unmatchable(QUERY_RETRIEVE_LEVEL, f"is none of {', '.join(levels)}")
    above = levels[: levels.index(level)]
    found = {each: _unique_key(asked, each, single=each in above) for each in (*above, level)}
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


def _unique_key(asked: Identifier, level: Level, *, single: bool) -> tuple[str, ...]:
    tag = _UNIQUE_KEYS[level]
    key = asked.key(tag)
    values = tuple(dict.fromkeys(text for each in (key.values if key else ()) if (text := each.strip(" \0"))))
    if not values:
        raise Unmatchable(tag, "is missing")
    if len(values) > 1 and (single or level == "PATIENT"):
        raise Unmatchable(tag, "must have a single value here")
    if any(_WILD_CARDS.intersection(each) for each in values):
        raise Unmatchable(tag, "has wild cards, which retrieval doesn't know")
    return values


def _uids(found: dict[Level, tuple[str, ...]], level: Level) -> tuple[UID, ...]:
    try:
        return tuple(map(UID, found.get(level, ())))
    except Rejected as why:
        raise Unmatchable(_UNIQUE_KEYS[level], f"is {why.reason}") from why


def _of_patient(root: Path, index: QueryIndex, request: Request) -> Iterator[UID]:
    """The studies of a patient, those that are named or all."""
    keys = [
        Key(_PATIENT_ID, "LO", (request.patient,)),
        Key(_STUDY_INSTANCE_UID, "UI", request.studies),
    ]
    for answer in search.search(index, root, "STUDY", keys):
        yield UID(first_text(answer, _STUDY_INSTANCE_UID))


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
