"""`/healthz` and `/metrics` over HTTP, of a daemon at work, of one that was killed, and of one that never was."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.lock import take
from staticwado_daemon.operate import status
from staticwado_daemon.operate.doctor.daemon import Traces, works
from staticwado_daemon.operate.metrics import Watched
from staticwado_daemon.pipeline.report import FRESH_SECONDS, REPORT, Report, ReportFile
from staticwado_daemon.web import health
from staticwado_daemon.web.app import create_app
from tests.corpus import ct_study
from tests.system.programs import STATICWADO, running, write_config
from tests.system.servers import Answer, Server, serving, start_embedded
from tests.system.tiny_tree import VIEWER, build, build_viewer

WORKING = Report(running=True, pid=os.getpid(), backlog=0, published=2, instances=2, studies=1, rejected=0, idle=True)
TROUBLE = "/srv/in/Doe^Jane can't be read"


@dataclass(frozen=True, slots=True)
class Site:
    """Both servers that tell of one daemon."""

    watched: Watched
    embedded: Server
    alone: Server

    def report(self, report: Report, age: float = 0.0) -> None:
        ReportFile(self.watched.report.parent).write(report)
        then = time.time() - age
        os.utime(self.watched.report, (then, then))

    def ask(self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """What both say."""
        one, other = (server.ask(target, headers, method) for server in (self.embedded, self.alone))
        assert (one.status, one.headers.keys()) == (other.status, other.headers.keys())
        return one


@contextmanager
def both(root: Path, state_dir: Path, ohif: Path | None = None) -> Iterator[Site]:
    watched = Watched(state_dir / REPORT, root)
    with (
        serving(create_app(root, ohif, "*", watched)) as one,
        serving(health.create_app(watched)) as other,
    ):
        yield Site(watched, one, other)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "state").mkdir()
    build(tmp_path / "tree")
    build_viewer(tmp_path / "ohif")
    (tmp_path / "tree" / layout.PRIVATE).mkdir(exist_ok=True)
    lock = take(tmp_path / "tree", "daemon", 0.0)
    try:
        with both(tmp_path / "tree", tmp_path / "state", tmp_path / "ohif") as site:
            yield site
    finally:
        os.close(lock)


def metrics(answer: Answer) -> dict[str, float]:
    assert answer.status == 200
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def test_ok(site: Site) -> None:
    site.report(WORKING)
    answer = site.ask("/healthz")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


def test_degraded_is_no_reason_to_take_the_server_away(site: Site) -> None:
    site.report(
        Report(**{each: getattr(WORKING, each) for each in WORKING.__struct_fields__} | {"degraded": [TROUBLE]})
    )
    answer = site.ask("/healthz")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "degraded", "reasons": [TROUBLE]})
    assert metrics(site.ask("/metrics"))["staticwado_degraded"] == 1
    assert b"Doe" not in site.ask("/metrics").body


def test_a_daemon_that_says_nothing_is_down(site: Site) -> None:
    site.report(WORKING, age=FRESH_SECONDS + 1)
    answer = site.ask("/healthz")
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "down")
    found = metrics(site.ask("/metrics"))
    assert found["staticwado_up"] == 0
    assert found["staticwado_report_age_seconds"] > FRESH_SECONDS


def test_a_daemon_that_never_was_is_down(site: Site) -> None:
    answer = site.ask("/healthz")
    assert answer.status == 503
    assert json.loads(answer.body) == {"status": "down", "reasons": ["no daemon has reported yet"]}
    assert metrics(site.ask("/metrics"))["staticwado_up"] == 0


@pytest.mark.parametrize("target", ["/healthz", "/metrics", "/healthz?verbose", "/metrics?name[]=x"])
def test_answers_are_for_nobody_to_keep_or_share(site: Site, target: str) -> None:
    site.report(WORKING)
    answer = site.ask(target)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert not {"etag", "last-modified", "server", "access-control-allow-origin"} & answer.headers.keys()
    head = site.ask(target, "HEAD")
    assert (head.status, head.body) == (200, b"")
    if target == "/healthz":
        assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("target", ["/healthz", "/metrics"])
def test_nothing_can_be_written(site: Site, method: str, target: str) -> None:
    for server in (site.embedded, site.alone):
        answer = server.ask(target, {"Content-Length": "0"}, method)
        assert (answer.status, "GET, HEAD" in answer.headers["allow"]) == (405, True)


def test_the_port_of_its_own_serves_nothing_else(site: Site) -> None:
    for target in ("/", "/dicomweb/studies", "/healthz/", "/metrics/x", "/../etc/passwd", "/%2e%2e/tree"):
        assert site.alone.ask(target).status == 404
    assert site.embedded.ask("/dicomweb/studies").status == 200
    assert site.embedded.ask("/viewer").body == VIEWER["index.html"]


def test_without_a_daemon_to_watch_the_urls_are_not_there(tmp_path: Path) -> None:
    build(tmp_path / "tree")
    with start_embedded(tmp_path / "tree") as server:
        assert [server.ask(url).status for url in health.URLS] == [404, 404]


def is_done(found: Mapping[str, float]) -> bool:
    """Whether all files of the test below have their receipts."""
    outcomes = ("published", "rejected", "ignored")
    published, *others = (found.get(f"staticwado_receipts{outcome}") for outcome in outcomes)
    return found.get("staticwado_instances") == published == 4 and sum(each or 0 for each in others) == 1


def test_a_real_daemon(tmp_path: Path) -> None:
    inbound = tmp_path / "Doe^Jane"
    files = ct_study(inbound, instances=4, series=1, size=32).files
    (inbound / "Smith^John.dcm").write_bytes(b"no DICOM" * 100)
    daemon = {"inbound": [{"dir": str(inbound)}]}
    config = write_config(tmp_path, {"rootDir": str(tmp_path / "root")}, daemon)
    with both(tmp_path / "root", tmp_path / "state") as site:
        assert site.ask("/healthz").status == 503
        with running(config) as process:
            process.until(lambda: is_done(metrics(site.ask("/metrics"))), "the last report")
            answer = site.ask("/healthz")
            assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
            told = site.ask("/metrics")
            found = metrics(told)
        assert len(files) == found["staticwado_receiptspublished"] == found["staticwado_instances"] == 4
        assert found["staticwado_foldersinotify"] + found["staticwado_folderspolling"] == 2
        assert time.time() - found["staticwado_last_published_timestamp_seconds"] < 300
        assert found["staticwado_disk_free_bytes"] > 0
        for name in (b"Doe", b"Smith", b"Test^Ct", b"TEST-CT", b"2.25"):
            assert name not in told.body
        answer = site.ask("/healthz")
        assert (answer.status, json.loads(answer.body)["reasons"]) == (503, ["the daemon has ended"])


def test_one_that_is_killed_is_down_for_everybody_at_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    config = write_config(tmp_path, {"rootDir": str(tmp_path / "root")}, {"inbound": [{"dir": str(tmp_path / "in")}]})
    traces = Traces(tmp_path / "root", tmp_path / "state", tmp_path / "state/journal.sqlite")
    daemon = subprocess.Popen(
        [*STATICWADO, "-c", str(config), "run"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that its other processes are known by their group
    )
    try:
        with both(traces.root, traces.state_dir) as site:
            until(lambda: site.alone.ask("/healthz").status == 200)  # one: it may change between two questions
            assert works(traces, []).ok
            daemon.kill()
            daemon.wait()
            answer = site.ask("/healthz")
            assert (answer.status, json.loads(answer.body)["status"]) == (503, "down")
            assert metrics(site.ask("/metrics"))["staticwado_up"] == 0
            assert status.read(traces.root, traces.state_dir, traces.journal).state in {"stopped", "unknown"}
            assert not works(traces, []).ok
            until(lambda: status.read(traces.root, traces.state_dir, traces.journal).state == "stopped")
            assert "has ended without a word" in json.loads(site.ask("/healthz").body)["reasons"][0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it took too long"
        time.sleep(0.05)
