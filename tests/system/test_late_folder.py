"""An inbound folder that isn't there when the daemon starts: the others are watched, and it too once it comes."""

import json
from pathlib import Path

import pytest

from tests import corpus
from tests.system.programs import running, staticwado, write_config


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_folder_that_is_late_holds_up_nobody(tmp_path: Path, *, through_a_link: bool) -> None:
    files = corpus.test_files()
    late = tmp_path / "mount/late"
    if through_a_link:
        (tmp_path / "mount").symlink_to(tmp_path / "disk")  # where nothing is as yet
    (tmp_path / "prompt").mkdir()
    folders = [{"dir": str(tmp_path / "prompt")}, {"dir": str(late)}]
    config = write_config(tmp_path, {"rootDir": str(tmp_path / "root")}, {"inbound": folders})
    assert "late isn't a folder" in staticwado("-c", config, "config", "check", expect=2)
    with running(config) as daemon:
        _put(files["pydicom/test_files/CT_small.dcm"], tmp_path / "prompt")
        daemon.until(lambda: daemon.status()["published"] == 1, "what came to the folder that is there")
        daemon.until(lambda: daemon.status()["state"] == "degraded", "the folder that isn't there to be told of")
        assert "late is unavailable" in daemon.status()["degraded"][0]
        late.resolve().mkdir(parents=True)
        _put(files["pydicom/test_files/MR_small.dcm"], late)
        daemon.until(lambda: daemon.status()["published"] == 2, "what came to the folder that was late")
        daemon.until(lambda: not daemon.status()["degraded"], "all to be well")
    said = [json.loads(line)["event"] for line in (tmp_path / "daemon.log").read_text().splitlines()]
    assert said.count("inbound_degraded") == said.count("inbound_restored") == 1


def _put(source: Path, folder: Path) -> None:
    (folder / source.name).write_bytes(source.read_bytes())
