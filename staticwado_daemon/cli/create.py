"""`staticwado create`: files into the tree, now, without watching."""

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import INTERRUPTED, AbsolutePath, Common, shared, warn
from staticwado_daemon.cli.reference import reference_options
from staticwado_daemon.cli.storing import storage_options

if TYPE_CHECKING:
    from staticwado_daemon.config import Storage
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.inbound.named import Named
    from staticwado_daemon.inbound.receipt import Receipt
    from staticwado_daemon.inbound.source import Source
    from staticwado_daemon.pipeline.line import Line
    from staticwado_daemon.pipeline.requests import Answer


# That an input can't be read is one input's receipt, not a wrong command line.
_INPUT = AbsolutePath(exists=True, readable=False)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """How the files are to be taken."""

    force: bool
    delete: bool

    def look(self, path: Path) -> "Source | Receipt":
        """Take a file as it stands now."""
        from staticwado_daemon.inbound.named import look

        return look(path, force=self.force, delete=self.delete)

    def tell_left(self, answers: "Iterable[Answer]") -> None:
        """Warn of files that are stored and were to be deleted, but are still there."""
        from staticwado_daemon.inbound.receipt import STORED

        for each in answers if self.delete else ():
            if each.outcome in STORED and os.path.lexists(each.path):
                warn(f"{outcomes.printable(str(each.path))}: {each.reason or 'not deleted'}")


_EXAMPLES = """\b
Examples:
  staticwado create /media/cdrom
  staticwado create -t jls -r uncompressed,rle --no-thumb study/
  staticwado create --delete-input --quiet /var/spool/modality
"""


@click.command(short_help="Put files and folders into the tree, now.", epilog=_EXAMPLES)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=_INPUT)
@storage_options
@click.option(
    "-j", "--workers", type=click.IntRange(1, 1024), metavar="N", help="Worker processes (daemonConfig.workers)."
)
@click.option("-f", "--force", is_flag=True, help="Take also what is known already, or was deleted or rejected.")
@click.option("--delete-input", is_flag=True, help="Delete each file once it is durably stored and can be given back.")
@click.option("--quiet", is_flag=True, help="Print nothing but what went wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: counts, and a receipt for each file.")
@reference_options
@shared("-o", "--dir")
@click.pass_obj
def create(
    common: Common,
    paths: tuple[Path, ...],
    workers: int | None,
    *,
    force: bool,
    delete_input: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Put DICOM files, and folders of them, into the tree.

    In folders, what the daemon would pass over is passed over: hidden and temporary names, litter of desktops.
    Exit code 3 means that some files were rejected; they are named with the reason.
    """
    from staticwado_daemon.cli.assembly import line_or_daemon
    from staticwado_daemon.inbound.named import find

    configuration = common.configuration({"workers": workers})
    storage = configuration.storage("mkdicomwebConfig")
    started = time.monotonic()
    named = find(paths, [storage.root])
    files = _Inputs(force, delete_input)
    progress = outcomes.Progress(len(named), quiet=quiet)
    # What happens to each file is told by the bar and the summary.
    opening = line_or_daemon(storage, common.log_level("warning"))
    try:
        with opening as opened, progress:
            if opened is None:
                _leave_to_the_daemon([*common.settings, *(["workers"] if workers else [])])
            answers, failure = _create(storage, named, opened, progress, files)
    except KeyboardInterrupt:
        click.echo(f"interrupted after {progress.done:,} of {len(named):,}; run it again to go on", err=True)
        return INTERRUPTED
    files.tell_left(answers)
    if as_json:
        outcomes.print_object(outcomes.to_json(answers))
    elif not quiet or outcomes.exit_code(answers):
        outcomes.print_summary(answers, storage.root, time.monotonic() - started)
    outcomes.require_all(failure, len(named) - len(answers))
    return outcomes.exit_code(answers)


def _leave_to_the_daemon(settings: Sequence[str]) -> None:
    """Say what of a command line doesn't hold where a daemon does the work."""
    if settings:
        warn(f"a daemon is running and does the work: its own {', '.join(settings)} hold")


def _create(
    storage: "Storage",
    named: "Named",
    opened: "tuple[Line, Journal] | None",
    progress: outcomes.Progress,
    files: _Inputs,
) -> "tuple[list[Answer], str | None]":
    """Do it here, or have the running daemon do it: a tree has one writer. Says why, if not everything is done."""
    from staticwado_daemon.archive.audit import user
    from staticwado_daemon.cli.assembly import space_of
    from staticwado_daemon.pipeline import requests
    from staticwado_daemon.pipeline.create import create as create_all
    from staticwado_daemon.pipeline.requests import Answer

    if opened is None:
        progress.say("the running daemon has been asked")
        for receipt in named.unlisted:
            progress.add(receipt.outcome)
        options = requests.Options(by=user(), force=files.force, delete=files.delete)
        ask = partial(requests.ask, storage.root, "create", options=options)
        asked = ask(named.files, progress.add_others, warn) if named.files else []
        return _sorted([*map(Answer.of, named.unlisted), *asked]), None

    line, journal = opened
    inputs = itertools.chain(named.unlisted, map(files.look, named.files))
    created = create_all(line, journal, space_of(storage), inputs, lambda receipt: progress.add(receipt.outcome))
    return _sorted(map(Answer.of, created.receipts)), created.failure


def _sorted(answers: "Iterable[Answer]") -> "list[Answer]":
    return sorted(answers, key=lambda answer: answer.path)
