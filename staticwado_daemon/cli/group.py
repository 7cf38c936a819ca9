"""`staticwado group`: the record files and packs of studies, merged into one each."""

import json
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.errors import StaticwadoError

if TYPE_CHECKING:
    from staticwado_daemon.archive.store import Store
    from staticwado_daemon.dicom.uids import UID

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

    What they hold stays the same. A daemon does it by itself where there have come to be many, and has to be stopped
    for this.
    """
    from staticwado_daemon import log
    from staticwado_daemon.archive.lock import lock_holder
    from staticwado_daemon.archive.store import Store
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.targets import resolve
    from staticwado_daemon.operate.verify import tree
    from staticwado_daemon.pipeline import publish

    log.configure(common.log_level("warning"))
    storage = common.configuration().storage("mkdicomwebConfig")
    require_tree(storage.root)
    if lock_holder(storage.root) == "daemon":
        raise StaticwadoError("a daemon is running and merges files by itself: stop it to have them merged now")
    meant = resolve(storage.root, targets)
    studies = sorted({each.study for each in meant}) if meant else tree.studies(storage.root)
    before = after = 0
    with Store(storage.root, storage.group) as store, outcomes.Progress(len(studies)) as progress:
        for study in studies:
            before += _files(store, study)
            publish.group(store, study, most=1)
            after += _files(store, study)
            progress.add("published")
    if as_json:
        outcomes.print_object(json.dumps({"studies": studies, "filesBefore": before, "filesAfter": after}))
    else:
        kept = outcomes.counted(after, "file")
        click.echo(f"{storage.root}: {outcomes.counted(len(studies), 'study')}, {before:,} merged into {kept}")


def _files(store: "Store", study: "UID") -> int:
    from staticwado_daemon.archive import holdings

    return len(holdings.record_files(store.root, study)) + len(holdings.pack_files(store.root, study))
