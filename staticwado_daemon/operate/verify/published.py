"""Whether the files that are published of a study are what its records say; they are computed here once more."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from staticwado_daemon.archive import layout, summary
from staticwado_daemon.archive.hidden import NOTHING, Hidden
from staticwado_daemon.archive.merge import Versions
from staticwado_daemon.archive.record import Blob, Record
from staticwado_daemon.archive.summary import Series
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.verify.finding import Finding, Kind
from staticwado_daemon.operate.verify.reading import Reader, Unreadable
from staticwado_daemon.pipeline.publish import LARGEST_THUMBNAIL

_COUNTS = frozenset({summary.STUDY_RELATED_SERIES, summary.STUDY_RELATED_INSTANCES, summary.SERIES_RELATED_INSTANCES})

_STALE_BYTES = 1 << 20
"""What may be left in a list of instances that are gone, beside as much again as belongs there."""


@dataclass(frozen=True, slots=True)
class Published:
    """What belongs into the published files of a study.

    Attributes:
        study: whose.
        series: all of them, in order; none if nothing is published.
        winners: the published version of each instance.
    """

    study: UID
    series: tuple[Series, ...]
    winners: Mapping[Identity, Record]

    @classmethod
    def of(cls, study: UID, winners: Mapping[Identity, Record]) -> "Published":
        """Compute them from the published versions."""
        by_series: dict[UID, list[summary.Entry]] = {}
        for identity, record in winners.items():
            by_series.setdefault(identity.series, []).append(summary.entry(record))
        series = (Series.of(uid, entries) for uid, entries in by_series.items())
        return cls(study, tuple(summary.in_order(series)), winners)

    @property
    def query(self) -> bytes | None:
        """The study's answer, as the list of all studies has it; None if it isn't to be listed."""
        return summary.study_query(self.series) if self.series else None

    def bodies(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """The paths of the study's lists and metadata, with what makes what they hold, not compressed."""
        if not self.series:
            return
        study = {**summary.hot_files(self.series), **summary.cold_files(self.series)}
        homes = {layout.series_dir(self.study, each.uid): each.files() for each in self.series}
        for directory, files in {layout.study_dir(self.study): study, **homes}.items():
            yield from ((f"{directory}/{name}", content) for name, content in files.items())

    def thumbnails(self) -> Iterator[tuple[str, Blob | None]]:
        """The paths of the study's and its series' thumbnails, with the blob that each is a copy of, if any."""
        if not self.series:
            return
        yield f"{layout.study_dir(self.study)}/{layout.THUMBNAIL}", self._blob(summary.study_thumbnail(self.series))
        for each in self.series:
            yield f"{layout.series_dir(self.study, each.uid)}/{layout.THUMBNAIL}", self._blob(each.thumbnail())

    def _blob(self, chosen: Identity | None) -> Blob | None:
        blobs = self.winners[chosen].blobs if chosen else ()
        return next(
            (each for each in blobs if each.path == layout.THUMBNAIL and each.length <= LARGEST_THUMBNAIL), None
        )


def check(reader: Reader, wanted: Sequence[Published]) -> Iterator[Finding]:
    """What is wrong with the published files of a study.

    Args:
        reader: of the tree.
        wanted: what they may say; several things where it can't be told which instances belong to the study, because
            their records are lost.
    """
    study = wanted[0].study
    others = [dict(each.bodies()) for each in wanted[1:]]
    for path, body in wanted[0].bodies():
        fault = _fault(reader, path, [body(), *(each[path]() for each in others if path in each)])
        if fault is not None:
            yield Finding(fault[0], path, study, detail=fault[1])
    thumbnails = [dict(each.thumbnails()) for each in wanted]
    for path in thumbnails[0]:
        candidates = [blob for each in thumbnails if (blob := each.get(path))]
        if candidates and (kind := _thumbnail_fault(reader, path, candidates)):
            yield Finding(kind, path, study)


def check_note(reader: Reader, study: UID, instances: Iterable[Versions]) -> Iterator[Finding]:
    """What is wrong with the note of how much of a study is stored but not shown."""
    path, wanted = layout.hidden_note(study), Hidden.of(instances)
    try:
        found: bytes | None = reader.read(path, _STALE_BYTES)
    except FileNotFoundError:
        found = None
    except Unreadable:
        found = b""
    if found is None and wanted != NOTHING:
        yield Finding("summary_missing", path, study)
    elif found is not None and (wanted == NOTHING or found != wanted.to_file()):
        yield Finding("summary_stale", path, study)


def _fault(reader: Reader, path: str, bodies: Sequence[bytes]) -> tuple[Kind, str] | None:
    try:
        found = reader.unpacked(path, 2 * max(map(len, bodies)) + _STALE_BYTES)
    except FileNotFoundError:
        return "summary_missing", ""
    except (Corrupt, Unreadable) as why:
        return "summary_unreadable", str(why)
    if found in bodies:
        return None
    return ("count_wrong" if differ_by_counts(found, bodies[0]) else "summary_stale"), ""


def _thumbnail_fault(reader: Reader, path: str, candidates: Sequence[Blob]) -> Kind | None:
    try:
        digest = reader.digest(path)
    except FileNotFoundError:
        return "thumbnail_missing"
    except Unreadable:
        return "thumbnail_stale"
    # An instance that has lost its record has lost what its thumbnail's digest was as well.
    return None if any(each.sha256 in {digest, ""} for each in candidates) else "thumbnail_stale"


def differ_by_counts(one: bytes, other: bytes) -> bool:
    """Whether two arrays of query answers are equal but for the numbers of series or instances."""
    try:
        return bool(_without_counts(one) == _without_counts(other))
    except (ValueError, AttributeError):
        return False


def _without_counts(body: bytes) -> Any:
    return [{tag: value for tag, value in each.items() if tag not in _COUNTS} for each in orjson.loads(body)]
