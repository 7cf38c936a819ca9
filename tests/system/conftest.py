"""What the system tests share: programs and data that are made or fetched once."""

from pathlib import Path

import pytest

from staticwado_daemon.web.ohif import fetch_ohif
from tests.system.programs import REPOSITORY


@pytest.fixture(scope="session")
def ohif() -> Path:
    """The pinned OHIF, unpacked where `make run` keeps it too, so that it is fetched once for a checkout."""
    return fetch_ohif(REPOSITORY / ".run" / "ohif")
