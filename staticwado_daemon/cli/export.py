"""`staticwado export`: the original files back, byte for byte."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import AbsolutePath, Common, shared
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.archive.record import Record


@click.command(short_help="Give back the original files.")
@click.argument("uids", metavar="UID...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=AbsolutePath(file_okay=False),
    help="Where all the files go, as SOPInstanceUID.dcm.  [default: a folder here for each UID, of its name]",
)
@shared()
@click.pass_obj
def export(common: Common, uids: tuple[str, ...], output: Path | None) -> int:
    """Write the original Part 10 files of studies, series or instances.

    Of a Study or Series Instance UID the beginning is enough, if no other begins so. Nobody but you may read the files.
    None is overwritten: one that is there with the same bytes is done, another one is an error.
    """
    from staticwado_daemon import log
    from staticwado_daemon.cli.outcomes import counted
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate import export as exporting

    log.configure(common.log_level("warning"))
    root = common.configuration().storage().root
    require_tree(root)
    failed = 0
    for directory, records in _by_directory(root, uids, output).items():
        written = present = 0
        for each in exporting.export(root, records, directory):
            if each.problem:
                failed += 1
                click.echo(f"{click.style(f'{each.instance}:', fg='red')} {each.problem}", err=True)
            else:
                written += not each.present
                present += each.present
        before = f", {present:,} more {'was' if present == 1 else 'were'} there already" if present else ""
        click.echo(f"{directory}: {counted(written, 'file')}, byte for byte as received{before}")
    return 1 if failed else 0


def _by_directory(root: Path, uids: tuple[str, ...], output: Path | None) -> "dict[Path, list[Record]]":
    """What is to be written where; everything is found before anything is written."""
    from staticwado_daemon.operate import export as exporting

    found: dict[Path, dict[object, Record]] = {}
    for text in uids:
        uid, records = exporting.find(root, _checked(text))
        # A study and one of its series may both be named.
        found.setdefault(output or Path.cwd() / uid, {}).update({each.identity: each for each in records})
    return {directory: [*records.values()] for directory, records in found.items()}


def _checked(text: str) -> str:
    from staticwado_daemon.operate.uids import looks_like_uid

    if not looks_like_uid(text):
        raise ConfigError(f"{text!r} isn't a UID: give a Study, Series or SOP Instance UID")
    return text
