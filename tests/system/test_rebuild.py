"""After a change of settings the tree is stored anew from itself; and the small commands that look after it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.operate.private import REBUILD
from tests.crash.oracle import differences, originals
from tests.crash.oracle import tree as files_of
from tests.planting import Planted, build
from tests.system.programs import REPOSITORY, told, write_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return build(tmp_path_factory.mktemp("made"))


@pytest.fixture
def tree(made: Planted, tmp_path: Path) -> Planted:
    shutil.copytree(made.root, tmp_path / "root")
    return Planted(tmp_path / "root", made.sources)


_SMALL_STEPS = """
from staticwado_daemon import cli
from staticwado_daemon.operate import rebuild

rebuild.BATCH_FILES = 2
cli.main()
"""
IN_SMALL_STEPS = (sys.executable, "-c", _SMALL_STEPS)


def configured(tree: Planted, directory: Path, **static: Any) -> Path:
    return write_config(directory, {"rootDir": str(tree.root), **static}, {})


def told_json(*words: str | Path, expect: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(told(*words, "--json", expect=expect))
    return answer


def syntaxes(tree: Planted, name: str) -> set[str]:
    return {json.loads(each.dataset)["00083002"]["Value"][0] for each in tree.records(name)}


def test_another_content_type(tree: Planted, tmp_path: Path) -> None:
    before, sources = files_of(tree.root), originals(tree.root)
    config = configured(tree, tmp_path / "config", contentType="jls")
    total = len(list(tree.sources.rglob("*.dcm")))

    planned = told_json("-c", config, "rebuild", "--dry-run", "--only", "frames")
    assert planned["instances"] == total
    assert planned["toDo"] == total - 3, "what came compressed stays as it came, and a report has no frames"
    assert differences(files_of(tree.root), before) == []

    done = told_json("-c", config, "rebuild")
    assert (done["anew"], done["same"], done["left"]) == (total - 3, 3, [])
    assert syntaxes(tree, "mr") == {"1.2.840.10008.1.2.4.80"}
    assert originals(tree.root) == sources
    assert told_json("-c", config, "verify", "--restore")["findings"] == []
    assert not [path for path in (tree.root / REBUILD).rglob("*") if path.is_file()]

    stored = files_of(tree.root / "studies")
    again = told_json("-c", config, "rebuild", "--only", "frames")
    assert (again["anew"], again["same"], again["asWanted"]) == (0, 0, total)
    assert differences(files_of(tree.root / "studies"), stored) == []


def test_what_does_not_come_back_is_named_and_left(tree: Planted, tmp_path: Path) -> None:
    (tree.root / tree.path("mr", 1, 1, file="frames/1.mht")).unlink()
    config = configured(tree, tmp_path / "config", contentType="none")
    answer = told_json("-c", config, "rebuild", tree.study("mr"), expect=3)
    assert [each["target"] for each in answer["left"]] == [tree.path("mr", 1, 1)]
    assert answer["anew"] == 5


def test_killed_it_goes_on(tree: Planted, tmp_path: Path) -> None:
    sources = originals(tree.root)
    config = configured(tree, tmp_path / "config", contentType="jls")
    process = subprocess.Popen([*IN_SMALL_STEPS, "-c", str(config), "rebuild"], cwd=REPOSITORY, start_new_session=True)
    ledgers = tree.root / REBUILD
    deadline = time.monotonic() + 60
    while not list(ledgers.glob("*.done")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    answer = told_json("-c", config, "rebuild")
    total = len(list(tree.sources.rglob("*.dcm")))
    assert 0 < answer["asWanted"] < total, "what was noted is not done twice"
    assert answer["asWanted"] + answer["anew"] + answer["same"] == total
    assert originals(tree.root) == sources
    assert told_json("-c", config, "verify", "--restore")["clean"]
    assert not [path for path in ledgers.rglob("*") if path.is_file()]


def test_thumbnails_that_are_missing(tree: Planted, tmp_path: Path) -> None:
    before = files_of(tree.root / "studies")
    for path in (*tree.root.glob("studies/*/series/*/instances/*/thumbnail"), *tree.root.glob("studies/*/thumbnail")):
        path.unlink()
    config = configured(tree, tmp_path / "config")
    told("-c", config, "thumbnail")
    assert differences(files_of(tree.root / "studies"), before) == []
    off = configured(tree, tmp_path / "off", thumb=False)
    told("-c", off, "thumbnail", expect=2)


def test_metadata_and_group(tree: Planted, tmp_path: Path) -> None:
    before = files_of(tree.root / "studies")
    config = configured(tree, tmp_path / "config")
    study = tree.study("mr")
    (tree.root / layout.study_dir(study) / layout.METADATA).unlink()
    assert told_json("-c", config, "metadata", study) == {"studies": [study]}
    merged = told_json("-c", config, "group", study)
    assert merged["filesAfter"] == 2 < merged["filesBefore"]
    assert told_json("-c", config, "verify", "--restore")["clean"]
    assert differences(files_of(tree.root / "studies"), before) == []
