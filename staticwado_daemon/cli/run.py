"""`staticwado run`: the daemon."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared, warn
from staticwado_daemon.errors import ConfigError, StaticwadoError

if TYPE_CHECKING:
    from staticwado_daemon import config
    from staticwado_daemon.inbound.inbox import Inbound
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.pipeline.daemon import Daemon
    from staticwado_daemon.pipeline.line import Line


@click.command(short_help="Watch folders: the daemon.")
@shared("-o", "--dir")
@click.pass_obj
def run(common: Common) -> None:
    """Watch the configured folders and publish what arrives, until SIGTERM or Ctrl-C."""
    from staticwado_daemon.cli.assembly import open_line
    from staticwado_daemon.config import folder_errors

    settings = common.configuration().daemon()
    for problem in folder_errors(settings):
        raise ConfigError(problem)
    with open_line(settings.storage, common.log_level(), role="daemon") as (line, journal):
        daemon = _daemon(settings, line, journal)
        with _ended_by_signals(daemon), _served(settings.server):
            daemon.run()


def _daemon(settings: "config.Daemon", line: "Line", journal: "Journal") -> "Daemon":
    from staticwado_daemon.inbound import drop
    from staticwado_daemon.inbound.folder import InboundDir
    from staticwado_daemon.inbound.inbox import Inbound
    from staticwado_daemon.inbound.settle import Timing
    from staticwado_daemon.pipeline.daemon import Daemon

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
    return Daemon(storage.root, storage.state_dir, line, inbound, settings.drop_dir, journal, lambda: _check(inbound))


def _check(inbound: "Inbound") -> None:
    if not inbound.alive:
        raise StaticwadoError("a folder is no longer watched because its thread has ended; the log says why")


@contextmanager
def _ended_by_signals(daemon: "Daemon") -> Iterator[None]:
    previous = {number: signal.signal(number, lambda *_: daemon.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _served(server: "config.Server | None") -> Iterator[None]:
    """Run the embedded server, where one is configured, beside the daemon."""
    if server is None:
        yield
        return
    from staticwado_daemon.web import app, nginx

    if sentence := nginx.exposure_warning(str(nginx.Listen(server.host, server.port))):
        warn(sentence)
    with app.serving(server.root, server.host, server.port, server.ohif, server.allow_origin) as url:
        click.echo(f"{'OHIF on ' + url + '/, ' if server.ohif else ''}DICOMweb on {url}/dicomweb")
        yield
