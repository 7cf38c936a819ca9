"""`dicomwebserver`: the embedded web server on its own."""

from pathlib import Path

import click

from staticwado_daemon import __version__
from staticwado_daemon.cli.options import CONTEXT, Common, ohif_option, shared, warn


@click.command("dicomwebserver", context_settings=CONTEXT)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option("-p", "--port", type=click.IntRange(1, 65535), help="TCP port.  [default: 5000]")
@click.option("--host", metavar="HOST", help="Address to listen on.  [default: 127.0.0.1]")
@ohif_option
@shared("-o", "--dir")
@click.pass_obj
def dicomwebserver_command(common: Common, port: int | None, host: str | None, ohif: Path | None) -> None:
    """Serve a DICOMweb tree, and OHIF if there is one, without nginx."""
    options = {"port": port, "host": host, "clientDir": str(ohif) if ohif else None}
    server = common.configuration(options).server()

    from staticwado_daemon import log
    from staticwado_daemon.web import app, nginx

    log.configure(common.log_level())
    if sentence := nginx.exposure_warning(str(nginx.Listen(server.host, server.port))):
        warn(sentence)
    click.echo(f"{server.root} on {nginx.Listen(server.host, server.port)}; Ctrl-C ends it")
    app.serve(server.root, server.host, server.port, server.ohif, server.allow_origin)
