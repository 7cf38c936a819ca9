"""`staticwado scp`: the DICOM node."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon import config
    from staticwado_daemon.dimse.observed import Observed
    from staticwado_daemon.dimse.receive import Receiver
    from staticwado_daemon.dimse.server import Node

_REPORT_SECONDS = 1.0

_EXAMPLES = """\b
Examples:
  staticwado scp
  staticwado scp --host 0.0.0.0 --port 104 --aet ARCHIVE
"""


def _title(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from staticwado_daemon.dimse.peers import is_title

    if value is not None and not is_title(value):
        raise click.BadParameter(f"{value!r} can't be an AE title: 1 to 16 characters of ASCII, no backslash")
    return value


@click.command(short_help="Receive, be queried and give back by DICOM: the node.", epilog=_EXAMPLES)
@click.option("--host", metavar="HOST", help="Address to listen on.  [default: dicomWebScpConfig.host, 127.0.0.1]")
@click.option("-p", "--port", "--scp-port", type=click.IntRange(0, 65535), help="TCP port; 0: any.  [default: 11112]")
@click.option("--aet", metavar="TITLE", callback=_title, help="Our AE title.  [default: STATICWADO]")
@shared("-o", "--dir")
@click.pass_obj
def scp(common: Common, host: str | None, port: int | None, aet: str | None) -> None:
    """Receive objects by DICOM for the daemon to store, and answer queries, until SIGTERM or Ctrl-C."""
    from staticwado_daemon import log
    from staticwado_daemon.cli.preflight import scp_errors

    configuration = common.configuration({"host": host, "port": port, "aeTitle": aet})
    for problem in scp_errors(configuration):
        raise ConfigError(problem)
    log.configure(common.log_level())
    _run(configuration)


def _run(configuration: "config.Configuration") -> None:
    import structlog

    from staticwado_daemon.cli.service import sender
    from staticwado_daemon.dimse.observed import Observed
    from staticwado_daemon.dimse.server import Service, serve
    from staticwado_daemon.dimse.verification import Verification
    from staticwado_daemon.operate.network import REPORT, NetworkReport
    from staticwado_daemon.pipeline.struct_file import StructFile

    settings, send = configuration.scp(), sender()
    log = structlog.get_logger(__name__)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    node = node_of(settings)
    observed = Observed(settings.ae_title, settings.host, tls=node.tls is not None)
    file = StructFile[NetworkReport](settings.state_dir / REPORT)
    with _ended_by_signals() as ended, _receiver(configuration, observed) as receiver:
        services: list[Service] = [Verification(observed), receiver]
        with serve(node, services, observed, receiver) as port:
            observed.port = port
            for sentence in _warnings(settings, node):
                log.warning("attention", reason=sentence)
            log.info("listening", title=settings.ae_title, host=settings.host, port=port, tls=node.tls is not None)
            send(f"READY=1\nSTATUS={observed.report().address}")
            file.write(observed.report())
            while not ended.wait(_REPORT_SECONDS):
                file.write(observed.report())
            send("STOPPING=1")
        file.write(observed.report(running=False))


@contextmanager
def _receiver(configuration: "config.Configuration", observed: "Observed") -> "Iterator[Receiver]":
    """What takes objects, until the last association has ended."""
    from staticwado_daemon.dimse.receive import Receiver
    from staticwado_daemon.inbound import drop
    from staticwado_daemon.pipeline.space import Space

    settings, storage = configuration.scp(), configuration.storage()
    drop.prepare(settings.drop_dir)
    minimum = (storage.minimum_free_bytes, storage.minimum_free_inodes)
    spaces = [Space(place, *minimum) for place in (settings.drop_dir, settings.root)]
    with closing(Receiver(settings.drop_dir.resolve(), spaces, settings.max_object_bytes, observed)) as receiver:
        yield receiver


def node_of(settings: "config.Scp") -> "Node":
    """How we listen, in the words of the network.

    Raises:
        ConfigError: if an address isn't one, or TLS isn't possible.
    """
    from staticwado_daemon.dimse.acceptance import Rules, networks
    from staticwado_daemon.dimse.provider import Limits
    from staticwado_daemon.dimse.server import Node
    from staticwado_daemon.dimse.tls import server_context

    tls = settings.tls
    return Node(
        title=settings.ae_title,
        host=settings.host,
        port=settings.port,
        rules=Rules(
            called=frozenset(settings.called_ae_titles),
            calling=frozenset(settings.calling_ae_titles),
            peers=networks(settings.peers),
            maximum=settings.max_associations,
            maximum_of_peer=settings.max_associations_per_peer,
        ),
        limits=Limits(maximum_pdu_length=settings.max_pdu_length, idle_seconds=settings.idle_seconds),
        artim=settings.artim_seconds,
        tls=server_context(
            tls.certificate, tls.key, tls.authorities, require_client_certificate=tls.require_client_certificate
        )
        if tls
        else None,
    )


def exposure(settings: "config.Scp", node: "Node") -> str | None:
    """One sentence if whoever reaches the node may associate."""
    from staticwado_daemon.dimse.acceptance import exposure_warning

    certificates = bool(settings.tls and settings.tls.require_client_certificate)
    return exposure_warning(node.host, node.rules, client_certificates=certificates)


def _warnings(settings: "config.Scp", node: "Node") -> Iterator[str]:
    """Yield a sentence for each thing that somebody should know, although it keeps nothing from working."""
    from staticwado_daemon.operate.health import look
    from staticwado_daemon.pipeline.report import REPORT

    if sentence := exposure(settings, node):
        yield sentence
    if look(settings.state_dir / REPORT, settings.root).status == "down":
        yield f"no daemon is running: what is received waits in {settings.drop_dir} for `staticwado run`"


@contextmanager
def _ended_by_signals() -> Iterator[threading.Event]:
    ended = threading.Event()
    previous = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ended
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
