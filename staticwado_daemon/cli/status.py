"""`staticwado status`: how far the tree is."""

import json

import click

from staticwado_daemon.cli.options import Common, shared


@click.command(short_help="Say how far everything is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def status(common: Common, *, as_json: bool) -> None:
    """Say what is waiting, what is published and what was rejected."""
    from staticwado_daemon.cli.assembly import JOURNAL
    from staticwado_daemon.operate.status import read

    storage = common.configuration().storage()
    now = read(storage.root, storage.state_dir, storage.state_dir / JOURNAL)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "running": now.running,
                    "backlog": now.backlog,
                    "published": now.published,
                    "instances": now.instances,
                    "studies": now.studies,
                    "rejected": now.rejected,
                    "idle": now.idle,
                }
            )
        )
        return
    width = len(f"{max(now.backlog, now.published, now.instances, now.rejected):,}")
    running = click.style("running", fg="green") if now.running else click.style("not running", fg="yellow")
    click.echo(f"{storage.root}: the daemon is {running}, {'idle' if now.idle else 'busy'}")
    for name, count, words in (
        ("backlog", now.backlog, "files without a receipt"),
        ("published", now.published, "files whose content is in the tree"),
        ("instances", now.instances, f"visible, in {now.studies:,} studies"),
        ("rejected", now.rejected, "files that could not be stored"),
    ):
        click.echo(f"  {name:<9}  {count:>{width},}  {words}")
