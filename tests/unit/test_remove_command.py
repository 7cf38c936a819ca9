"""The commands around deleting: what they ask, say and refuse. What they do is in tests/unit/test_removal.py."""

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click
import pytest

from staticwado_daemon.archive import audit
from staticwado_daemon.archive.store import Store
from staticwado_daemon.cli import execute, staticwado
from staticwado_daemon.pipeline.commit import commit, sweep
from staticwado_daemon.pipeline.studies import Studies
from tests.staging import stage

USAGE, FAILED, INTERRUPTED = 2, 1, 130


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with Store(tmp_path / "root") as store:
        batch = [stage(store.root)]
        commit(store, Studies(store.root, 1), batch)
        sweep(store, batch)
    return tmp_path / "root"


@pytest.fixture
def abroad() -> Iterator[None]:
    """Local time is five and a half hours ahead of UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "XST-5:30")
        time.tzset()
        yield
    time.tzset()


def run(root: Path, *words: str) -> int:
    return execute(staticwado, "staticwado", ["--root", str(root), *words])


def is_there(root: Path) -> bool:
    return (root / "studies/1.2/series/1.2.3/instances/1.2.3.4").exists()


def test_where_nobody_can_be_asked_it_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "delete", "1.2") == USAGE
    assert "`staticwado delete --yes` does it all the same" in capsys.readouterr().err
    assert is_there(root)


def test_a_dry_run_counts_and_does_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "delete", "--dry-run", "1.2") == 0
    assert capsys.readouterr().out == "would be deleted: studies/1.2: 1 instance in 1 series, 9 B\n"
    assert run(root, "delete", "--dry-run", "--json", "1.2") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["targets"][0]["target"], told["targets"][0]["instances"]) == (False, "studies/1.2", 1)
    assert is_there(root)
    assert list(audit.read(root)) == []


@pytest.mark.parametrize(("answer", "code"), [(False, INTERRUPTED), (True, 0)])
def test_on_a_terminal_it_asks(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, answer: bool, code: int
) -> None:
    def confirm(question: str, **_: object) -> None:
        assert question == "delete this?"
        if not answer:
            raise click.Abort

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "confirm", confirm)
    assert run(root, "delete", "--reason", "wrong patient", "1.2") == code
    assert "studies/1.2: 1 instance in 1 series" in capsys.readouterr().err
    assert is_there(root) is not answer


def test_one_unknown_target_stops_all(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "delete", "--yes", "1.2", "1.7.7") == FAILED
    assert "1.7.7 is no study, series or instance" in capsys.readouterr().err
    assert is_there(root)


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 1001])
def test_a_reason_is_one_line(root: Path, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "reject", "--yes", "--reason", reason, "1.2") == USAGE
    assert "one line of text" in capsys.readouterr().err


@pytest.mark.usefixtures("abroad")
def test_the_audit_log_says_who_when_and_why(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "audit") == 0
    assert capsys.readouterr().out.startswith("nothing was")
    assert run(root, "reject", "--yes", "--reason", "blurred", "1.2.3") == 0
    assert capsys.readouterr().out == "1 instance rejected\n"
    assert run(root, "undo", "1.2") == 0
    assert capsys.readouterr().out == "1 instance brought back\n"
    assert run(root, "audit") == 0
    first, target, *_ = capsys.readouterr().out.splitlines()
    entry = next(audit.read(root))
    at = datetime.fromisoformat(entry.at).astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert first == f"{at:%Y-%m-%d %H:%M:%S}  reject  by {audit.user()}: blurred (1 instance, 1 content)"
    assert target == "  studies/1.2/series/1.2.3"
    assert run(root, "audit", "--limit", "1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["total"], [each["action"] for each in told["entries"]]) == (2, ["undo"])
