"""`staticwado export`: the original files back, byte for byte."""

from pathlib import Path

import click

from staticwado_daemon.cli.options import AbsolutePath, Common, shared
from staticwado_daemon.errors import ConfigError, Rejected, StaticwadoError


@click.command(short_help="Give back the original files.")
@click.argument("uids", metavar="UID...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=AbsolutePath(file_okay=False),
    default=".",
    help="Where the files go, as SOPInstanceUID.dcm.  [default: here]",
)
@shared()
@click.pass_obj
def export(common: Common, uids: tuple[str, ...], output: Path) -> int:
    """Write the original Part 10 files of studies, series or instances."""
    from staticwado_daemon import log
    from staticwado_daemon.cli.outcomes import counted
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.dicom.uids import UID
    from staticwado_daemon.operate import export as exporting

    log.configure(common.log_level("warning"))
    root = common.configuration().storage().root
    require_tree(root)
    records = []
    for text in uids:
        try:
            found = exporting.find(root, UID(text))
        except Rejected as why:
            raise ConfigError(f"{why.reason}: give a Study, Series or SOP Instance UID") from None
        if not found:
            raise StaticwadoError(f"{text} is no study, series or instance in {root}")
        records.extend(found)
    failed = written = 0
    for each in exporting.export(root, records, output):
        if each.problem:
            failed += 1
            click.echo(f"{click.style(f'{each.instance}:', fg='red')} {each.problem}", err=True)
        else:
            written += 1
    click.echo(f"{output}: {counted(written, 'file')}, byte for byte as received")
    return 1 if failed else 0
