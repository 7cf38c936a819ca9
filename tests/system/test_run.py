"""The daemon as somebody meets it: started once, fed by copying files, watched through its own web server."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import corpus
from tests.system.programs import running, staticwado, write_config
from tests.system.servers import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(tmp_path: Path, port: int) -> Path:
    """A daemon with one inbound folder and the embedded server."""
    (tmp_path / "inbound").mkdir()
    return write_config(
        tmp_path,
        {"rootDir": str(tmp_path / "root")},
        {"inbound": [{"dir": str(tmp_path / "inbound")}], "serve": {"host": "127.0.0.1", "port": port}},
    )


def test_copied_studies_appear_without_a_restart(tmp_path: Path, config: Path, port: int) -> None:
    first = corpus.mr_study(tmp_path / "prepared/mr", instances=6)
    second = corpus.ct_study(tmp_path / "prepared/ct", instances=8, series=2, size=128)
    shutil.copytree(tmp_path / "prepared/mr", tmp_path / "inbound/mr")
    with running(config) as daemon:
        daemon.until(lambda: _listed(port).get(first.uid) == 6, "the study that was there before the daemon")
        shutil.copytree(tmp_path / "prepared/ct", tmp_path / "inbound/ct")
        daemon.until(lambda: _listed(port) == {first.uid: 6, second.uid: 8}, "the study copied while it runs")
        daemon.wait_until_idle()
        now = daemon.status()
        assert (now["backlog"], now["published"], now["instances"], now["rejected"]) == (0, 14, 14, 0)
        for study in (first, second):
            assert len(_get(port, f"studies/{study.uid}/metadata")) == len(study.files)
            assert len(_get(port, f"studies/{study.uid}/instances")) == len(study.files)


def test_a_study_that_grows_shows_its_new_instances(tmp_path: Path, config: Path, port: int) -> None:
    study = corpus.ct_study(tmp_path / "prepared", instances=20, series=2, size=128)
    with running(config) as daemon:
        for done in (1, 7, 20):
            for path in study.files[:done]:
                shutil.copy(path, tmp_path / "inbound")
            daemon.until(lambda done=done: _listed(port).get(study.uid) == done, f"{done} instances listed")
            daemon.until(lambda done=done: len(_get(port, f"studies/{study.uid}/metadata")) == done, "study metadata")


def test_restart_continues_where_it_stopped(tmp_path: Path, config: Path, port: int) -> None:
    study = corpus.ct_study(tmp_path / "prepared", instances=20, series=2, size=128)
    for path in study.files[:10]:
        shutil.copy(path, tmp_path / "inbound")
    with running(config) as daemon:
        daemon.until(lambda: daemon.status()["idle"] and _listed(port).get(study.uid) == 10, "the first half")
    before = _files(tmp_path / "root/studies")
    for path in study.files[10:]:
        shutil.copy(path, tmp_path / "inbound")
    with running(config) as daemon:
        daemon.until(lambda: _listed(port).get(study.uid) == 20, "what came while the daemon was away")
        daemon.wait_until_idle()
        assert daemon.status()["published"] == 20
    frames = {name: stamp for name, stamp in before.items() if "/frames/" in name}
    assert frames.items() <= _files(tmp_path / "root/studies").items()


def test_bad_files_are_named_and_stop_nobody(tmp_path: Path, config: Path, port: int) -> None:
    files = corpus.test_files()
    shutil.copy(files["pydicom/test_files/UN_sequence.dcm"], tmp_path / "inbound/no-uids.dcm")
    shutil.copy(files["pydicom/test_files/README.txt"], tmp_path / "inbound/README.txt")
    with running(config) as daemon:
        shutil.copy(files["pydicom/test_files/CT_small.dcm"], tmp_path / "inbound")
        daemon.until(lambda: len(_listed(port)) == 1, "the good file")
        daemon.until(lambda: daemon.status()["rejected"] == 1 and daemon.status()["idle"], "the bad file's receipt")


def test_sources_are_deleted_only_where_that_was_asked_for(tmp_path: Path, port: int) -> None:
    for name in ("kept", "emptied"):
        (tmp_path / name).mkdir()
    inbound = [
        {"dir": str(tmp_path / "kept"), "afterIngest": "keep"},
        {"dir": str(tmp_path / "emptied"), "afterIngest": "delete"},
    ]
    config = write_config(tmp_path, {"rootDir": str(tmp_path / "root")}, {"inbound": inbound, "serve": {"port": port}})
    files = corpus.test_files()
    sources = {name: files[f"pydicom/test_files/{name}"].read_bytes() for name in ("CT_small.dcm", "MR_small.dcm")}
    (tmp_path / "kept/CT_small.dcm").write_bytes(sources["CT_small.dcm"])
    (tmp_path / "emptied/MR_small.dcm").write_bytes(sources["MR_small.dcm"])
    (tmp_path / "emptied/bad.dcm").write_bytes(files["pydicom/test_files/UN_sequence.dcm"].read_bytes())
    with running(config) as daemon:
        daemon.until(lambda: len(_listed(port)) == 2, "both studies")
        daemon.until(lambda: not (tmp_path / "emptied/MR_small.dcm").exists(), "the source's removal")
        daemon.wait_until_idle()
        studies = list(_listed(port))
    assert (tmp_path / "kept/CT_small.dcm").read_bytes() == sources["CT_small.dcm"]
    assert (tmp_path / "emptied/bad.dcm").exists()
    for study in studies:
        staticwado("-c", config, "export", study, "-o", tmp_path / "exported")
    exported = {path.read_bytes() for path in (tmp_path / "exported").rglob("*.dcm")}
    assert exported == set(sources.values())


def _get(port: int, path: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"http://127.0.0.1:{port}/dicomweb/{path}", timeout=30)
    if answer.status_code != httpx.codes.OK:
        return []
    found: list[dict[str, Any]] = json.loads(answer.content)
    return found


def _listed(port: int) -> dict[str, int]:
    """Studies and their numbers of instances; empty while the server isn't there yet."""
    try:
        studies = _get(port, "studies")
    except httpx.TransportError:
        return {}
    return {study["0020000D"]["Value"][0]: study["00201208"]["Value"][0] for study in studies}


def _files(directory: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
