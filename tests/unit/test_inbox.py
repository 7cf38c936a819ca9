"""Inbound folders together: a file system that hangs costs its own folder, and nobody else."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from staticwado_daemon.inbound.folder import InboundDir
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.settle import Timing
from staticwado_daemon.inbound.source import NO_PERMISSION, Source
from tests.system.inboxes import until

QUICK = Timing(settle=0.1, reconcile=0.2, quiet=0.01)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "hanging", tmp_path / "good"
    for folder in found:
        folder.mkdir()
    return found


@pytest.fixture
def inbound(folders: tuple[Path, Path]) -> Iterator[Inbound]:
    inbound = Inbound([InboundDir(each) for each in folders], lambda _path, _stamp: None, QUICK, lambda: None)
    inbound.start()
    yield inbound
    inbound.stop()


def take_one(inbound: Inbound) -> Source:
    taken: list[Source] = []
    until(lambda: bool(taken.extend(inbound.take(1)) or taken))
    return taken[0]


def refuse(inbound: Inbound, source: Source) -> None:
    inbound.done(Receipt(source.path, source.stamp, "rejected", NO_PERMISSION))


def test_who_asks_for_permission_holds_up_nobody(
    folders: tuple[Path, Path], inbound: Inbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, good = folders
    asked, answered = threading.Event(), threading.Event()
    real = os.access

    def access(path: str, *rest: Any) -> bool:
        if path == str(hanging / "refused.dcm"):
            assert threading.current_thread().name == f"inbound {hanging}", "not the main loop"
            asked.set()
            answered.wait(60)
        return real(path, *rest)

    monkeypatch.setattr(os, "access", access)
    try:
        (hanging / "refused.dcm").write_bytes(b"x")
        refuse(inbound, take_one(inbound))
        assert asked.wait(20)
        (good / "a.dcm").write_bytes(b"x")
        main = threading.Thread(target=lambda: taken.append(take_one(inbound)), daemon=True)
        taken: list[Source] = []
        main.start()
        main.join(20)
        assert [source.path for source in taken] == [good / "a.dcm"]
        assert inbound.degraded == []
    finally:
        answered.set()


def test_what_may_not_be_read_is_taken_once_it_may(
    folders: tuple[Path, Path], inbound: Inbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = folders[0] / "refused.dcm"
    may, asked = threading.Event(), threading.Semaphore(0)
    real = os.access

    def access(path: str, *rest: Any) -> bool:
        if path != str(refused):
            return real(path, *rest)
        asked.release()
        return may.is_set()

    monkeypatch.setattr(os, "access", access)  # the tests may run as root, whom nobody refuses
    refused.write_bytes(b"x")
    refuse(inbound, take_one(inbound))
    for _ in range(3):
        assert asked.acquire(timeout=20)
    assert inbound.take(1) == []
    may.set()
    assert take_one(inbound).path == refused
