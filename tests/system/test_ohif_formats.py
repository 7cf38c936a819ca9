"""The last column of docs/formats.md, put to the real OHIF: every image that is said to open does, no other."""

import fnmatch
import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.formats.judgement import YES, opens
from tests.formats.sources import Source, sources
from tests.system import browser as browsers
from tests.system.browser import Visit
from tests.system.programs import create
from tests.system.servers import start_nginx_for

pytestmark = pytest.mark.browser

_VIEWPORT = (slice(120, 760), slice(320, 1220))
"""Rows and columns of the viewport in a screenshot, without its texts and the place where OHIF complains."""

_SECONDS = 20.0
_MISSING_SECONDS = 4.0
_REFERRING = ("objects/ct/*", "objects/seg/*", "objects/sr/*", "objects/rt/structures", "objects/document/pdf")
"""What is opened in its study, with what it refers to: `test_ohif_objects` does that."""

EVERY = [pytest.param(40, id="every-40th"), pytest.param(1, id="all", marks=pytest.mark.soak)]


@pytest.mark.parametrize("every", EVERY)
def test_what_is_said_of_ohif_is_so(tmp_path: Path, ohif: Path, every: int) -> None:
    found = [each for each in sources(tmp_path / "sources") if not _is_opened_elsewhere(each)][::every]
    wrong: list[str] = []
    with browsers.chromium() as chromium:
        for number, group in enumerate(_without_two_of_a_study(found)):
            root = tmp_path / f"root-{number}"
            answer = create(root, [each.path for each in group.values()], expect=None)
            published = {each["path"] for each in answer["receipts"] if each["outcome"] == "published"}
            (tmp_path / f"nginx-{number}").mkdir()
            with (
                start_nginx_for(root, tmp_path / f"nginx-{number}", ohif) as server,
                browsers.visit(chromium, server.url) as visitor,
            ):
                for study, source in group.items():
                    if str(source.path) in published:
                        wrong += _compare(visitor, study, source)
    assert wrong == []


def _compare(visitor: Visit, study: str, source: Source) -> Iterator[str]:
    said = opens(source)
    visitor.problems.clear()
    visitor.open_study(study)
    if _is_filled(visitor, _SECONDS if said == YES else _MISSING_SECONDS) != (said == YES):
        yield f"{source.name} (said: {said}; {visitor.problems[:1]})"


def _is_filled(visitor: Visit, seconds: float) -> bool:
    """Whether there comes to be a picture in the viewport: more than four colours, beside the texts at its edges."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        picture = Image.open(io.BytesIO(visitor.page.screenshot())).convert("RGB")
        pixels = np.asarray(picture)[_VIEWPORT].reshape(-1, 3)
        # A sign that something is being loaded is small.
        if len(np.unique(pixels, axis=0)) > 4 and (pixels.max(axis=1) > 20).mean() > 0.01:
            return True
        visitor.page.wait_for_timeout(200)
    return False


def _without_two_of_a_study(found: Sequence[Source]) -> Iterator[Mapping[str, Source]]:
    """The sources by their Study Instance UID, in as many groups as it takes for each to be alone in its study."""
    seen: Counter[str] = Counter()
    groups: dict[int, dict[str, Source]] = {}
    for source in found:
        study = str(source.read.get("StudyInstanceUID", "")) if source.read is not None else ""
        groups.setdefault(seen[study], {})[study] = source
        seen[study] += 1
    yield from groups.values()


def _is_opened_elsewhere(source: Source) -> bool:
    return any(fnmatch.fnmatchcase(source.name, pattern) for pattern in _REFERRING)
