"""A writer of trees as `createdicomweb` leaves them, the newer of the two converters, also behind STOW."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from tests.foreign import parts
from tests.foreign.legacy import INSTANCE, PATIENT, SERIES, STUDY, Json

_BINARY = frozenset("OB OD OF OL OV OW UN".split())
_EMPTY_ARRAY = frozenset(("PN", "DS", "SQ", "IS"))


@dataclass(slots=True)
class Writer:
    """A root under construction; with `fragments` each fragment of encapsulated pixel data counts as a frame."""

    root: Path
    fragments: bool = False
    _instances: dict[str, dict[str, list[Json]]] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Convert one file."""
        image = parts.read(path)
        study, series, instance = (str(image[tag].value) for tag in (0x0020000D, 0x0020000E, 0x00080018))
        directory = self.root / "studies" / study
        own = directory / "series" / series / "instances" / instance

        def bulk(value: bytes) -> str:
            name = hashlib.sha256(value).hexdigest()
            rest = f"bulkdata/{name[:2]}/{name[2:4]}/{name[4:]}.mht.gz"
            location = rest.rpartition("/")[2]
            parts.write(directory / rest, parts.part(parts.OCTETS, value, location))
            return f"../../../../{rest}"

        metadata = data_set_json(image, bulk, top=True)
        if "PixelData" in image:
            metadata["7FE00010"] = {"vr": image["PixelData"].VR, "BulkDataURI": "./frames"}
            frames = parts.frames_of(image)
            syntax = "1.2.840.10008.1.2.1" if frames.is_native else frames.syntax
            for number, payload in enumerate(self._pieces(frames), start=1):
                name = f"{number}.mht.gz" if frames.is_native else f"{number}.mht"
                parts.write(own / "frames" / name, parts.part(parts.part_type(syntax), payload, name))
            metadata["00083002"] = {"Value": [syntax], "vr": "UN"}
        parts.write_json(own / "metadata.gz", [metadata])
        (directory / "temp").mkdir(exist_ok=True)
        self._instances.setdefault(study, {}).setdefault(series, []).append(metadata)

    def _pieces(self, frames: parts.Frames) -> list[bytes]:
        if not self.fragments or frames.is_native:
            return list(frames.payloads)
        halves = [(each[: len(each) // 2], each[len(each) // 2 :]) for each in frames.payloads]
        return [half for pair in halves for half in pair]

    def finish(self) -> Path:
        """Write what `series`, `study` and `index` write."""
        listed = []
        for study, by_series in self._instances.items():
            directory = self.root / "studies" / study
            records = []
            for series, instances in by_series.items():
                own = directory / "series" / series
                parts.write_json(own / "metadata.gz", [_in_series(each) for each in instances])
                parts.write_json(own / "instances/index.json.gz", [_chosen(each, INSTANCE) for each in instances])
                count = {"00201209": {"vr": "IS", "Value": [len(instances)]}}
                records.append(_chosen(instances[0], ["0020000D", *SERIES]) | count)
                parts.write_json(own / "series-singleton.json.gz", records[-1:])
            parts.write_json(directory / "series/index.json.gz", records)
            first = next(iter(by_series.values()))[0]
            counts = {"00201208": {"vr": "IS", "Value": [sum(map(len, by_series.values()))]}}
            listed.append(_chosen(first, [*PATIENT, *STUDY]) | counts)
            parts.write_json(directory / "index.json.gz", listed[-1:])
        parts.write_json(self.root / "studies/index.json.gz", listed)
        (self.root / "studies/temp").mkdir(exist_ok=True)
        return self.root


def _chosen(full: Json, tags: list[str]) -> Json:
    return {tag: full[tag] for tag in tags if tag in full}


def _in_series(metadata: Json) -> Json:
    """Metadata as they stand in the series: URIs start from there."""
    instance = metadata["00080018"]["Value"][0]

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(each) for each in value]
        if not isinstance(value, dict):
            return value
        if isinstance(uri := value.get("BulkDataURI"), str):
            uri = f"./instances/{instance}/frames" if uri == "./frames" else uri.replace("../../../../", "../../")
            return {**value, "BulkDataURI": uri}
        return {key: moved(each) for key, each in value.items()}

    return moved(metadata)


def data_set_json(image: Dataset, bulk: Callable[[bytes], str], *, top: bool) -> Json:
    """Attributes as dcmjs leaves them: decoded and split, tags as integers, [""] where there is no value."""
    found: Json = {}
    for element in image:
        if element.tag.group <= 7 or element.tag.element == 0 or (top and element.tag == 0x7FE00010):
            continue
        if element.tag == 0xFFFCFFFC:
            continue
        found[f"{element.tag:08X}"] = _attribute(element, bulk)
    return found


def _attribute(element: DataElement, bulk: Callable[[bytes], str]) -> Json:
    vr, value = element.VR, element.value
    if vr == "SQ":
        return {"vr": "SQ", "Value": [data_set_json(each, bulk, top=False) for each in value]}
    if vr in _BINARY:
        if not value:
            return {"vr": vr}
        if len(value) >= (128 if element.tag.is_private else 131_074):
            return {"vr": vr, "BulkDataURI": bulk(value)}
        return {"vr": vr, "InlineBinary": base64.b64encode(value).decode()}
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    if value is None or value == "" or values == []:
        return {"vr": vr, "Value": [] if vr in _EMPTY_ARRAY else [""]}
    return {"vr": vr, "Value": [_plain(vr, each) for each in values]}


def _plain(vr: str, value: Any) -> Any:
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), str(value).split("="), strict=False)
        return {name: text for name, text in groups if text}
    if vr == "DS":
        return float(value) if value not in ("", None) else None
    if vr in {"IS", "AT", "US", "SS", "UL", "SL", "SV", "UV"}:
        return int(value) if value not in ("", None) else None
    return value if isinstance(value, float) else str(value)
