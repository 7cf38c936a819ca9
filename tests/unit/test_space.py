"""Room that is left alone: intake stops before the disk is full, and says which key to change."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from staticwado_daemon.pipeline import space as module
from staticwado_daemon.pipeline.space import Space


def test_what_there_is_enough_of_is_not_short(tmp_path: Path) -> None:
    assert Space(tmp_path, 0, 0).shortage() is None
    assert Space(tmp_path, 1, 1).shortage() is None


def test_too_few_bytes_or_inodes_are_told_with_the_key(tmp_path: Path) -> None:
    assert "minFreeBytes is 9,000 TB" in (Space(tmp_path, 9 * 10**15, 0).shortage() or "")
    assert "minFreeInodes is 9,000,000,000,000" in (Space(tmp_path, 0, 9 * 10**12).shortage() or "")


def test_a_look_holds_for_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space(tmp_path, 9 * 10**15, 0)
    first = space.shortage()
    monkeypatch.setattr(os, "statvfs", lambda _: pytest.fail("asked again"))
    assert space.shortage() == first
    enough = SimpleNamespace(f_bavail=10**13, f_frsize=4096, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: enough)
    assert space.shortage() == first
    monkeypatch.setattr(module, "_SECONDS", 0.0)
    assert space.shortage() is None


def test_a_root_that_cannot_be_asked_is_not_short(tmp_path: Path) -> None:
    assert Space(tmp_path / "absent", 10**18, 10**18).shortage() is None
