"""What neither server does: list, write, leave its root, follow links, log a query, or hold a new file back."""

import gzip
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from staticwado_daemon.errors import ConfigError
from staticwado_daemon.web import health
from staticwado_daemon.web.app import bind
from staticwado_daemon.web.nginx import nginx_config
from tests.system.servers import Server, free_port, start_embedded, start_nginx, start_nginx_for
from tests.system.tiny_tree import (
    NOT_SERVED,
    SAMPLES,
    STUDY,
    VIEWER,
    Site,
    build,
    build_viewer,
    instance,
    put,
    serve_both,
)

CANARY = "Canary^Patient"
FRAME = f"{instance(1)}/frames/1"


@pytest.fixture(scope="module", params=[True, False], ids=["with viewer", "without viewer"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve_both(tmp_path_factory.mktemp("site"), viewer=request.param) as site:
        yield site


@pytest.fixture(params=["nginx", "embedded"])
def server(request: pytest.FixtureRequest, site: Site) -> Server:
    return site.nginx if request.param == "nginx" else site.embedded


@pytest.mark.parametrize(
    "target",
    [
        "/dicomweb",
        "/dicomweb/",
        "/dicomweb/studies/1.9",
        "/dicomweb/studies/1.9/series",
        "/dicomweb/studies/1.9/metadata",
        f"/dicomweb/{instance(9)}/metadata",
        f"/dicomweb/{instance(9)}/frames/1",
        f"/dicomweb/{instance(9)}/thumbnail",
        f"/dicomweb/{instance(9)}/rendered",
        f"/dicomweb/{instance(3)}",
        f"/dicomweb/{instance(1)}/frames",
        f"/dicomweb/{instance(1)}/frames/",
        f"/dicomweb/{instance(1)}/frames/1,2",
        f"/dicomweb/{instance(1)}/frames/3",
        f"/dicomweb/{STUDY}/bulkdata/",
        f"/dicomweb/{STUDY}/bulkdata/012/34",
        f"/dicomweb/studies/{'1' * 300}/metadata",
        *(f"/dicomweb/{sample.file}" for sample in SAMPLES if sample.file != sample.url.partition("?")[0]),
        *(f"/dicomweb/{file}" for file in NOT_SERVED),
        *(f"/{file}" for file in NOT_SERVED if not file.startswith("restore")),
    ],
)
def test_nothing_but_the_table_is_served(server: Server, target: str) -> None:
    answer = server.ask(target)
    assert answer.status == 404
    assert "cache-control" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/../{}",
        "/dicomweb/../{}",
        "/dicomweb/studies/../{}",
        "/dicomweb/studies/%2e%2e/{}",
        "/dicomweb/studies/.%2E/{}",
        "/dicomweb/studies/..%2f{}",
        "/dicomweb/studies/%2e%2e%2f{}",
        "/dicomweb/./studies/{}",
        "/dicomweb/studies/1.2/..",
        "/viewer/../../{}",
        "/%2e%2e/%2e%2e/{}",
        "/dicomweb/studies%00",
        "/dicomweb/studies%0a",
        "/dicomweb/studies%zz",
    ],
)
@pytest.mark.parametrize("secret", ["etc/passwd", "tree/.staticwado/format.json"])
def test_a_path_with_dots_or_control_characters_is_a_bad_request(server: Server, path: str, secret: str) -> None:
    assert server.ask(path.format(secret)).status == 400


@pytest.mark.parametrize(
    "target",
    ["/dicomweb/studies/..;/etc/passwd", "/dicomweb/studies/%252e%252e/etc/passwd", "/dicomweb/studies\\..\\etc"],
)
def test_other_spellings_lead_nowhere(server: Server, target: str) -> None:
    assert server.ask(target).status == 404


def test_slashes_count_once(site: Site) -> None:
    answers = [server.ask("/dicomweb//studies%2F%2F1.2.840.1//metadata") for server in (site.nginx, site.embedded)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "MKCOL"])
