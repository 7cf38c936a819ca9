"""`dicomwebserver`: the embedded web server on its own."""

from pathlib import Path

import click

from staticwado_daemon import __version__
from staticwado_daemon.cli.options import CONTEXT, Common, ohif_option, shared, warn
from staticwado_daemon.cli.served import addresses, require_gateway


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

    require_gateway()
    from staticwado_daemon import log
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.web import app, nginx

    require_tree(server.root)
    log.configure(common.log_level())
    if sentence := nginx.exposure_warning(str(nginx.Listen(server.host, server.port))):
        warn(sentence)
    site = app.create_app(server.root, server.ohif, server.allow_origin)
    with app.bind(server.host, server.port) as listener:
        click.echo(f"{server.root}: {addresses(server)}; Ctrl-C ends it")
        app.serve_on(listener, site)
