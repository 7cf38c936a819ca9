"""A writer of trees as `mkdicomweb` leaves them, the older of the two converters: its JSON, its deduplicated records.

It follows the published format (paths, framing, spellings of values), not the program.
"""

import base64
import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from tests.foreign import parts

PATIENT = "00100020 00101002 00100010 00100021 00100030 00100032 00100040 00120062 00120064".split()
STUDY = "00081030 00080050 0020000D 00080020 00080030 0032000A 0032000C 00200010".split()
SERIES = (
    "0008103E 00200011 0020000E 00080060 00080021 00080031 00080005 00080070 00080080 00080090 00081010 00081070 "
    "00081090 00180015 00181030 00321060"
).split()
INSTANCE = (
    "00080018 00200013 0020000E 0020000D 00080023 00080033 00080022 00080032 00200012 00280002 00280004 00280006 "
    "00280010 00280011 00280100 00280101 00280102 00280103 00281050 00281051 00281055 00080013"
).split()
IMAGE = (
    "00080008 00080012 00080016 00080064 00081090 00080023 00080022 00181010 00181012 00181016 00181018 00181019 "
    "00181020 00280002 00280004 00280006 00280010 00280011 00280100 00280101 00280102 00280103 00281050 00281051 "
    "00281055 00185100 00200020"
).split()
GROUPS = (("patient", PATIENT), ("study", STUDY), ("series", SERIES), ("image", IMAGE))

_STRINGS = frozenset("AE AS CS DA DT LO LT SH ST TM UI UT".split())
_NUMBERS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}
_CODES = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}

Json = dict[str, Any]


@dataclass(slots=True)
class Options:
    """How this tree is spelt.

    Attributes:
        transcode: grey native frames become JPEG-LS.
        old_frames: `n` and `n.gz` instead of `n.mht` and `n.mht.gz`.
        bare: codestreams without wrapper, by their extension.
        old_bulk: bare files named by the digest of the list of their bytes, with `.raw` and URIs that say `rawfalse`.
        old_series: the record of a series under its former name.
        untagged: attributes without vr, as some versions left them.
        hashed: studies below directories named by a hash.
        grouped: group files, series metadata and lists; else what `instance` alone leaves.
        rejected: SOP Instance UIDs.
    """

    transcode: bool = False
    old_frames: bool = False
    bare: bool = False
    old_bulk: bool = False
    old_series: bool = False
    untagged: bool = False
    hashed: str = ""
    grouped: bool = True
    rejected: frozenset[str] = frozenset()


