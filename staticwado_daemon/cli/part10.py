"""`staticwado part10`: static-wado's name for the export, with the paths that it gives the files."""

from pathlib import Path

import click

from staticwado_daemon.cli.exporting import begin, reconstruct_option, version_option
from staticwado_daemon.cli.options import AbsolutePath, Common, json_option, shared

_EXAMPLES = """\b
Examples:
  mkdicomweb part10 1.2.3 -o /srv/out         into /srv/out/studies/1.2.3/
"""


@click.command(short_help="Give back the original files as studies/S/I.", epilog=_EXAMPLES)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=AbsolutePath(file_okay=False),
    default=".",
    help="Where studies/S/I are written, S and I being the Study and SOP Instance UID.  [default: here]",
)
@version_option
@reconstruct_option
@json_option
@shared()
@click.pass_obj
def part10(common: Common, *, targets: tuple[str, ...], output: Path, versions: str, reconstruct: bool) -> int:
    """Write the original Part 10 files of studies, series or instances.

    The same as `staticwado export`, which explains TARGET and has more to offer, but for the paths, which are those of
    static-wado's command of this name.
    """
    from staticwado_daemon.operate.export.selection import as_static_wado

    session = begin(common, targets, versions, reconstruct=reconstruct)
    with session.audited():
        session.to_folder(output, [*session.targets], as_static_wado)
    return session.finish(as_json=common.as_json)
