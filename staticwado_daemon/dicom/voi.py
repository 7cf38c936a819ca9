"""From stored pixel values to grey levels: modality, values of interest and presentation (PS3.3 C.11.1, .2 and .6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from staticwado_daemon.dicom.attributes import Attributes
from staticwado_daemon.dicom.binary import binary_value
from staticwado_daemon.dicom.native import Array

_SHARED_GROUPS, _PER_FRAME_GROUPS = "52009229", "52009230"
_FRAME_VOI, _PIXEL_VALUE_TRANSFORMATION = "00289132", "00289145"

Levels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Window Center, Window Width and VOI LUT Function (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

    center: float
    width: float
    function: str = "LINEAR"

    def apply(self, values: Levels) -> Levels:
        """Return grey levels from 0 to 1."""
        if self.function == "SIGMOID":
            exponent = np.clip((values - np.float32(self.center)) * np.float32(-4 / self.width), -80, 80)
            return np.asarray(1 / (1 + np.exp(exponent)), np.float32)
        center, width = self.center, self.width
        if self.function != "LINEAR_EXACT":
            # LINEAR counts pixel values, not the distance between them.
            center, width = center - 0.5, max(width - 1, 1e-6)
        scale = np.float32(1 / width)
        return np.asarray(np.clip(values * scale + np.float32(0.5 - center / width), 0, 1), np.float32)


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A Modality LUT or VOI LUT: the value of its first entry's input, and its outputs."""

    first: float
    outputs: Levels

    def apply(self, values: Levels) -> Levels:
        """Return the outputs; inputs beyond the table's ends get its end outputs."""
        index = np.clip(np.nan_to_num(np.rint(values - self.first)), 0, len(self.outputs) - 1)
        levels: Levels = self.outputs[index.astype(np.int64)]
        return levels


VOI = Window | LookupTable


@dataclass(frozen=True, slots=True)
class Preset:
    """One of the views of an image that whoever made it thought useful.

    Attributes:
        name: Its explanation; may be empty.
        voi: The window or table.
    """

    name: str
    voi: VOI


@dataclass(frozen=True, slots=True)
class Display:
    """How one frame of a grey image is meant to be displayed.

    Attributes:
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        modality: The Modality LUT, which takes the place of both.
        voi: The window or table of values of interest; None for all values there are.
        presentation: The Presentation LUT, from 0 to its number of entries less one.
        inverse: Presentation LUT Shape says that the lowest level is white.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality: LookupTable | None = None
    voi: VOI | None = None
    presentation: LookupTable | None = None
    inverse: bool = False

    def levels(self, values: Array) -> Levels:
        """Return grey levels from 0 (black in MONOCHROME2) to 1 for stored pixel values."""
        levels = self._of_interest(values)
        if self.presentation is None:
            return levels
        return self.presentation.apply(levels * np.float32(len(self.presentation.outputs) - 1))

    def _of_interest(self, values: Array) -> Levels:
        scaled = np.asarray(values, np.float32)
        if self.modality is not None:
            scaled = self.modality.apply(scaled)
        elif (self.slope, self.intercept) != (1, 0):
            scaled = scaled * np.float32(self.slope) + np.float32(self.intercept)
        if self.voi is not None:
            return self.voi.apply(scaled)
        low, high = float(scaled.min()), float(scaled.max())
        return Window((low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT").apply(scaled)


def read_display(attributes: Attributes, index: int) -> Display:
    """Read how the frame at `index` (from 0) is to be displayed.

    A multi-frame image's functional groups go before the data set's own attributes, per-frame ones before shared
    ones. The first preset counts: a window goes before a VOI LUT, as in OHIF. What is unusable counts as absent.
    """
    scaling = _macro(_functional_groups(attributes, index), _PIXEL_VALUE_TRANSFORMATION) or attributes
    slope = next(iter(scaling.numbers("00281053")), 1.0)
    return Display(
        slope=slope or 1.0,
        intercept=next(iter(scaling.numbers("00281052")), 0.0),
        modality=next(_lookup_tables(scaling, "00283000", normalised=False), (None, ""))[0],
        voi=next((preset.voi for preset in presets(attributes, index)), None),
        presentation=next(_lookup_tables(attributes, "20500010", normalised=True), (None, ""))[0],
        inverse=attributes.text("20500020") == "INVERSE",
    )


def presets(attributes: Attributes, index: int) -> list[Preset]:
    """Return the views of the frame at `index` (from 0): its windows, then its VOI LUTs, in their own order."""
    voi = _macro(_functional_groups(attributes, index), _FRAME_VOI) or attributes
    tables = (Preset(name, table) for table, name in _lookup_tables(voi, "00283010", normalised=True))
    return [*_windows(voi), *tables]


def _functional_groups(attributes: Attributes, index: int) -> list[dict[str, Any]]:
    per_frame = attributes.sequence(_PER_FRAME_GROUPS)
    return [*per_frame[index : index + 1], *attributes.sequence(_SHARED_GROUPS)[:1]]


def _macro(groups: Sequence[dict[str, Any]], tag: str) -> Attributes | None:
    """The first item of a functional group macro, as attributes of its own."""
    for group in groups:
        items = (group.get(tag) or {}).get("Value") or [None]
        if isinstance(items[0], dict):
            return _nested(items[0])
    return None


def _nested(item: dict[str, Any]) -> Attributes:
    return Attributes({tag: orjson.dumps(attribute) for tag, attribute in item.items()})


def _windows(attributes: Attributes) -> Iterator[Preset]:
    centers, widths = attributes.numbers("00281050"), attributes.numbers("00281051")
    function = attributes.text("00281056", "LINEAR")
    minimum = 1.0 if function == "LINEAR" else 0.0
    names = (attributes.value("00281055") or {}).get("Value") or []
    windows = list(zip(centers, widths, strict=False))
    for (center, width), name in zip_longest(windows, names[: len(windows)]):
        if width >= minimum and width != 0:
            yield Preset(str(name or ""), Window(center, width, function))


def _lookup_tables(attributes: Attributes, tag: str, *, normalised: bool) -> Iterator[tuple[LookupTable, str]]:
    """Read the tables of a LUT sequence, and how they are explained; `normalised` scales their outputs to 1."""
    for item in map(_nested, attributes.sequence(tag)):
        descriptor = item.numbers("00283002")
        values = item.numbers("00283006")
        if not values and (data := binary_value(item, "00283006")):
            values = np.frombuffer(data[: len(data) // 2 * 2], "<u2").tolist()
        if len(descriptor) != 3 or not values:
            continue
        outputs = np.asarray(values, np.float32)
        if normalised:
            bits = min(max(int(descriptor[2]), 1), 16)
            outputs = np.clip(outputs / np.float32((1 << bits) - 1), 0, 1)
        yield LookupTable(descriptor[1], outputs), item.text("00283003")
