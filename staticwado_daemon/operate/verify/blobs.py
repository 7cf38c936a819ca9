"""Whether the files that a record speaks of are there, and are what was written."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from staticwado_daemon.archive import holdings, layout, summary
from staticwado_daemon.archive.merge import Versions
from staticwado_daemon.archive.record import Blob, Record
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.operate.verify.finding import Finding, Kind
from staticwado_daemon.operate.verify.reading import Reader, Unreadable
from staticwado_daemon.operate.verify.sample import Sample

_FRAME = re.compile(r"[A-Za-z0-9_-]+/[0-9]+\.mht(\.gz)?")

_Sort = Literal["frame", "bulk", "thumbnail", "file"]
_MISSING: dict[_Sort, Kind] = {
    "frame": "frame_missing",
    "bulk": "bulk_missing",
    "thumbnail": "thumbnail_missing",
    "file": "file_missing",
}
_DAMAGED: dict[_Sort, Kind] = {
    "frame": "frame_damaged",
    "bulk": "bulk_damaged",
    "thumbnail": "thumbnail_damaged",
    "file": "file_damaged",
}


@dataclass(frozen=True, slots=True)
class Placed:
    """One version of an instance, and where it belongs.

    Attributes:
        version: its record.
        directory: of its own files, below the root.
        covered: whether it is deleted or rejected; then the bulk data that no other version has are kept aside as well.
    """

    version: Record
    directory: str
    covered: bool = False

    def path(self, blob: Blob, root: Path) -> str:
        """Where one of its blobs belongs, below the root."""
        if not layout.is_bulk(blob.path):
            return f"{self.directory}/{blob.path}"
        study = self.version.identity.study
        aside = f"{layout.kept_study_dir(study)}/{blob.path}"
        return aside if self.covered and (root / aside).exists() else f"{layout.study_dir(study)}/{blob.path}"


def placed(versions: Versions) -> Iterator[Placed]:
    """The versions of an instance with their places."""
    for each in versions.visible:
        yield Placed(each, holdings.place(each, published=each is versions.winner))
    for each, _ in versions.covered:
        yield Placed(each, holdings.place(each, published=False), covered=True)


@dataclass
class Blobs:
    """The files of a study's versions, each of which is looked at once, however many versions share it.

    Attributes:
        reader: of the tree.
        sample: which of them are read; of all the others existence and length are looked at.
        everything: every version of the study with its place.
    """

    reader: Reader
    sample: Sample
    everything: Sequence[Placed]
    _seen: set[str] = field(default_factory=set)

    def check(self) -> Iterator[Finding]:
        """What is wrong with them."""
        for each in self.everything:
            if not (self.reader.root / each.directory).is_dir():
                yield _finding("instance_missing", each, each.directory)
                yield from self._check(each, [blob for blob in each.version.blobs if layout.is_bulk(blob.path)])
                continue
            yield from self._metadata(each)
            yield from self._check(each, each.version.blobs)

    def _metadata(self, each: Placed) -> Iterator[Finding]:
        path = f"{each.directory}/{layout.METADATA}"
        expected = summary.array([each.version.dataset])
        try:
            right = self.reader.unpacked(path, len(expected)) == expected
        except FileNotFoundError:
            yield _finding("metadata_missing", each, path)
            return
        except (Corrupt, Unreadable) as why:
            yield _finding("metadata_wrong", each, path, str(why))
            return
        if not right:
            yield _finding("metadata_wrong", each, path)

    def _check(self, each: Placed, blobs: Iterable[Blob]) -> Iterator[Finding]:
        for blob in blobs:
            path = each.path(blob, self.reader.root)
            if path in self._seen:
                continue
            self._seen.add(path)
            fault = self._fault(path, blob)
            if fault is not None:
                kind, detail = fault
                yield _finding(kind, each, path, detail)

    def _fault(self, path: str, blob: Blob) -> tuple[Kind, str] | None:
        sort = _sort(blob.path)
        try:
            length = self.reader.length(path)
            if length is None:
                return _MISSING[sort], ""
            if length == blob.length and not self.sample.has(path):
                return None
            digest = self.reader.digest(path)
        except FileNotFoundError:
            return _MISSING[sort], ""
        except Unreadable as why:
            return _DAMAGED[sort], str(why)
        if digest == blob.sha256:
            return None
        other = self._owners.get(digest)
        if sort == "frame" and other is not None:
            return "frames_swapped", f"it is that of {other}"
        return _DAMAGED[sort], "" if length == blob.length else f"{length:,} bytes instead of {blob.length:,}"

    @cached_property
    def _owners(self) -> Mapping[str, str]:
        """Where frames belong, by their digests; made only once something is damaged."""
        return {
            blob.sha256: each.path(blob, self.reader.root)
            for each in self.everything
            for blob in each.version.blobs
            if _sort(blob.path) == "frame"
        }


def _sort(path: str) -> _Sort:
    if layout.is_bulk(path):
        return "bulk"
    if _FRAME.fullmatch(path):
        return "frame"
    return "thumbnail" if path == layout.THUMBNAIL else "file"


def _finding(kind: Kind, each: Placed, where: str, detail: str = "") -> Finding:
    identity = each.version.identity
    return Finding(kind, where, identity.study, identity, each.version.content, detail)
