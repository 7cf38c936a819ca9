"""`staticwado run`: the daemon."""

import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared, warn
from staticwado_daemon.cli.server import addresses
from staticwado_daemon.errors import ConfigError, StaticwadoError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from socket import socket

    from staticwado_daemon import config
    from staticwado_daemon.cli.service import Told
    from staticwado_daemon.inbound.inbox import Inbound
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.pipeline.daemon import Daemon
    from staticwado_daemon.pipeline.line import Line


@click.command(short_help="Watch folders: the daemon.")
@shared("-o", "--dir")
@click.pass_obj
def run(common: Common) -> None:
    """Watch the configured folders and publish what arrives, until SIGTERM or Ctrl-C."""
    from staticwado_daemon import log
    from staticwado_daemon.cli.assembly import open_line
    from staticwado_daemon.cli.preflight import run_errors
    from staticwado_daemon.cli.service import told

    configuration = common.configuration()
    for problem in run_errors(configuration):
        raise ConfigError(problem)
    settings = configuration.daemon()
    prepare = functools.partial(log.configure, common.log_level())
    manager = told()
    with (
        open_line(settings.storage, common.log_level(), role="daemon") as (line, journal),
        _served(settings.server, prepare) as server,
    ):
        daemon = _daemon(settings, line, journal, server, manager)
        with _ended_by_signals(daemon):
            daemon.run()


def _daemon(
    settings: "config.Daemon", line: "Line", journal: "Journal", server: "BaseProcess | None", told: "Told"
) -> "Daemon":
    from staticwado_daemon.inbound import drop
    from staticwado_daemon.inbound.folder import InboundDir
    from staticwado_daemon.inbound.inbox import Inbound
    from staticwado_daemon.inbound.settle import Timing
    from staticwado_daemon.pipeline.daemon import Daemon, Places
    from staticwado_daemon.pipeline.space import Space

    folders = [InboundDir(each.dir, each.after_ingest) for each in settings.inbound]
    if settings.drop_dir:
        folders.append(drop.prepare(settings.drop_dir))
    timing = Timing(
        settle=settings.settle_seconds,
        reconcile=settings.reconcile_seconds,
        incomplete=settings.incomplete_seconds,
    )
    inbound = Inbound(folders, journal.known, timing, line.wake)
    storage = settings.storage
    check = functools.partial(_check, inbound, server)
    space = Space(storage.root, storage.minimum_free_bytes, storage.minimum_free_inodes)
    places = Places(storage.root, storage.state_dir, settings.drop_dir, space)
    return Daemon(places, line, inbound, journal, check, told)


def _check(inbound: "Inbound", server: "BaseProcess | None") -> None:
    if not inbound.alive:
        raise StaticwadoError("a folder is no longer watched because its thread has ended; the log says why")
    if server and not server.is_alive():
        raise StaticwadoError("the embedded server has ended; the log says why")


@contextmanager
def _ended_by_signals(daemon: "Daemon") -> Iterator[None]:
    previous = {number: signal.signal(number, lambda *_: daemon.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _served(server: "config.Server | None", prepare: Callable[[], None]) -> "Iterator[BaseProcess | None]":
    """Run the embedded server, where one is configured, in a process of its own: its clients must not cost the daemon.

    Raises:
        ConfigError: if its address can't be had.
    """
    if server is None:
        yield None
        return
    from staticwado_daemon.pipeline.workers import process_context
    from staticwado_daemon.web import app, nginx

    if sentence := nginx.exposure_warning(str(nginx.Listen(server.host, server.port))):
        warn(sentence)
    with app.bind(server.host, server.port) as listener:
        process = process_context().Process(
            target=_serve, args=(listener, server, prepare), name="staticwado-server", daemon=True
        )
        process.start()
    click.echo(addresses(server))
    try:
        yield process
    finally:
        process.terminate()
        process.join()


def _serve(listener: "socket", server: "config.Server", prepare: Callable[[], None]) -> None:
    """Be the server process."""
    from staticwado_daemon.pipeline.workers import end_with_parent
    from staticwado_daemon.web import app

    end_with_parent()
    prepare()
    app.serve_on(listener, app.create_app(server.root, server.ohif, server.allow_origin))
