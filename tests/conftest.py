"""What holds for every test."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog


@pytest.fixture(scope="session", autouse=True)
def _loggers_can_be_captured() -> Iterator[None]:
    """Commands that a test runs in its own process configure logging there, and would fix every logger for good."""
    configure = structlog.configure

    def configure_for_now(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(structlog, "configure", configure_for_now)
        yield
