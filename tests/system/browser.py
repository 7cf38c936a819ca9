"""OHIF in headless Chromium: what it shows, what it asks for, and everything that goes wrong meanwhile."""

import base64
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS: Final = 180_000
"""Software WebGL on a loaded machine takes its time; a picture that never comes is what a test looks for."""

_FLAGS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Any name but loopback's fails to resolve: a request to the internet fails, and is seen as a failure.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

_COLOURS = """() => [...document.querySelectorAll('canvas.cornerstone-canvas')].map(canvas => {
  const {width, height} = canvas;
  const data = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, width, height).data.buffer);
  return new Set(data).size;
})"""

_THUMBNAILS = """() => [...document.querySelectorAll('[data-cy^="study-browser-thumbnail"]')]
  .map(entry => entry.querySelector('img')?.naturalWidth ?? 0)"""

# The image of the first viewport as cornerstone keeps it: what the codec gave, after the modality's rescaling.
_IMAGE = """() => {
  const viewport = window.cornerstone.getEnabledElements()[0].viewport;
  const image = window.cornerstone.cache.getImage(viewport.getCurrentImageId());
  const pixels = image.getPixelData();
  const bytes = new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return {id: viewport.getCurrentImageId(), type: pixels.constructor.name, rows: image.rows, columns: image.columns,
          total: viewport.getImageIds().length, data: btoa(text)};
}"""

_DTYPES = {
    "Uint8Array": np.uint8,
    "Uint8ClampedArray": np.uint8,
    "Int8Array": np.int8,
    "Uint16Array": np.uint16,
    "Int16Array": np.int16,
    "Uint32Array": np.uint32,
    "Int32Array": np.int32,
    "Float32Array": np.float32,
}


@dataclass(frozen=True, slots=True)
class Shown:
    """The image that the first viewport shows: its frame's address and its pixels (rows, columns[, samples])."""

    instance: str
    frame: int
    total: int
    pixels: np.ndarray


@dataclass
class Visit:
    """One page in a browser context of its own: no cache, no storage, no service worker of a former visit."""

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def open_worklist(self, studies: int) -> list[str]:
        """The rows of the worklist, once it says that it has this many studies."""
        self.page.goto(f"{self.origin}/", wait_until="domcontentloaded")
        return self._rows(studies)

    def filter_worklist(self, patient: str, studies: int) -> list[str]:
        """The rows that are left when a patient's name is typed into the worklist."""
        self.page.locator("thead input, tbody input").first.fill(patient)
        return self._rows(studies)

    def open_study(self, study: str) -> None:
        """Open the viewer; its pictures are not waited for."""
        self.page.goto(f"{self.origin}/viewer?StudyInstanceUIDs={study}", wait_until="domcontentloaded")

    def wait_for_picture(self) -> int:
        """Wait until every viewport has a picture; return the smallest number of colours in one of them.

        A viewport counts as filled if its own canvas (the texts around it left out) has more than four colours.
        """
        ready = f"() => {{ const c = ({_COLOURS})(); return c.length > 0 && Math.min(...c) > 4; }}"
        try:
            self.page.wait_for_function(ready, timeout=PATIENCE_MS, polling=250)
        except PlaywrightTimeoutError as error:
            error.add_note(f"colours of the viewports: {self.page.evaluate(_COLOURS)}; problems: {self.problems}")
            raise
        return int(min(self.page.evaluate(_COLOURS)))

    def wait_for_thumbnails(self, count: int) -> None:
        """Wait until the study browser has this many entries and each of them a picture that loaded."""
        ready = f"n => {{ const w = ({_THUMBNAILS})(); return w.length === n && w.every(x => x > 0); }}"
        try:
            self.page.wait_for_function(ready, arg=count, timeout=PATIENCE_MS, polling=250)
        except PlaywrightTimeoutError as error:
            error.add_note(f"widths of the thumbnails: {self.page.evaluate(_THUMBNAILS)}; problems: {self.problems}")
            raise

    def shown(self) -> Shown:
        """The image in the first viewport, as OHIF decoded it."""
        image: dict[str, Any] = self.page.evaluate(_IMAGE)
        address = re.search(r"/instances/([0-9.]+)/frames/([0-9]+)", image["id"])
        assert address, image["id"]
        pixels = np.frombuffer(base64.b64decode(image["data"]), _DTYPES[image["type"]])
        return Shown(address[1], int(address[2]), image["total"], pixels.reshape(image["rows"], image["columns"], -1))

    def next_image(self) -> Shown:
        """Scroll to the next image of the series and wait until it is there."""
        before = self.shown()
        self.page.locator("canvas.cornerstone-canvas").first.click()
        self.page.keyboard.press("ArrowDown")
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < deadline:
            # The image becomes current only when it was loaded, so its pixels are there as well.
            now = self.shown()
            if (now.instance, now.frame) != (before.instance, before.frame):
                return now
            self.page.wait_for_timeout(100)
        raise AssertionError(f"the series doesn't scroll; problems: {self.problems}")

    def screenshot(self, path: Path) -> None:
        """Keep what is on the screen, for eyes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)

    def _rows(self, studies: int) -> list[str]:
        try:
            self.page.get_by_text(re.compile(rf"\b1-{studies} of {studies}$")).first.wait_for(timeout=PATIENCE_MS)
        except PlaywrightTimeoutError as error:
            error.add_note(f"the page says: {self.page.locator('body').inner_text()[:500]!r}; {self.problems}")
            raise
        rows = self.page.locator("tbody tr").filter(has_not=self.page.locator("input")).all_inner_texts()
        return [re.sub(r"\s+", " ", row).strip() for row in rows]

    def _watch(self) -> None:
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._on_response)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob"} and f"{address.scheme}://{address.netloc}" != self.origin:
            self.problems.append(f"request to another host: {request.url}")

    def _on_failure(self, request: Request) -> None:
        self.problems.append(f"failed request: {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"status {response.status}: {response.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text} ({message.location.get('url', '')})")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing: install the Debian package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS), timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, origin: str) -> Iterator[Visit]:
    """A fresh visitor who has seen the guided tour already."""
    context = browser.new_context(service_workers="block", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    tour = json.dumps(json.dumps(["basicViewerTour"]))
    context.add_init_script(f"localStorage.setItem('shownTours', {tour})")
    visitor = Visit(context.new_page(), origin)
    visitor._watch()
    try:
        yield visitor
    finally:
        context.close()
