"""The processes that answer HTTP beside a daemon: the embedded server, and the port for health and metrics."""

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import warn
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from socket import socket

    from starlette.applications import Starlette

    from staticwado_daemon import config

_NEEDED = ("prometheus_client", "starlette", "uvicorn")


def require_gateway() -> None:
    """Make sure that what answers HTTP is installed.

    Raises:
        ConfigError: if it isn't.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"answering HTTP takes the extra `gateway` ({', '.join(missing)} not installed): "
            "pip install 'staticwado-daemon[gateway]'"
        )


@contextmanager
def served(settings: "config.Daemon", prepare: Callable[[], None]) -> "Iterator[Sequence[BaseProcess]]":
    """Answer HTTP where that is configured, in processes of their own: clients must not cost the daemon.

    Args:
        settings: of the daemon.
        prepare: called once in each process, to configure its logging.

    Raises:
        ConfigError: if an address can't be had, or the extra `gateway` isn't installed.
    """
    if settings.server is None and settings.metrics_port is None:
        yield ()
        return
    require_gateway()
    from staticwado_daemon.operate.metrics import Watched
    from staticwado_daemon.pipeline.report import REPORT
    from staticwado_daemon.web import app, health, nginx

    watched = Watched(settings.storage.state_dir / REPORT, settings.storage.root)
    processes: list[BaseProcess] = []
    try:
        if server := settings.server:
            if sentence := nginx.exposure_warning(str(nginx.Listen(server.host, server.port))):
                warn(sentence)
            make_app = functools.partial(app.create_app, server.root, server.ohif, server.allow_origin, watched)
            processes.append(_process(server.host, server.port, make_app, prepare))
            click.echo(addresses(server))
        if port := settings.metrics_port:
            make_app = functools.partial(health.create_app, watched)
            processes.append(_process("127.0.0.1", port, make_app, prepare))
            click.echo(f"health and metrics on http://127.0.0.1:{port}{health.HEALTH_URL} and {health.METRICS_URL}")
        yield processes
    finally:
        _end(processes)


def addresses(server: "config.Server") -> str:
    """Where a server that has its port is found, as a person may paste it into a browser."""
    from staticwado_daemon.web import nginx

    url = f"http://{nginx.Listen(server.host, server.port)}"
    return f"{'OHIF on ' + url + '/, ' if server.ohif else ''}DICOMweb on {url}/dicomweb"


def _end(processes: "Sequence[BaseProcess]") -> None:
    """End them together: each gives its clients a moment."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _process(host: str, port: int, make_app: "Callable[[], Starlette]", prepare: Callable[[], None]) -> "BaseProcess":
    """Start a process that answers HTTP at an address, which it has when this returns."""
    from staticwado_daemon.pipeline.processes import process_context
    from staticwado_daemon.web import app

    with app.bind(host, port) as listener:
        process = process_context().Process(
            target=_serve, args=(listener, make_app, prepare), name="staticwado-server", daemon=True
        )
        process.start()
    return process


def _serve(listener: "socket", make_app: "Callable[[], Starlette]", prepare: Callable[[], None]) -> None:
    """Be a process that answers HTTP."""
    from staticwado_daemon.pipeline.processes import end_with_daemon, end_with_parent
    from staticwado_daemon.web import app

    end_with_parent()
    end_with_daemon()
    prepare()
    app.serve_on(listener, make_app())
