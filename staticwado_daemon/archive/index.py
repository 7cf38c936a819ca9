"""The list of all studies: the one file that grows with the archive.

It is kept in memory as serialised lines, so that a changed study costs its own line and one compression.
"""

from collections.abc import Iterable
from typing import NamedTuple

import orjson

from staticwado_daemon.archive import gzipped, summary
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt, Rejected


class _Listed(NamedTuple):
    """A study as it is listed; the fields before its answer are what the list is sorted by."""

    date: str
    time: str
    study: UID
    query: bytes
    instances: int


class StudiesIndex:
    """Study query answers by Study Instance UID, listed newest first.

    Attributes:
        instances: how many instances the listed studies have.
    """

    def __init__(self) -> None:
        self.instances = 0
        self._listed: dict[UID, _Listed] = {}

    def __len__(self) -> int:
        """How many studies are listed."""
        return len(self._listed)

    def __contains__(self, study: UID) -> bool:
        """Whether the study is listed."""
        return study in self._listed

    def query(self, study: UID) -> bytes | None:
        """The study's query answer, None if it isn't listed."""
        listed = self._listed.get(study)
        return listed.query if listed else None

    def queries(self) -> dict[UID, bytes]:
        """The query answers of all studies, newest first."""
        return {listed.study: listed.query for listed in sorted(self._listed.values(), reverse=True)}

    def put(self, study: UID, query: bytes) -> None:
        """List a study by its query answer, instead of what was listed for it."""
        self._put(study, query, orjson.loads(query))

    def _put(self, study: UID, query: bytes, attributes: dict[str, summary.Attribute]) -> None:
        self.remove(study)
        instances = int(first_text(attributes, summary.STUDY_RELATED_INSTANCES) or 0)
        self._listed[study] = _Listed(
            first_text(attributes, "00080020"), first_text(attributes, "00080030"), study, query, instances
        )
        self.instances += instances

    def remove(self, study: UID) -> None:
        """List a study no more."""
        listed = self._listed.pop(study, None)
        if listed:
            self.instances -= listed.instances

    def to_file(self) -> bytes:
        """`studies/index.json.gz`."""
        return gzipped.pack(summary.array(self.queries().values()))

    @classmethod
    def from_file(cls, data: bytes) -> "StudiesIndex":
        """Read the list back.

        Raises:
            Corrupt: if it isn't one, so that it must be made anew.
        """
        index = cls()
        index.put_all(summary.objects(gzipped.unpack(data, gzipped.LONGEST)))
        return index

    def put_all(self, queries: Iterable[bytes]) -> None:
        """List studies by their query answers.

        Raises:
            Corrupt: if one of them has no Study Instance UID.
        """
        for query in queries:
            try:
                attributes = orjson.loads(query)
                self._put(UID(first_text(attributes, "0020000D")), query, attributes)
            except (Rejected, ValueError, AttributeError) as error:  # the last for what is no object
                raise Corrupt(f"not a study's query answer: {error}") from error
