"""`staticwado run`: the daemon."""

import functools
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.errors import ConfigError, StaticwadoError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from staticwado_daemon import config
    from staticwado_daemon.cli.service import Told
    from staticwado_daemon.inbound.inbox import Inbound
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.pipeline.daemon import Daemon
    from staticwado_daemon.pipeline.line import Line


_EXAMPLES = """\b
Examples:
  staticwado run
  staticwado -c /etc/static-wado.json5 run
"""


@click.command(short_help="Watch folders: the daemon.", epilog=_EXAMPLES)
@shared("-o", "--dir")
@click.pass_obj
def run(common: Common) -> None:
    """Watch the configured folders and publish what arrives, until SIGTERM or Ctrl-C."""
    from staticwado_daemon import log
    from staticwado_daemon.cli.assembly import open_line
    from staticwado_daemon.cli.preflight import run_errors
    from staticwado_daemon.cli.served import served
    from staticwado_daemon.cli.service import told

    configuration = common.configuration()
    for problem in run_errors(configuration):
        raise ConfigError(problem)
    settings = configuration.daemon()
    prepare = functools.partial(log.configure, common.log_level())
    manager = told()
    with (
        open_line(settings.storage, common.log_level(), role="daemon") as (line, journal),
        served(settings, prepare) as servers,
    ):
        inbound = _inbound(settings, journal, line)
        check = functools.partial(_check, inbound, servers)
        daemon = _daemon(settings, line, inbound, journal, check, manager)
        with _ended_by_signals(daemon):
            try:
                daemon.run()
            except OSError as error:
                # Without the name of the file, which its sender chose.
                raise StaticwadoError(f"the daemon had to end: {error.strerror}") from error


def _inbound(settings: "config.Daemon", journal: "Journal", line: "Line") -> "Inbound":
    from staticwado_daemon.inbound import drop
    from staticwado_daemon.inbound.folder import InboundDir
    from staticwado_daemon.inbound.inbox import Inbound
    from staticwado_daemon.inbound.settle import Timing

    folders = [InboundDir(each.dir, each.after_ingest) for each in settings.inbound]
    folders.append(drop.prepare(settings.drop_dir))
    timing = Timing(
        settle=settings.settle_seconds,
        reconcile=settings.reconcile_seconds,
        incomplete=settings.incomplete_seconds,
    )
    return Inbound(folders, journal.known, timing, line.wake)


def _daemon(
    settings: "config.Daemon",
    line: "Line",
    inbound: "Inbound",
    journal: "Journal",
    check: Callable[[], None],
    told: "Told",
) -> "Daemon":
    from staticwado_daemon.cli.assembly import space_of
    from staticwado_daemon.pipeline.daemon import Daemon, Places

    storage = settings.storage
    places = Places(storage.root, storage.state_dir, settings.drop_dir, space_of(storage), settings.keep_deleted_days)
    return Daemon(places, line, inbound, journal, check, told)


def _check(inbound: "Inbound", servers: "Sequence[BaseProcess]") -> None:
    if not inbound.alive:
        raise StaticwadoError("a folder is no longer watched because its thread has ended; the log says why")
    if not all(server.is_alive() for server in servers):
        raise StaticwadoError("the embedded server has ended; the log says why")


@contextmanager
def _ended_by_signals(daemon: "Daemon") -> Iterator[None]:
    previous = {number: signal.signal(number, lambda *_: daemon.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
