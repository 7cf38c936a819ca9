"""The site for Debian's own nginx answers as the whole configuration does, header for header and byte for byte."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from staticwado_daemon.web.nginx import nginx_config
from tests.system.servers import Answer, Server, beside_debians, free_port, start_nginx, start_nginx_for
from tests.system.tiny_tree import NOT_SERVED, SAMPLES, Sample, build, build_viewer, instance

EACH_TIME_ANOTHER = "date"
FRAME = f"/dicomweb/{instance(1)}/frames/1"
GZIP = {"Accept-Encoding": "gzip"}


@dataclass(frozen=True, slots=True)
class Pair:
    """nginx with the whole configuration, and Debian's with the site."""

    whole: Server
    site: Server
    logs: Path

    def ask(self, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        """The answer of both, which must be the same."""
        whole, site = (server.ask(target, headers, method) for server in (self.whole, self.site))
        assert _comparable(site) == _comparable(whole)
        return whole


def _comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name != EACH_TIME_ANOTHER}
    return answer.status, headers, answer.body


@pytest.fixture(scope="module", params=[None, "https://viewer.example"], ids=["tree alone", "viewer and sharing"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("site")
    root, ohif = directory / "tree", directory / "ohif" if request.param else None
    build(root)
    if ohif:
        build_viewer(ohif)
    with (
        start_nginx_for(root, directory / "whole", ohif, request.param) as whole,
        start_nginx_for(root, directory / "debian", ohif, request.param, form="site") as site,
    ):
        yield Pair(whole, site, directory / "debian")


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_row_of_the_table(pair: Pair, sample: Sample) -> None:
    accept = {"Accept": sample.accept}
    assert pair.ask(sample.target, accept).body == sample.content
    etag = pair.ask(sample.target, {**accept, **GZIP}).headers["etag"]
    pair.ask(sample.target, {**accept, **GZIP}, "HEAD")
    pair.ask(sample.target, {**accept, "Range": "bytes=1-3"})
    assert pair.ask(sample.target, {**accept, "If-None-Match": etag}).status == 304


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/dicomweb/studies?offset=1", "GET", 204),
        ("/dicomweb/studies?StudyInstanceUID=1.9", "GET", 204),
        ("/dicomweb/studies/1.9", "GET", 404),
        (f"/dicomweb/{instance(9)}/metadata", "GET", 404),
        (f"/dicomweb/{NOT_SERVED[0]}", "GET", 404),
        ("/dicomweb/../etc/passwd", "GET", 400),
        ("/dicomweb/studies%0a", "GET", 400),
        ("/dicomweb/studies", "POST", 405),
        ("/dicomweb/studies", "OPTIONS", 204),
        (FRAME, "OPTIONS", 204),
        ("/.hidden", "GET", 404),
        ("/missing.js", "GET", 404),
        ("/app-config.js", "GET", 200),
        ("/", "GET", None),
        ("/viewer?StudyInstanceUIDs=1.2", "GET", None),
        ("/app.bundle.0123456789abcdef.js", "GET", None),
        ("/0123456789abcdef.wasm", "HEAD", None),
        ("/app.bundle.css", "GET", None),
        ("/assets/logo.png", "GET", None),
    ],
)
@pytest.mark.parametrize("encoding", [{}, GZIP], ids=["plain", "gzip"])
def test_what_is_asked_for_besides(
    pair: Pair, target: str, method: str, status: int | None, encoding: dict[str, str]
) -> None:
    """Statuses that depend on whether there is a viewer are compared, not stated."""
    answer = pair.ask(target, {**encoding, "Content-Length": "0"}, method)
    assert status is None or answer.status == status


def test_its_logs_are_its_own_and_without_queries(pair: Pair) -> None:
    pair.ask("/dicomweb/studies?PatientName=Canary", {"Referer": "http://localhost/?Canary"}, "HEAD")
    pair.ask("/dicomweb/studies%zz?Canary")
    assert (pair.logs / "staticwado-access.log").exists()
    assert (pair.logs / "access.log").read_bytes() == (pair.logs / "error.log").read_bytes() == b""
    assert not any(b"Canary" in log.read_bytes() for log in pair.logs.glob("*.log"))


def test_workers_read_a_closed_tree_through_its_group() -> None:
    # Not below pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        root, prefix, port = Path(directory, "tree"), Path(directory, "prefix"), free_port()
        build(root)
        for path in (root, *root.rglob("*")):
            path.chmod(0o750 if path.is_dir() else 0o640)
            if os.geteuid() == 0:  # anyone else can only show it for himself
                shutil.chown(path, "nobody", "www-data")
        Path(directory).chmod(0o755)
        site = nginx_config(root, f"127.0.0.1:{port}", form="site")
        with start_nginx(beside_debians(site, prefix, user="www-data"), prefix, port) as nginx:
            assert nginx.ask(FRAME).status == 200
            (root / f"{FRAME.removeprefix('/dicomweb/')}.mht").chmod(0o600 if os.geteuid() == 0 else 0)
            assert nginx.ask(FRAME).status == 403
