"""`staticwado nginx-config`: the web server's configuration for this tree."""

from pathlib import Path

import click

from staticwado_daemon.cli.options import Common, ohif_option, shared, warn


@click.command("nginx-config", short_help="Print the nginx configuration.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Address to listen on; the default is reached from this machine alone.",
)
@ohif_option
@click.option(
    "--allow-origin",
    metavar="ORIGIN",
    help="Let web pages of another host read the tree: * or an origin such as https://viewer.example.",
)
@click.option(
    "--system",
    is_flag=True,
    help="For /etc/nginx/nginx.conf: pid file, logs and user of the distribution's nginx.",
)
@shared("-o", "--dir")
@click.pass_obj
def nginx_config(common: Common, listen: str, ohif: Path | None, allow_origin: str | None, *, system: bool) -> None:
    """Print a whole nginx.conf for the tree, for `nginx -p PREFIX -c FILE`."""
    from staticwado_daemon.web import accounts, nginx

    storage = common.configuration().storage()
    root, group = storage.root, storage.group
    click.echo(nginx.nginx_config(root, listen, ohif, allow_origin, group=group, system=system), nl=False)
    for sentence in (nginx.exposure_warning(listen), accounts.workers_warning(root, group, system=system)):
        if sentence:
            warn(sentence)
