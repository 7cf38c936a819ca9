"""What is said of a daemon's health, and what Prometheus is told, from reports as a daemon writes them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from staticwado_daemon import __version__
from staticwado_daemon.archive import layout
from staticwado_daemon.archive.hidden import Hidden
from staticwado_daemon.archive.lock import Role, take
from staticwado_daemon.operate import health, network
from staticwado_daemon.operate.doctor.finding import attention
from staticwado_daemon.operate.doctor.network import works
from staticwado_daemon.operate.metrics import Watched, exposition
from staticwado_daemon.operate.network import NetworkReport
from staticwado_daemon.pipeline.report import FRESH_SECONDS, REPORT, Report, ReportFile
from staticwado_daemon.pipeline.struct_file import StructFile

FOLDER = "/srv/Doe^Jane"
TROUBLE = f"{FOLDER} can't be read: it is polled"
KILLED = "the daemon has ended without a word: its log may say why"


@contextmanager
def held(root: Path, role: Role = "daemon") -> Iterator[None]:
    """The tree's lock, as the one who writes there holds it."""
    (root / layout.PRIVATE).mkdir(exist_ok=True)
    descriptor = take(root, role, 0.0)
    try:
        yield
    finally:
        os.close(descriptor)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[None]:
    """A daemon holds the tree."""
    with held(tmp_path):
        yield


def ended_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def write(directory: Path, *, age: float = 0.0, **changes: Any) -> Watched:
    """A report of this age as the daemon would have written it."""
    usual = {
        "running": True,
        "pid": os.getpid(),
        "backlog": 3,
        "waiting": 1,
        "published": 15,
        "instances": 12,
        "studies": 2,
        "receipts": {"published": 12, "duplicate": 3, "rejected": 4},
        "rejected": 4,
        "idle": False,
        "folders": {FOLDER: "polling", "/srv/b": "inotify", "/srv/c": "inotify"},
        "published_at": 1_700_000_000.5,
        "hidden": Hidden(conflicts=1, rejected=5, deleted=7),
    }
    ReportFile(directory).write(Report(**{**usual, **changes}))
    then = time.time() - age
    os.utime(directory / REPORT, (then, then))
    return Watched(directory / REPORT, directory)


def samples(watched: Watched) -> Mapping[str, float]:
    """The metrics by name and, in braces, the one label's value."""
    families = text_string_to_metric_families(exposition(watched).decode())
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.usefixtures("locked")
def test_a_daemon_at_work(tmp_path: Path) -> None:
    found = dict(samples(write(tmp_path)))
    assert 0 <= found.pop("staticwado_report_age_seconds") < 5
    assert found.pop("staticwado_disk_free_bytes") > 0
    found.pop("staticwado_disk_free_inodes", None)
    assert found == {
        f"staticwado_build_info{{{__version__}}}": 1,
        "staticwado_up": 1,
        "staticwado_degraded": 0,
        "staticwado_receipts{published}": 12,
        "staticwado_receipts{duplicate}": 3,
        "staticwado_receipts{superseded}": 0,
        "staticwado_receipts{rejected}": 4,
        "staticwado_receipts{ignored}": 0,
        "staticwado_backlog": 3,
        "staticwado_waiting": 1,
        "staticwado_instances": 12,
        "staticwado_studies": 2,
        "staticwado_conflicts": 1,
        "staticwado_rejected_instances": 5,
        "staticwado_deleted_instances": 7,
        "staticwado_last_published_timestamp_seconds": 1_700_000_000.5,
        "staticwado_folders{inotify}": 2,
        "staticwado_folders{polling}": 1,
        "staticwado_folders{unavailable}": 0,
        "staticwado_folders{starting}": 0,
        "staticwado_dicom_up": 0,
    }


def node(**changes: Any) -> NetworkReport:
    """What a node says of itself."""
    usual = {"running": True, "pid": os.getpid(), "title": "ARCHIVE", "host": "::1", "port": 104, "tls": False}
    return NetworkReport(**{**usual, **changes})


def test_a_node_at_work(tmp_path: Path) -> None:
    watched = write(tmp_path)
    report = node(
        open=3,
        associations={"released": 10, "rejected": 2},
        operations={"C-STORE": {"success": 40, "failure": 1}, "C-FIND": {"success": 5}},
        received_bytes=1000,
        sent_bytes=50,
    )
    StructFile[NetworkReport](tmp_path / network.REPORT).write(report)
    found = {name: value for name, value in samples(watched).items() if "dicom" in name and value}
    assert found == {
        "staticwado_dicom_up": 1,
        "staticwado_dicom_associations_open": 3,
        "staticwado_dicom_associations_total{released}": 10,
        "staticwado_dicom_associations_total{rejected}": 2,
        "staticwado_dicom_operations_total{C-STORE}{success}": 40,
        "staticwado_dicom_operations_total{C-STORE}{failure}": 1,
        "staticwado_dicom_operations_total{C-FIND}{success}": 5,
        "staticwado_dicom_received_bytes_total": 1000,
        "staticwado_dicom_sent_bytes_total": 50,
    }


@pytest.mark.parametrize(
    ("changes", "age"), [({"running": False}, 0.0), ({"pid": ended_process()}, 0.0), ({}, FRESH_SECONDS + 5)]
)
def test_a_node_that_is_no_more(tmp_path: Path, changes: dict[str, Any], age: float) -> None:
    watched = write(tmp_path)
    StructFile[NetworkReport](tmp_path / network.REPORT).write(node(**changes))
    then = time.time() - age
    os.utime(tmp_path / network.REPORT, (then, then))
    assert {name: value for name, value in samples(watched).items() if "dicom" in name} == {"staticwado_dicom_up": 0}


