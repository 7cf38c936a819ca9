"""Search at the four levels of the Query/Retrieve model: keys in, answers in DICOM JSON out, one at a time.

Patients, studies and series come from the query index, which narrows; instances from the series' own metadata in the
tree, with every attribute that they have. What matches is `dicom.matching`'s. Which keys a query must have is for who
asks: any combination is answered here, an instance by nothing but its UID included.

What a study or series says of itself is told of all that is in it, even if one of its instances says something else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

import orjson

from staticwado_daemon.archive import gzipped, layout, regular, summary
from staticwado_daemon.archive.query_index import QueryIndex, SeriesRow
from staticwado_daemon.dicom.matching import Key, is_universal, matcher
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected

Level: TypeAlias = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
Answer: TypeAlias = dict[str, summary.Attribute]
_Row = TypeVar("_Row")

STUDY_INSTANCE_UID: Final = "0020000D"
SERIES_INSTANCE_UID: Final = "0020000E"
SOP_INSTANCE_UID: Final = "00080018"
SOP_CLASSES_IN_STUDY: Final = "00080062"
PATIENT_RELATED_STUDIES: Final = "00201200"
PATIENT_RELATED_SERIES: Final = "00201202"
PATIENT_RELATED_INSTANCES: Final = "00201204"

_PATIENT_COUNTS: Final = (PATIENT_RELATED_STUDIES, PATIENT_RELATED_SERIES, PATIENT_RELATED_INSTANCES)
_PATIENT: Final = frozenset(tag for tag in summary.STUDY_ATTRIBUTES if tag[:4] in ("0010", "0012"))
_STUDY: Final = frozenset(
    (
        *summary.STUDY_ATTRIBUTES,
        summary.MODALITIES_IN_STUDY,
        SOP_CLASSES_IN_STUDY,
        summary.STUDY_RELATED_SERIES,
        summary.STUDY_RELATED_INSTANCES,
    )
)
_SERIES: Final = frozenset((*_STUDY, *summary.SERIES_ATTRIBUTES, summary.SERIES_RELATED_INSTANCES))
_SUPPORTED: Final[dict[Level, frozenset[str]]] = {
    "PATIENT": _PATIENT | {*_PATIENT_COUNTS},
    "STUDY": _STUDY,
    "SERIES": _SERIES,
}
_ATTENDED: Final = 64
"""Rows between two looks at who waits."""
_READ_BYTES: Final = 1 << 16
_FEW: Final = 16
"""UIDs that are looked for in serialised JSON before it is taken apart."""


def is_supported(level: Level, tag: str) -> bool:
    """Whether answers at a level have this attribute where it has a value, and can be matched by it."""
    return tag not in _PATIENT_COUNTS if level == "IMAGE" else tag in _SUPPORTED[level]


@dataclass(frozen=True, slots=True)
class _Where:
    """What is searched, and who waits for it."""

    index: QueryIndex
    root: Path
    attend: Callable[[], None]

    def attended(self, rows: Iterable[_Row]) -> Iterator[_Row]:
        """The same rows, with a look at who waits now and then."""
        for number, row in enumerate(rows):
            if number % _ATTENDED == 0:
                self.attend()
            yield row


def search(
    index: QueryIndex, root: Path, level: Level, keys: Sequence[Key], attend: Callable[[], None] = lambda: None
) -> Iterator[Answer]:
    """Yield what the keys match, newest study first, and below in published order.

    Args:
        index: the tree's query index.
        root: of the tree.
        level: of the answers; they have the attributes of the levels above as well, and the counts of both.
        keys: of attributes that the level supports; a study or series has no other, and isn't matched by them.
        attend: called now and then, also while nothing is found; what it raises ends the search.

    Raises:
        Unmatchable: if a key can't be matched with.
        Transient: if the index can't answer now.
        Corrupt: if a file of the tree isn't what it should be.
    """
    where = _Where(index, root, attend)
    if level == "PATIENT":
        yield from _patients(where, keys)
    elif level == "STUDY":
        yield from _studies(where, keys)
    elif level == "SERIES":
        yield from (answer for _, answer in _series(where, keys))
    else:
        yield from _instances(where, keys)


def _patients(where: _Where, keys: Sequence[Key]) -> Iterator[Answer]:
    """Patients as the newest study shows them that the keys match: names are corrected, and change."""
    matches = matcher(keys)
    for row in where.attended(where.index.patients(keys)):
        counts = zip(_PATIENT_COUNTS, (row.studies, row.series, row.instances), strict=True)
        counted: Answer = {tag: {"vr": "IS", "Value": [count]} for tag, count in counts}
        for study in map(orjson.loads, row.answers):
            answer = {tag: study[tag] for tag in sorted(_PATIENT & study.keys())} | counted
            if matches(answer):
                yield answer
                break


def _studies(where: _Where, keys: Sequence[Key]) -> Iterator[Answer]:
    complete = _completion(where, keys)
    for row in where.attended(where.index.studies(keys)):
        answer: Answer = orjson.loads(row.answer)
        if complete(answer, row.uid):
            yield answer


def _series(where: _Where, keys: Sequence[Key]) -> Iterator[tuple[SeriesRow, Answer]]:
    complete = _completion(where, keys)
    for row in where.attended(where.index.series(keys)):
        answer: Answer = orjson.loads(row.study_answer) | orjson.loads(row.answer)
        if complete(answer, row.study):
            yield row, answer


def _instances(where: _Where, keys: Sequence[Key]) -> Iterator[Answer]:
    of_instances = [key for key in keys if key.tag not in _SERIES]
    matches = matcher(of_instances)
    asked = next((key.values for key in keys if key.tag == SOP_INSTANCE_UID and not is_universal(key)), ())
    uids = [uid for value in asked if (uid := value.strip(" \0"))]
    above = [key for key in keys if key.tag in _SERIES]
    if uids and not any(key.tag == SERIES_INSTANCE_UID and not is_universal(key) for key in above):
        above.append(Key(SERIES_INSTANCE_UID, "UI", _series_of(where, uids)))
        if not above[-1].values:
            return
    sought = [uid.encode() for uid in uids] if len(uids) <= _FEW else []
    for row, series in _series(where, above):
        where.attend()
        for serialised in _objects(where.root, f"{layout.series_dir(row.study, row.uid)}/{layout.METADATA}"):
            if not sought or any(uid in serialised for uid in sought):
                instance: Answer = orjson.loads(serialised) | series
                if matches(instance):
                    yield instance


def _series_of(where: _Where, uids: Sequence[str]) -> tuple[str, ...]:
    """The Series Instance UIDs of instances; what is no UID is nobody's."""
    found: dict[str, None] = {}
    for text in uids:
        try:
            uid = UID(text)
        except Rejected:
            continue
        found.update(dict.fromkeys(identity.series for identity in where.index.instances(uid)))
    return tuple(found)


