"""`staticwado doctor` on a real tree: with a daemon and web servers that are as they should be, and that aren't."""

import http.server
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from staticwado_daemon.archive import routes
from staticwado_daemon.errors import Transient
from staticwado_daemon.operate.doctor import serving
from staticwado_daemon.operate.doctor.finding import Finding
from staticwado_daemon.operate.doctor.serving import Address
from staticwado_daemon.web.nginx import nginx_config
from tests import corpus
from tests.system.programs import create, running, staticwado, write_config
from tests.system.servers import Server, free_port, start_embedded, start_nginx

THE_MACHINES = {"clock", "disk"}
"""What depends on the machine that the tests run on."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with an image of which nginx's workers may read everything."""
    root = tmp_path_factory.mktemp("tree") / "root"
    create(root, [corpus.test_files()["pydicom/test_files/CT_small.dcm"]])
    return root


@pytest.fixture(scope="module")
def ohif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ohif")
    (folder / "index.html").write_text("<!doctype html><title>viewer</title>")
    return folder


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "nginx"


def _configuration(root: Path, port: int, ohif: Path | None, origin: str | None = None) -> str:
    return nginx_config(root, f"127.0.0.1:{port}", ohif, origin)


def _all(site: Address, root: Path) -> dict[str, Finding]:
    return {
        "DICOMweb": serving.studies(site, root),
        "images": serving.images(site, root),
        "viewer": serving.viewer(site),
    }


def _sentences(found: dict[str, Finding]) -> str:
    return "\n".join(each.sentence for each in found.values() if not each.ok)


@pytest.mark.parametrize("origin", [None, "https://viewer.example"])
def test_our_own_web_servers_are_fine(root: Path, ohif: Path, prefix: Path, origin: str | None) -> None:
    port = free_port()
    with start_nginx(_configuration(root, port, ohif, origin), prefix, port) as nginx:
        assert _sentences(_all(Address(nginx.url, origin, viewer=True), root)) == ""
    with start_embedded(root, ohif, origin) as embedded:
        assert _sentences(_all(Address(embedded.url, origin, viewer=True), root)) == ""


@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        ('add_header Cross-Origin-Opener-Policy "same-origin" always;', "", "Cross-Origin-Opener-Policy is missing"),
        (
            'add_header Cross-Origin-Embedder-Policy "require-corp" always;',
            'add_header Cross-Origin-Embedder-Policy "unsafe-none" always;',
            "Cross-Origin-Embedder-Policy is 'unsafe-none'",
        ),
        ("add_header Cache-Control $cache_control;", "add_header Cache-Control public;", "Cache-Control is 'public'"),
        ("; boundary=BOUNDARY_", "; boundary=OTHER_", "Content-Type is"),
        ("gzip_static always;", "gzip_static off;", "answered with 404"),
        (
            "wadoRoot: '/dicomweb'",
            "wadoRoot: 'https://pacs.example/dicomweb'",
            "OHIF asks https://pacs.example/dicomweb",
        ),
        ("server_name _;", "server_name _; location ^~ /dicomweb/studies { return 403; }", "is forbidden"),
        ("server_name _;", "server_name _; location ^~ /dicomweb/studies { return 401; }", "asks for a login"),
        ("location / {", "location / { return 404;", "OHIF is configured"),
    ],
)
def test_a_web_server_that_differs_is_told_from_ours(
    root: Path, ohif: Path, prefix: Path, line: str, instead: str, told: str
) -> None:
    port = free_port()
    ours = _configuration(root, port, ohif)
    assert line in ours
    with start_nginx(ours.replace(line, instead), prefix, port) as nginx:
        assert told in _sentences(_all(Address(nginx.url, viewer=True), root))


