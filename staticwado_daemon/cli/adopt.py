"""`staticwado adopt`: a tree that static-wado wrote becomes ours, where it stands."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import INTERRUPTED, AbsolutePath, Common, shared
from staticwado_daemon.cli.outcomes import counted, first_of, print_object, printable
from staticwado_daemon.cli.watching import bar
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.config import Storage
    from staticwado_daemon.operate.adopt.root import Report
    from staticwado_daemon.operate.adopt.tree import Candidate

_PARTLY = 3
_TREE = AbsolutePath(exists=True, file_okay=False)


_EXAMPLES = """\b
Examples:
  staticwado adopt /data/dicomweb --dry-run     what would be done
  staticwado adopt /data/dicomweb               the same, and asks
  staticwado adopt /data/dicomweb --yes         does it
"""


@click.command(
    short_help="Make a tree that static-wado wrote ours, in place.",
    epilog=_EXAMPLES,
)
@click.argument("tree", metavar="ROOT", type=_TREE)
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; without --yes nothing is done.")
@shared()
@click.pass_obj
def adopt(common: Common, tree: Path, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Make a tree that static-wado (JavaScript) wrote ours, where it stands.

    Trees of both its converters and of older versions are known. Studies can be opened all the time; nothing is lost,
    and what is of no use to us is put aside in ROOT/.staticwado/adopted. Interrupted, it goes on when it is run again.
    Exit code 3 means that some studies were left as they are; they are named with the reason.
    """
    from staticwado_daemon import log
    from staticwado_daemon.archive import layout
    from staticwado_daemon.archive.lock import lock_holder
    from staticwado_daemon.cli.preflight import nesting_errors
    from staticwado_daemon.operate.adopt import root as adopting

    log.configure(common.log_level("warning"))
    common.root = root = tree
    storage = common.configuration().storage("mkdicomwebConfig")
    for problem in nesting_errors(root):
        raise ConfigError(problem)
    if not (root / "studies").is_dir():
        raise ConfigError(f"there is no DICOMweb tree in {root}: it has no folder `studies`")
    found = adopting.candidates(root)
    expected = adopting.look(root, found)
    if not found and not expected.aside and not (root / layout.ADOPTING).exists():
        _print(expected, root, done=False, as_json=as_json)
        return 0
    if dry_run or not yes:
        if not (as_json and yes):
            _print(expected, root, done=False, as_json=as_json)
        if not (dry_run or as_json or sys.stdin.isatty()):
            raise ConfigError("nobody can be asked here: `staticwado adopt --yes` does it all the same")
        if dry_run or as_json or not click.confirm("\nDo it now?", err=True):
            return _PARTLY if expected.left else 0
    if lock_holder(root):
        raise ConfigError(f"another staticwado is writing to {root}: stop it first")
    try:
        report = _adopt(storage, found, sum(each.instances for each in expected.studies))
    except KeyboardInterrupt:
        click.echo("interrupted; run it again to go on", err=True)
        return INTERRUPTED
    _print(report, root, done=True, as_json=as_json)
    return _PARTLY if report.left else 0


def _adopt(storage: "Storage", found: "list[Candidate]", total: int) -> "Report":
    from staticwado_daemon.cli.assembly import rules_of
    from staticwado_daemon.operate.adopt import root as adopting

    with bar(total, "instances") as show:
        return adopting.adopt(storage.root, storage.group, rules_of(storage), found, lambda: show(advance=1))


def _print(report: "Report", root: Path, *, done: bool, as_json: bool) -> None:
    """Say what was or would be done."""
    good = [each for each in report.studies if each.left is None]
    counts = {
        "studies": len(good),
        "instances": sum(each.instances for each in good),
        "rejected": sum(each.rejected for each in good),
        "frames": sum(each.frames for each in good),
        "left": report.left,
    }
    if as_json:
        told = {"done": done, **counts, "aside": report.aside, "problems": [asdict(each) for each in report.studies]}
        print_object(json.dumps(told))
        return
    if not report.studies and not report.aside:
        click.echo(f"{printable(str(root))}: nothing to adopt, all studies are ours")
        return
    verb = "adopted" if done else "would adopt"
    what = ", ".join((counted(counts["studies"], "study"), counted(counts["instances"], "instance")))
    click.echo(f"{printable(str(root))}: {verb} {what}, {counted(counts['frames'], 'frame')}")
    if counts["rejected"]:
        click.echo(f"  rejected there, and stay so: {counted(counts['rejected'], 'instance')}")
    if report.aside:
        click.echo(f"  put aside, for it belongs to no study: {counted(len(report.aside), 'file')}")
    for each in report.studies:
        if each.left is not None:
            click.echo(f"\n{click.style('left as it is', fg='red')}: study {each.study}: {printable(each.left)}")
        _print_some("incomplete", "yellow", each.study, each.lacks)
        _print_some("note", None, each.study, each.notes)
        _print_some("not ours, left alone", None, each.study, each.unknown)


def _print_some(word: str, color: str | None, study: str, lines: list[str]) -> None:
    if lines:
        click.echo(f"\n{click.style(word, fg=color)}: study {study}")
    for line in first_of(lines):
        click.echo(f"  {printable(line)}")
