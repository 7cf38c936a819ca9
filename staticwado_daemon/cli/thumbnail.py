"""`staticwado thumbnail`: the small pictures of instances, series and studies."""

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.rebuild import Said, carry_out
from staticwado_daemon.errors import ConfigError

_EXAMPLES = """\b
Examples:
  staticwado thumbnail                       those that are missing
  staticwado thumbnail 1.2.840.113619.2.1    those of one study
  staticwado thumbnail --all 1.2.840.113619.2.1
"""


@click.command(short_help="Make thumbnails that are missing, or all.", epilog=_EXAMPLES)
@click.argument("targets", metavar="[TARGET...]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Make all of them anew, and all else that settings have a say in.")
@click.option("--rate", metavar="MB/S", type=click.FloatRange(0, min_open=True), help="Read no faster than this.")
@click.option("--dry-run", is_flag=True, help="Say how much there is to do, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def thumbnail(
    common: Common, targets: tuple[str, ...], rate: float | None, *, every: bool, dry_run: bool, as_json: bool
) -> int:
    """Make the thumbnails of instances that are missing, or all; and with them those of their series and studies.

    Each is made from the original, which is made again from the tree. A TARGET is a Study, Series or SOP Instance UID,
    or studies/S[/series/X[/instances/I]]; without one it is the whole tree. Exit code 3 means that some instances were
    left as they are.
    """
    if not common.configuration().storage("mkdicomwebConfig").images.thumb:
        raise ConfigError("the settings say that no thumbnails are made: remove `thumb: false` first")
    return carry_out(common, Said(targets, () if every else ("thumbnails",), rate, dry_run, as_json))
