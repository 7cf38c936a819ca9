"""The query index's file: its tables, and what a study's and a series' query answers look like as rows of them.

Columns to search by stand apart from the answers, which are ten times as long: a search that has to look at every
study reads the columns alone. Columns hold what `dicom.matching` compares, so that both find the same.

UIDs of instances, of which there may be 50 million, are kept as half bytes: a digit or dot each.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from staticwado_daemon.archive import summary
from staticwado_daemon.dicom import moments
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.matching import normalised_groups

FILE: Final = "query.sqlite"
"""Below the state directory."""

NAME: Final = "the query index"

VERSION: Final = 2

UNDECIDED: Final = "\\"
"""In a column: there are several values, or strange ones. No single value can be this."""

SCHEMA: Final = """
CREATE TABLE progress (
    complete INTEGER NOT NULL,     -- whether every study of the tree has been looked at
    expected INTEGER NOT NULL      -- how many there were when the file was begun
);
INSERT INTO progress VALUES (0, 0);
CREATE TABLE studies (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    date TEXT NOT NULL, time TEXT NOT NULL,          -- as studies/index.json.gz is sorted by them, newest first
    day TEXT NOT NULL, birth_date TEXT NOT NULL,     -- eight digits, or nothing
    patient TEXT NOT NULL,                           -- what makes two studies those of one patient
    patient_id TEXT NOT NULL, issuer TEXT NOT NULL, patient_name TEXT NOT NULL,
    accession TEXT NOT NULL, study_id TEXT NOT NULL, referring TEXT NOT NULL, description TEXT NOT NULL,
    modalities TEXT NOT NULL,
    series INTEGER NOT NULL, instances INTEGER NOT NULL     -- how many it has
);
CREATE INDEX studies_listed ON studies (date, time, uid);
CREATE INDEX studies_day ON studies (day);
CREATE INDEX studies_patient ON studies (patient);
CREATE INDEX studies_patient_id ON studies (patient_id);
CREATE INDEX studies_accession ON studies (accession);
CREATE TABLE study_answers (id INTEGER PRIMARY KEY, answer BLOB NOT NULL);
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL,
    position INTEGER NOT NULL,     -- in the study's list of series, from 0
    uid TEXT NOT NULL,
    modality TEXT NOT NULL,
    UNIQUE (study, uid)
);
CREATE INDEX series_uid ON series (uid);
CREATE TABLE series_answers (id INTEGER PRIMARY KEY, answer BLOB NOT NULL);
CREATE TABLE classes (id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE);
CREATE TABLE instances (
    series INTEGER NOT NULL,
    uid BLOB NOT NULL,             -- SOP Instance UID, see `packed`
    class INTEGER NOT NULL,
    PRIMARY KEY (series, uid)
) WITHOUT ROWID;
CREATE INDEX instances_uid ON instances (uid);
"""

Attributes: TypeAlias = Mapping[str, Mapping[str, Any]]


class StudyColumns(NamedTuple):
    """What a study is found by; the columns of its row but for id and UID, in their order."""

    date: str
    time: str
    day: str
    birth_date: str
    patient: str
    patient_id: str
    issuer: str
    patient_name: str
    accession: str
    study_id: str
    referring: str
    description: str
    modalities: str
    series: int
    instances: int

    @classmethod
    def of(cls, answer: Attributes) -> "StudyColumns":
        """Take them from a study's query answer, decoded DICOM JSON."""
        patient_id, issuer = text(answer, "00100020"), text(answer, "00100021")
        name, birth_date = names(answer, "00100010"), day(answer, "00100030")
        # Without an ID the same name and date of birth is the best that is known, as it is on paper.
        patient = (texts(answer, "00100020"),) if patient_id else ("", name, birth_date)
        return cls(
            date=first_text(answer, "00080020"),
            time=first_text(answer, "00080030"),
            day=day(answer, "00080020"),
            birth_date=birth_date,
            patient="\n".join((texts(answer, "00100021"), *patient)),
            patient_id=patient_id,
            issuer=issuer,
            patient_name=name,
            accession=text(answer, "00080050"),
            study_id=text(answer, "00200010"),
            referring=names(answer, "00080090"),
            description=text(answer, "00081030"),
            modalities=texts(answer, "00080061"),
            series=_count(answer, summary.STUDY_RELATED_SERIES),
            instances=_count(answer, summary.STUDY_RELATED_INSTANCES),
        )


def text(attributes: Attributes, tag: str) -> str:
    """The one value of a textual attribute as it is compared; "" if there is none, `UNDECIDED` if that isn't all."""
    values = _values(attributes, tag)
    if not values:
        return ""
    return values[0].strip(" \0") if len(values) == 1 and isinstance(values[0], str) else UNDECIDED


def texts(attributes: Attributes, tag: str) -> str:
    """All values of a textual attribute, each between backslashes; "" if there is none."""
    values = [value.strip(" \0") for value in _values(attributes, tag) if isinstance(value, str)]
    return "\\".join(("", *values, "")) if values else ""


def names(attributes: Attributes, tag: str) -> str:
    """All component groups of all names as they are compared; "" if there is none."""
    return "\\".join("=".join(normalised_groups(name)).rstrip("=") for name in _values(attributes, tag))


def day(attributes: Attributes, tag: str) -> str:
    """The one date as eight digits; "" if there is none that means a day, `UNDECIDED` if there are several."""
    value = text(attributes, tag)
    if value == UNDECIDED:
        return value
    span = moments.date(value)
    return span.first if span else ""


def packed(uid: str) -> bytes:
    """A UID in half its length."""
    digits = uid.replace(".", "a")
    return bytes.fromhex(f"{digits}f" if len(digits) % 2 else digits)


def _count(attributes: Attributes, tag: str) -> int:
    """A number that `archive.summary` has counted."""
    found = first_text(attributes, tag)
    return int(found) if found.isdecimal() else 0


def _values(attributes: Attributes, tag: str) -> list[Any]:
    values = attributes.get(tag, {}).get("Value")
    return [value for value in values if value is not None] if isinstance(values, list) else []
