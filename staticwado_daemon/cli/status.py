"""`staticwado status`: how far the tree is."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.outcomes import counted, printable

if TYPE_CHECKING:
    from staticwado_daemon.operate.status import Status

_REASONS = 5
"""How many reasons of rejection are listed."""


@click.command(short_help="Say how far everything is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def status(common: Common, *, as_json: bool) -> None:
    """Say what is waiting, what is published and what was rejected."""
    from staticwado_daemon.cli.assembly import JOURNAL
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.config.schema import BASE
    from staticwado_daemon.config.settings import COMMAND_LINE, DEFAULT
    from staticwado_daemon.operate.status import read

    configuration = common.configuration()
    storage = configuration.storage()
    # A tree that a file names may be yet to be made by its daemon.
    if configuration.effective(BASE)["rootDir"].origin in {COMMAND_LINE, DEFAULT}:
        require_tree(storage.root)
    journal = storage.state_dir / JOURNAL
    now = read(storage.root, storage.state_dir, journal)
    if as_json:
        click.echo(json.dumps({name: getattr(now, name) for name in now.__struct_fields__}))
        return
    click.echo(f"{storage.root}: {_daemon(now)}")
    rows = [
        ("backlog", now.backlog - now.waiting, "without a receipt as yet"),
        ("waiting", now.waiting, "ended too early and may get the rest"),
        ("published", now.published, "sources whose content is in the tree"),
        ("instances", now.instances, f"visible, in {counted(now.studies, 'study')}"),
        ("rejected", now.rejected, "sources that could not be stored"),
    ]
    width = max(len(f"{count:,}") for _, count, _ in rows)
    for name, count, words in rows:
        if count or name != "waiting":
            click.echo(f"  {name:<9}  {count:>{width},}  {words}")
    for sentence in now.degraded:
        click.echo(f"  {click.style('degraded', fg='yellow')}   {printable(sentence)}")
    if now.rejected:
        _print_rejections(journal, now.rejected)


def _daemon(now: "Status") -> str:
    if now.running is None:
        return click.style("a daemon holds the tree, but its state is unknown", fg="yellow") + " (starting?)"
    running = click.style("running", fg="green") if now.running else click.style("not running", fg="yellow")
    return f"the daemon is {running}, {'idle' if now.idle else 'busy'}"


def _print_rejections(journal: Path, total: int) -> None:
    """List the most frequent reasons, each with a file as an example where that is still in its place."""
    from staticwado_daemon.operate.status import rejections

    reasons = rejections(journal, _REASONS)
    width = max((len(f"{each.count:,}") for each in reasons), default=1)
    click.echo(f"\n{click.style('rejected', fg='red')} because")
    for each in reasons:
        example = f", for example {printable(str(each.example))}" if each.example else ""
        click.echo(f"  {each.count:>{width},}  {printable(each.text or 'no reason given')}{example}")
    if (others := total - sum(each.count for each in reasons)) > 0:
        click.echo(f"  {others:>{width},}  other reasons")
