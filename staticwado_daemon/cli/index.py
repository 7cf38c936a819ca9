"""`staticwado index`: the list of all studies and the query index, made anew."""

import click

from staticwado_daemon.cli.options import Common, shared

_EXAMPLES = """\b
Examples:
  staticwado index
  staticwado index --root /srv/dicomweb
"""


@click.command(short_help="Make the list of studies and the query index anew.", epilog=_EXAMPLES)
@shared("-o", "--dir")
@click.pass_obj
def index(common: Common) -> None:
    """Make the list of studies anew from the studies themselves, and with it the index that DICOM queries use."""
    from staticwado_daemon.cli.hands import hands
    from staticwado_daemon.cli.outcomes import counted
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.status import studies_index

    storage = common.configuration().storage("mkdicomwebConfig")
    require_tree(storage.root)
    with hands(storage, common.log_level("warning")) as by:
        by.obey("index")
    studies = counted(len(studies_index(storage.root)), "study")
    click.echo(f"{storage.root}/studies: the list is made anew, of {studies}")
