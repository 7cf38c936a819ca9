"""From stored pixel values to grey levels: modality transform and values of interest (PS3.3 C.11.1, C.11.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Display:
    """How one frame of a grey image is meant to be displayed.

    Attributes:
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        modality: The Modality LUT, which takes the place of both.
        voi: The window or table of values of interest; None for all values there are.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality: LookupTable | None = None
    voi: Window | LookupTable | None = None

    def levels(self, values: Array) -> Levels:
        """Return grey levels from 0 (black in MONOCHROME2) to 1 for stored pixel values."""
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
    ones. A window goes before a VOI LUT, as in OHIF. What is unusable counts as absent.
    """
    groups = _functional_groups(attributes, index)
    scaling = _macro(groups, _PIXEL_VALUE_TRANSFORMATION) or attributes
    voi = _macro(groups, _FRAME_VOI) or attributes
    slope = next(iter(scaling.numbers("00281053")), 1.0)
    return Display(
        slope=slope or 1.0,
        intercept=next(iter(scaling.numbers("00281052")), 0.0),
        modality=_lookup_table(scaling, "00283000", normalised=False),
        voi=_window(voi) or _lookup_table(voi, "00283010", normalised=True),
    )


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


def _window(attributes: Attributes) -> Window | None:
    centers, widths = attributes.numbers("00281050"), attributes.numbers("00281051")
    if not centers or not widths:
        return None
    function = attributes.text("00281056", "LINEAR")
    minimum = 1.0 if function == "LINEAR" else 0.0
    if widths[0] < minimum or widths[0] == 0:
        return None
    return Window(centers[0], widths[0], function)


def _lookup_table(attributes: Attributes, tag: str, *, normalised: bool) -> LookupTable | None:
    """Read the first table of a LUT sequence; `normalised` scales its outputs to 1."""
    items = attributes.sequence(tag)
    if not items:
        return None
    item = _nested(items[0])
    descriptor = item.numbers("00283002")
    values = item.numbers("00283006")
    if not values and (data := binary_value(item, "00283006")):
        values = np.frombuffer(data[: len(data) // 2 * 2], "<u2").tolist()
    if len(descriptor) != 3 or not values:
        return None
    outputs = np.asarray(values, np.float32)
    if normalised:
        bits = min(max(int(descriptor[2]), 1), 16)
        outputs = np.clip(outputs / np.float32((1 << bits) - 1), 0, 1)
    return LookupTable(descriptor[1], outputs)
