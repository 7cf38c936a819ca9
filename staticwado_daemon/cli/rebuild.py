"""`staticwado rebuild`: what is in the tree, stored as today's settings would."""

import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from staticwado_daemon import __version__
from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import INTERRUPTED, Common, shared, warn

if TYPE_CHECKING:
    from staticwado_daemon.archive.target import Target
    from staticwado_daemon.cli.hands import Hands
    from staticwado_daemon.config import Storage
    from staticwado_daemon.dicom.uids import UID
    from staticwado_daemon.operate.rebuild import Ledger, Left, Part
    from staticwado_daemon.operate.verify.blobs import Placed
    from staticwado_daemon.operate.verify.reading import Reader

_PARTLY = 3
_PORTION = 200
_WELL = frozenset({"published", "duplicate"})

_EXAMPLES = """\b
Examples:
  staticwado rebuild --dry-run        how much there is to do
  staticwado rebuild --rate 50        everything, at no more than 50 MB/s
  staticwado rebuild --only frames    what isn't as contentType says
  staticwado rebuild --only summaries 1.2.840.113619.2.1
"""


@dataclass(slots=True)
class _Done:
    """What was done.

    Attributes:
        instances: how many are meant.
        as_wanted: how many of them are known to be as they should be.
        counts: of those that were sent through the line again, by outcome: "duplicate" if nothing had to change.
        left: those that were left as they are.
        renewed: studies whose files that are computed from records were made anew.
    """

    instances: int = 0
    as_wanted: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    left: "list[Left]" = field(default_factory=list)
    renewed: int = 0


