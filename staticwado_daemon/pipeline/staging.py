"""The files of one instance, written into its staging directory: frames, bulk data, documents, thumbnail, metadata.

What stands there in the end is what the instance directory will be. Bulk data, which belong to the study, stand aside.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from staticwado_daemon.archive import gzipped, layout, multipart, restore, summary
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.source_frames import stored_in
from staticwado_daemon.archive.stage import Stage
from staticwado_daemon.dicom import forms, frames, render, transcode
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.data_set import Buffer, pieces
from staticwado_daemon.dicom.frames import FrameSegments, PixelDescription
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.proof import NotLossless
from staticwado_daemon.dicom.transcode import StoredFrames
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline import alternates
from staticwado_daemon.pipeline.documents import store_document, store_pictures, store_video
from staticwado_daemon.pipeline.files import Files
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.staged import Staged, bulk_directory

AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"
MODALITY = "00080060"
SOP_CLASS_UID = "00080016"
PIXEL_DATA = frozenset({"7FE00008", "7FE00009", "7FE00010"})

WHOLE_MODALITIES = frozenset({"SR", "SEG", "RTSTRUCT", "RWV"})
WHOLE_SOP_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.30"})
"""Instances of these modalities, and parametric maps, are also kept as one Part 10 file: so viewers ask for them."""

MOST_KEPT_WHOLE = 256 << 20
"""Bytes; no larger source is kept beside frames from which it doesn't come back, as it would have to be held."""

_DICOM = "application/dicom"


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What became of the pixel data of an instance.

    Attributes:
        identity: of the instance as it is stored: coded with loss, it is another one.
        source: how the source comes back.
        exact: it does, if not from the frames then from itself.
        warnings: what wasn't done as it was asked for.
    """

    identity: Identity
    source: restore.Pixels
    exact: bool = True
    warnings: tuple[str, ...] = ()


def stage(source: Source, content: Buffer, instance: Instance, directory: Path, images: Images) -> Staged:
    """Write everything of one instance below `directory`, and make its record (of revision 0).

    Of content that isn't in memory no more is held than a frame, the bulk values that the reader holds, and what is in
    neither.

    Raises:
        Rejected: if the pixel data isn't what the attributes say.
        Transient: if the content vanishes while it is read.
        OSError: if the disk doesn't take it.
    """
    files = Files(Stage(directory), Stage(bulk_directory(directory)))
    changes: dict[str, bytes | None] = {AVAILABLE_TRANSFER_SYNTAX_UID: _uid(instance.transfer_syntax_uid)}
    stored = _Pixels(instance.identity, restore.Pixels())
    if instance.pixel_data is not None:
        stored = _store_pixels(files, instance, images, changes, deletes=source.after_ingest == "delete")
    for value in instance.bulk_values:
        files.add_bulk(value.sha256, value.data)
    store_document(files, instance)
    if _is_asked_for_whole(instance.attributes):
        _store_whole(files, content)
    dataset = instance.attributes.with_changes(changes).to_json()
    files.instance.write(layout.METADATA, [gzipped.pack(summary.array([dataset]))])
    # Offsets are into the inflated data set where it was deflated: those aren't bytes of the file.
    pixels = stored.source
    if not stored.exact and source.after_ingest == "keep":
        remainder = b""
    else:
        is_plain = instance.buffer is content
        remainder = restore.split(content, pixels, instance.places) if is_plain else restore.whole(content)
    source_digest, content_digest = _digests(content, instance)
    record = Record(
        identity=stored.identity,
        revision=0,
        content=content_digest,
        source=source_digest,
        source_transfer_syntax=instance.transfer_syntax_uid,
        blobs=tuple(files.blobs),
        remainder=_name(remainder),
        source_attributes=_source_attributes(instance.attributes, changes),
        dataset=dataset,
    )
    if source.after_ingest == "delete" or _is_intricate(pixels):
        differing = _differing(content, record, remainder, directory)
        if differing is None:
            remainder = restore.whole(content)
        elif differing:
            remainder = restore.split(content, pixels, instance.places, differing)
        record = replace(record, remainder=_name(remainder))
    warnings = (*instance.warnings, *stored.warnings)
    return Staged(source, directory, record, tuple(files.bulk), remainder, warnings)


def _is_intricate(pixels: restore.Pixels) -> bool:
    """Whether the source's frames differ from the decoded ones, which the codec compared, by more than their coding."""
    description = pixels.description
    if description is None:
        return False
    return pixels.shared or pixels.word > 1 or description.is_planar or forms.invertible(description) is not None


def _differing(content: Buffer, record: Record, remainder: bytes, directory: Path) -> list[restore.Segment] | None:
    """Where the source doesn't come back from what was stored; None if that is everywhere."""
    own, bulk = stored_in(directory), stored_in(bulk_directory(directory))
    try:
        rebuilt = restore.rebuild(record, remainder, lambda name: (bulk if layout.is_bulk(name) else own)(name))
        return restore.differences(content, rebuilt)
    except (Corrupt, ValueError):
        return None


