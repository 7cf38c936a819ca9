"""`staticwado index`: the list of all studies, made anew."""

import click

from staticwado_daemon.cli.options import Common, shared


@click.command(short_help="Make the list of studies anew.")
@shared("-o", "--dir")
@click.pass_obj
def index(common: Common) -> None:
    """Make the list of studies anew from the studies themselves."""
    from staticwado_daemon.archive.store import is_locked
    from staticwado_daemon.cli.assembly import open_line
    from staticwado_daemon.pipeline import requests

    storage = common.configuration().storage("mkdicomwebConfig")
    if is_locked(storage.root):
        requests.ask(storage.root, "index")
    else:
        with open_line(storage, common.log_level("warning")) as (line, _):
            line.reindex()
            while not line.idle:
                line.pump(0.5)
    click.echo(f"{storage.root}/studies: the list of studies is made anew")
