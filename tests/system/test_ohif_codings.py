"""Every coding that can be asked for, in the real OHIF: what it shows is what was stored under that label."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser

from tests import corpus
from tests.system import browser as browsers
from tests.system.browser import Visit
from tests.system.programs import create
from tests.system.servers import start_nginx_for

pytestmark = [pytest.mark.soak, pytest.mark.browser]

CODINGS = ("htj2k", "jls", "jp2", "1.2.840.10008.1.2.4.201", "jls-lossy", "jp2-lossy", "jhc-lossy", "jpeg")
LOSSLESS = CODINGS[:4]
DECIBELS = {"jpeg": 25.0}


@dataclass(frozen=True, slots=True)
class Served:
    """One tree for each coding, with a study of grey and one of colour."""

    origin: str
    studies: dict[str, corpus.Study]


@pytest.fixture(scope="module", params=CODINGS)
def coding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, ohif: Path, coding: str) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("codings")
    studies = {
        "ct": corpus.ct_study(place / "in/ct", instances=2, series=1),
        "rgb": corpus.us_rgb_multiframe(place / "in/rgb"),
    }
    create(place / "root", [place / "in"], "-t", coding)
    (place / "nginx").mkdir()
    with start_nginx_for(place / "root", place / "nginx", ohif) as server:
        yield Served(server.url, studies)


@pytest.fixture
def visit(chromium: Browser, served: Served) -> Iterator[Visit]:
    with browsers.visit(chromium, served.origin) as visitor:
        yield visitor


@pytest.mark.parametrize("kind", ["ct", "rgb"])
def test_ohif_shows_what_was_stored(visit: Visit, served: Served, coding: str, kind: str) -> None:
    study = served.studies[kind]
    visit.open_study(study.uid)
    visit.wait_for_picture()
    image = visit.shown()
    worth = max(_decibels(image.pixels, path, image.frame) for path in study.files)
    exact = coding in LOSSLESS or (coding == "jpeg" and kind == "ct")  # which has more than 8 bits
    assert worth == np.inf if exact else worth > DECIBELS.get(coding, 40.0)
    assert (image.instance in {pydicom.dcmread(path).SOPInstanceUID for path in study.files}) == exact
    assert visit.problems == []


def _decibels(shown: NDArray[Any], path: Path, frame: int) -> float:
    """How near an image comes to that of a file, after the modality's rescaling."""
    source = pydicom.dcmread(path)
    pixels = source.pixel_array
    if int(source.get("NumberOfFrames", 1)) > 1:
        pixels = pixels[frame - 1]
    pixels = pixels.reshape(*pixels.shape[:2], -1) * float(source.get("RescaleSlope", 1))
    pixels = pixels + float(source.get("RescaleIntercept", 0))
    error = float(np.mean((shown[..., : pixels.shape[2]] - pixels) ** 2))
    return float("inf") if error == 0 else float(20 * np.log10(np.ptp(pixels)) - 10 * np.log10(error))
