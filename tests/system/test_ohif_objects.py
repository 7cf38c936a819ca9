"""What isn't a plain image in the real OHIF: overlays, reports, waveforms, slides, documents, videos."""

import io
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser

from tests.objects import Object, objects
from tests.system import browser as browsers
from tests.system.browser import PATIENCE_MS, Visit
from tests.system.programs import REPOSITORY, create
from tests.system.servers import start_nginx_for

pytestmark = pytest.mark.browser

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", REPOSITORY / ".run" / "screenshots"))
_VIEWPORT = (slice(120, 840), slice(300, 1230))
"""Rows and columns of the viewport in a screenshot, without the bars, the study browser and its own edges."""

_KINDS = ("ct/", "seg/", "sr/", "rt/structures", "waveform/", "slide/", "document/pdf", "video/h.264 mp4 102")


@dataclass(frozen=True, slots=True)
class Case:
    """An object, and what must be on the screen once it is open.

    Attributes:
        entry: the text by which it is found in the study browser; "" where it is all that its study has.
        says: a text on the page.
        shows: what the pixels of the viewport must be, as compared with those before it was opened.
        tolerated: what OHIF complains of although all is well.
    """

    name: str
    entry: str = ""
    says: str = ""
    shows: Callable[[NDArray[np.uint8], NDArray[np.uint8]], bool] = lambda _, now: _colours(now) > 4
    tolerated: str = "$^"


def _colours(pixels: NDArray[np.uint8]) -> int:
    return len(np.unique(pixels.reshape(-1, 3), axis=0))


def _tinted(pixels: NDArray[np.uint8]) -> int:
    """How many pixels are no grey."""
    spread = pixels.max(axis=2).astype(int) - pixels.min(axis=2)
    return int((spread > 40).sum())


def _overlaid(least: int) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], bool]:
    """That so many more pixels have got a colour."""
    return lambda before, now: _tinted(now) - _tinted(before) > least


_THUMBNAIL = r"status 404: .*/thumbnail|Failed to load resource.*/thumbnail"
CASES = [
    Case("seg/binary", "seg/binary", says="Do you want to open this Segmentation?", shows=_overlaid(20_000)),
    Case("seg/label map", "seg/label map", says="Do you want to open this Segmentation?", shows=_overlaid(20_000)),
    Case("rt/structures", "rt/structures", says="Do you want to open this Segmentation?", shows=_overlaid(200)),
    Case("sr/measurement report", "sr/measurement report", says="Area:"),
    Case("sr/enhanced report", "sr/enhanced report", says="No fracture. Größe unverändert."),
    Case("waveform/12-lead ecg", shows=lambda _, now: _tinted(now) > 5_000),
    Case("slide/jpeg volume 1", tolerated="Invalid vr type OV"),
    Case("slide/jpeg 2000 volume 1", tolerated="Invalid vr type OV"),
    Case("document/pdf", shows=lambda _, now: (now > 250).mean() > 0.3, tolerated="chrome|'setItem'"),
    Case("video/h.264 mp4 102", tolerated=_THUMBNAIL),
    Case("video/h.264 mp4 102 fragmentable", tolerated=_THUMBNAIL),
]


@dataclass(frozen=True, slots=True)
class Served:
    """The objects, created from files and served."""

    origin: str
    objects: dict[str, Object]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, ohif: Path) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("ohif-objects")
    made = {each.name: each for each in objects(directory / "objects") if each.name.startswith(_KINDS)}
    answer = create(directory / "root", [each.path for each in made.values()])
    assert answer["published"] == len(made)
    (directory / "nginx").mkdir()
    with start_nginx_for(directory / "root", directory / "nginx", ohif) as server:
        yield Served(server.url, made)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_opens(chromium: Browser, served: Served, case: Case) -> None:
    study = pydicom.dcmread(served.objects[case.name].path, stop_before_pixels=True).StudyInstanceUID
    with browsers.visit(chromium, served.origin) as visitor:
        visitor.open_study(study)
        before = np.zeros((1, 1, 3), np.uint8)
        if case.entry:
            visitor.wait_for_picture()
            before = _viewport(visitor)
            visitor.page.locator('[data-cy^="study-browser-thumbnail"]', has_text=case.entry).first.dblclick()
        if case.says:
            visitor.page.get_by_text(case.says).first.wait_for(timeout=PATIENCE_MS)
        try:
            _wait_for(visitor, lambda now: case.shows(before, now))
        finally:
            visitor.screenshot(SCREENSHOTS / f"{re.sub(r'[^a-z0-9]+', '-', case.name)}.png")
        assert [each for each in visitor.problems if not re.search(case.tolerated, each)] == []


def _viewport(visitor: Visit) -> NDArray[np.uint8]:
    picture = Image.open(io.BytesIO(visitor.page.screenshot())).convert("RGB")
    return np.asarray(picture)[_VIEWPORT]


def _wait_for(visitor: Visit, shown: Callable[[NDArray[np.uint8]], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 3000
    while not shown(now := _viewport(visitor)):
        tinted = f"{_colours(now)} colours, {_tinted(now)} tinted pixels, {(now > 250).mean():.2f} white"
        assert time.monotonic() < deadline, f"not shown: {tinted}; {visitor.problems}"
        visitor.page.wait_for_timeout(250)
