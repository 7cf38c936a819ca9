"""`staticwado index`: the list of all studies, made anew."""

import click

from staticwado_daemon.cli.options import Common, shared


@click.command(short_help="Make the list of studies anew.")
@shared("-o", "--dir")
@click.pass_obj
def index(common: Common) -> None:
    """Make the list of studies anew from the studies themselves."""
    from staticwado_daemon.cli.assembly import line_or_daemon
    from staticwado_daemon.cli.outcomes import counted
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.status import studies_index
    from staticwado_daemon.pipeline import requests

    storage = common.configuration().storage("mkdicomwebConfig")
    require_tree(storage.root)
    with line_or_daemon(storage, common.log_level("warning")) as opened:
        if opened is None:
            requests.ask(storage.root, "index")
        else:
            line, _ = opened
            line.reindex()
            while not line.idle:
                line.pump(0.5)
    studies = counted(len(studies_index(storage.root)), "study")
    click.echo(f"{storage.root}/studies: the list is made anew, of {studies}")
