"""Records: what the archive knows of one instance, immutable and named by its own digest.

Records and blobs are the database; everything published is computed from them. A record is one JSON object on a
line of its own:

    {"format":1,"study":…,"series":…,"instance":…,"revision":1,"content":…,"source":…,
     "sourceTransferSyntaxUID":…,"blobs":[[path,length,sha256],…],"remainder":[sha256,length],
     "sourceAttributes":{…},"dataset":{…}}

`dataset` is the DICOM JSON of the instance as published. `sourceAttributes` holds, for the few attributes in
which that differs from the file that came in (a frame's transfer syntax, say), what the file says; null means
that the file lacks the attribute. `dataset` stands last so that it can be cut out without being parsed.

A record file is a JSON array of records, and of tombstones over them (`archive.tombstone`), one a line, gzipped, and
named by the SHA-256 of its uncompressed bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import orjson

from staticwado_daemon.archive import gzipped, tombstone
from staticwado_daemon.archive.tombstone import Tombstone
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Rejected

FORMAT = 1
DATASET = b',"dataset":'
"""Where a record's line is cut in two; this stands nowhere before it."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored file: its path, its length in bytes and the SHA-256 of these bytes.

    The path is relative to the study directory for bulk data (`bulkdata/…`), to the instance directory else.
    """

    path: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """One stored version of one instance.

    Attributes:
        identity: Study, Series and SOP Instance UID.
        revision: a Lamport counter among the contents of this identity, from 1.
        content: SHA-256 of the source's transfer syntax, a zero byte, and its data set (the file without preamble
            and group 0002).
        source: SHA-256 of the whole source file.
        source_transfer_syntax: Transfer Syntax UID of the source file.
        blobs: every file that belongs to it.
        remainder: SHA-256 and length of what the source file holds besides its frames; empty if it can't be given
            back.
        source_attributes: JSON object, tag to attribute, where `dataset` differs from the source.
        dataset: DICOM JSON of the instance as published (PS3.18 F.2).
    """

    identity: Identity
    revision: int
    content: str
    source: str
    source_transfer_syntax: str
    blobs: tuple[Blob, ...]
    remainder: tuple[str, int]
    source_attributes: bytes
    dataset: bytes

    def to_line(self) -> bytes:
        """The record's serialised bytes."""
        head = {
            "format": FORMAT,
            "study": str(self.identity.study),
            "series": str(self.identity.series),
            "instance": str(self.identity.instance),
            "revision": self.revision,
            "content": self.content,
            "source": self.source,
            "sourceTransferSyntaxUID": self.source_transfer_syntax,
            "blobs": [[blob.path, blob.length, blob.sha256] for blob in self.blobs],
            "remainder": list(self.remainder),
            "sourceAttributes": orjson.Fragment(self.source_attributes),
        }
        return orjson.dumps(head)[:-1] + DATASET + self.dataset + b"}"

    @property
    def name(self) -> str:
        """SHA-256 of the serialised bytes."""
        return hashlib.sha256(self.to_line()).hexdigest()

    @property
    def is_exact(self) -> bool:
        """Whether the source comes back; not where its frames lost something, as asked, and it stayed where it was."""
        return self.remainder[1] > 0

    def source_dataset(self) -> dict[str, Any]:
        """The DICOM JSON of the source file, decoded."""
        dataset: dict[str, Any] = orjson.loads(self.dataset)
        for tag, attribute in orjson.loads(self.source_attributes).items():
            if attribute is None:
                dataset.pop(tag, None)
            else:
                dataset[tag] = attribute
        return dict(sorted(dataset.items()))


Held: TypeAlias = Record | Tombstone
"""What a record file holds."""


class _Format(msgspec.Struct):
    """What every format of a record begins with."""

    format: int


class _Head(_Format, rename="camel"):
    """A record's line before its data set."""

    study: str
    series: str
    instance: str
    revision: int
    content: str
    source: str
    source_transfer_syntax: str = msgspec.field(name="sourceTransferSyntaxUID")
    blobs: list[tuple[str, int, str]]
    remainder: tuple[str, int]
    source_attributes: msgspec.Raw


_FORMAT = msgspec.json.Decoder(_Format)
_HEAD = msgspec.json.Decoder(_Head)


def parse(line: bytes) -> Record:
    """Read a record back from its line.

    Raises:
        Corrupt: if it isn't one, or of a newer format.
    """
    cut = line.find(DATASET)
    before = line if cut < 0 else line[:cut] + b"}"
    try:
        if (written := _FORMAT.decode(before).format) != FORMAT:
            raise Corrupt(f"record of format {written}, this program reads {FORMAT}")
        head = _HEAD.decode(before)
        identity = Identity(UID(head.study), UID(head.series), UID(head.instance))
    except (msgspec.DecodeError, Rejected) as error:
        raise Corrupt(f"not a record: {error}") from error
    if cut < 0:
        raise Corrupt("not a record: it has no data set")
    return Record(
        identity=identity,
        revision=head.revision,
        content=head.content,
        source=head.source,
        source_transfer_syntax=head.source_transfer_syntax,
        blobs=tuple(Blob(*blob) for blob in head.blobs),
        remainder=head.remainder,
        source_attributes=bytes(head.source_attributes),
        dataset=line[cut + len(DATASET) : -1],
    )


def to_file(held: Iterable[Held]) -> tuple[str, bytes]:
    """A record file: its name and its compressed bytes; the order of what it holds doesn't matter."""
    body = b"[\n" + b",\n".join(sorted(each.to_line() for each in held)) + b"\n]"
    return hashlib.sha256(body).hexdigest() + ".gz", gzipped.pack(body)


def from_file(data: bytes) -> Iterator[Held]:
    """The records and tombstones of a record file.

    Raises:
        Corrupt: if the file isn't one.
    """
    body = gzipped.unpack(data, gzipped.LONGEST)
    if not (body.startswith(b"[\n") and body.endswith(b"\n]")):
        raise Corrupt("not a record file")
    for line in body[2:-2].split(b",\n"):
        yield tombstone.parse(line) if line.startswith(tombstone.BEGINNING) else parse(line)
