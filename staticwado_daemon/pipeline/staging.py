"""The files of one instance, written into its staging directory: frames, bulk data, documents, thumbnail, metadata.

What stands there in the end is what the instance directory will be. Bulk data, which belong to the study, stand aside.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
from isal import isal_zlib

from staticwado_daemon.archive import gzipped, layout, multipart, restore, summary
from staticwado_daemon.archive.record import Blob, Record
from staticwado_daemon.archive.store import Stage
from staticwado_daemon.dicom import frames, native, render, transcode
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transcode import ContentType
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline.staged import Staged, bulk_directory

AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"
MODALITY = "00080060"
PIXEL_DATA = frozenset({"7FE00008", "7FE00009", "7FE00010"})
ENCAPSULATED_DOCUMENT = "00420011"
MIME_TYPE_OF_ENCAPSULATED_DOCUMENT = "00420012"

WHOLE_MODALITIES = frozenset({"SR", "SEG", "RTSTRUCT", "RWV"})
"""Instances of these modalities are also kept as one Part 10 file, which is how viewers ask for them."""

FRAME_GZIP_LEVEL = 2
"""isal's fastest that is worth it: native pixels gain little from more."""

GZIP_WINDOW = 31
"""zlib's way to say: a gzip member with the largest window."""

OCTETS = "application/octet-stream"
_PDF = "application/pdf"


@dataclass(slots=True)
class _Files:
    """The staging directories while they fill."""

    instance: Stage
    study: Stage
    blobs: list[Blob] = field(default_factory=list)
    bulk: list[str] = field(default_factory=list)

    def add(self, name: str, data: bytes) -> None:
        """A file of the instance directory."""
        self.instance.write(name, [data])
        self._note(name, data)

    def add_frame(self, number: int, part_type: str, payload: native.Payload, *, compress: bool) -> None:
        """A frame, one multipart part, numbered from 1."""
        body = multipart.wrap(part_type, payload)
        data = isal_zlib.compress(body, FRAME_GZIP_LEVEL, GZIP_WINDOW) if compress else body
        self.add(layout.frame(number, gzipped=compress), data)

    def add_bulk(self, sha256: str, value: bytes) -> None:
        """A bulk value, one multipart part, gzipped where that pays."""
        body = multipart.wrap(OCTETS, value)
        packed = gzipped.pack_if_smaller(body)
        name = layout.bulk_file(sha256, gzipped=packed is not None)
        data = body if packed is None else packed
        self.study.write(name, [data])
        self.bulk.append(name)
        self._note(name, data)

    def _note(self, name: str, data: bytes) -> None:
        self.blobs.append(Blob(name, len(data), hashlib.sha256(data).hexdigest()))


def stage(
    source: Source, data: bytes, instance: Instance, directory: Path, *, content_type: ContentType, thumbnail_size: int
) -> Staged:
    """Write everything of one instance below `directory`, and make its record (of revision 0).

    Raises:
        Rejected: if the pixel data isn't what the attributes say.
        OSError: if the disk doesn't take it.
    """
    files = _Files(Stage(directory), Stage(bulk_directory(directory)))
    changes: dict[str, bytes | None] = {AVAILABLE_TRANSFER_SYNTAX_UID: _uid(instance.transfer_syntax_uid)}
    pixels = restore.Pixels()
    if instance.pixel_data is not None:
        pixels = _store_pixels(files, instance, content_type, thumbnail_size, changes)
    for value in instance.bulk_values:
        files.add_bulk(value.sha256, value.data)
    _store_document(files, instance)
    if instance.attributes.text(MODALITY) in WHOLE_MODALITIES:
        files.add(layout.FULL_INSTANCE, gzipped.pack(multipart.wrap("application/dicom", data)))
    dataset = instance.attributes.with_changes(changes).to_json()
    files.instance.write(layout.METADATA, [gzipped.pack(summary.array([dataset]))])
    # Offsets are into the inflated data set where it was deflated: those aren't bytes of the file.
    remainder = restore.split(data, pixels) if instance.buffer is data else restore.whole(data)
    record = Record(
        identity=instance.identity,
        revision=0,
        content=_content(data, instance),
        source=hashlib.sha256(data).hexdigest(),
        source_transfer_syntax=instance.transfer_syntax_uid,
        blobs=tuple(files.blobs),
        remainder=_name(remainder),
        source_attributes=_source_attributes(instance.attributes, changes),
        dataset=dataset,
    )
    if (source.after_ingest == "delete" or _is_intricate(pixels)) and not _restores(record, remainder, directory):
        remainder = restore.whole(data)
        record = replace(record, remainder=_name(remainder))
    return Staged(source, directory, record, tuple(files.bulk), remainder, instance.warnings)


