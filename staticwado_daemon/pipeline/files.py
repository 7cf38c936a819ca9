"""The files of one instance while they are staged, each noted with its length and digest."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from isal import isal_zlib

from staticwado_daemon.archive import gzipped, layout, multipart
from staticwado_daemon.archive.record import Blob
from staticwado_daemon.archive.stage import Stage
from staticwado_daemon.dicom import native
from staticwado_daemon.dicom.data_set import Buffer, pieces

FRAME_GZIP_LEVEL = 2
"""isal's fastest that is worth it: native pixels gain little from more."""

TRIED_BYTES = 4 << 20
"""Of a bulk value that isn't held so many bytes are compressed to see whether that pays."""

OCTETS = "application/octet-stream"


@dataclass(slots=True)
class Files:
    """The staging directories while they fill.

    Attributes:
        instance: of the files of the instance directory.
        study: of bulk data, which belong to the study.
        blobs: what was added, in order.
        bulk: the bulk data among them.
    """

    instance: Stage
    study: Stage
    blobs: list[Blob] = field(default_factory=list)
    bulk: list[str] = field(default_factory=list)

    def add(self, name: str, data: bytes) -> None:
        """Add a file of the instance directory."""
        self.instance.write(name, [data])
        self._note(name, data)

    def add_pieces(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Add a file of the instance directory that may be too long to be held."""
        self._add_pieces(self.instance, name, parts)

    def _add_pieces(self, stage: Stage, name: str, parts: Iterable[bytes | memoryview]) -> None:
        digest, length = hashlib.sha256(), 0

        def noted() -> Iterator[bytes | memoryview]:
            nonlocal length
            for part in parts:
                digest.update(part)
                length += len(part)
                yield part

        stage.write(name, noted())
        self.blobs.append(Blob(name, length, digest.hexdigest()))

    def add_frame(self, number: int, part_type: str, payload: native.Payload, *, compress: bool) -> None:
        """Add a frame, one multipart part, numbered from 1."""
        body = multipart.wrap(part_type, payload)
        data = isal_zlib.compress(body, FRAME_GZIP_LEVEL, gzipped.WINDOW) if compress else body
        self.add(layout.frame(number, gzipped=compress), data)

    def add_bulk(self, sha256: str, value: Buffer) -> None:
        """Add a bulk value, one multipart part, gzipped where that pays, as a whole or, not held, in its beginning."""
        if not isinstance(value, bytes):
            compress = gzipped.pack_if_smaller(bytes(value[:TRIED_BYTES])) is not None
            part = multipart.wrap_pieces(OCTETS, pieces(value, [(0, len(value))]))
            self.bulk.append(layout.bulk_file(sha256, gzipped=compress))
            self._add_pieces(self.study, self.bulk[-1], gzipped.pack_pieces(part) if compress else part)
            return
        body = multipart.wrap(OCTETS, value)
        packed = gzipped.pack_if_smaller(body)
        name = layout.bulk_file(sha256, gzipped=packed is not None)
        data = body if packed is None else packed
        self.study.write(name, [data])
        self.bulk.append(name)
        self._note(name, data)

    def take_back(self, count: int) -> None:
        """Remove all files of the instance directory again but the first `count` that were added."""
        for blob in self.blobs[count:]:
            self.instance.remove(blob.path)
        del self.blobs[count:]

    def _note(self, name: str, data: bytes) -> None:
        self.blobs.append(Blob(name, len(data), hashlib.sha256(data).hexdigest()))
