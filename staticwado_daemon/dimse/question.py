"""C-FIND at somebody else's: what is asked, and the answers as they come (PS3.4 C.4.1)."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Literal, TypeAlias, get_args

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from staticwado_daemon.dimse import dates
from staticwado_daemon.dimse.contexts import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.requestor import ended
from staticwado_daemon.dimse.statuses import CANCELLED, PENDING, SUCCESS, told
from staticwado_daemon.errors import ConfigError, StaticwadoError

Level: TypeAlias = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
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


def check(keyword: str, value: str) -> None:
    """Make sure that an attribute can be asked for by this value.

    Raises:
        ConfigError: if there is no such keyword, or the value is no date where one is wanted.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ConfigError(f"{keyword!r} is no keyword of an attribute in PS3.6, such as PatientID or StudyDate")
    if dictionary_VR(tag) == "SQ":
        raise ConfigError(f"{keyword} is a sequence, by which nothing can be chosen here")
    if value and dictionary_VR(tag) == "DA":
        _date(keyword, value, date.min.replace(year=2000))


def identifier(level: Level, keys: Mapping[str, str], today: date) -> Dataset:
    """A question's identifier.

    Args:
        level: of the answers.
        keys: values by keyword, as C-FIND matches them: `*` and `?`, lists of UIDs with backslashes, ranges of dates,
            with `today` as in `dates`. An empty one asks for the attribute alone.
        today: which day it is.

    Raises:
        ConfigError: if a key can't be asked for, or one of a level above is missing.
    """
    missing = [each for each in _ABOVE[level] if not keys.get(each)]
    if missing:
        raise ConfigError(f"a query at level {level} needs {' and '.join(missing)}: PS3.4 C.4.1.2.1")
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    text = "".join(keys.values())
    if not text.isascii():
        asked.SpecificCharacterSet = "ISO_IR 100" if _is_latin(text) else "ISO_IR 192"
    for keyword in RETURNED[level]:
        setattr(asked, keyword, None)
    for keyword, value in keys.items():
        check(keyword, value)
        is_date = value and dictionary_VR(keyword) == "DA"
        setattr(asked, keyword, _date(keyword, value, today) if is_date else value or None)
    return asked


def _is_latin(text: str) -> bool:
    try:
        text.encode("iso8859-1")
    except UnicodeEncodeError:
        return False
    return True


def _date(keyword: str, value: str, today: date) -> str:
    try:
        return dates.absolute(value, today)
    except ValueError as error:
        raise ConfigError(f"{keyword}: {error}") from None


def model(level: Level) -> str:
    """The SOP class of a question: Study Root, but for patients."""
    return PATIENT_ROOT_FIND if level == "PATIENT" else STUDY_ROOT_FIND


def ask(association: Association, peer: Peer, asked: Dataset, limit: int | None = None) -> Iterator[Dataset]:
    """Each answer to a question as it comes.

    Args:
        association: with the model's context.
        peer: with whom it is.
        asked: as `identifier` makes it.
        limit: so many answers are enough; then the rest is cancelled (C-CANCEL).

    Raises:
        StaticwadoError: if the peer answers with a failure, or with nothing that can be read.
    """
    sop_class, count, cancelled = model(asked.QueryRetrieveLevel), 0, False
    for status, answer in association.send_c_find(asked, sop_class):
        if "Status" not in status:
            raise ended(association, peer)
        if status.Status == SUCCESS or (cancelled and status.Status == CANCELLED):
            return
        if status.Status not in PENDING:
            raise StaticwadoError(f"{peer} answers C-FIND with: {told(status)}")
        if cancelled:
            continue
        if answer is None:
            raise StaticwadoError(f"{peer} answers C-FIND with what can't be read")
        yield answer
        count += 1
        if count == limit:
            association.send_c_cancel(1, query_model=sop_class)
            cancelled = True