def _digests(content: Buffer, instance: Instance) -> tuple[str, str]:
    """SHA-256 of the source, and of its content.

    That is the data set, preceded by the transfer syntax it is read in: with a corrected one it is another.
    """
    source, data_set = hashlib.sha256(), hashlib.sha256(f"{instance.transfer_syntax_uid}\0".encode())
    skipped = instance.dataset_offset
    for piece in pieces(content, [(0, len(content))]):
        source.update(piece)
        data_set.update(piece[skipped:])
        skipped = max(0, skipped - len(piece))
    return source.hexdigest(), data_set.hexdigest()


def _name(remainder: bytes) -> tuple[str, int]:
    return hashlib.sha256(remainder).hexdigest(), len(remainder)


def _store_pixels(
    files: Files, instance: Instance, images: Images, changes: dict[str, bytes | None], *, deletes: bool
) -> _Pixels:
    """Store the frames, or the video that they are, and a thumbnail; say how the source comes back from them.

    Args:
        files: of the instance.
        instance: as read.
        images: what becomes of the frames.
        changes: takes what the published attributes say otherwise.
        deletes: the source is to be deleted, so that it must come back.
    """
    description = frames.describe(instance)
    segments = frames.frame_segments(instance, description)
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    if syntax.video_extension:
        store_video(files, instance, segments[0], syntax.video_extension)
        # A stream in one file is whole, even if it came as the syntax's fragmentable twin, which no viewer knows.
        changes[AVAILABLE_TRANSFER_SYNTAX_UID] = _uid(syntax.uid.removesuffix(".1"))
        uri = f"series/{instance.identity.series}/instances/{instance.identity.instance}/rendered"
        changes.update(_pixel_data_attribute(instance, uri))
        return _Pixels(instance.identity, restore.Pixels(segments))
    wanted = images.choices.of(description.samples_per_pixel, syntax.uid)
    ways = transcode.ways(instance, description, segments, wanted)
    too_large = len(instance.buffer) > MOST_KEPT_WHOLE
    stored, length = _store_frames(
        files, ways, lambda way: too_large and not way.invertible and (deletes or not way.loss)
    )
    identity = instance.identity
    changes.update(stored.changes)
    if stored.loss:
        identity = replace(identity, instance=stored.loss.instance)
        changes.update(stored.loss.changes(instance.attributes.with_changes(stored.changes), length))
    changes[AVAILABLE_TRANSFER_SYNTAX_UID] = _uid(stored.transfer_syntax_uid)
    changes.update(_pixel_data_attribute(instance, f"instances/{identity.instance}/frames"))
    if images.thumbnails and (
        picture := render.instance_thumbnail(instance, description, segments, images.thumbnail_size)
    ):
        files.add(layout.THUMBNAIL, picture)
    if images.rendered:
        store_pictures(files, instance, description, segments)
    warnings = alternates.store(files, instance, description, segments, images.alternates) if images.alternates else ()
    if wanted != "none" and stored.kept_because and (images.choices.by_name or syntax.compressed):
        warnings = (f"not stored as {wanted}: {stored.kept_because}", *warnings)
    source = restore.Pixels()
    if stored.invertible:
        source = restore.Pixels(segments) if syntax.compressed else _native_pixels(instance, description, segments)
    return _Pixels(identity, source, stored.loss is None, warnings)


def _store_frames(
    files: Files, ways: Iterable[StoredFrames], costs_too_much: Callable[[StoredFrames], bool]
) -> tuple[StoredFrames, int]:
    """Store frames, one after the other as they are made, in the first way that works for all; also give their bytes.

    Raises:
        Corrupt: if none does.
    """
    before, reason = len(files.blobs), ""
    for stored in ways:
        if costs_too_much(stored):
            reason = reason or "the source is too large to be kept beside such frames"
            continue
        part_type, length = transfer_syntax(stored.transfer_syntax_uid).part_type, 0
        try:
            for number, payload in enumerate(stored.frames, start=1):
                files.add_frame(number, part_type, payload, compress=stored.gzip)
                length += len(payload)
        except NotLossless as why:
            files.take_back(before)
            reason = reason or why.reason
        else:
            return replace(stored, kept_because=reason or stored.kept_because), length
    raise Corrupt(reason)


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


def _is_asked_for_whole(attributes: Attributes) -> bool:
    return attributes.text(MODALITY) in WHOLE_MODALITIES or attributes.text(SOP_CLASS_UID) in WHOLE_SOP_CLASSES


def _store_whole(files: Files, content: Buffer) -> None:
    """Store the Part 10 file as such."""
    if isinstance(content, bytes):
        files.add(layout.FULL_INSTANCE, gzipped.pack(multipart.wrap(_DICOM, content)))
    else:
        part = multipart.wrap_pieces(_DICOM, pieces(content, [(0, len(content))]))
        files.add_pieces(layout.FULL_INSTANCE, gzipped.pack_pieces(part))


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
