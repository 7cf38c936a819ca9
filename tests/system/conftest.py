"""What the system tests share: programs and data that are made or fetched once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from staticwado_daemon.web.ohif import fetch_ohif
from tests.system import browser as browsers
from tests.system import eyes
from tests.system.programs import REPOSITORY


@pytest.fixture(scope="session")
def ohif() -> Path:
    """The pinned OHIF, unpacked where `make run` keeps it too, so that it is fetched once for a checkout."""
    return fetch_ohif(REPOSITORY / ".run" / "ohif")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> eyes.Site:
    """A tree to be looked at, after a daemon has done its work and ended. Tests change nothing of it."""
    site = eyes.prepare(tmp_path_factory.mktemp("eyes"))
    with eyes.at_work(site):
        return site
