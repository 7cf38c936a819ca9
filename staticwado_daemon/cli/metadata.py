"""`staticwado metadata`: lists and metadata of studies, written anew from their records."""

import json

import click

from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import Common, shared

_EXAMPLES = """\b
Examples:
  staticwado metadata 1.2.840.113619.2.1
  staticwado metadata studies/1.2.840.113619.2.1 studies/1.2.840.113619.2.2
"""


@click.command(short_help="Write the lists and metadata of studies anew.", epilog=_EXAMPLES)
@click.argument("targets", metavar="STUDY...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def metadata(common: Common, targets: tuple[str, ...], *, as_json: bool) -> None:
    """Write anew what is computed from the records of studies: metadata, lists, thumbnails of series and study.

    A STUDY is a Study Instance UID, or studies/S; of a UID in it the whole study is meant. What is right already stays
    as it is.
    """
    from staticwado_daemon import log
    from staticwado_daemon.cli.hands import hands
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.targets import resolve

    log.configure(common.log_level("warning"))
    storage = common.configuration().storage("mkdicomwebConfig")
    require_tree(storage.root)
    studies = sorted({each.study for each in resolve(storage.root, targets)})
    with hands(storage, common.log_level("warning")) as by:
        by.renew(studies)
    if as_json:
        outcomes.print_object(json.dumps({"studies": studies}))
    else:
        click.echo(f"{storage.root}: {outcomes.counted(len(studies), 'study')} written anew")
