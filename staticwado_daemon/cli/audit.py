"""`staticwado audit`: who deleted, rejected, brought back, exported or sent what."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.outcomes import counted, print_object, printable
from staticwado_daemon.cli.words import date_time

if TYPE_CHECKING:
    from staticwado_daemon.archive.audit import Entry


_EXAMPLES = """\b
Examples:
  staticwado audit --limit 20
  staticwado audit --json | jq '.entries[] | select(.action == "delete")'
"""


@click.command(short_help="Show who deleted, rejected, brought back, exported or sent what.", epilog=_EXAMPLES)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The last N entries.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def audit(common: Common, *, limit: int | None, as_json: bool) -> None:
    """Show the audit log, the oldest entry first: deletes, rejects, undos, purges, exports and what was sent."""
    from staticwado_daemon import log
    from staticwado_daemon.archive.audit import read
    from staticwado_daemon.cli.preflight import require_tree

    log.configure(common.log_level("warning"))
    root = common.configuration().storage().root
    require_tree(root)
    entries = list(read(root))
    shown = entries[-limit:] if limit else entries
    if as_json:
        print_object(json.dumps({"total": len(entries), "entries": [asdict(each) for each in shown]}))
        return
    for each in shown:
        click.echo(_line(each))
    if not shown:
        click.echo("nothing was deleted, rejected, brought back, exported or sent")


def _line(entry: "Entry") -> str:
    counts = ", ".join(_counted(count, noun) for noun, count in entry.counts.items() if count) or "nothing"
    because = f": {printable(entry.reason)}" if entry.reason else ""
    told = f"{_local(entry.at)}  {entry.action}  by {printable(entry.by)}{because}"
    return "\n".join([f"{told} ({counts})", *(f"  {printable(each)}" for each in entry.targets)])


def _local(at: str) -> str:
    """A time of the log in local time; as it stands there if it is none."""
    try:
        return date_time(datetime.fromisoformat(at).timestamp())
    except (ValueError, OverflowError):
        return printable(at)


def _counted(count: int, noun: str) -> str:
    """Write a count of the log, whose nouns are plurals (`instances`) but for adjectives (`failed`)."""
    return counted(count, noun.removesuffix("s")) if noun.endswith("s") else f"{count:,} {noun}"
