"""`staticwado nginx-config`: the web server's configuration for this tree."""

from pathlib import Path

import click

from staticwado_daemon.cli.options import Common, ohif_option, shared, warn

_EXAMPLES = """\b
Examples:
  staticwado nginx-config --system --ohif /srv/ohif/ohif-3.13.2
  staticwado nginx-config --site --listen 80 > staticwado.conf
"""


@click.command("nginx-config", short_help="Print the nginx configuration.", epilog=_EXAMPLES)
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
@click.option(
    "--site",
    is_flag=True,
    help="For /etc/nginx/conf.d or sites-available: a server for the distribution's nginx, beside its others.",
)
@shared("-o", "--dir")
@click.pass_obj
def nginx_config(
    common: Common, listen: str, ohif: Path | None, allow_origin: str | None, *, system: bool, site: bool
) -> None:
    """Print a whole nginx.conf for the tree, for `nginx -p PREFIX -c FILE`; with --site, one site of an nginx."""
    from staticwado_daemon.web import accounts, nginx

    if system and site:
        raise click.UsageError("--system is a whole nginx.conf and --site a part of one: say one of them")
    storage = common.configuration().storage()
    root, group = storage.root, storage.group
    form: nginx.Form = "site" if site else "system" if system else "prefix"
    click.echo(nginx.nginx_config(root, listen, ohif, allow_origin, group=group, form=form), nl=False)
    warnings = (
        nginx.exposure_warning(listen),
        accounts.workers_warning(root, group, system=form != "prefix"),
        accounts.membership_warning(root, group) if site else None,
    )
    for sentence in filter(None, warnings):
        warn(sentence)
