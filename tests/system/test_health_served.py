"""`staticwado run` answers `/healthz` and `/metrics` on the embedded server and on a port of its own."""

import json
from pathlib import Path

import pytest

from tests.corpus import ct_study
from tests.system.programs import Daemon, is_gone, running, started, status, write_config
from tests.system.servers import Server, free_port


@pytest.mark.parametrize("ports", [("serve",), ("metricsPort",), ("serve", "metricsPort")], ids=" and ".join)
def test_where_it_is_configured(tmp_path: Path, ports: tuple[str, ...]) -> None:
    ct_study(tmp_path / "in", instances=2, series=1, size=32)
    servers = {name: Server("127.0.0.1", free_port()) for name in ports}
    chosen = {name: {"port": server.port} if name == "serve" else server.port for name, server in servers.items()}
    daemon = {"inbound": [{"dir": str(tmp_path / "in")}], **chosen}
    with running(write_config(tmp_path, {"rootDir": str(tmp_path / "root")}, daemon)) as process:
        process.until(lambda: (told := process.status())["running"] and told["instances"] == 2, "two instances")
        for name, server in servers.items():
            answer = server.ask("/healthz")
            assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
            assert b"staticwado_instances 2.0\n" in server.ask("/metrics").body
            assert server.ask("/dicomweb/studies").status == (200 if name == "serve" else 404)


def test_a_daemon_that_was_killed_leaves_its_ports_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ports = {"serve": {"port": free_port()}, "metricsPort": free_port()}
    daemon = {"inbound": [{"dir": str(tmp_path / "in")}], **ports}
    config = write_config(tmp_path, {"rootDir": str(tmp_path / "root")}, daemon)
    metrics = Server("127.0.0.1", ports["metricsPort"])
    with started(config) as killed:
        Daemon(config, killed).until(lambda: status(config)["running"], "it runs")
        killed.kill()
        killed.wait()
        assert is_gone(killed.pid), "a process outlived the daemon"
    with running(config) as process:
        process.until(lambda: process.status()["running"], "the next one runs")
        assert metrics.ask("/metrics").status == 200
