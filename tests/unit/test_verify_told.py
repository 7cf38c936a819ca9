"""What `verify` says of what was found: quickly, and in words."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from staticwado_daemon.operate.verify.check import Verified
from staticwado_daemon.operate.verify.finding import Finding

MANY = 20_000
telling = importlib.import_module("staticwado_daemon.cli.verify")  # the package has the command by this name


def verified(*findings: Finding) -> Verified:
    return Verified(1, len(findings), 1, 1, 0.5, findings, ())


def test_what_cannot_be_mended_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    found = verified(Finding("format_wrong", ".staticwado/format.json"), Finding("leftover", "studies/x.tmp"))
    telling._print(found, found, Path("/tree"))
    printed = capsys.readouterr().out
    assert "  repair would do nothing: somebody has to look at it\n" in printed
    assert "  repair would move it to .staticwado/kept/orphans/\n" in printed


def test_what_is_new_after_a_repair_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    mended, left, new = (Finding("frame_missing", f"studies/1.2/{n}") for n in range(3))
    before = verified(mended, left)
    now = replace(before, findings=(left, new))
    telling._print(before, now, Path("/tree"))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("frame_missing (3): ")
    assert printed[1:4] == ["  mended  studies/1.2/0", "  left    studies/1.2/1", "  left    studies/1.2/2"]
    assert [each["outcome"] for each in json.loads(telling._to_json(before, now, None))["findings"]] == [
        "mended",
        "left",
        "left",
    ]


def test_many_findings_are_compared_with_each_other_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verified(*(Finding("frame_missing", f"studies/1.2/{n}") for n in range(MANY)))
    compared = 0

    def equal(one: Finding, other: object) -> bool:
        nonlocal compared
        compared += 1
        return one is other or (isinstance(other, Finding) and one.where == other.where)

    monkeypatch.setattr(Finding, "__eq__", equal)
    telling._print(found, found, Path("/tree"))
    telling._to_json(found, found, None)
    assert compared < MANY
