"""One instance of Static DICOMweb becomes staged files and a record: reading, rewrapping, and nothing else.

What it was made from, the Part 10 file, is gone, except where that was kept for viewers. So the record names no
source, and its content is a digest of all that is known: metadata and frames.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from staticwado_daemon.archive import gzipped, layout, summary
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.stage import Stage
from staticwado_daemon.dicom import documents, part10
from staticwado_daemon.dicom.attributes import Attributes, first_text
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)
from staticwado_daemon.errors import Rejected
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.operate.adopt import elements, frames, spellings, thumbnail
from staticwado_daemon.operate.adopt.files import FRAMES, Adopting, mapped
from staticwado_daemon.operate.adopt.frames import Listing
from staticwado_daemon.operate.adopt.metadata import Found
from staticwado_daemon.pipeline.documents import store_document
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules, ingest
from staticwado_daemon.pipeline.staged import Staged

NO_SOURCE: Final = ""
"""What the record of an adopted instance has for the digest of its source: there is no original."""

_HEAD: Final = bytes(128) + b"DICM\x02\x00\x10\x00UI\x14\x00" + EXPLICIT_VR_LITTLE_ENDIAN.encode() + b"\0"
_AVAILABLE_TRANSFER_SYNTAX_UID: Final = "00083002"
_PIXEL_DATA: Final = ("7FE00010", "7FE00008", "7FE00009")
_PIXEL_DATA_VRS: Final = frozenset({"OB", "OW", "OF", "OD"})
_ROWS: Final = "00280010"
_WHOLE: Final = ("index.mht.gz", "index.mht")
_VIDEO: Final = {
    "mp4": "1.2.840.10008.1.2.4.102",
    "mpg": "1.2.840.10008.1.2.4.100",
    "ts": "1.2.840.10008.1.2.4.100",
    "h264": "1.2.840.10008.1.2.4.102",
    "h265": "1.2.840.10008.1.2.4.107",
}
"""The likeliest transfer syntax of a video of which only the extension is known."""
_OLD_VIDEO: Final = "pixeldata.mp4"
_OWN_DIRECTORIES: Final = frozenset({"frames", "rendered", "metadata", "temp"})
_MOST_NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class Adopted:
    """A staged instance, and what has to be said of it.

    Attributes:
        staged: as a worker would have left it.
        frames: how many there are.
        lacks: what its own program should have kept and didn't; it is adopted all the same.
        notes: what was contradictory, or had to be corrected.
    """

    staged: Staged
    frames: int
    lacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def stage(study: Path, found: Found, directory: Path, rules: Rules) -> Adopted:
    """Stage one instance in `directory`; `study` is the directory that it stands in now.

    Raises:
        Corrupt: naming a file that is damaged.
        Rejected: if it can't be an instance.
    """
    old = study / "series" / found.identity.series / "instances" / found.identity.instance
    whole, notes = _from_whole(old, found, directory, rules)
    if whole is not None:
        adopting = Adopting.begin(old, directory)
        listing = frames.find(old / FRAMES, 0)
        adopting.use(listing)
        adopting.take_rest()
        return Adopted(whole, len(listing.files), notes=(*found.notes, *notes))
    if notes:
        directory = directory.with_name(f"{directory.name}-again")
    adopting = Adopting.begin(old, directory)
    adopted = _from_parts(study, found, adopting, rules)
    adopting.take_rest()
    return replace(adopted, notes=(*found.notes, *notes, *adopted.notes))


def _from_whole(old: Path, found: Found, directory: Path, rules: Rules) -> tuple[Staged | None, tuple[str, ...]]:
    """Take the Part 10 file that was kept for viewers, where there is one: the original, byte for byte."""
    name = next((each for each in _WHOLE if (old / each).is_file()), None)
    if name is None:
        return None, ()
    place = directory.with_name(f"{directory.name}-whole")
    Stage(place).write("original.dcm", [spellings.read_part(old / name).payload])
    path = place / "original.dcm"
    result = ingest(Source(path, Stamp.of(path.stat()), final=True), directory, rules)
    if isinstance(result, Staged) and result.record.identity == found.identity:
        return result, ()
    reason = "is of another instance" if isinstance(result, Staged) else result.reason or "can't be read"
    return None, (f"the Part 10 file in {name} isn't used: {reason}",)


def _from_parts(study: Path, found: Found, adopting: Adopting, rules: Rules) -> Adopted:
    """Put an instance together from metadata, frames and bulk data."""
    data_set: dict[str, Any] = orjson.loads(found.dataset)
    encoded, adopting.lacks = elements.encode(data_set, lambda uri: spellings.bulk_value(study, uri), found.dialect)
    instance = part10.read(_HEAD + b"".join(encoded.values()), rules.limits, layout.bulk_uri)
    for value in instance.bulk_values:
        adopting.files.add_bulk(value.sha256, value.data)
    if not _store_video(adopting, data_set, instance):
        _store_frames(adopting, data_set, instance, rules.images)
    _store_renditions(adopting, instance)
    attributes = instance.attributes.with_changes(adopting.changes)
    count = sum(blob.path.startswith("frames/") for blob in adopting.files.blobs)
    return Adopted(_staged(adopting, found, attributes), count, tuple(adopting.lacks), tuple(adopting.notes))


def _store_frames(adopting: Adopting, data_set: dict[str, Any], instance: Instance, images: Images) -> None:
    """Store the frames and the thumbnail, and say what is missing."""
    tag = next((each for each in _PIXEL_DATA if each in data_set), None)
    description = _description(instance.attributes)
    listing = frames.find(adopting.old / FRAMES, description.number_of_frames if description else 0)
    if not listing.files and tag is None:
        return
    vr = _pixel_data_vr(data_set, tag)
    syntaxes: Counter[str] = Counter()
    labels: Counter[tuple[str, str]] = Counter()
    for frame in frames.read_all(listing, description, vr):
        adopting.add_frame(FRAMES, frame)
        syntaxes[frame.transfer_syntax] += 1
        labels[frame.label, frame.transfer_syntax] += 1
    adopting.use(listing)
    notes = adopting.notes
    notes += _corrections(labels)
    if listing.others:
        notes.append(f"frames that stood there twice, with different contents: {len(listing.others)}")
    if listing.joined:
        notes.append("fragments that were stored as frames are joined")
    if len(syntaxes) > 1:
        notes.append(f"its frames have different transfer syntaxes: {', '.join(syntaxes)}")
    if syntaxes:
        adopting.changes[_AVAILABLE_TRANSFER_SYNTAX_UID] = _uid(next(iter(syntaxes)))
    uri = f"instances/{instance.identity.instance}/frames"
    adopting.changes[tag or _PIXEL_DATA[0]] = orjson.dumps({"vr": vr, "BulkDataURI": uri})
    _store_thumbnail(adopting, instance, listing, description, images)
    _compare_numbers(adopting, listing, description)


def _corrections(labels: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """What was labelled as something that it isn't, or is stored as something else."""
    for (label, syntax), count in labels.items():
        if label == EXPLICIT_VR_BIG_ENDIAN:
            yield f"big-endian frames, which are little-endian now: {count}"
        elif label not in {"", syntax} and (transfer_syntax(label).compressed or transfer_syntax(syntax).compressed):
            yield f"frames labelled {label} that are {syntax}: {count}"


