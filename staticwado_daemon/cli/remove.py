"""`staticwado delete`, `reject` and `undo`: what is shown no more, and what is again."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.outcomes import Progress, counted, print_object
from staticwado_daemon.errors import ConfigError
from staticwado_daemon.units import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from staticwado_daemon.archive.tombstone import Action
    from staticwado_daemon.operate.removal import Wanted
    from staticwado_daemon.pipeline.requests import Answer

    _Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Said:
    """What the command line says."""

    targets: tuple[str, ...]
    reason: str
    dry_run: bool
    as_json: bool
    yes: bool = True


def _removing(command: "_Command") -> "_Command":
    for each in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--reason", metavar="TEXT", default="", help="Why; whoever asks is told."),
        click.argument("targets", metavar="TARGET...", nargs=-1, required=True),
    ):
        command = each(command)
    return command


_confirmed = click.option("--yes", is_flag=True, help="Don't ask; needed where there is no terminal to ask on.")


_DELETE_EXAMPLES = """\b
Examples:
  staticwado delete --reason "wrong patient" 1.2.840.113619.2.55
  staticwado delete --dry-run studies/1.2.3/series/1.2.3.4
"""


@click.command(short_help="Take studies, series or instances out of the tree.", epilog=_DELETE_EXAMPLES)
@_removing
@_confirmed
@shared("-o", "--dir")
@click.pass_obj
def delete(common: Common, /, **said: Any) -> None:
    """Take studies, series or instances out of the tree, with every version of them that is known.

    TARGET is a whole Study, Series or SOP Instance UID, or studies/STUDY[/series/SERIES[/instances/INSTANCE]].

    They don't come back by being sent again. For daemonConfig.keepDeletedDays `staticwado undo` brings them back; then
    they are gone for good. A new version of an instance is new, and taken.
    """
    _carry_out(common, "delete", _Said(**said))


_REJECT_EXAMPLES = """\b
Examples:
  staticwado reject --reason "motion artefacts" 1.2.3.4.5
  staticwado reject studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5
"""


@click.command(short_help="Hide studies, series or instances, and keep them.", epilog=_REJECT_EXAMPLES)
@_removing
@_confirmed
@shared("-o", "--dir")
@click.pass_obj
def reject(common: Common, /, **said: Any) -> None:
    """Hide studies, series or instances, with every version of them that is known, and keep them.

    TARGET is a whole Study, Series or SOP Instance UID, or studies/STUDY[/series/SERIES[/instances/INSTANCE]].

    They don't come back by being sent again, only by `staticwado undo`. A new version of an instance is new, and taken.
    """
    _carry_out(common, "reject", _Said(**said))


_UNDO_EXAMPLES = """\b
Examples:
  staticwado undo 1.2.840.113619.2.55
  staticwado undo --dry-run studies/1.2.3
"""


@click.command(short_help="Bring back what was deleted or rejected.", epilog=_UNDO_EXAMPLES)
@_removing
@shared("-o", "--dir")
@click.pass_obj
def undo(common: Common, /, **said: Any) -> None:
    """Show again what was rejected, or deleted and not purged as yet.

    TARGET is a whole Study, Series or SOP Instance UID, or studies/STUDY[/series/SERIES[/instances/INSTANCE]].
    """
    _carry_out(common, "undo", _Said(**said))


def _carry_out(common: Common, action: "Action", said: _Said) -> None:
    from staticwado_daemon import log
    from staticwado_daemon.archive.audit import user
    from staticwado_daemon.cli.hands import hands
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.removal import find
    from staticwado_daemon.pipeline.requests import LONGEST_REASON, Options

    storage = common.configuration().storage()
    require_tree(storage.root)
    log.configure(common.log_level("warning"))
    if not said.reason.isprintable() or len(said.reason) > LONGEST_REASON:
        raise ConfigError(f"--reason is one line of text, of {LONGEST_REASON:,} characters at most")
    wanted = find(storage.root, action, said.targets)
    if said.dry_run:
        _tell(action, wanted, None, as_json=said.as_json)
        return
    if not said.yes:
        _ask(action, wanted)
    with (
        hands(storage, common.log_level("warning")) as by,
        Progress(sum(each.instances for each in wanted)) as progress,
    ):
        told = Options(reason=said.reason, by=user())
        answers = by.obey(action, [str(each.target) for each in wanted], told, progress.add_others)
    _tell(action, wanted, answers, as_json=said.as_json)


def _ask(action: "Action", wanted: "Sequence[Wanted]") -> None:
    """Have somebody at the terminal confirm it.

    Raises:
        ConfigError: if there is no terminal.
        click.Abort: if they don't.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody can be asked here: `staticwado {action} --yes` does it all the same")
    for each in wanted:
        click.echo(f"  {_described(each)}", err=True)
    click.confirm(f"{action} {'this' if len(wanted) == 1 else 'these'}?", abort=True, err=True)


def _tell(action: "Action", wanted: "Sequence[Wanted]", answers: "Sequence[Answer] | None", *, as_json: bool) -> None:
    """Say what was done; without answers, what would be done."""
    from staticwado_daemon.archive.tombstone import DONE

    if as_json:
        targets = [{**asdict(each), "target": str(each.target)} for each in wanted]
        done = [str(each.path) for each in answers or ()]
        print_object(json.dumps({"action": action, "done": answers is not None, "targets": targets, "instances": done}))
        return
    if answers is None:
        for each in wanted:
            click.echo(f"would be {DONE[action]}: {_described(each)}")
        return
    click.echo(f"{counted(len(answers), 'instance')} {DONE[action]}")


def _described(wanted: "Wanted") -> str:
    several = f", {wanted.contents:,} versions" if wanted.contents > wanted.instances else ""
    within = f" in {wanted.series:,} series" if wanted.target.series is None else ""
    return f"{wanted.target}: {counted(wanted.instances, 'instance')}{within}{several}, {size(wanted.size)}"
