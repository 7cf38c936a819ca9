"""`/healthz` and `/metrics` over HTTP, of a daemon at work, of one that was killed, and of one that never was."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from staticwado_daemon.operate.metrics import Watched
from staticwado_daemon.pipeline.report import FRESH_SECONDS, REPORT, Report, ReportFile
from staticwado_daemon.web import health
from staticwado_daemon.web.app import create_app, serving
from tests.corpus import ct_study
from tests.system.programs import running, write_config
from tests.system.servers import Answer, Server, start_embedded
from tests.system.tiny_tree import VIEWER, build, build_viewer

WORKING = Report(running=True, pid=1, backlog=0, published=2, instances=2, studies=1, rejected=0, idle=True)
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
        serving(create_app(root, ohif, "*", watched), "127.0.0.1", 0) as one,
        serving(health.create_app(watched), "127.0.0.1", 0) as other,
    ):
        servers = [Server("127.0.0.1", int(url.rpartition(":")[2])) for url in (one, other)]
        yield Site(watched, *servers)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "state").mkdir()
    build(tmp_path / "tree")
    build_viewer(tmp_path / "ohif")
    with both(tmp_path / "tree", tmp_path / "state", tmp_path / "ohif") as site:
        yield site


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
        assert found["staticwado_foldersinotify"] + found["staticwado_folderspolling"] == 1
        assert time.time() - found["staticwado_last_published_timestamp_seconds"] < 300
        assert found["staticwado_disk_free_bytes"] > 0
        for name in (b"Doe", b"Smith", b"Test^Ct", b"TEST-CT", b"2.25"):
            assert name not in told.body
        answer = site.ask("/healthz")
        assert (answer.status, json.loads(answer.body)["reasons"]) == (503, ["the daemon has ended"])