@pytest.mark.parametrize(
    "target", ["/dicomweb/studies", f"/dicomweb/{FRAME}", "/dicomweb/nothing", "/", "/app-config.js"]
)
def test_nothing_can_be_written(server: Server, method: str, target: str) -> None:
    answer = server.ask(target, {"Content-Length": "0"}, method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_no_link_is_followed(server: Server, site: Site) -> None:
    outside = site.root.parent / "outside"
    put(outside / "thumbnail", b"secret")
    put(outside / "metadata.gz", gzip.compress(b"secret"))
    links = {
        "studies/1.4": outside,
        "studies/1.5/thumbnail": outside / "thumbnail",
        "studies/1.5/metadata.gz": outside / "metadata.gz",
        "studies/1.5/series/1.6/metadata": outside / "metadata.gz",
        "studies/1.7": site.root / STUDY,
    }
    for link, target in links.items():
        (site.root / link).parent.mkdir(parents=True, exist_ok=True)
        if not (site.root / link).is_symlink():
            (site.root / link).symlink_to(target)
    for url in (
        "1.4/thumbnail",
        "1.4/metadata",
        "1.5/thumbnail",
        "1.5/metadata",
        "1.5/series/1.6/metadata",
        "1.7/thumbnail",
    ):
        answer = server.ask(f"/dicomweb/studies/{url}", {"Accept-Encoding": "gzip"})
        assert answer.status in (403, 404), url


def test_the_root_may_be_a_link(site: Site, tmp_path: Path) -> None:
    root = tmp_path / "link"
    root.symlink_to(site.root)
    with start_nginx_for(root, tmp_path / "prefix") as nginx, start_embedded(root) as embedded:
        assert [server.ask(f"/dicomweb/{FRAME}").status for server in (nginx, embedded)] == [200, 200]


def test_what_is_no_file_is_missing(server: Server, site: Site) -> None:
    for name in ("metadata", "metadata.gz", "thumbnail"):
        (site.root / "studies/1.8" / name).mkdir(parents=True, exist_ok=True)
    pipe = site.root / "studies/1.8/series/1.8/metadata.gz"
    pipe.parent.mkdir(parents=True, exist_ok=True)
    if not pipe.exists():
        os.mkfifo(pipe)
    for url in ("1.8/metadata", "1.8/thumbnail", "1.8/series/1.8/metadata"):
        assert server.ask(f"/dicomweb/studies/{url}").status == 404


def test_a_new_file_and_a_new_version_are_seen_at_once(
    server: Server, site: Site, request: pytest.FixtureRequest
) -> None:
    target = f"/dicomweb/studies/1.3.{abs(hash(request.node.name))}/metadata"
    file = site.root / f"{target.removeprefix('/dicomweb/')}.gz"
    accept = {"Accept-Encoding": "gzip"}
    assert server.ask(target, accept).status == 404
    put(file, gzip.compress(b"[1]"))
    first = server.ask(target, accept)
    assert gzip.decompress(first.body) == b"[1]"
    put(file.with_name("next"), gzip.compress(b"[1, 2]"))
    file.with_name("next").replace(file)
    second = server.ask(target, {**accept, "If-None-Match": first.headers["etag"]})
    assert (second.status, gzip.decompress(second.body)) == (200, b"[1, 2]")


def test_the_viewer_serves_nothing_hidden_and_no_page_for_a_missing_file(server: Server, site: Site) -> None:
    for target in ("/.hidden", "/assets/.hidden", "/missing.js", "/assets/missing.png", "/assets/logo.png.gz"):
        assert server.ask(target).status == 404
    for target in health.URLS:
        assert server.ask(target).status == 404, "a page here would tell a monitor that all is well"
    with_viewer = (site.root.parent / "ohif").exists()
    assert server.ask("/").status == server.ask("/viewer").status == (200 if with_viewer else 404)
    assert server.ask("/app-config.js").status == 200


def test_no_log_has_what_was_searched_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = {"Referer": f"http://localhost/?{CANARY}", "User-Agent": CANARY, "Cookie": CANARY}
    caplog.set_level("DEBUG")
    with serve_both(tmp_path, viewer=True) as site:
        for server in (site.nginx, site.embedded):
            for path in ("/dicomweb/studies", "/viewer", f"/dicomweb/{instance(9)}/frames/1", "/missing.js"):
                server.ask(f"{path}?PatientName={CANARY}", private)
            server.ask(f"/dicomweb/studies?PatientName={CANARY}", private, "DELETE")
    access = (site.prefix / "access.log").read_text()
    assert re.search(r"(?m)^127\.0\.0\.1 - \[[^]]+\] GET /dicomweb/studies HTTP/1\.1 200 \d+ [\d.]+$", access)
    assert access.count("\n") == 5
    assert CANARY not in access + (site.prefix / "error.log").read_text() + caplog.text


def test_nginx_reads_a_closed_tree_of_another_owner() -> None:
    # Not below pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        root, prefix = Path(directory, "tree"), Path(directory, "prefix")
        build(root)
        for path in (root, *root.rglob("*")):
            path.chmod(0o750 if path.is_dir() else 0o640)
            if os.geteuid() == 0:  # anyone else can only show it for himself
                shutil.chown(path, "nobody", "nogroup")
        Path(directory).chmod(0o755)
        with start_nginx_for(root, prefix) as nginx:
            assert nginx.ask(f"/dicomweb/{FRAME}").status == 200
            (root / f"{FRAME}.mht").chmod(0)
            (root / f"{instance(1)}/metadata.gz").chmod(0)
            if os.geteuid() != 0 or "user nobody" in nginx_config(root, "80"):
                assert nginx.ask(f"/dicomweb/{FRAME}").status == 403
                assert nginx.ask(f"/dicomweb/{instance(1)}/metadata").status == 404


def test_a_taken_address_is_an_error_that_says_so() -> None:
    with (
        bind("127.0.0.1", 0) as taken,
        pytest.raises(ConfigError, match=r"can't listen on 127\.0\.0\.1:\d+: Address already"),
    ):
        bind("127.0.0.1", taken.getsockname()[1])
    for host in ("no-such-host.invalid", "a" * 64):
        with pytest.raises(ConfigError, match=f"can't listen on {host}:80: ."):
            bind(host, 80)


def test_a_client_that_leaves_harms_nobody(server: Server) -> None:
    for _ in range(20):
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(f"GET /dicomweb/{FRAME} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            client.recv(1000)
    assert server.ask(f"/dicomweb/{FRAME}").status == 200


def uncommented(configuration: str, first: str, last: str) -> str:
    """The configuration with the block of commented lines from `first` to `last` switched on."""
    head, separator, tail = configuration.partition(f"    #{first}")
    assert separator, first
    block, separator, rest = tail.partition(f"#{last}\n")
    assert separator, last
    return f"{head}    {first}{re.sub(r'(?m)^    #', '    ', block)}{last}\n{rest}"


def test_passwords(tmp_path: Path) -> None:
    build(tmp_path / "tree")
    port = free_port()
    passwords = tmp_path / "htpasswd"
    passwords.write_text("doctor:{PLAIN}secret\n")
    configuration = uncommented(
        nginx_config(tmp_path / "tree", f"127.0.0.1:{port}"),
        "auth_basic ",
        "auth_basic_user_file /etc/staticwado/htpasswd;",
    ).replace("/etc/staticwado/htpasswd", str(passwords))
    with start_nginx(configuration, tmp_path / "prefix", port) as nginx:
        assert nginx.ask("/dicomweb/studies").status == 401
        assert nginx.ask(f"/dicomweb/{FRAME}").status == 401
        assert nginx.ask("/dicomweb/studies", {"Authorization": "Basic ZG9jdG9yOnNlY3JldA=="}).status == 200
        assert nginx.ask("/dicomweb/studies", method="OPTIONS").status == 204


def test_a_login_service(tmp_path: Path) -> None:
    build(tmp_path / "tree")
    build_viewer(tmp_path / "ohif")
    port = free_port()
    configuration = uncommented(
        nginx_config(tmp_path / "tree", f"127.0.0.1:{port}", tmp_path / "ohif"), "auth_request ", "}"
    )
    with start_embedded(tmp_path / "tree", tmp_path / "ohif") as login:
        configuration = configuration.replace("http://127.0.0.1:4180/oauth2/auth", f"{login.url}/login")
        with start_nginx(configuration, tmp_path / "prefix", port) as nginx:
            assert nginx.ask(f"/dicomweb/{FRAME}").status == 200, "the login service said 200"
            assert nginx.ask("/viewer").body == VIEWER["index.html"]
        closed = configuration.replace(f"{login.url}/login", f"{login.url}/nothing.here")
        with start_nginx(closed, tmp_path / "prefix", port) as nginx:
            assert nginx.ask(f"/dicomweb/{FRAME}").status == 500, "the login service said neither yes nor no"


def test_tls(tmp_path: Path) -> None:
    build(tmp_path / "tree")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    assert shutil.which("openssl"), "openssl is missing: apt-get install openssl"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
        f" -out {certificate} -keyout {key}".split(),
        check=True,
        capture_output=True,
    )
    plain, secure = free_port(), free_port()
    configuration = uncommented(
        nginx_config(tmp_path / "tree", f"127.0.0.1:{plain}"), "listen 443", "ssl_protocols TLSv1.2 TLSv1.3;"
    )
    for there, here in (
        ("/etc/staticwado/tls/certificate.pem", str(certificate)),
        ("/etc/staticwado/tls/key.pem", str(key)),
        ("listen 443 ssl", f"listen 127.0.0.1:{secure} ssl"),
    ):
        assert there in configuration
        configuration = configuration.replace(there, here)
    with start_nginx(configuration, tmp_path / "prefix", plain):
        trust = ssl.create_default_context(cafile=certificate)
        with urllib.request.urlopen(f"https://127.0.0.1:{secure}/dicomweb/studies", context=trust) as answer:
            assert answer.status == 200
