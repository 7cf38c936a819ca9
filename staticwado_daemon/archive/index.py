"""The list of all studies: the one file that grows with the archive.

It is kept in memory as serialised lines, so that a changed study costs its own line and one compression.
"""

from collections.abc import Iterable

import orjson

from staticwado_daemon.archive import gzipped, summary
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected


class StudiesIndex:
    """Study query answers by Study Instance UID, listed newest first."""

    def __init__(self) -> None:
        self._lines: dict[UID, bytes] = {}
        self._order: dict[UID, tuple[str, str, str]] = {}
        self._instances: dict[UID, int] = {}

    @property
    def instances(self) -> int:
        """How many instances the listed studies have."""
        return sum(self._instances.values())

    def __len__(self) -> int:
        """How many studies are listed."""
        return len(self._lines)

    def __contains__(self, study: UID) -> bool:
        """Whether the study is listed."""
        return study in self._lines

    def put(self, study: UID, query: bytes) -> None:
        """List a study by its query answer, instead of what was listed for it."""
        attributes = orjson.loads(query)
        self._lines[study] = query
        self._order[study] = (
            _text(attributes, "00080020"),
            _text(attributes, "00080030"),
            study,
        )
        self._instances[study] = int(_text(attributes, summary.STUDY_RELATED_INSTANCES) or 0)

    def remove(self, study: UID) -> None:
        """List a study no more."""
        self._lines.pop(study, None)
        self._order.pop(study, None)
        self._instances.pop(study, None)

    def to_file(self) -> bytes:
        """`studies/index.json.gz`."""
        newest_first = sorted(self._lines, key=lambda study: self._order[study], reverse=True)
        return gzipped.pack(summary.array(self._lines[study] for study in newest_first))

    @classmethod
    def from_file(cls, data: bytes) -> "StudiesIndex":
        """Read the list back.

        Raises:
            Corrupt: if it isn't one, so that it must be made anew.
        """
        index = cls()
        index.put_all(summary.objects(gzipped.unpack(data)))
        return index

    def put_all(self, queries: Iterable[bytes]) -> None:
        """List studies by their query answers.

        Raises:
            Corrupt: if one of them has no Study Instance UID.
        """
        for query in queries:
            try:
                self.put(UID(_text(orjson.loads(query), "0020000D")), query)
            except (Rejected, ValueError) as error:
                raise Corrupt(f"not a study's query answer: {error}") from error


def _text(attributes: dict[str, summary.Attribute], tag: str) -> str:
    values = attributes.get(tag, {}).get("Value")
    return str(values[0]) if values else ""
