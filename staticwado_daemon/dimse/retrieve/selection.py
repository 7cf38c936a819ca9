"""What a C-GET or C-MOVE request asks for: from its unique keys to the instances that are to be sent (PS3.4 C.4.2)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive import search
from staticwado_daemon.archive.query_index import QueryIndex
from staticwado_daemon.archive.search import Level
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.matching import Key, Unmatchable
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse.query import hierarchy
from staticwado_daemon.dimse.query.hierarchy import OpenIndex
from staticwado_daemon.dimse.query.identifier import Identifier
from staticwado_daemon.dimse.sending import instances
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.errors import Rejected


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


def requested(asked: Identifier, *, patient_root: bool) -> Request:
    """Check the identifier of a C-GET or C-MOVE request against its information model (PS3.4 C.4.2.1.4, C.4.2.2.1).

    Args:
        asked: the identifier; keys that aren't unique ones are passed over.
        patient_root: the model is Patient Root, not Study Root.

    Raises:
        Unmatchable: if it lacks a unique key, or has several values or wild cards where one value is needed.
    """
    # Study Root has no level PATIENT; Orthanc asks for it there all the same.
    levels = hierarchy.levels(patient_root=patient_root or asked.level == "PATIENT")
    level = hierarchy.level_of(asked, levels)
    found: dict[Level, tuple[str, ...]] = {
        above: (hierarchy.unique_value(asked, above),) for above in levels[: levels.index(level)]
    }
    # One patient at a time: nothing says how a list of Patient IDs is to be written.
    single = level == "PATIENT"
    found[level] = (hierarchy.unique_value(asked, level),) if single else hierarchy.unique_values(asked, level)
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
    series, sop_instances = frozenset(request.series), frozenset(request.instances)

    def is_meant(identity: Identity) -> bool:
        return (not series or identity.series in series) and (not sop_instances or identity.instance in sop_instances)

    return list(instances.published(root, studies, is_meant))


def _uids(found: dict[Level, tuple[str, ...]], level: Level) -> tuple[UID, ...]:
    try:
        return tuple(map(UID, found.get(level, ())))
    except Rejected as why:
        raise Unmatchable(hierarchy.UNIQUE_KEYS[level], f"is {why.reason}") from why


def _of_patient(root: Path, index: QueryIndex, request: Request) -> Iterator[UID]:
    """The studies of a patient, those that are named or all."""
    keys = [
        Key(hierarchy.PATIENT_ID, "LO", (request.patient,)),
        Key(hierarchy.STUDY_INSTANCE_UID, "UI", request.studies),
    ]
    for answer in search.search(index, root, "STUDY", keys):
        yield UID(first_text(answer, hierarchy.STUDY_INSTANCE_UID))
