"""Real servers for the tests: nginx with a given configuration, the embedded server, and a client that adds nothing."""

import http.client
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from staticwado_daemon.web.app import bind, create_app
from staticwado_daemon.web.app import server as app_server
from staticwado_daemon.web.nginx import Form, nginx_config

_PATIENCE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it came: header names in lower case, the body still encoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Connection(http.client.HTTPConnection):
    def speak(self, version: int) -> None:
        self._http_vsn = version
        self._http_vsn_str = f"HTTP/{version // 10}.{version % 10}"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(
        self, target: str, headers: Mapping[str, str] | None = None, method: str = "GET", *, version: int = 11
    ) -> Answer:
        """Send exactly this request target and these headers; nothing is normalised, added or unpacked."""
        connection = _Connection(self.host, self.port, timeout=_PATIENCE_SECONDS)
        connection.speak(version)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, below those that Linux gives to outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)  # the usual generator is seeded by some tests
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def start_nginx(configuration: str, prefix: Path, port: int) -> Iterator[Server]:
    """Run nginx with this configuration, which listens on `port`, in the directory `prefix` until the context ends."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program, "nginx is missing: apt-get install nginx"
    prefix.mkdir(parents=True, exist_ok=True)
    file = prefix.with_name(f"{prefix.name}.conf")
    file.write_text(configuration, encoding="utf-8")
    process = subprocess.Popen(
        [program, "-p", str(prefix), "-c", str(file), "-g", "daemon off;"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    try:
        _wait_for(port, process)
        yield Server("127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)
        process.stderr.close()


@contextmanager
def start_nginx_for(
    root: Path, prefix: Path, ohif: Path | None = None, allow_origin: str | None = None, form: Form = "prefix"
) -> Iterator[Server]:
    """Run nginx with the generated configuration for this tree; `prefix` is a directory without anything."""
    port = free_port()
    configuration = nginx_config(root, f"127.0.0.1:{port}", ohif, allow_origin, form=form)
    if form == "site":
        configuration = beside_debians(configuration, prefix)
    with start_nginx(configuration, prefix, port) as server:
        yield server


_DEBIANS = """\
user @user;
worker_processes auto;
pid @prefix/nginx.pid;
error_log @prefix/error.log;
events { worker_connections 768; }
http {
  sendfile on;
  tcp_nopush on;
  types_hash_max_size 2048;
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
  ssl_prefer_server_ciphers on;
  access_log @prefix/access.log;
  gzip on;
  include @prefix/conf.d/*.conf;
  server {
    listen 127.0.0.1:@port default_server;
    root @prefix;
    server_name _;
    location / { try_files $uri $uri/ =404; }
  }
@temporary
}
"""
"""The nginx.conf that Debian installs, with its default site, and with its places moved below a directory."""


def beside_debians(site: str, prefix: Path, user: str = "root") -> str:
    """Put a site into conf.d of an nginx as Debian has it; `user` is whom its workers run as, www-data in Debian."""
    (prefix / "conf.d").mkdir(parents=True)
    (prefix / "conf.d/staticwado.conf").write_text(site.replace("/var/log/nginx/", f"{prefix}/"), encoding="utf-8")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    values = {
        "@user": user,
        "@prefix": str(prefix),
        "@port": str(free_port()),
        "@temporary": "\n".join(f"  {kind}_temp_path {prefix}/{kind};" for kind in kinds),
    }
    return re.sub("|".join(values), lambda match: values[match[0]], _DEBIANS)


@contextmanager
def start_embedded(root: Path, ohif: Path | None = None, allow_origin: str | None = None) -> Iterator[Server]:
    """Run the embedded server for this tree until the context ends."""
    with serving(create_app(root, ohif, allow_origin)) as embedded:
        yield embedded


@contextmanager
def serving(app: Starlette) -> Iterator[Server]:
    """Serve from a thread until the context ends."""
    with bind("127.0.0.1", 0) as listener:
        server = app_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield Server("127.0.0.1", listener.getsockname()[1])  # who asks before it is up waits in the queue
        finally:
            server.should_exit = True
            thread.join()


def _wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stderr
            raise AssertionError(f"nginx ended: {process.stderr.read()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("nginx didn't listen in time")