@pytest.mark.parametrize("data", [b"", b"{", b'{"running": true}', b"\xff"])
def test_a_nodes_report_that_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / network.REPORT).write_bytes(data)
    assert network.read(tmp_path) is None


def test_a_node_is_looked_at_as_it_is_configured(tmp_path: Path) -> None:
    StructFile[NetworkReport](tmp_path / network.REPORT).write(node())
    assert works(tmp_path, "ARCHIVE@[::1]:104", []).ok
    moved = works(tmp_path, "ARCHIVE@[::1]:11112", [])
    assert not moved.ok
    assert "restart staticwado-scp" in moved.sentence
    assert works(tmp_path, "ARCHIVE@[::1]:104", ["it is open"]) == attention("it is open")
    (tmp_path / network.REPORT).unlink()
    assert "start staticwado-scp" in works(tmp_path, "ARCHIVE@[::1]:104", []).sentence


@pytest.mark.usefixtures("locked")
def test_no_folder_and_no_sentence_is_a_label(tmp_path: Path) -> None:
    watched = write(tmp_path, degraded=(TROUBLE,))
    assert b"Doe" not in exposition(watched)
    assert samples(watched)["staticwado_degraded"] == 1


def test_unknown_outcomes_and_modes_add_no_series(tmp_path: Path) -> None:
    usual = samples(write(tmp_path))
    odd = samples(write(tmp_path, receipts={"Doe": 1}, folders={FOLDER: "Jane"}))
    assert usual.keys() == odd.keys()


def test_nothing_published_yet(tmp_path: Path) -> None:
    assert "staticwado_last_published_timestamp_seconds" not in samples(write(tmp_path, published_at=None))


def test_without_a_report_or_a_tree(tmp_path: Path) -> None:
    found = samples(Watched(tmp_path / "none", tmp_path / "nowhere"))
    assert found == {
        f"staticwado_build_info{{{__version__}}}": 1,
        "staticwado_up": 0,
        "staticwado_degraded": 1,
        "staticwado_dicom_up": 0,
    }


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize(
    ("report", "status", "reasons"),
    [
        ({}, "ok", ()),
        ({"degraded": (TROUBLE,)}, "degraded", (TROUBLE,)),
        ({"age": FRESH_SECONDS - 5}, "ok", ()),
        ({"age": -3600}, "ok", ()),
        ({"age": FRESH_SECONDS + 5}, "down", (f"the daemon has not reported for more than {FRESH_SECONDS:.0f} s",)),
        ({"running": False}, "down", ("the daemon has ended",)),
        ({"running": False, "age": 3600, "degraded": (TROUBLE,)}, "down", ("the daemon has ended",)),
        ({"pid": 1 << 40}, "down", (KILLED,)),
    ],
)
def test_health(tmp_path: Path, report: dict[str, Any], status: str, reasons: tuple[str, ...]) -> None:
    watched = write(tmp_path, **report)
    found = health.look(watched.report, watched.root)
    assert (found.status, found.reasons) == (status, reasons)
    assert found.running is (None if status == "down" else True)
    assert samples(watched)["staticwado_up"] == (status != "down")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{}", msgspec.json.encode({"running": True})])
def test_a_report_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / REPORT).write_bytes(content)
    assert health.look(tmp_path / REPORT, tmp_path).status == "down"


def test_no_report(tmp_path: Path) -> None:
    assert health.look(tmp_path / REPORT, tmp_path).reasons == ("no daemon has reported yet",)
    assert health.look(tmp_path, tmp_path).status == "down"


def test_a_daemon_that_was_killed_is_down_at_once(tmp_path: Path) -> None:
    watched = write(tmp_path)
    with held(tmp_path):
        assert health.look(watched.report, tmp_path).status == "ok"
    # Its report is fresh, and its process's number perhaps another one's by now; but nobody holds the tree.
    found = health.look(watched.report, tmp_path)
    assert (found.status, found.reasons, found.running, found.pid) == ("down", (KILLED,), False, None)
    with held(tmp_path, "create"):
        assert health.look(watched.report, tmp_path).running is False
    write(tmp_path, pid=ended_process())
    with held(tmp_path):  # by its publisher, which is about to follow, or by the next daemon
        found = health.look(watched.report, tmp_path)
    assert (found.status, found.reasons, found.running, found.pid) == ("down", (KILLED,), None, None)


def test_one_that_hangs_is_down_and_known_by_its_process(tmp_path: Path) -> None:
    watched = write(tmp_path, age=FRESH_SECONDS + 5)
    with held(tmp_path):
        found = health.look(watched.report, tmp_path)
    assert (found.status, found.running, found.pid) == ("down", None, os.getpid())


def test_what_cannot_be_looked_at_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    watched = write(tmp_path)
    monkeypatch.setattr(health, "lock_holder", refuse)  # the tests may run as root, whom nobody refuses
    found = health.look(watched.report, tmp_path)
    assert (found.status, found.running) == ("down", False)
    assert found.reasons == ("the daemon's report or its lock can't be read: Permission denied",)
    with pytest.raises(PermissionError):
        health.judge(watched.report, tmp_path)