def _completion(where: _Where, keys: Sequence[Key]) -> Callable[[Answer, UID], bool]:
    """What adds to an answer what the index hasn't ready, if the keys ask for it, and says whether they match it all.

    SOP Classes in Study is looked up for what the other keys match alone, for it takes a look at every instance's row.
    """
    matches = matcher([key for key in keys if key.tag != SOP_CLASSES_IN_STUDY])
    by_class = [key for key in keys if key.tag == SOP_CLASSES_IN_STUDY]
    matches_class = matcher(by_class)

    def complete(answer: Answer, study: UID) -> bool:
        if not matches(answer):
            return False
        if by_class and (classes := where.index.sop_classes(study)):
            answer[SOP_CLASSES_IN_STUDY] = {"vr": "UI", "Value": classes}
        return matches_class(answer)

    return complete


def _objects(root: Path, path: str) -> Iterator[bytes]:
    """The serialised objects of a file of the tree, which isn't held as a whole; none if it has just left."""
    try:
        with regular.opened(root / path) as file:
            pieces = gzipped.unpack_pieces(iter(partial(file.read, _READ_BYTES), b""))
            lines = _lines(pieces)
            if next(lines, b"") != b"[":
                raise Corrupt(f"{path} is no JSON array of this tree")
            for line in lines:
                if line not in (b"", b"]"):
                    yield line.removesuffix(b",")
    except FileNotFoundError:
        return
    except OSError as error:
        raise Corrupt(f"{path} can't be read: {error.strerror}") from error


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text, each without its end."""
    buffer = bytearray()
    for piece in pieces:
        looked = len(buffer)
        buffer += piece
        while (end := buffer.find(b"\n", looked)) >= 0:
            yield bytes(buffer[:end])
            del buffer[: end + 1]
            looked = 0
    yield bytes(buffer)