class _Liar(http.server.BaseHTTPRequestHandler):
    """Sends the right headers, and a body that isn't gzip."""

    def do_GET(self) -> None:
        self.send_response(200)
        answer = {"Content-Type": "application/dicom+json", "Cache-Control": "private, no-cache"}
        for name, value in {**routes.COMMON_HEADERS, **answer, "Content-Encoding": "gzip"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_an_answer_that_is_not_what_it_says_is_found(root: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Liar) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(Transient, match="can't be unpacked"):
            serving.studies(Address(f"http://127.0.0.1:{server.server_port}"), root)
        thread.join()


def test_the_tree_of_somebody_else_is_told_from_this_one(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    create(other, [corpus.test_files()["pydicom/test_files/MR_small.dcm"]])
    with start_embedded(other) as server:
        assert "is not what" in serving.studies(Address(server.url), root).sentence


def test_a_server_that_is_away_is_named_without_its_password(root: Path) -> None:
    site = Address(f"http://user:secret@127.0.0.1:{free_port()}")
    with pytest.raises(Transient, match=r"nothing answers on http://127\.0\.0\.1") as why:
        serving.studies(site, root)
    assert "secret" not in str(why.value)


def test_a_login_is_used(root: Path, prefix: Path) -> None:
    port = free_port()
    (prefix.parent / "htpasswd").write_text("user:{PLAIN}secret\n")
    guarded = _configuration(root, port, None).replace(
        "server_name _;", f'server_name _; auth_basic "x"; auth_basic_user_file {prefix.parent}/htpasswd;'
    )
    with start_nginx(guarded, prefix, port) as nginx:
        assert "asks for a login" in serving.studies(Address(nginx.url), root).sentence
        assert serving.studies(Address(f"http://user:secret@127.0.0.1:{nginx.port}"), root).ok


def test_a_healthy_site_and_then_one_without_its_daemon(tmp_path: Path, ohif: Path) -> None:
    (tmp_path / "inbound").mkdir()
    shutil.copy(corpus.test_files()["pydicom/test_files/CT_small.dcm"], tmp_path / "inbound")
    config = write_config(
        tmp_path,
        {"rootDir": str(tmp_path / "root")},
        {
            "inbound": [{"dir": str(tmp_path / "inbound"), "afterIngest": "delete"}],
            "dropDir": str(tmp_path / "drop"),
            "serve": {"port": free_port(), "ohif": str(ohif)},
            "metricsPort": free_port(),
        },
    )
    with running(config) as daemon:
        daemon.until(lambda: daemon.status()["published"] == 1 and daemon.status()["idle"], "the image")
        found = _examined(config)
        assert {
            name: each["sentence"] for name, each in found.items() if not each["ok"] and name not in THE_MACHINES
        } == {}
        named = {"configuration", "root", "state", "drop folder", "inbound", "file system", "inotify", "codecs"}
        named |= {"worker locks", "daemon", "journal", "port", "metrics port", "DICOMweb", "images", "viewer"}
        assert set(found) == named | THE_MACHINES
    shutil.rmtree(tmp_path / "inbound")
    found = _examined(config)
    assert {name for name, each in found.items() if not each["ok"]} - THE_MACHINES == {
        "configuration",
        "inbound",
        "daemon",
        "DICOMweb",
        "images",
        "viewer",
    }
    assert "systemctl start staticwado" in found["daemon"]["sentence"]
    printed = staticwado("-c", config, "doctor", expect=3)
    assert "  OK  codecs" in printed
    assert "  !!  daemon" in printed
    assert "checks need attention" in printed


def _examined(config: Path) -> dict[str, dict[str, Any]]:
    """`doctor --json`, whose exit code says what its object says."""
    for code in (0, 3):
        try:
            answer = json.loads(staticwado("-c", config, "doctor", "--json", expect=code))
        except AssertionError:
            if code == 3:
                raise
            continue
        assert answer["healthy"] is (code == 0) is all(each["ok"] for each in answer["checks"])
        break
    return {each["check"]: each for each in answer["checks"]}


def test_settings_that_cannot_be_read_leave_the_looks_that_need_none(tmp_path: Path) -> None:
    config = tmp_path / "static-wado.json5"
    config.write_text("{staticWadoConfig: {rootDirr: '/x'}}")
    answer = json.loads(staticwado("-c", config, "doctor", "--json", expect=3))
    assert [each["check"] for each in answer["checks"]] == ["configuration", "clock", "codecs", "worker locks"]
    assert "rootDirr" in answer["checks"][0]["sentence"]


def test_an_address_is_an_address(tmp_path: Path) -> None:
    staticwado("doctor", "--url", "viewer.example", "--root", tmp_path, expect=2)


def test_nginx_is_asked_where_no_server_is_configured(root: Path, ohif: Path, prefix: Path) -> None:
    port = free_port()
    with start_nginx(_configuration(root, port, ohif), prefix, port) as nginx:
        found = _with_url(root, nginx)
        assert all(found[name]["ok"] for name in ("DICOMweb", "images", "viewer")), found


def _with_url(root: Path, nginx: Server) -> dict[str, dict[str, Any]]:
    answer = json.loads(staticwado("doctor", "--json", "--root", root, "--url", nginx.url, expect=3))
    return {each["check"]: each for each in answer["checks"]}
