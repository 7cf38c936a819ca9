"""What a worker answers, on its way through the pipe: rows of values, of which the main process makes its own.

A worker that a hostile file has taken over answers what it likes. So nothing in an answer can name a function or a
class, none of it says which source it is about or where that is staged, and what the publisher will compute of it,
join to paths or write into records has been tried before the publisher hears of it. What can't be told from here is
whether an instance is what its source says: a worker could always read that wrong.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
import orjson

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.record import DATASET, Blob, Record
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline.staged import Staged, Unfinished

Result: TypeAlias = Staged | Receipt | Unfinished

_Length: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Sentence: TypeAlias = Annotated[str, msgspec.Meta(max_length=10_000)]
_Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class _Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an answer says of one source: no more than what its worker alone can know."""


class _StagedRow(_Row, frozen=True, tag="staged"):
    identity: tuple[str, str, str]
    content: _Digest
    source: _Digest
    source_transfer_syntax: str
    blobs: tuple[tuple[str, _Length, _Digest], ...]
    source_attributes: bytes
    dataset: bytes
    remainder: bytes
    warnings: tuple[_Sentence, ...]


class _RefusedRow(_Row, frozen=True, tag="refused"):
    outcome: Literal["rejected", "ignored"]
    reason: _Sentence


class _UnfinishedRow(_Row, frozen=True, tag="unfinished"):
    reason: _Sentence
    incomplete: bool
    refused: bool


_AnyRow: TypeAlias = _StagedRow | _RefusedRow | _UnfinishedRow

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[_AnyRow])


def pack(results: Sequence[Result]) -> bytes:
    """Serialise the results of one task."""
    return _encoder.encode([_row(result) for result in results])


def unpack(answer: bytes, sources: Sequence[Source], directory: Path) -> list[Result]:
    """Read what `pack` made.

    Args:
        answer: from a worker that isn't trusted.
        sources: of the task.
        directory: of the task; each of its instances is staged in one that is named by its place in `sources`.

    Raises:
        Corrupt: if it isn't one result for each of these sources, fit for the publisher.
    """
    try:
        rows = _decoder.decode(answer)
        return [
            _result(row, source, directory / str(number))
            for number, (row, source) in enumerate(zip(rows, sources, strict=True))
        ]
    except (ValueError, Rejected) as error:  # what msgspec and orjson raise are ValueErrors
        raise Corrupt("a worker's answer doesn't match its task") from error


def _row(result: Result) -> _AnyRow:
    match result:
        case Staged(record=record):
            return _StagedRow(
                identity=(str(record.identity.study), str(record.identity.series), str(record.identity.instance)),
                content=record.content,
                source=record.source,
                source_transfer_syntax=record.source_transfer_syntax,
                blobs=tuple((blob.path, blob.length, blob.sha256) for blob in record.blobs),
                source_attributes=record.source_attributes,
                dataset=record.dataset,
                remainder=result.remainder,
                warnings=result.warnings,
            )
        case Receipt(outcome="rejected" | "ignored" as outcome):
            return _RefusedRow(outcome, result.reason or "")
        case Unfinished():
            return _UnfinishedRow(result.reason, result.incomplete, result.refused)
        case _:
            raise ValueError("no worker can say that")


def _result(row: _AnyRow, source: Source, directory: Path) -> Result:
    match row:
        case _StagedRow():
            if source.after_ingest == "delete" and not row.remainder:
                raise ValueError("nothing by which a source that will be gone would come back")
            bulk = tuple(path for path, _, _ in row.blobs if layout.is_bulk(path))
            return Staged(source, directory, _record(row), bulk, row.remainder, row.warnings)
        case _RefusedRow():
            return Receipt(source.path, source.stamp, row.outcome, row.reason)
        case _UnfinishedRow():
            return Unfinished(row.reason, row.incomplete, row.refused)


def _record(row: _StagedRow) -> Record:
    """The record of an instance, after everything that a writer or reader of records relies upon was tried.

    Raises:
        ValueError, Rejected: if it would harm the study that it belongs to.
    """
    identity = Identity(*map(UID, row.identity))
    if not all(layout.is_blob(path) for path, _, _ in row.blobs):
        raise ValueError("a blob that the archive has no place for")
    dataset = _attributes(row.dataset)
    if [_uid(dataset, tag) for tag in ("0020000D", "0020000E", "00080018")] != list(row.identity):
        raise ValueError("a data set of another instance")
    _check_source_attributes(row.source_attributes)
    return Record(
        identity=identity,
        revision=0,
        content=row.content,
        source=row.source,
        source_transfer_syntax=row.source_transfer_syntax,
        blobs=tuple(Blob(*blob) for blob in row.blobs),
        remainder=(hashlib.sha256(row.remainder).hexdigest(), len(row.remainder)),
        source_attributes=row.source_attributes,
        dataset=row.dataset,
    )


def _attributes(data: bytes) -> dict[str, Any]:
    """Read DICOM JSON: an object of objects, of which what is called "Value" is a list.

    Raises:
        ValueError: if it is anything else, doesn't stand on one line, or is nested so deep that it can't be written.
    """
    attributes = orjson.loads(data)
    if b"\n" in data or not isinstance(attributes, dict):
        raise ValueError("no attributes")
    if not all(isinstance(each, dict) and isinstance(each.get("Value", []), list) for each in attributes.values()):
        raise ValueError("no attributes")
    _written(attributes)
    return attributes


def _uid(dataset: dict[str, Any], tag: str) -> Any:
    values = dataset.get(tag, {}).get("Value")
    return values[0] if values else None


def _check_source_attributes(data: bytes) -> None:
    """Make sure that these are an object, before and after which a record's line can be cut in two.

    Raises:
        ValueError: if they aren't.
    """
    attributes = orjson.loads(data)
    if b"\n" in data or not isinstance(attributes, dict):
        raise ValueError("no attributes")
    if any(DATASET in form for form in (data, _written(attributes))):
        raise ValueError("a second data set")


def _written(attributes: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(attributes)
    except TypeError as error:  # it reads more levels than it writes
        raise ValueError("nested too deep") from error
