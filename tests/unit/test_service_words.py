"""What systemd is told by the daemon's reports."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from staticwado_daemon.cli import service
from staticwado_daemon.cli.service import Notifier
from staticwado_daemon.errors import ConfigError
from staticwado_daemon.pipeline.report import Report


def _report(**changes: Any) -> Report:
    usual = {
        "running": True,
        "pid": 1,
        "backlog": 12,
        "published": 1234,
        "instances": 1200,
        "studies": 3,
        "rejected": 3,
        "idle": False,
        "folders": {"/dicom": "inotify"},
    }
    return Report(**{**usual, **changes})


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def sent() -> list[str]:
    return []


@pytest.fixture
def notify(clock: _Clock, sent: list[str]) -> Notifier:
    return Notifier(sent.append, 10.0, clock)


def test_ready_is_said_once_and_not_before_every_folder_is_watched(notify: Callable[[Report], None], sent: list[str]):
    notify(_report(folders={"/a": "inotify", "/b": "starting"}))
    assert "READY" not in "".join(sent)
    notify(_report(folders={"/a": "inotify", "/b": "unavailable"}))
    notify(_report())
    assert "\n".join(sent).count("READY=1") == 1


def test_a_folder_that_hangs_does_not_keep_the_service_from_being_ready(
    notify: Notifier, clock: _Clock, sent: list[str]
):
    starting = _report(folders={"/nfs": "starting"})
    for _ in range(25):
        notify(starting)
        clock.now += 1
    assert "READY=1" in "\n".join(sent)


def test_signs_of_life_come_with_reports_alone_twice_in_the_watchdogs_time(
    notify: Notifier, clock: _Clock, sent: list[str]
):
    for _ in range(120):
        notify(_report())
        clock.now += 0.5
    assert "\n".join(sent).count("WATCHDOG=1") == pytest.approx(60 / 5, abs=1)


def test_without_a_watchdog_no_sign_of_life_is_sent(clock: _Clock, sent: list[str]):
    notify = Notifier(sent.append, None, clock)
    for _ in range(50):
        notify(_report())
        clock.now += 10
    assert "WATCHDOG" not in "\n".join(sent)


def test_the_status_has_counts_and_what_is_wrong(notify: Notifier, sent: list[str]):
    notify(_report(degraded=("/dicom is polled: nfs4 does not tell",)))
    assert (
        "STATUS=1,234 published, 3 rejected, 12 waiting; degraded: /dicom is polled: nfs4 does not tell"
        in sent[0].splitlines()
    )


def test_the_status_is_one_line_whatever_a_folder_is_called():
    line = service.status(_report(degraded=("/a\nREADY=1 is unavailable", "x" * 5000, "/caf\udce9 is gone")))
    assert "\n" not in line
    assert len(line) <= 500
    line.encode()


def test_the_status_is_not_repeated_and_not_sent_with_every_file(notify: Notifier, clock: _Clock, sent: list[str]):
    for number in range(100):
        notify(_report(published=number))
        clock.now += 0.1
    assert len([words for words in sent if "STATUS=" in words]) <= 8
    sent.clear()
    clock.now += 60
    notify(_report(published=99))
    notify(_report(published=99))
    assert "\n".join(sent).count("STATUS=") == 1


def test_the_last_report_says_that_it_stops(notify: Notifier, sent: list[str]):
    notify(_report(running=False))
    assert sent[0].startswith("STOPPING=1")


def test_a_manager_that_is_gone_costs_the_daemon_nothing(clock: _Clock):
    def refuse(_words: str) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    notify = Notifier(refuse, 1.0, clock)
    for _ in range(3):
        notify(_report())
        clock.now += 5


def test_nobody_is_told_without_systemd(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    service.told()(_report())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(service.importlib, "import_module", _no_module)
    with pytest.raises(ConfigError, match=re.escape("pip install 'staticwado-daemon[systemd]'")):
        service.told()


def _no_module(name: str) -> None:
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize(
    ("patience", "process", "seconds"),
    [("4000000", None, 4.0), ("4000000", "own", 4.0), ("4000000", "1", None), ("", None, None), ("0", None, None)],
)
def test_the_watchdogs_time_is_this_process_own(
    monkeypatch: pytest.MonkeyPatch, patience: str, process: str | None, seconds: float | None
):
    monkeypatch.setenv("WATCHDOG_USEC", patience)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if process:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process == "own" else process)
    assert service._watchdog_seconds() == seconds
