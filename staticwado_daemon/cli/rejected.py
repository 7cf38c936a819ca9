"""`staticwado rejected`: what could not be stored, and another try for it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import INTERRUPTED, AbsolutePath, Common, shared, warn
from staticwado_daemon.cli.places import places_of
from staticwado_daemon.cli.words import date_time, to_json
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.config import Configuration
    from staticwado_daemon.inbound.journal import Journal
    from staticwado_daemon.operate.rejected import Rejection
    from staticwado_daemon.pipeline.line import Line
    from staticwado_daemon.pipeline.requests import Answer

_LIMIT = 50
_FILE = AbsolutePath(dir_okay=False, readable=False)


@click.group(short_help="List what was rejected, and try it again.")
@shared("-o", "--dir")
def rejected() -> None:
    """List the files that could not be stored, and try them again once the cause is gone."""


_LIST_EXAMPLES = """\b
Examples:
  staticwado rejected list
  staticwado rejected list --reason 'Study Instance UID' --limit 5
"""


@rejected.command("list", short_help="List rejected files with their reasons, the newest first.", epilog=_LIST_EXAMPLES)
@click.option("--reason", metavar="TEXT", help="Only those whose reason contains this.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", default=_LIMIT, show_default=True, help="How many at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def list_rejected(common: Common, reason: str | None, limit: int, *, as_json: bool) -> None:
    """List rejected files with time and reason, the newest first."""
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.rejected import locate, receipts

    places = places_of(common.configuration())
    require_tree(places.root)
    found = receipts(places.journal, reason)
    shown = [locate(each, places.drop_dir) for each in found[:limit]]
    if as_json:
        outcomes.print_object(to_json({"total": len(found), "rejected": [*map(_as_object, shown)]}))
        return
    for each in shown:
        _print(each)
    if len(found) > len(shown):
        click.echo(f"… and {len(found) - len(shown):,} older ones: see --limit")
    elif not found:
        click.echo("nothing was rejected" + (f" because of {outcomes.printable(reason)}" if reason else ""))


_RETRY_EXAMPLES = """\b
Examples:
  staticwado rejected retry /dicom/ct/1-0001.dcm
  staticwado rejected retry --reason 'no decoder'
  staticwado rejected retry --all
"""


@rejected.command("retry", short_help="Try rejected files again.", epilog=_RETRY_EXAMPLES)
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=_FILE)
@click.option("--reason", metavar="TEXT", help="All whose reason contains this.")
@click.option("--all", "every", is_flag=True, help="All that are still there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: counts, and a receipt for each file.")
@shared("-o", "--dir")
@click.pass_obj
def retry(common: Common, paths: tuple[Path, ...], reason: str | None, *, every: bool, as_json: bool) -> int:
    """Withdraw the receipts of rejected files and try them again; say what becomes of each.

    A PATH is that of the file as it came, or in the drop folder's `rejected/`. What was set aside there goes back into
    the drop folder. Exit code 3 means that some were rejected again, or wait for the rest of them.
    """
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.rejected import meant, receipts, still_there

    if bool(paths) + (reason is not None) + every != 1:
        raise ConfigError("name files, or give --reason TEXT, or --all")
    configuration = common.configuration()
    places = places_of(configuration)
    require_tree(places.root)
    started = time.monotonic()
    if paths:
        wanted = meant(places.journal, places.drop_dir, paths)
    else:
        wanted = still_there(receipts(places.journal, reason), places.drop_dir)
    try:
        answers, failure = _try_again(configuration, common, wanted) if wanted else ([], None)
    except KeyboardInterrupt:
        click.echo("interrupted; a running daemon goes on with what it was asked for", err=True)
        return INTERRUPTED
    if as_json:
        outcomes.print_object(outcomes.to_json(answers))
    elif answers:
        outcomes.print_summary(answers, places.root, time.monotonic() - started)
    else:
        click.echo("there is nothing to try again")
    outcomes.require_all(failure, len(wanted) - len(answers))
    return outcomes.exit_code(answers)


def _try_again(configuration: "Configuration", common: Common, wanted: list[Path]) -> "tuple[list[Answer], str | None]":
    """Have the running daemon do it, or do it here: a tree has one writer. Says why, if not everything is done."""
    from staticwado_daemon.cli.assembly import line_or_daemon
    from staticwado_daemon.pipeline import requests

    storage = configuration.storage()
    with (
        line_or_daemon(storage, common.log_level("warning")) as opened,
        outcomes.Progress(len(wanted)) as progress,
    ):
        if opened is None:
            progress.say("the running daemon has been asked")
            answers, failure = requests.ask(storage.root, "retry", wanted, progress.add_others, warn), None
        else:
            answers, failure = _try_here(configuration, opened, wanted, progress)
    return sorted(answers, key=lambda answer: answer.path), failure


def _try_here(
    configuration: "Configuration", opened: "tuple[Line, Journal]", wanted: list[Path], progress: outcomes.Progress
) -> "tuple[list[Answer], str | None]":
    """As `create` does it. What came by the drop folder stays there until the next daemon finds it stored."""
    from staticwado_daemon.cli.assembly import space_of
    from staticwado_daemon.inbound.named import look
    from staticwado_daemon.inbound.receipt import Receipt
    from staticwado_daemon.pipeline.create import create
    from staticwado_daemon.pipeline.requests import Answer
    from staticwado_daemon.pipeline.retry import withdraw

    line, journal = opened
    settings = configuration.daemon()
    drop_dir = settings.drop_dir.resolve()
    # One by one, so that what there is no room to take keeps its receipt.
    inputs = (
        each if isinstance(each, Receipt) else look(each)
        for path in wanted
        for each in withdraw(path, journal, drop_dir)
    )
    created = create(line, journal, space_of(settings.storage), inputs, lambda receipt: progress.add(receipt.outcome))
    return [*map(Answer.of, created.receipts)], created.failure


def _print(found: "Rejection") -> None:
    receipt = found.receipt
    now = {
        "there": "",
        "changed": " (has changed since)",
        "gone": " (is gone)",
        "set aside": f", now {outcomes.printable(str(found.aside))}",
    }[found.place]
    click.echo(f"{date_time(receipt.at or 0.0)}  {outcomes.printable(str(receipt.path))}{now}")
    click.echo(f"{'':21}{click.style(outcomes.printable(receipt.reason or 'no reason given'), fg='red')}")


def _as_object(found: "Rejection") -> dict[str, object]:
    return {
        "path": str(found.receipt.path),
        "at": found.receipt.at,
        "reason": found.receipt.reason,
        "place": found.place,
        "setAside": str(found.aside) if found.aside else None,
    }
