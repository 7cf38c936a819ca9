"""`staticwado group`: the record files and packs of studies, merged into one each."""

import json
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.watching import bar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from staticwado_daemon.dicom.uids import UID

_PORTION = 20
"""Studies at a time, so that a daemon gets to its other work in between."""

_EXAMPLES = """\b
Examples:
  staticwado group 1.2.840.113619.2.1
  staticwado group                        all studies
"""


@click.command(short_help="Merge the record files and packs of studies.", epilog=_EXAMPLES)
@click.argument("targets", metavar="[STUDY...]", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def group(common: Common, targets: tuple[str, ...], *, as_json: bool) -> None:
    """Merge the record files of each study into one, and its packs of remainders; without a STUDY, of all of them.

    What they hold stays the same. A daemon does it by itself where there have come to be many; where one runs it is
    asked.
    """
    from staticwado_daemon import log
    from staticwado_daemon.cli.hands import hands
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.targets import resolve
    from staticwado_daemon.operate.verify import tree

    log.configure(common.log_level("warning"))
    storage = common.configuration().storage("mkdicomwebConfig")
    require_tree(storage.root)
    meant = resolve(storage.root, targets)
    studies = sorted({each.study for each in meant}) if meant else tree.studies(storage.root)
    before = after = 0
    with hands(storage, common.log_level("warning")) as by, bar(len(studies), "studies") as show:
        for first in range(0, len(studies), _PORTION):
            portion = studies[first : first + _PORTION]
            before += _files(storage.root, portion)
            by.group(portion)
            after += _files(storage.root, portion)
            show(advance=len(portion))
    if as_json:
        outcomes.print_object(json.dumps({"studies": studies, "filesBefore": before, "filesAfter": after}))
    else:
        merged = f"{outcomes.counted(before, 'file')} merged into {after:,}" if after < before else "nothing to merge"
        click.echo(f"{storage.root}: {outcomes.counted(len(studies), 'study')}, {merged}")


def _files(root: "Path", studies: "Sequence[UID]") -> int:
    from staticwado_daemon.archive import holdings

    return sum(len(holdings.record_files(root, each)) + len(holdings.pack_files(root, each)) for each in studies)
