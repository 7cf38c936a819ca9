"""Verify beside a daemon at work: no false alarm, and repair by way of the daemon."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from tests import corpus
from tests.crash.oracle import originals
from tests.planting import Planted, build
from tests.system.programs import Place, running, told, write_config

RECORDS = ("deduplicated", "instances")
JPEG_LS = "1.2.840.10008.1.2.4.80"


def delivered(inbound: Path, files: list[Path], pause: float, done: threading.Event) -> None:
    for path in files:
        shutil.copyfile(path, inbound / f"{path.parent.name}-{path.name}")
        time.sleep(pause)
    done.set()


@pytest.mark.parametrize(
    ("instances", "pause"), [(24, 0.05), pytest.param(400, 0.05, marks=pytest.mark.soak)], ids=["some", "many"]
)
def test_no_false_alarm_while_files_come(tmp_path: Path, instances: int, pause: float) -> None:
    place = Place(tmp_path)
    place.inbound.mkdir()
    config = write_config(
        tmp_path, {"rootDir": str(place.root)}, {"inbound": [{"dir": str(place.inbound), "afterIngest": "keep"}]}
    )
    corpus.mr_study(tmp_path / "mr", instances, 2)
    corpus.ct_study(tmp_path / "ct", instances // 2, 2, size=64)
    files = sorted([*tmp_path.glob("mr/*.dcm"), *tmp_path.glob("ct/*.dcm")], key=lambda path: path.name)
    done = threading.Event()
    looks = 0
    with running(config) as daemon:
        daemon.until((place.root / "studies").is_dir, "a tree")
        writer = threading.Thread(target=delivered, args=(place.inbound, files, pause, done))
        writer.start()
        while not done.is_set():
            answer = json.loads(told("-c", config, "verify", "--restore", "--json"))
            assert answer["findings"] == []
            looks += 1
        writer.join()
        daemon.wait_until_idle()
        answer = json.loads(told("-c", config, "verify", "--restore", "--json"))
        assert (answer["findings"], answer["instances"], answer["busy"]) == ([], len(files), [])
    assert looks


def test_a_daemon_is_asked_to_mend_and_to_store_anew(tmp_path: Path) -> None:
    tree = build(tmp_path)
    total = len(list(tree.sources.rglob("*.dcm")))
    (tmp_path / "inbound").mkdir()
    config = write_config(
        tmp_path,
        {"rootDir": str(tree.root), "contentType": "jls"},
        {"inbound": [{"dir": str(tmp_path / "inbound")}], "stateDir": str(tree.root / layout.PRIVATE)},
    )
    with running(config) as daemon:
        daemon.until(lambda: daemon.status()["running"], "running")
        receipts = daemon.status()["receipts"]
        _damage(tree)
        answer = json.loads(
            told(
                "-c",
                config,
                "verify",
                "--repair",
                "--json",
            )
        )
        assert {each["outcome"] for each in answer["findings"]} == {"mended"}
        kinds = {each["kind"] for each in answer["findings"]}
        assert kinds >= {"instance_orphaned", "record_misnamed", "record_unreadable", "record_missing", "frame_missing"}

        sources = originals(tree.root)
        assert len(sources) == total
        assert json.loads(told("-c", config, "rebuild", "--json"))["left"] == []
        assert originals(tree.root) == sources
        assert {json.loads(each.dataset)["00083002"]["Value"][0] for each in tree.records("mr")} == {JPEG_LS}
        told("-c", config, "metadata", tree.study("mr"))
        told("-c", config, "group")
        assert [len(list(tree.root.glob(f"{each}/{tree.study('mr')}/*"))) for each in RECORDS] == [1, 0]
        assert daemon.status()["receipts"] == receipts, "what comes out of the tree gets no receipts that last"
        assert json.loads(told("-c", config, "verify", "--restore", "--json"))["clean"]
    assert json.loads(told("-c", config, "verify", "--restore", "--json"))["clean"]


def _damage(tree: Planted) -> None:
    frame, thumbnail = tree.path("mr", 1, 1, file="frames/1.mht"), tree.path("mr", 1, 2, file=layout.THUMBNAIL)
    for path in (frame, thumbnail, f"{layout.study_dir(tree.study('mr'))}/index.json.gz"):
        (tree.root / path).unlink()
    for directory in (layout.records_dir(tree.study("ct")), layout.pending_dir(tree.study("ct"))):
        shutil.rmtree(tree.root / directory, ignore_errors=True)
    (tree.root / tree.path("mr", 1, 9)).mkdir()
    (misnamed,) = (tree.root / layout.pending_dir(tree.study("us-jpeg"))).iterdir()
    misnamed.rename(misnamed.with_name(f"{'0' * 64}.gz"))
    (tree.root / layout.pending_dir(tree.study("us-jpeg")) / f"{'1' * 64}.gz").write_bytes(b"no record file")