@dataclass(slots=True)
class Writer:
    """A root under construction."""

    root: Path
    options: Options = field(default_factory=Options)
    _studies: dict[str, list[Json]] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Convert one file."""
        image = parts.read(path)
        study, series, instance = (str(image[tag].value) for tag in (0x0020000D, 0x0020000E, 0x00080018))
        directory = self.directory(study)
        own = directory / "series" / series / "instances" / instance
        metadata = self.metadata(path, directory, f"instances/{instance}/frames")
        if "Value" not in metadata["00080018"]:
            raise ValueError("UIDs with VR UN, which the converter fails at as well")
        syntax = str(image.file_meta.TransferSyntaxUID)
        if "PixelData" in image and syntax in parts.VIDEO:
            (stream,) = parts.frames_of(image).payloads
            name = "pixeldata.mp4" if self.options.old_frames else "rendered/index.mp4"
            parts.write(own / name, stream)
            uri = f"series/{series}/instances/{instance}/rendered?length={len(stream)}&offset=0&accept=video/mp4"
            metadata["7FE00010"] = {"vr": "OB", "BulkDataURI": uri}
        elif "PixelData" in image:
            frames = parts.frames_of(image, transcode=self.options.transcode)
            syntax = frames.syntax
            for number, payload in enumerate(frames.payloads, start=1):
                self.frame(own / "frames", number, payload, frames)
            parts.write(own / "thumbnail", parts.thumbnail(1024 if self.options.old_frames else 256))
        metadata["00083002"] = {"Value": [syntax]} | ({} if self.options.untagged else {"vr": "UN"})
        if image.get("Modality") in {"SR", "SEG"}:
            parts.write(own / "index.mht.gz", parts.part("application/dicom", path.read_bytes()))
        if image.get("MIMETypeOfEncapsulatedDocument") == "application/pdf":
            parts.write(own / "rendered.pdf", image.EncapsulatedDocument)
        self._studies.setdefault(study, []).append(metadata)
        if not self.options.grouped:
            parts.write_json(own / "metadata/index.json.gz", metadata)

    def directory(self, study: str) -> Path:
        return self.root / "studies" / self.options.hashed / study

    def frame(self, directory: Path, number: int, payload: bytes, frames: parts.Frames) -> None:
        wrapped = parts.part(parts.part_type(frames.syntax), payload)
        if self.options.bare and frames.syntax.endswith(".4.80"):
            parts.write(directory / f"{number}.jls", payload)
        elif self.options.old_frames:
            parts.write(directory / (f"{number}.gz" if frames.is_native else str(number)), wrapped)
        else:
            parts.write(directory / (f"{number}.mht.gz" if frames.is_native else f"{number}.mht"), wrapped)

    def metadata(self, path: Path, directory: Path, frames: str) -> Json:
        """A data set as this converter spells it."""
        image = parts.read(path)
        utf8 = "ISO_IR 192" in str(image.get("SpecificCharacterSet", ""))
        # Read again, for what pydicom has converted has no bytes any more.
        found = data_set_json(parts.read(path), utf8, self._bulk(directory), top=True)
        if "PixelData" in image:
            vr = "OB|OW" if image.file_meta.TransferSyntaxUID.is_implicit_VR else image["PixelData"].VR
            found["7FE00010"] = {"vr": vr, "BulkDataURI": frames}
        if self.options.untagged:
            for tag in ("00080018", "0020000E"):
                found[tag].pop("vr", None)
        return found

    def _bulk(self, directory: Path) -> Callable[[bytes], str]:
        def store(value: bytes) -> str:
            if self.options.old_bulk:
                name = hashlib.sha256(f"[{','.join(map(str, value))}]".encode()).hexdigest()
                uri = f"bulkdata/{name[:3]}/{name[3:5]}/{name[5:]}.raw"
                parts.write(directory / (f"{uri}.gz" if len(value) > 1024 else uri), value)
                return f"{uri}false"
            name = hashlib.sha256(value).hexdigest()
            uri = f"bulkdata/{name[:3]}/{name[3:5]}/{name[5:]}"
            wrapped = parts.part(parts.OCTETS, value)
            parts.write(directory / (f"{uri}.gz" if len(value) > 1024 else uri), wrapped)
            return uri

        return store

    def finish(self) -> Path:
        """Write what is written at the end of a run."""
        listed = [self._finish(study, instances) for study, instances in self._studies.items()]
        if self.options.grouped:
            parts.write_json(self.root / "studies/index.json.gz", listed)
        return self.root

    def _finish(self, study: str, instances: list[Json]) -> Json:
        directory, hashed = self.directory(study), self.options.hashed
        extracts: dict[str, Json] = {}
        records = [self._deduplicated(each, extracts) for each in instances]
        for name, each in extracts.items():
            path = directory / "bulkdata" / name[:3] / name[3:5] / f"{name[5:]}.json.gz"
            parts.write_json(path, each, indent=1)
        if not self.options.grouped:
            for each in records:
                name = _mark(each, "11")[0]
                parts.write_json(self.root / "instances" / hashed / study / f"{name}.gz", [each])
            return {}
        info = parts.digest(records)
        hashes = [_mark(each, "11")[0] for each in records]
        head = {**self._marks(info, "info", {}), "00091010": {"Value": hashes, "vr": "LO"}}
        parts.write_json(
            self.root / "deduplicated" / hashed / study / f"{info}.gz", [head, *extracts.values(), *records]
        )
        current = [self._marks(info, "info", {}), *extracts.values(), *records]
        parts.write_json(directory / "deduplicated/index.json.gz", current)
        return self._lists(directory, records, extracts)

    def _lists(self, directory: Path, records: list[Json], extracts: dict[str, Json]) -> Json:
        whole: dict[str, list[Json]] = {}
        for each in records:
            if _mark(each, "12") == ["deleted"]:
                continue
            full = dict(each)
            for reference in _mark(each, "10"):
                for tag, attribute in extracts[reference].items():
                    full.setdefault(tag, attribute)
            whole.setdefault(full["0020000E"]["Value"][0], []).append(full)
        series_records = []
        for series, instances in whole.items():
            own = directory / "series" / series
            parts.write_json(own / "metadata.gz", instances)
            listed = [self._record(each, INSTANCE, "instance") for each in instances]
            parts.write_json(own / "instances/index.json.gz", listed)
            count = {"00201209": {"Value": [len(instances)], "vr": "IS"}}
            record = self._record(instances[0], ["0020000D", *SERIES], "series") | count
            series_records.append(record)
            name = "series/index.json.gz" if self.options.old_series else "series-singleton.json.gz"
            parts.write_json(own / name, [record])
            parts.write(own / "thumbnail", parts.thumbnail())
        parts.write_json(directory / "series/index.json.gz", series_records)
        parts.write(directory / "thumbnail", parts.thumbnail())
        first = next(iter(whole.values()), [{}])[0]
        modalities = {each["00080060"]["Value"][0] for each in series_records if "00080060" in each}
        computed = {
            "00080061": {"Value": sorted(modalities), "vr": "CS"},
            "00201208": {"Value": [sum(map(len, whole.values()))], "vr": "IS"},
            "00201206": {"Value": [len(whole)], "vr": "IS"},
        }
        record = self._record(first, [*PATIENT, *STUDY], "study") | computed
        parts.write_json(directory / "index.json.gz", [record])
        return record

    def _record(self, full: Json, tags: Iterable[str], kind: str) -> Json:
        chosen = {tag: full[tag] for tag in tags if tag in full}
        return chosen | self._marks(parts.digest(chosen), kind, chosen)

    def _marks(self, name: str, kind: str, beside: Json) -> Json:
        block = _block(beside)
        vr = {} if self.options.untagged else {"vr": "LO"}
        return {
            f"000900{block}": {"Value": ["dedupped"], "vr": "CS"},
            f"0009{block}11": {"Value": [name], **vr},
            f"0009{block}12": {"Value": [kind], **vr},
        }

    def _deduplicated(self, full: Json, extracts: dict[str, Json]) -> Json:
        rest, references = dict(full), []
        for kind, tags in GROUPS:
            taken = {tag: rest.pop(tag) for tag in tags if tag in rest}
            name = parts.digest(taken)
            references.append(name)
            extracts.setdefault(name, {**taken, **self._marks(name, kind, taken)})
        block = _block(full)
        rest[f"000900{block}"] = {"Value": ["dedupped"], "vr": "CS"}
        rest[f"0009{block}10"] = {"Value": references, "vr": "LO"}
        rest["0020000E"], rest["00080018"] = full["0020000E"], full["00080018"]
        kind = "deleted" if full["00080018"]["Value"][0] in self.options.rejected else "instance"
        return rest | self._marks(parts.digest(rest), kind, full)


def _block(data: Json) -> str:
    """The first block of group 0009 that nobody else owns."""
    return next(f"{each:02X}" for each in range(0x10, 0x40) if f"000900{each:02X}" not in data or _owned(data, each))


def _owned(data: Json, block: int) -> bool:
    return data[f"000900{block:02X}"].get("Value") == ["dedupped"]


def _mark(record: Json, last: str) -> list[str]:
    block = next(f"{each:02X}" for each in range(0x10, 0x40) if f"000900{each:02X}" in record and _owned(record, each))
    return record[f"0009{block}{last}"]["Value"]


def data_set_json(image: Dataset, utf8: bool, bulk: Callable[[bytes], str], *, top: bool) -> Json:
    """Attributes as dicom-parser and the converter leave them: Latin-1, unsplit, trimmed, much of it base64."""
    found: Json = {}
    # What pydicom has converted has no bytes any more, and touching one element converts others.
    elements = {tag: image.get_item(tag) for tag in sorted(image.keys())}
    for tag, raw in elements.items():
        if tag.group <= 7 or tag.element == 0 or tag == 0xFFFCFFFC or (top and tag == 0x7FE00010):
            continue
        vr = raw.VR or _dictionary(tag)
        if vr == "SQ":
            items = [data_set_json(each, utf8, bulk, top=False) for each in image[tag].value]
            found[_key(tag)] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
            continue
        value = raw.value
        if not isinstance(value, bytes):
            value = "\\".join([value] if isinstance(value, str) else map(str, value or ())).encode()
        order = ">" if isinstance(raw, RawDataElement) and not raw.is_little_endian else "<"
        found[_key(tag)] = _attribute(tag, vr, value, utf8, bulk, top, order)
    return found


def _attribute(
    tag: BaseTag, vr: str, value: bytes, utf8: bool, bulk: Callable[[bytes], str], top: bool, order: str
) -> Json:
    limit = 4 if tag == 0x00420011 else 64 if tag.group % 2 else 131_074
    if not value:
        return {"vr": vr}
    if len(value) > limit:
        return {"vr": vr, "BulkDataURI": bulk(value)}
    if vr in _STRINGS:
        text = value.decode("utf-8" if utf8 else "latin-1")
        return {"vr": vr, "Value": [text.strip(" \0")]} if text.strip(" \0") else {"vr": vr}
    if vr in {"DS", "IS"}:
        return {"vr": vr, "Value": [_number(each, vr) for each in value.decode("latin-1").split("\\")]}
    if vr == "PN":
        return {"vr": vr, "Value": [{"Alphabetic": each.strip(" \0")} for each in value.decode("latin-1").split("\\")]}
    if vr == "AT":
        words = struct.unpack(f"{order}{len(value) // 2}H", value)
        tags = [f"{group:04x}{each:04x}" for group, each in zip(words[::2], words[1::2], strict=True)]
        return {"vr": vr, "Value": tags if top else tags[0]}
    width = _NUMBERS.get(vr, 0)
    if width and (len(value) == width or vr in {"US", "SS", "FL"}):
        numbers = struct.unpack(f"{order}{len(value) // width}{_CODES[vr]}", value)
        return {"vr": vr, "Value": list(numbers)}
    return {"vr": vr, "InlineBinary": base64.b64encode(value).decode()}


def _number(text: str, vr: str) -> float | int | None:
    try:
        return float(text) if vr == "DS" and not text.strip().lstrip("-").isdigit() else int(text)
    except ValueError:
        return None


def _dictionary(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag).replace(" or ", "|")
    except KeyError:
        return "UN"


def _key(tag: BaseTag) -> str:
    return f"{tag:08X}"
