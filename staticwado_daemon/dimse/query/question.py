"""C-FIND at somebody else's: what is asked, and the answers as they come (PS3.4 C.4.1)."""

from collections.abc import Iterator, Mapping
from datetime import date
from io import BytesIO
from typing import Final, TypeAlias, get_args

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dsutils import decode, encode

from staticwado_daemon.archive.search import Level
from staticwado_daemon.dicom.matching import Attribute
from staticwado_daemon.dicom.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.dimse.association.requestor import asking, ended
from staticwado_daemon.dimse.contexts import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.query import dates
from staticwado_daemon.dimse.query.encoding import encoded
from staticwado_daemon.dimse.query.identifier import QUERY_RETRIEVE_LEVEL, attributes
from staticwado_daemon.dimse.statuses import CANCELLED, SUCCESS, is_pending, told
from staticwado_daemon.errors import ConfigError, Rejected, StaticwadoError

Answer: TypeAlias = Mapping[str, Attribute]
"""DICOM JSON."""
LEVELS: tuple[Level, ...] = get_args(Level)

_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
RETURNED: Mapping[Level, tuple[str, ...]] = {
    "PATIENT": (*_PATIENT, "NumberOfPatientRelatedStudies"),
    "STUDY": (
        *_PATIENT,
        *("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription"),
        *("ReferringPhysicianName", "ModalitiesInStudy"),
        *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    ),
    "SERIES": (
        *("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"),
        "NumberOfSeriesRelatedInstances",
    ),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}
"""What every question asks for, besides the keys by which it chooses."""

_ABOVE: Mapping[Level, tuple[str, ...]] = {
    "PATIENT": (),
    "STUDY": (),
    "SERIES": ("StudyInstanceUID",),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID"),
}
"""The unique keys of the levels above, which the Study Root model wants one value for (PS3.4 C.4.1.2.1)."""


_VRS: Final = frozenset("AE AS CS DA DT IS LO PN SH TM UI UR".split())
_CHARACTER_SETS: Final = ("ISO_IR 100",)
"""In which a question is asked, if it isn't ASCII and that has the letters; else in UTF-8."""
_ANY_DAY: Final = date(2000, 1, 1)


def check(keyword: str, value: str) -> tuple[str, str]:
    """The tag and VR of an attribute that is asked for by this value.

    Raises:
        ConfigError: if there is no such keyword, or the value can't be one of it.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ConfigError(f"{keyword!r} is no keyword of an attribute in PS3.6, such as PatientID or StudyDate")
    vr = dictionary_VR(tag)
    if vr not in _VRS or keyword in {"SpecificCharacterSet", "QueryRetrieveLevel"}:
        raise ConfigError(f"{keyword} is nothing by which a query can choose")
    if value and vr == "DA":
        _date(keyword, value, _ANY_DAY)
    return f"{tag:08X}", vr


def fitted(level: Level, keys: Mapping[str, str]) -> dict[str, str]:
    """The keys as a level has them: studies are of several modalities (PS3.4 C.6.2.1).

    Raises:
        ConfigError: if one is of a level below.
    """
    found = dict(keys)
    if level == "STUDY" and "Modality" in found:
        found["ModalitiesInStudy"] = found.pop("Modality")
    if level in {"PATIENT", "STUDY"} and "SeriesInstanceUID" in found:
        raise ConfigError("a Series Instance UID chooses among series, and not among studies or patients")
    return found


def identifier(level: Level, keys: Mapping[str, str], today: date) -> Dataset:
    """A question's identifier.

    Args:
        level: of the answers.
        keys: values by keyword, as C-FIND matches them: `*` and `?`, several with backslashes between, ranges of dates,
            with `today` as in `dates`. An empty one asks for the attribute alone.
        today: which day it is.

    Raises:
        ConfigError: if a key can't be asked for, or one of a level above is missing.
    """
    missing = [each for each in _ABOVE[level] if not keys.get(each)]
    if missing:
        raise ConfigError(f"a query at level {level} needs {' and '.join(missing)}")
    wanted: dict[str, Attribute] = {QUERY_RETRIEVE_LEVEL: {"vr": "CS", "Value": [level]}}
    for keyword, value in {**dict.fromkeys(RETURNED[level], ""), **keys}.items():
        tag, vr = check(keyword, value)
        value = _date(keyword, value, today) if value and vr == "DA" else value  # noqa: PLW2901 - the same, written out
        wanted[tag] = {"vr": vr, "Value": value.split("\\")} if value else {"vr": vr}
    # pynetdicom wants a data set, and writes its elements as they are.
    return decode(BytesIO(encoded(wanted, _CHARACTER_SETS, implicit=False)), False, True)


def _date(keyword: str, value: str, today: date) -> str:
    try:
        return dates.absolute(value, today)
    except ValueError as error:
        raise ConfigError(f"{keyword}: {error}") from None


def value(answer: Answer, keyword: str) -> str:
    """An attribute's value as text, "" if there is none; several with backslashes between, a name as people read it."""
    found = answer.get(f"{tag_for_keyword(keyword) or 0:08X}", {}).get("Value", [])
    return "\\".join(map(_text, found))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return next((str(value[group]) for group in ("Alphabetic", "Ideographic", "Phonetic") if group in value), "")
    return "" if value is None else str(value)


def model(level: Level) -> str:
    """The SOP class of a question: Study Root, but for patients."""
    return PATIENT_ROOT_FIND if level == "PATIENT" else STUDY_ROOT_FIND


def ask(association: Association, peer: Peer, asked: Dataset, limit: int | None = None) -> Iterator[Answer]:
    """Each answer to a question as it comes.

    Args:
        association: with the model's context.
        peer: with whom it is.
        asked: as `identifier` makes it.
        limit: so many answers are enough; then the rest is cancelled (C-CANCEL).

    Raises:
        Transient: if the association ends, or has ended.
        StaticwadoError: if the peer answers with a failure; at the end, if some answers couldn't be read.
    """
    sop_class, count, cancelled = model(asked.QueryRetrieveLevel), 0, False
    unreadable: StaticwadoError | None = None
    with asking(association, peer):
        for status, answer in association.send_c_find(asked, sop_class):
            if "Status" not in status:
                raise ended(association, peer)
            if status.Status == SUCCESS or (cancelled and status.Status == CANCELLED):
                break
            if not is_pending(status.Status):
                raise StaticwadoError(f"{peer} answers C-FIND with: {told(status)}")
            if cancelled:
                continue
            try:
                found = _read(answer, peer)
            except StaticwadoError as error:
                unreadable = unreadable or error  # what isn't read now would be taken for the next question's answer
                continue
            yield found
            count += 1
            if count == limit:
                association.send_c_cancel(1, query_model=sop_class)
                cancelled = True
    if unreadable is not None:
        raise unreadable


def _read(answer: Dataset | None, peer: Peer) -> Answer:
    """An answer as DICOM JSON, by the reader of files: it understands character sets as they are, right or wrong."""
    data = encode(answer, is_implicit_vr=True, is_little_endian=True) if answer is not None else None
    if data is None:
        raise StaticwadoError(f"{peer} answers C-FIND with what can't be read")
    try:
        return attributes(data, transfer_syntax(IMPLICIT_VR_LITTLE_ENDIAN).encoding)
    except Rejected as error:
        raise StaticwadoError(f"{peer} answers C-FIND with what can't be read: {error}") from None
