"""`staticwado export`: the original files back, byte for byte."""

from pathlib import Path

import click

from staticwado_daemon.cli.exporting import Session, begin, reconstruct_option, version_option
from staticwado_daemon.cli.options import STDOUT, Common, PathOrStdout, json_option, shared
from staticwado_daemon.errors import ConfigError

_EXAMPLES = """\b
Examples:
  staticwado export 1.2.840.99.1              into ./1.2.840.99.1/
  staticwado export studies/1.2.3/series/4.5 -o /srv/out
  staticwado export 1.2.3 1.2.4 --zip both.zip
  staticwado export 1.2.3 -o - | ssh pacs 'cat > study.zip'
  staticwado export 1.2.3 --dicomdir -o /media/usb/study
"""


@click.command(short_help="Give back the original files.", epilog=_EXAMPLES)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=PathOrStdout(file_okay=False),
    help="Where all the files go, as SOPInstanceUID.dcm; - for a zip archive on standard output.  "
    "[default: a folder here for each TARGET, of its UID]",
)
@click.option(
    "--zip", "archive", metavar="FILE", type=PathOrStdout(dir_okay=False), help="Write one zip archive; - for stdout."
)
@click.option("--dicomdir", is_flag=True, help="Write a medium with a DICOMDIR, to be burnt, into a new folder.")
@version_option
@reconstruct_option
@json_option
@shared()
@click.pass_obj
def export(
    common: Common,
    *,
    targets: tuple[str, ...],
    output: Path | None,
    archive: Path | None,
    dicomdir: bool,
    versions: str,
    reconstruct: bool,
) -> int:
    """Write the original Part 10 files of studies, series or instances.

    TARGET is a Study, Series or SOP Instance UID, as much of the beginning of one of the first two as no other begins
    with, or studies/S[/series/X[/instances/I]].

    Every file is compared with the digest of what came in before it gets its name. Nobody but you may read the files.
    None is overwritten: one that is there with the same bytes is done, another one is an error. The archive's audit
    log says who exported what.
    """
    if output == STDOUT:
        if archive:
            raise ConfigError("-o - writes a zip archive to standard output, --zip another one: give one of the two")
        output, archive = None, STDOUT
    if archive and (output or dicomdir):
        raise ConfigError("--zip writes one file and nothing else: leave out -o and --dicomdir")
    if archive == STDOUT and common.as_json:
        raise ConfigError("standard output can't take the zip archive and the object of --json: give --zip FILE")
    session = begin(common, targets, versions, reconstruct=reconstruct)
    with session.audited():
        if archive:
            session.to_archive(archive)
        elif dicomdir:
            session.to_medium(output)
        else:
            _to_folders(session, output)
    return session.finish(as_json=common.as_json, quiet=archive == STDOUT)


def _to_folders(session: Session, output: Path | None) -> None:
    """All into one folder, or each target's files into one of its name."""
    from staticwado_daemon.operate.export.selection import flat

    directories: dict[Path, list[str]] = {}
    for text in session.targets:
        directories.setdefault(output or Path.cwd() / session.uid(text), []).append(text)
    for directory, texts in directories.items():
        session.to_folder(directory, texts, flat)
