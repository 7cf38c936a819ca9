"""What a radiologist sees: real OHIF in Chromium against nginx with nothing but files behind it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from playwright.sync_api import Browser

from tests import corpus
from tests.system import browser as browsers
from tests.system.browser import Shown, Visit
from tests.system.programs import REPOSITORY, create
from tests.system.servers import start_embedded, start_nginx_for

pytestmark = pytest.mark.browser

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", REPOSITORY / ".run" / "screenshots"))


@dataclass(frozen=True, slots=True)
class Case:
    """A study that OHIF must show, and how far a pixel may differ from pydicom's (JPEG decoders round differently)."""

    make: Callable[[Path], corpus.Study]
    series: int = 1
    images: int = 1
    tolerance: float = 0.0


CASES = {
    "ct": Case(lambda directory: corpus.ct_study(directory, instances=40, series=2), series=2, images=20),
    "mr": Case(corpus.mr_study, series=2, images=12, tolerance=1e-3),
    "us-rgb": Case(corpus.us_rgb_multiframe, images=12),
    "us-jpeg": Case(corpus.jpeg_study, images=30, tolerance=2.0),
    "us-jpeg2000": Case(corpus.jpeg2000_study),
    "htj2k": Case(corpus.htj2k_study, images=8),
    "sc-rgb": Case(corpus.sc_rgb_multiframe, images=4),
}


@dataclass(frozen=True, slots=True)
class Served:
    """The studies of `CASES`, created from files and served."""

    root: Path
    origin: str
    studies: dict[str, corpus.Study]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, ohif: Path) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("ohif")
    studies = {name: case.make(directory / "inbound" / name) for name, case in CASES.items()}
    answer = create(directory / "root", [directory / "inbound"])
    assert answer["published"] == sum(len(study.files) for study in studies.values())
    (directory / "nginx").mkdir()
    with start_nginx_for(directory / "root", directory / "nginx", ohif) as server:
        yield Served(directory / "root", server.url, studies)


@pytest.fixture
def visit(chromium: Browser, served: Served) -> Iterator[Visit]:
    with browsers.visit(chromium, served.origin) as visitor:
        yield visitor


def test_worklist_shows_and_filters_all_studies(visit: Visit, served: Served) -> None:
    rows = visit.open_worklist(len(served.studies))
    visit.screenshot(SCREENSHOTS / "worklist.png")
    assert len(rows) == len(served.studies)
    assert "Test, Ct 29-Feb-2024 10:15 AM CT CT study 40" in rows
    assert "Test, Us Rgb 29-Feb-2024 10:15 AM US US-RGB study 1" in rows
    assert len(visit.filter_worklist("Us", studies=3)) == 3
    assert visit.problems == []


@pytest.mark.parametrize("name", CASES)
def test_study_shows_the_pixels_of_its_source(visit: Visit, served: Served, name: str) -> None:
    case, study = CASES[name], served.studies[name]
    visit.open_study(study.uid)
    visit.wait_for_picture()
    visit.wait_for_thumbnails(case.series)
    images = [visit.shown()]
    if case.images > 1:
        images.append(visit.next_image())
    visit.screenshot(SCREENSHOTS / f"{name}.png")
    for image in images:
        assert image.total == case.images
        assert _difference(image, study) <= case.tolerance
    assert visit.problems == []


def test_embedded_server_serves_the_viewer_too(chromium: Browser, served: Served, ohif: Path) -> None:
    with start_embedded(served.root, ohif) as server, browsers.visit(chromium, server.url) as visitor:
        visitor.open_worklist(len(served.studies))
        visitor.open_study(served.studies["us-rgb"].uid)
        visitor.wait_for_picture()
        visitor.wait_for_thumbnails(1)
        assert _difference(visitor.shown(), served.studies["us-rgb"]) == 0
        assert visitor.problems == []


def _difference(image: Shown, study: corpus.Study) -> float:
    """The largest difference to pydicom's pixels after the modality's rescaling, over the whole image."""
    sources = (pydicom.dcmread(path) for path in study.files)
    source = next(source for source in sources if source.SOPInstanceUID == image.instance)
    pixels = source.pixel_array
    if int(source.get("NumberOfFrames", 1)) > 1:
        pixels = pixels[image.frame - 1]
    pixels = pixels.reshape(*pixels.shape[:2], -1) * float(source.get("RescaleSlope", 1))
    pixels = pixels + float(source.get("RescaleIntercept", 0))
    assert image.pixels.shape[:2] == pixels.shape[:2]
    return float(np.abs(image.pixels[..., : pixels.shape[2]] - pixels).max())
