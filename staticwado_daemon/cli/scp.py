"""`staticwado scp`: the DICOM node."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.asking import title_option
from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.reference import scp_reference_options
from staticwado_daemon.errors import ConfigError, StaticwadoError

if TYPE_CHECKING:
    from staticwado_daemon import config

_LOCK = "scp.lock"
"""Below the state directory."""

_REPORT_SECONDS = 1.0
_REPORTS_OF_GRACE = 5
"""A daemon that was started at the same moment has said something by then."""

_EXAMPLES = """\b
Examples:
  staticwado scp
  staticwado scp --host 0.0.0.0 --port 104 --aet ARCHIVE
"""


@click.command(short_help="Receive, be queried and give back by DICOM: the node.", epilog=_EXAMPLES)
@click.option("--host", metavar="HOST", help="Address to listen on.  [default: dicomWebScpConfig.host, 127.0.0.1]")
@click.option(
    "-p",
    "--port",
    "--scp-port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="TCP port; 0: any.  [default: dicomWebScpConfig.port, 11112]",
)
@title_option("Our AE title.  [default: dicomWebScpConfig.aeTitle, STATICWADO]")
@scp_reference_options
@shared("-o", "--dir")
@click.pass_obj
def scp(common: Common, host: str | None, port: int | None) -> None:
    """Receive objects by DICOM for the daemon to store, and answer queries, until SIGTERM or Ctrl-C."""
    from staticwado_daemon import log
    from staticwado_daemon.cli.preflight import scp_errors

    configuration = common.configuration({"host": host, "port": port})
    for problem in scp_errors(configuration):
        raise ConfigError(problem)
    log.configure(common.log_level())
    _run(configuration)


def _run(configuration: "config.Configuration") -> None:
    import structlog

    from staticwado_daemon.cli import node as assembly
    from staticwado_daemon.cli.service import sender
    from staticwado_daemon.dimse.node.observed import Observed
    from staticwado_daemon.dimse.node.server import Service, serve
    from staticwado_daemon.dimse.pulling.arrivals import Expected
    from staticwado_daemon.dimse.verification.service import Verification
    from staticwado_daemon.operate.network import REPORT, NetworkReport
    from staticwado_daemon.pipeline.struct_file import StructFile

    settings, send = configuration.scp(), sender()
    log = structlog.get_logger(__name__)
    node = assembly.node_of(settings)
    assembly.make_tree(configuration)
    observed = Observed(settings.ae_title, settings.host, tls=node.tls is not None)
    file = StructFile[NetworkReport](settings.state_dir / REPORT)
    with (
        _ended_by_signals() as ended,
        _only_node(settings.state_dir),
        assembly.receiver(configuration, observed) as storage,
    ):
        commitment, expected = assembly.commitment(configuration, observed), Expected(storage)
        services: list[Service] = [
            Verification(observed),
            storage,
            assembly.query(configuration, observed),
            assembly.retrieval(configuration, observed),
            commitment,
        ]
        with (
            serve(node, services, observed, expected) as port,
            commitment,  # tells what it owes only once we can be asked
            assembly.pulling(configuration, expected),
        ):
            observed.port = port
            for sentence in assembly.concerns(settings, node):
                log.warning("attention", reason=sentence)
            log.info("listening", title=settings.ae_title, host=settings.host, port=port, tls=node.tls is not None)
            send(f"READY=1\nSTATUS={observed.report().address}")
            file.tell(observed.report())
            reports = 1
            while not ended.wait(_REPORT_SECONDS):
                file.tell(observed.report())
                reports += 1
                if reports == _REPORTS_OF_GRACE and (reason := _unattended(settings)):
                    log.warning("attention", reason=reason)
            send("STOPPING=1")
        file.tell(observed.report(running=False))


@contextmanager
def _only_node(state_dir: Path) -> Iterator[None]:
    """Be the tree's one node: two would answer the same storage commitments, each unaware of the other.

    Raises:
        StaticwadoError: if another one runs.
    """
    from staticwado_daemon.archive.lock import hold
    from staticwado_daemon.operate.network import read

    lock = hold(state_dir / _LOCK)
    if lock is None:
        other = read(state_dir)
        named = (
            f"{other.address} is this tree's node, and runs as process {other.pid}" if other else "another node runs"
        )
        raise StaticwadoError(f"{named}: end it first")
    try:
        yield
    finally:
        os.close(lock)


def _unattended(settings: "config.Scp") -> str | None:
    """One sentence if nobody takes what is received."""
    from staticwado_daemon.operate.health import look
    from staticwado_daemon.pipeline.report import REPORT

    if look(settings.state_dir / REPORT, settings.root).status == "down":
        return f"no daemon is running: what is received waits in {settings.drop_dir} for `staticwado run`"
    return None


@contextmanager
def _ended_by_signals() -> Iterator[threading.Event]:
    ended = threading.Event()
    previous = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ended
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
