"""`staticwado create`: files into the tree, now, without watching."""

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import INTERRUPTED, AbsolutePath, Common, shared, warn

if TYPE_CHECKING:
    from staticwado_daemon.config import Storage
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.inbound.named import Named
    from staticwado_daemon.pipeline.line import Line
    from staticwado_daemon.pipeline.requests import Answer


# That an input can't be read is one input's receipt, not a wrong command line.
_INPUT = AbsolutePath(exists=True, readable=False)


@click.command(short_help="Put files and folders into the tree, now.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=_INPUT)
@click.option("-t", "--content-type", type=click.Choice(["htj2k", "jls", "none"]), help="How native frames are stored.")
@click.option("-j", "--workers", type=click.IntRange(1, 1024), help="Worker processes (daemonConfig.workers).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: counts, and a receipt for each file.")
@shared("-o", "--dir")
@click.pass_obj
def create(
    common: Common, paths: tuple[Path, ...], content_type: str | None, workers: int | None, *, as_json: bool
) -> int:
    """Put DICOM files, and folders of them, into the tree.

    In folders, what the daemon would pass over is passed over: hidden and temporary names, litter of desktops.
    Exit code 3 means that some files were rejected; they are named with the reason.
    """
    from staticwado_daemon.cli.assembly import line_or_daemon
    from staticwado_daemon.inbound.named import find

    configuration = common.configuration({"contentType": content_type, "workers": workers})
    storage = configuration.storage("mkdicomwebConfig")
    started = time.monotonic()
    named = find(paths, [storage.root])
    progress = outcomes.Progress(len(named))
    # What happens to each file is told by the bar and the summary.
    opening = line_or_daemon(storage, common.log_level("warning"))
    try:
        with opening as opened, progress:
            if opened is None and (content_type or workers):
                warn("a daemon is running and does the work: its own contentType and workers hold")
            answers, failure = _create(storage, named, opened, progress)
    except KeyboardInterrupt:
        click.echo(f"interrupted after {progress.done:,} of {len(named):,}; run it again to go on", err=True)
        return INTERRUPTED
    if as_json:
        outcomes.print_object(outcomes.to_json(answers))
    else:
        outcomes.print_summary(answers, storage.root, time.monotonic() - started)
    outcomes.require_all(failure, len(named) - len(answers))
    return outcomes.exit_code(answers)


def _create(
    storage: "Storage", named: "Named", opened: "tuple[Line, Journal] | None", progress: outcomes.Progress
) -> "tuple[list[Answer], str | None]":
    """Do it here, or have the running daemon do it: a tree has one writer. Says why, if not everything is done."""
    from staticwado_daemon.inbound.named import look
    from staticwado_daemon.pipeline import requests
    from staticwado_daemon.pipeline.create import create as create_all
    from staticwado_daemon.pipeline.requests import Answer
    from staticwado_daemon.pipeline.space import Space

    if opened is None:
        progress.say("the running daemon has been asked")
        for receipt in named.unlisted:
            progress.add(receipt.outcome)
        asked = requests.ask(storage.root, "create", named.files, progress.add_others, warn) if named.files else []
        answers, failure = [*map(Answer.of, named.unlisted), *asked], None
    else:
        line, journal = opened
        space = Space(storage.root, storage.minimum_free_bytes, storage.minimum_free_inodes)
        inputs = itertools.chain(named.unlisted, map(look, named.files))
        created = create_all(line, journal, space, inputs, lambda receipt: progress.add(receipt.outcome))
        answers, failure = [*map(Answer.of, created.receipts)], created.failure
    return sorted(answers, key=lambda answer: answer.path), failure
