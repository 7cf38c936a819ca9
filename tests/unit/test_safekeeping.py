"""What may be on its way into the tree, for whom it is asked whether that is safe here."""

from pathlib import Path

import pytest

from staticwado_daemon.operate import health, safekeeping
from staticwado_daemon.operate.health import Health
from staticwado_daemon.pipeline.report import Report


@pytest.mark.parametrize(
    ("path", "on_its_way"),
    [
        ("1.dcm", True),
        ("ward/1.dcm", True),
        ("ward/rejected/1.dcm", True),
        (".part/receiver/1", False),
        (".refused/1", False),
        ("rejected/1.dcm", False),
        (".snapshot/1.dcm", False),
        ("@eaDir/1.dcm", False),
        ("ward/1.dcm.part", False),
        ("Thumbs.db", False),
    ],
)
def test_what_the_daemon_takes_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, *, on_its_way: bool
) -> None:
    idle = Report(running=True, pid=1, idle=True, backlog=0, published=0, instances=0, studies=0, rejected=0)
    monkeypatch.setattr(health, "look", lambda *_: Health("ok", report=idle))
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    assert safekeeping.is_under_way(tmp_path, tmp_path, tmp_path / "status.json") is on_its_way
