"""One source becomes staged files and a record: the work of a worker process.

It reads, decides and writes into its own staging directory only; whether anything of it becomes part of the tree is
the publisher's decision.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
from isal import igzip

from staticwado_daemon.archive import gzipped, layout, multipart, restore, summary
from staticwado_daemon.archive.record import Blob, Record
from staticwado_daemon.archive.store import Stage
from staticwado_daemon.dicom import codecs, frames, part10, render
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.part10 import BulkValue, Instance, Limits
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.errors import Ignored, Incomplete, Rejected, Transient
from staticwado_daemon.inbound import source as sources
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline.staged import Staged, Unfinished

AVAILABLE_TRANSFER_SYNTAX = "00083002"
PIXEL_DATA = "7FE00010"
ENCAPSULATED_DOCUMENT = "00420011"
MIME_TYPE = "00420012"
MODALITY = "00080060"

WHOLE_MODALITIES = frozenset({"SR", "SEG", "RTSTRUCT", "RWV"})
"""Instances of these modalities are also kept whole: viewers read them as Part 10 files."""

FRAME_GZIP_LEVEL = 2
"""isal's highest that is faster than the disk; native pixels gain little from more."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How instances are stored.

    Attributes:
        content_type: what native frames become: "htj2k", "jls" or "none".
        limits: what a file may ask of us, and which values become bulk data.
        thumbnail_size: pixels along the longer side.
    """

    content_type: codecs.ContentType
    limits: Limits
    thumbnail_size: int = 256


def ingest_batch(batch: Sequence[Source], directory: Path, rules: Rules) -> list[Staged | Receipt | Unfinished]:
    """Ingest sources one after the other, each staged in a directory of its own below `directory`."""
    return [ingest(source, directory / str(number), rules) for number, source in enumerate(batch)]


def ingest(source: Source, directory: Path, rules: Rules) -> Staged | Receipt | Unfinished:
    """Stage one complete Part 10 file as frames, bulk data, thumbnail and record.

    Bad input is a receipt, not an exception; what may be better another time is `Unfinished`.
    """
    try:
        data = sources.read(source)
        instance = part10.read(data, rules.limits, layout.bulk_uri)
        return _Staging(source, data, instance, directory, rules).staged()
    except Incomplete as why:
        return Unfinished(source, why.reason, incomplete=True)
    except Rejected as why:
        return Receipt(source.path, source.stamp, "rejected", why.reason)
    except Ignored as why:
        return Receipt(source.path, source.stamp, "ignored", why.reason)
    except Transient as why:
        return Unfinished(source, str(why), incomplete=False)


class _Staging:
    """The making of one staged instance."""

    def __init__(self, source: Source, data: bytes, instance: Instance, directory: Path, rules: Rules) -> None:
        self._source = source
        self._data = data
        self._instance = instance
        self._directory = directory
        self._rules = rules
        self._stage = Stage(directory)
        self._blobs: list[Blob] = []

    def staged(self) -> Staged:
        instance, data = self._instance, self._data
        pixels = self._pixels()
        bulk = tuple(self._bulk(value) for value in instance.bulk_values)
        self._document()
        self._whole()
        changes = dict(pixels.changes)
        published = instance.attributes.with_changes(changes)
        dataset = published.to_json()
        self._stage.write(f"instance/{layout.METADATA}", [gzipped.pack(summary.array([dataset]))])
        record = Record(
            identity=instance.identity,
            revision=0,
            content=hashlib.sha256(memoryview(data)[instance.dataset_offset :]).hexdigest(),
            source=hashlib.sha256(data).hexdigest(),
            source_transfer_syntax=instance.transfer_syntax_uid,
            blobs=tuple(self._blobs),
            remainder=(hashlib.sha256(pixels.remainder).hexdigest(), len(pixels.remainder)),
            source_attributes=_source_attributes(instance.attributes, changes),
            dataset=dataset,
        )
        return Staged(self._source, self._directory, record, bulk, pixels.remainder, instance.warnings)