def _compare_numbers(adopting: Adopting, listing: Listing, description: PixelDescription | None) -> None:
    """Compare the frames that there are with Number of Frames."""
    expected = description.number_of_frames if description else len(listing.files)
    if len(listing.files) > expected:
        adopting.notes.append(f"{len(listing.files)} frames where Number of Frames says {expected}")
    absent = [number for number in range(1, expected + 1) if number not in listing.files]
    if absent:
        named = ", ".join(map(str, absent[:_MOST_NAMED])) + (" …" if len(absent) > _MOST_NAMED else "")
        adopting.lacks.append(f"frames missing: {named} ({len(absent)} of {expected})")


def _store_thumbnail(
    adopting: Adopting, instance: Instance, listing: Listing, description: PixelDescription | None, images: Images
) -> None:
    old = adopting.old / layout.THUMBNAIL
    picture: bytes | None = old.read_bytes() if old.is_file() else None
    if picture is not None and thumbnail.is_sane(picture):
        adopting.files.add(layout.THUMBNAIL, picture)
        return
    if listing.files and description is not None and images.thumbnails:
        number = list(listing.files)[len(listing.files) // 2]
        frame = frames.read(listing, number, description, "OW")
        picture = thumbnail.make(frame, instance.attributes, description, instance.bulk_values, images.thumbnail_size)
        if picture is not None:
            adopting.files.add(layout.THUMBNAIL, picture)


def _store_video(adopting: Adopting, data_set: dict[str, Any], instance: Instance) -> bool:
    """Store a video under our name; say whether it is one."""
    stated = first_text(data_set, _AVAILABLE_TRANSFER_SYNTAX_UID)
    usual = transfer_syntax(stated).video_extension or ""
    rendered = [adopting.old / "rendered" / f"index.{each}" for each in _VIDEO]
    path = next((each for each in (*rendered, adopting.old / _OLD_VIDEO) if each.is_file()), None)
    if documents.ENCAPSULATED_DOCUMENT in data_set:
        return False
    if path is not None:
        usual = usual or path.suffix[1:]
        stream: bytes | memoryview = mapped(path)
        adopting.used |= {path} & {*rendered}
    elif usual and (listing := frames.find(adopting.old / FRAMES, 1)).files:
        # The other converter takes a video for a frame.
        stream = memoryview(frames.read(listing, min(listing.files), None, "OB").payload)
    else:
        return False
    extension = documents.video_extension(bytes(stream[: documents.HEAD_LENGTH]), usual)
    adopting.add_stream(layout.rendered(extension), stream)
    uri = f"series/{instance.identity.series}/instances/{instance.identity.instance}/rendered"
    syntax = stated if transfer_syntax(stated).is_video else _VIDEO[usual]
    adopting.changes[_AVAILABLE_TRANSFER_SYNTAX_UID] = _uid(syntax)
    adopting.changes[_PIXEL_DATA[0]] = orjson.dumps({"vr": "OB", "BulkDataURI": uri})
    _store_thumbnail(adopting, instance, Listing({}), None, Images())
    return True


def _store_renditions(adopting: Adopting, instance: Instance) -> None:
    """Store an encapsulated document as such, pictures of frames, and alternate renditions of frames."""
    store_document(adopting.files, instance)
    for name in spellings.names(adopting.old):
        if name in _OWN_DIRECTORIES or not layout.is_blob(f"{name}/1.mht"):
            continue
        listing = frames.find(adopting.old / name, 0)
        for frame in frames.read_all(listing, None, "OB"):
            adopting.add_frame(name, frame)
        adopting.use(listing)
    for path in sorted((adopting.old / "rendered").glob("*.jpg")):
        name = f"rendered/{path.name}"
        if layout.is_blob(name) and path.read_bytes().startswith(b"\xff\xd8\xff"):
            adopting.files.add(name, path.read_bytes())


def _staged(adopting: Adopting, found: Found, attributes: Attributes) -> Staged:
    dataset = attributes.to_json()
    adopting.files.instance.write(layout.METADATA, [gzipped.pack(summary.array([dataset]))])
    content = hashlib.sha256(b"\0".join((b"adopted", dataset, *(each.encode() for each in adopting.payloads))))
    nothing = b""
    record = Record(
        identity=found.identity,
        revision=0,
        content=content.hexdigest(),
        source=NO_SOURCE,
        source_transfer_syntax="",
        blobs=tuple(adopting.files.blobs),
        remainder=(hashlib.sha256(nothing).hexdigest(), 0),
        source_attributes=b"{}",
        dataset=dataset,
    )
    source = Source(adopting.old, Stamp(0, 0, 0, 0))
    return Staged(source, adopting.directory, record, tuple(adopting.files.bulk), nothing, ())


def _description(attributes: Attributes) -> PixelDescription | None:
    try:
        return PixelDescription.of(attributes) if _ROWS in attributes else None
    except Rejected:
        return None


def _pixel_data_vr(data_set: dict[str, Any], tag: str | None) -> str:
    """The VR of the pixel data; where it is said to be one of two, the file was in implicit VR (PS3.5 A.1)."""
    vr = data_set[tag].get("vr") if tag and isinstance(data_set[tag], dict) else None
    return vr if vr in _PIXEL_DATA_VRS else "OW"


def _uid(uid: str) -> bytes:
    return orjson.dumps({"vr": "UI", "Value": [uid]})