def _is_intricate(pixels: restore.Pixels) -> bool:
    """Whether the source's frames differ from the decoded ones, which the codec compared, by more than their coding."""
    return pixels.description is not None and (pixels.shared or pixels.word > 1 or pixels.description.is_planar)


def _restores(record: Record, remainder: bytes, directory: Path) -> bool:
    """Whether the source comes back from what was stored."""
    try:
        pieces = restore.rebuild(record, remainder, lambda name: (directory / name).read_bytes())
        return restore.matches(record.source, pieces)
    except (Corrupt, ValueError):
        return False


def _content(data: bytes, instance: Instance) -> str:
    """SHA-256 of the data set, preceded by the transfer syntax it is read in: with a corrected one it is another."""
    digest = hashlib.sha256(f"{instance.transfer_syntax_uid}\0".encode())
    digest.update(memoryview(data)[instance.dataset_offset :])
    return digest.hexdigest()


def _name(remainder: bytes) -> tuple[str, int]:
    return hashlib.sha256(remainder).hexdigest(), len(remainder)


def _store_pixels(
    files: _Files,
    instance: Instance,
    content_type: ContentType,
    thumbnail_size: int,
    changes: dict[str, bytes | None],
) -> restore.Pixels:
    """Store the frames, or the video that they are, and a thumbnail; say how the source comes back from them."""
    description = frames.describe(instance)
    segments = frames.frame_segments(instance, description)
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    if syntax.video_extension:
        video = native.joined(memoryview(instance.buffer), segments[0])
        files.add(layout.rendered(syntax.video_extension), bytes(video))
        uri = f"series/{instance.identity.series}/instances/{instance.identity.instance}/rendered"
        changes.update(_pixel_data_attribute(instance, uri))
        return restore.Pixels(segments)
    stored = transcode.store_lossless(instance, description, segments, content_type)
    part_type = f"{transfer_syntax(stored.transfer_syntax_uid).media_type};transfer-syntax={stored.transfer_syntax_uid}"
    for number, payload in enumerate(stored.frames, start=1):
        files.add_frame(number, part_type, payload, compress=stored.gzip)
    changes.update(stored.changes)
    changes[AVAILABLE_TRANSFER_SYNTAX_UID] = _uid(stored.transfer_syntax_uid)
    changes.update(_pixel_data_attribute(instance, f"instances/{instance.identity.instance}/frames"))
    picture = render.instance_thumbnail(instance, description, segments, thumbnail_size)
    if picture is not None:
        files.add(layout.THUMBNAIL, picture)
    if syntax.compressed:
        return restore.Pixels(segments)
    return _native_pixels(instance, description, segments)


def _native_pixels(
    instance: Instance, description: PixelDescription, segments: Sequence[FrameSegments]
) -> restore.Pixels:
    """How a native source comes back from its frames."""
    word = frames.big_endian_word(instance, description)
    if instance.pixel_data is None or instance.pixel_data.length is None:
        return restore.Pixels(segments, word, description=description)
    if description.frame_bits % (8 * word) == 0:
        return restore.Pixels(segments, word, description=description)
    # Frames that don't end with a byte or word share it with the next: they come back together.
    offset = instance.pixel_data.offset
    last, length = segments[-1][-1]
    return restore.Pixels([[(offset, last + length - offset)]], word, shared=True, description=description)


def _pixel_data_attribute(instance: Instance, uri: str) -> dict[str, bytes]:
    pixel_data = instance.pixel_data
    return {pixel_data.tag: orjson.dumps({"vr": pixel_data.vr, "BulkDataURI": uri})} if pixel_data else {}


def _store_document(files: _Files, instance: Instance) -> None:
    """An encapsulated PDF is also kept as such, under the type that it says and begins like."""
    attributes = instance.attributes
    if attributes.text(MIME_TYPE_OF_ENCAPSULATED_DOCUMENT) != _PDF:
        return
    document = attributes.value(ENCAPSULATED_DOCUMENT) or {}
    for value in instance.bulk_values:
        if document.get("BulkDataURI") == layout.bulk_uri(value.sha256) and value.data.startswith(b"%PDF-"):
            files.add(layout.rendered("pdf"), value.data)


def _uid(uid: str) -> bytes:
    return orjson.dumps({"vr": "UI", "Value": [uid]})


def _source_attributes(attributes: Attributes, changes: Mapping[str, bytes | None]) -> bytes:
    """What the source says where the published data set says something else; null where it says nothing."""
    differing = {tag: attributes.get(tag) for tag, published in sorted(changes.items()) if tag not in PIXEL_DATA}
    return orjson.dumps(
        {
            tag: orjson.Fragment(own) if own is not None else None
            for tag, own in differing.items()
            if own != changes[tag]
        }
    )
