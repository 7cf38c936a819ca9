"""A large image over a slow line: when the first picture of it is seen, and when the last byte of it has come."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from playwright.sync_api import Browser

from tests import corpus
from tests.system import browser as browsers
from tests.system.browser import PATIENCE_MS, Visit
from tests.system.programs import REPOSITORY, create
from tests.system.servers import start_nginx_for

pytestmark = pytest.mark.browser

SIZE = 3000
BYTES_PER_SECOND = 1_000_000
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", REPOSITORY / ".run" / "screenshots"))

# Milliseconds of the page's clock: the frame asked for, a picture on the screen, the frame's last byte.
_TIMES = """() => {
  const frame = performance.getEntriesByType('resource').find(entry => /frames[/]1$/.test(entry.name));
  return [frame.startTime, window.firstPicture, frame.responseEnd];
}"""

_FIRST_PICTURE = """() => {
  const canvas = document.querySelector('canvas.cornerstone-canvas');
  if (!canvas || !canvas.width) return false;
  const {width, height} = canvas;
  const data = canvas.getContext('2d').getImageData(width / 4, height / 4, width / 2, height / 2).data;
  if (new Set(new Uint32Array(data.buffer)).size <= 4) return false;
  window.firstPicture ??= performance.now();
  return true;
}"""

_COMPLETE = "() => performance.getEntriesByType('resource').some(e => /frames[/]1$/.test(e.name) && e.responseEnd > 0)"


_IN_CACHE = """() => {
  const viewport = window.cornerstone.getEnabledElements()[0].viewport;
  return !!window.cornerstone.cache.getImage(viewport.getCurrentImageId());
}"""

_CUT = "_setThrew is not defined"
"""What OHIF's decoder says of a codestream that is cut off in an unlucky place: it goes on with what comes next."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds from asking for the frame to its first picture, and to its last byte."""

    first: float
    complete: float


def test_htj2k_is_seen_long_before_it_has_come(tmp_path: Path, ohif: Path) -> None:
    source = _radiograph(tmp_path / "radiograph.dcm")
    seen: dict[str, Seen] = {}
    with browsers.chromium() as chromium:
        for mode in ("htj2k", "jls"):
            create(tmp_path / mode, [source], "-t", mode)
            (tmp_path / f"nginx-{mode}").mkdir()
            with start_nginx_for(tmp_path / mode, tmp_path / f"nginx-{mode}", ohif) as server:
                seen[mode] = _open(chromium, server.url, mode, source)
    print(json.dumps({mode: (each.first, each.complete) for mode, each in seen.items()}))  # noqa: T201 - the measurement
    assert seen["htj2k"].first < 0.7 * seen["htj2k"].complete
    assert seen["htj2k"].first < 0.7 * seen["jls"].first
    assert seen["jls"].first >= seen["jls"].complete  # it has nothing to show before


def _open(chromium: Browser, origin: str, mode: str, source: Path) -> Seen:
    with browsers.visit(chromium, origin) as visitor:
        visitor.open_worklist(1)  # the viewer itself is in the browser's cache then, and costs no time below
        network = visitor.page.context.new_cdp_session(visitor.page)
        network.send("Network.enable")
        limits = {"offline": False, "latency": 20, "uploadThroughput": -1, "downloadThroughput": BYTES_PER_SECOND}
        network.send("Network.emulateNetworkConditions", limits)
        visitor.open_study(corpus.uid("radiograph"))
        visitor.page.wait_for_function(_FIRST_PICTURE, timeout=PATIENCE_MS, polling=50)
        visitor.screenshot(SCREENSHOTS / f"progressive-{mode}-first.png")
        visitor.page.wait_for_function(_COMPLETE, timeout=PATIENCE_MS, polling=50)
        asked, first, complete = visitor.page.evaluate(_TIMES)
        _until_exact(visitor, source)
        assert [problem for problem in visitor.problems if _CUT not in problem] == []
        return Seen(round((first - asked) / 1000, 2), round((complete - asked) / 1000, 2))


def _until_exact(visitor: Visit, source: Path) -> None:
    """Whatever was shown before, in the end it is what was taken, pixel for pixel."""
    expected = pydicom.dcmread(source).pixel_array
    visitor.page.wait_for_function(_IN_CACHE, timeout=PATIENCE_MS, polling=200)
    end = time.monotonic() + PATIENCE_MS / 1000
    while not np.array_equal(visitor.shown().pixels[..., 0], expected):
        assert time.monotonic() < end, "the last picture isn't the whole one"
        visitor.page.wait_for_timeout(200)


def _radiograph(path: Path) -> Path:
    """A radiograph of 3,000 x 3,000 pixels: a real one stretched, with the noise of a detector."""
    image = pydicom.dcmread(corpus.PYDICOM_DATA / "RG3_UNCR.dcm")
    pixels = image.pixel_array.astype(np.int32)
    rows, columns = (np.arange(SIZE) * side // SIZE for side in pixels.shape)
    noise = np.random.default_rng(1).normal(0, 6, (SIZE, SIZE))
    stretched = np.clip(pixels[rows][:, columns] + noise, 0, (1 << image.BitsStored) - 1)
    image.Rows = image.Columns = SIZE
    image.StudyInstanceUID = corpus.uid("radiograph")
    image.SeriesInstanceUID = corpus.uid("radiograph", 1)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = corpus.uid("radiograph", 1, 1)
    image.PixelData = stretched.astype(np.uint16).tobytes()
    image["PixelData"].VR = "OW"
    image.save_as(path)
    return path
