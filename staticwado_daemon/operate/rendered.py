"""One frame of the tree as a picture: what a browser or a report can show (PS3.18 8.7.4, rendered media types).

Everything comes from the published files: metadata, the frame, and tables of palettes among the bulk data.
"""

import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from numpy import uint8
from numpy.typing import NDArray

from staticwado_daemon.archive import gzipped, layout, multipart, regular
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.codecs import decode, photometric_interpretation
from staticwado_daemon.dicom.frames import PixelDescription
from staticwado_daemon.dicom.render import picture
from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax
from staticwado_daemon.dicom.uids import Identity
from staticwado_daemon.dicom.voi import VOI, Preset, presets
from staticwado_daemon.errors import Corrupt, Rejected, StaticwadoError
from staticwado_daemon.operate import targets

_TABLES = ("00281201", "00281202", "00281203", "00281221", "00281222", "00281223")
_FLOATING = {"7FE00008": 32, "7FE00009": 64}
_MOST_PIXELS = 1 << 28
_REMEDY = "run `staticwado verify --repair`"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it is published, decoded by nobody yet.

    Attributes:
        number: From 1.
        attributes: Of its instance; palettes are in it.
        description: Of its samples.
        transfer_syntax_uid: Of `payload`.
        payload: Its bytes.
    """

    number: int
    attributes: Attributes
    description: PixelDescription
    transfer_syntax_uid: str
    payload: memoryview

    @property
    def presets(self) -> list[Preset]:
        """The views that whoever made the image thought useful."""
        return presets(self.attributes, self.number - 1)

    def preset(self, wanted: str) -> VOI:
        """Return the preset of this name, whatever its case, or of this number from 1.

        Raises:
            StaticwadoError: if there is none.
        """
        known = self.presets
        for number, preset in enumerate(known, start=1):
            if wanted in {str(number), preset.name} or wanted.lower() == preset.name.lower() != "":
                return preset.voi
        listed = ", ".join(f"{number} {preset.name or '(unnamed)'}" for number, preset in enumerate(known, start=1))
        raise StaticwadoError(f"the image has no preset {wanted!r}: it has {listed or 'none'}")


def find(root: Path, text: str) -> Identity:
    """Return the instance that is meant.

    Args:
        root: of the tree.
        text: see `targets.resolve`; a study or series will do if it has a single instance.

    Raises:
        StaticwadoError: if there is no such instance, or more than one.
    """
    found = sorted(path for target in targets.resolve(root, [text]) for path in _directories(root, target))
    if len(found) == 1:
        _, study, _, series, _, instance = found[0].relative_to(root).parts
        target = Target.parse(f"studies/{study}/series/{series}/instances/{instance}")
        if target.series and target.instance:
            return Identity(target.study, target.series, target.instance)
    if not found:
        raise StaticwadoError(f"{text} has no published instance")
    named = ", ".join(path.relative_to(root).as_posix() for path in found[:2])
    raise StaticwadoError(f"{text} means {len(found)} instances: name one, such as {named}")


def read(root: Path, identity: Identity, number: int) -> Frame:
    """Return frame `number`, from 1, of a published instance.

    Raises:
        StaticwadoError: if it has no such frame, or nothing that can be a picture.
    """
    directory = root / layout.instance_dir(identity)
    attributes = _with_palettes(_metadata(directory), root / layout.study_dir(identity.study))
    description = _described(attributes)
    if description is None:
        raise StaticwadoError(f"{identity.instance} is no image")
    if next(directory.glob("rendered/index.*"), None):
        raise StaticwadoError(f"{identity.instance} is a video or document: {directory / 'rendered'} has it as it is")
    if not 1 <= number <= description.number_of_frames:
        frames = "1 frame" if description.number_of_frames == 1 else f"{description.number_of_frames} frames"
        raise StaticwadoError(f"{identity.instance} has {frames}, no frame {number}")
    part_type, payload = _part(directory, [layout.frame(number, gzipped=zipped) for zipped in (False, True)])
    uid = part_type.rpartition("=")[2]
    return Frame(number, attributes, description, uid, payload)


def render(frame: Frame, voi: VOI | None, box: tuple[int, int] | None) -> NDArray[uint8]:
    """Return a frame as (rows, columns) grey levels or (rows, columns, 3) colours.

    Args:
        frame: See `read`.
        voi: The window or table of a grey image; None for its own first one.
        box: Columns and rows into which it is made to fit, larger or smaller; None for its own size.

    Raises:
        StaticwadoError: if it can't be decoded, or the picture would be too large.
    """
    described = frame.description
    longest = max(described.rows, described.columns)
    if box:
        factor = min(box[0] / described.columns, box[1] / described.rows)
        longest = max(1, round(longest * factor))
    smallest = longest * min(described.rows, described.columns) // max(described.rows, described.columns)
    if longest * smallest > _MOST_PIXELS:
        raise StaticwadoError(f"a picture of more than {_MOST_PIXELS} pixels isn't made: say a smaller size")
    try:
        kind = photometric_interpretation(frame.payload, frame.transfer_syntax_uid, described)
        decoded = decode(frame.payload, frame.transfer_syntax_uid, described)
        meant = replace(described, photometric_interpretation=kind)
        return picture(decoded, frame.attributes, meant, longest=longest, index=frame.number - 1, voi=voi)
    except Corrupt as why:
        name = transfer_syntax(frame.transfer_syntax_uid).name
        raise StaticwadoError(f"the frame ({name}) can't be shown: {why}") from why


def _directories(root: Path, target: Target) -> Sequence[Path]:
    if target.instance:
        return [root / str(target)] if (root / str(target)).is_dir() else []
    pattern = "instances/*" if target.series else "series/*/instances/*"
    return [path for path in (root / str(target)).glob(pattern) if path.is_dir()]


def _metadata(directory: Path) -> Attributes:
    path = directory / layout.METADATA
    try:
        with _told_damage(path), regular.opened(path) as file:
            [data_set] = orjson.loads(gzipped.unpack(file.read()))
            return Attributes({tag: orjson.dumps(attribute) for tag, attribute in data_set.items()})
    except FileNotFoundError:
        raise StaticwadoError(f"{path} is missing: {_REMEDY}") from None


def _with_palettes(attributes: Attributes, study: Path) -> Attributes:
    """Put palettes that are bulk data into the data set."""
    changes: dict[str, bytes | None] = {}
    for tag in _TABLES:
        attribute = attributes.value(tag) or {}
        uri = str(attribute.get("BulkDataURI", ""))
        if layout.is_blob(uri) and layout.is_bulk(uri):
            _, value = _part(study, [uri, f"{uri}.gz"])
            inline = binascii.b2a_base64(value, newline=False).decode()
            changes[tag] = orjson.dumps({"vr": attribute["vr"], "InlineBinary": inline})
    return attributes.with_changes(changes)


def _part(directory: Path, names: Sequence[str]) -> tuple[str, memoryview]:
    """The type and content of the first multipart file that exists."""
    for path in (directory / name for name in names):
        try:
            with _told_damage(path), regular.opened(path) as file:
                data = file.read()
                return multipart.unwrap(gzipped.unpack(data) if path.suffix == ".gz" else data)
        except FileNotFoundError:
            continue
    raise StaticwadoError(f"{directory / names[0]} is missing: {_REMEDY}")


@contextmanager
def _told_damage(path: Path) -> Iterator[None]:
    """Name the file that isn't what it should be, and what to do."""
    try:
        yield
    except (Corrupt, ValueError, AttributeError) as why:
        raise Corrupt(f"{path} is damaged: {_REMEDY}") from why


def _described(attributes: Attributes) -> PixelDescription | None:
    if not {"7FE00010", *_FLOATING} & set(attributes):
        return None
    try:
        description = PixelDescription.of(attributes)
    except Rejected as why:
        raise StaticwadoError(f"the image can't be shown: {why.reason}") from why
    for tag, bits in _FLOATING.items():
        if tag in attributes:
            return replace(description, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1, floating=True)
    return description
