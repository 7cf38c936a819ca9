"""The processes that answer HTTP beside a daemon, as far as they need no daemon."""

import importlib.util
from typing import Any

import pytest

from staticwado_daemon.cli.served import require_gateway
from staticwado_daemon.errors import ConfigError


def test_what_answers_http_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    require_gateway()
    find = importlib.util.find_spec

    def without(name: str, *arguments: Any) -> Any:
        return None if name == "prometheus_client" else find(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(
        ConfigError, match=r"prometheus_client not installed\): pip install 'staticwado-daemon\[gateway\]'"
    ):
        require_gateway()