@click.command(short_help="Store again what is in the tree, as today's settings would.", epilog=_EXAMPLES)
@click.argument("targets", metavar="[TARGET...]", nargs=-1)
@click.option(
    "--only",
    type=click.Choice(["summaries", "frames", "thumbnails", "index"]),
    multiple=True,
    help="Only this; may be given several times.",
)
@click.option("--rate", metavar="MB/S", type=click.FloatRange(0, min_open=True), help="Read no faster than this.")
@click.option("--dry-run", is_flag=True, help="Say how much there is to do, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def rebuild(
    common: Common,
    targets: tuple[str, ...],
    only: tuple[str, ...],
    rate: float | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Store again what is in the tree, as today's settings would: say after another contentType.

    Each original is made again from the tree, compared with what came in, and stored as if it came now; the originals
    stay the same. Interrupted, it goes on where it was when it is run again. A TARGET is a Study, Series or SOP
    Instance UID, or studies/S[/series/X[/instances/I]]; without one it is the whole tree. Exit code 3 means that some
    instances were left as they are.
    """
    said = Said(targets, cast("tuple[Part, ...]", only), rate, dry_run, as_json)
    return carry_out(common, said)


@dataclass(frozen=True, slots=True)
class Said:
    """What a command line says; `parts` are those of `rebuild --only`."""

    targets: tuple[str, ...]
    parts: "tuple[Part, ...]"
    rate: float | None
    dry_run: bool
    as_json: bool


def carry_out(common: Common, said: Said) -> int:
    """Store again what is meant, tell what came of it, and return the exit code."""
    from staticwado_daemon import log
    from staticwado_daemon.cli.hands import hands
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.targets import resolve

    log.configure(common.log_level("warning"))
    storage = common.configuration().storage("mkdicomwebConfig")
    require_tree(storage.root)
    done = _Done()
    work = _Work(storage, said.parts, resolve(storage.root, said.targets), said.rate, done)
    to_do = None
    try:
        if said.dry_run:
            to_do = work.count()
        else:
            with hands(storage, common.log_level("warning")) as by:
                if by.running:
                    warn("a daemon is running and does the work: its own settings hold")
                work.carry_out(by)
    except KeyboardInterrupt:
        click.echo(f"interrupted after {done.counts.total():,}; run it again to go on", err=True)
        return INTERRUPTED
    if said.as_json:
        outcomes.print_object(_to_json(done, to_do))
    else:
        _tell(done, storage.root, to_do)
    return _PARTLY if done.left else 0


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done, and what was."""

    storage: "Storage"
    parts: "Sequence[Part]"
    targets: "Sequence[Target]"
    rate: float | None
    done: _Done

    def count(self) -> int:
        """How many instances are to be stored once more; notes what is said of the others."""
        from staticwado_daemon.operate.rebuild import Ledger

        ledger = Ledger(self.storage.root, self._settings)
        return sum(len(self._candidates(study, ledger, self.done)) for study in self._studies())

    def carry_out(self, by: "Hands") -> None:
        """Do it."""
        from staticwado_daemon.operate import private, rebuild
        from staticwado_daemon.operate.rebuild import Ledger
        from staticwado_daemon.operate.verify.reading import Reader

        root = self.storage.root
        reader = Reader(root, self.rate and self.rate * 1e6)
        with private.folder(root) as folder, outcomes.Progress(self.count()) as progress:
            ledger = Ledger(root, self._settings)
            found = (each for study in self._studies() for each in self._candidates(study, ledger, _Done()))
            for batch in rebuild.batches(found):
                self._store(by, batch, _Tools(reader, folder, ledger, progress))
            self._renew(by)
            if not self.targets:
                ledger.close()

    def _store(self, by: "Hands", batch: "Sequence[Placed]", tools: "_Tools") -> None:
        """Have instances stored once more."""
        from staticwado_daemon.operate import rebuild

        done = self.done
        made = rebuild.originals(tools.reader, batch, tools.folder, done.left)
        if not made:
            return
        answers = by.store([*made], functools.partial(tools.show, Counter(done.counts)))
        done.counts.update(each.outcome for each in answers)
        tools.ledger.note(made[each.path].version for each in answers if each.outcome in _WELL)
        done.left += [
            rebuild.Left.of(made[each.path].version, each.reason or each.outcome)
            for each in answers
            if each.outcome not in _WELL
        ]
        for path in made:
            path.unlink(missing_ok=True)

    def _renew(self, by: "Hands") -> None:
        """Have what is computed from records made anew, as far as that is asked for."""
        studies = self._studies() if not self.parts or {"summaries", "thumbnails"} & {*self.parts} else []
        # A portion at a time, so that a daemon gets to its other work in between.
        for first in range(0, len(studies), _PORTION):
            by.renew(studies[first : first + _PORTION])
            self.done.renewed += len(studies[first : first + _PORTION])
        if not studies and "index" in self.parts:
            by.renew([])

    @property
    def _settings(self) -> str:
        """In words, how instances are stored."""
        storage = self.storage
        limits = storage.maximum_inline_public_length, storage.maximum_inline_private_length
        return repr((__version__, storage.images, limits, sorted(self.parts)))

    def _studies(self) -> "list[UID]":
        from staticwado_daemon.operate.verify import tree

        return sorted({each.study for each in self.targets}) if self.targets else tree.studies(self.storage.root)

    def _candidates(self, study: "UID", ledger: "Ledger", done: _Done) -> "list[Placed]":
        """The instances of a study that are to be stored once more."""
        from staticwado_daemon.cli.assembly import images_of
        from staticwado_daemon.operate import rebuild

        if self.parts and not {"frames", "thumbnails"} & {*self.parts}:
            return []
        root, images = self.storage.root, images_of(self.storage.images)
        found = []
        for each in rebuild.candidates(root, study, self.targets):
            done.instances += 1
            if ledger.has(each.version) or not rebuild.needs(root, each, images, self.parts):
                done.as_wanted += 1
            elif why := rebuild.why_left(each.version, images):
                done.left.append(rebuild.Left.of(each.version, why))
            else:
                found.append(each)
        return found


@dataclass(frozen=True, slots=True)
class _Tools:
    """What it is done with."""

    reader: "Reader"
    folder: Path
    ledger: "Ledger"
    progress: outcomes.Progress

    def show(self, before: Counter[str], now: Mapping[str, int]) -> None:
        """Show how many are done."""
        self.progress.add_others(before + Counter(now))


def _tell(done: _Done, root: Path, to_do: int | None) -> None:
    if to_do is not None:
        meant = outcomes.counted(done.instances, "instance")
        click.echo(f"{root}: {to_do:,} of {meant} would be made again, and stored anew where that changes anything")
    else:
        same, anew = done.counts["duplicate"], done.counts["published"]
        click.echo(
            f"{root}: {anew:,} of {outcomes.counted(done.instances, 'instance')} stored anew, {same:,} were as "
            f"they should be already, {done.as_wanted:,} needed no look; "
            f"{outcomes.counted(done.renewed, 'study')} made anew"
        )
    by_reason: dict[str, list[str]] = {}
    for each in done.left:
        by_reason.setdefault(each.reason, []).append(each.target)
    for reason, targets in by_reason.items():
        click.echo(f"{click.style('left as it is', fg='yellow')}: {outcomes.printable(reason)} ({len(targets):,})")
        for line in outcomes.first_of(targets):
            click.echo(f"  {line}")


def _to_json(done: _Done, to_do: int | None) -> str:
    return json.dumps(
        {
            "instances": done.instances,
            "asWanted": done.as_wanted,
            "toDo": to_do,
            "anew": done.counts["published"],
            "same": done.counts["duplicate"],
            "studiesRenewed": done.renewed,
            "left": [{"target": each.target, "reason": each.reason} for each in done.left],
        }
    )
