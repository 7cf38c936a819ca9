"""`staticwado verify`: is everything in the tree what its records say?"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import INTERRUPTED, Common, json_option, shared
from staticwado_daemon.cli.places import places_of
from staticwado_daemon.cli.watching import reading_bar
from staticwado_daemon.units import size

if TYPE_CHECKING:
    from pathlib import Path

    from staticwado_daemon.config import Configuration
    from staticwado_daemon.operate.verify.check import Verified
    from staticwado_daemon.operate.verify.finding import Finding
    from staticwado_daemon.operate.verify.study import Wish

_DAMAGED, _SOME_LEFT = 1, 3

_EXAMPLES = """\b
Examples:
  staticwado verify                        everything, to the last byte
  staticwado verify --sample 2 --rate 50   every day another fiftieth, gently
  staticwado verify --restore 1.2.840.99.1 one study, and its originals
  staticwado verify --repair               put right what can be
"""


@click.command(short_help="Compare the tree with its records, and put it right.", epilog=_EXAMPLES)
@click.argument("targets", metavar="[TARGET...]", nargs=-1)
@click.option("--sample", "percent", metavar="P", type=click.FloatRange(0, 100), help="Read only P % of the files.")
@click.option("--seed", metavar="TEXT", help="Which files --sample takes.  [default: today's date, UTC]")
@click.option("--restore", is_flag=True, help="Rebuild the originals as well, and compare them with what came in.")
@click.option("--rate", metavar="MB/S", type=click.FloatRange(0, min_open=True), help="Read no faster than this.")
@click.option("--repair", is_flag=True, help="Put right what can be, and look again.")
@json_option
@shared("-o", "--dir")
@click.pass_obj
def verify(
    common: Common,
    targets: tuple[str, ...],
    percent: float | None,
    seed: str | None,
    rate: float | None,
    *,
    restore: bool,
    repair: bool,
) -> int:
    """Compare everything in the tree with its records; a daemon may be at work meanwhile.

    A TARGET is a Study, Series or SOP Instance UID, or studies/S[/series/X[/instances/I]]; without one it is the whole
    tree. Exit code 0 means that all is well, or is again; 1 that damage was found; 3 that --repair left some.
    """
    from staticwado_daemon import log
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.targets import resolve
    from staticwado_daemon.operate.verify.sample import EVERYTHING, Sample
    from staticwado_daemon.operate.verify.study import Wish

    log.configure(common.log_level("warning"))
    configuration = common.configuration()
    root = configuration.storage().root
    require_tree(root)
    today = datetime.now(UTC).date().isoformat()
    sample = EVERYTHING if percent is None else Sample(percent, seed or today)
    wish = Wish(sample, restore, resolve(root, targets))
    try:
        before = _verify(root, wish, rate)
        now = _repair(configuration, common, before, wish) if repair and before.findings else before
    except KeyboardInterrupt:
        click.echo("interrupted; nothing is half done", err=True)
        return INTERRUPTED
    if common.as_json:
        outcomes.print_object(_to_json(before, now, None if percent is None else (percent, sample.seed)))
    else:
        _print(before, now, root)
    if repair:
        return _SOME_LEFT if now.findings else 0
    return _DAMAGED if before.findings else 0


def _verify(root: "Path", wish: "Wish", rate: float | None) -> "Verified":
    from staticwado_daemon.operate.verify.check import verify as look

    with reading_bar("studies") as watched:
        return look(root, wish, rate=rate and rate * 1e6, watch=watched)


def _repair(configuration: "Configuration", common: Common, before: "Verified", wish: "Wish") -> "Verified":
    """Do what can be done, and look again at all that something was found in."""
    from staticwado_daemon.cli.hands import hands
    from staticwado_daemon.operate.verify import repair

    storage, level = configuration.storage(), common.log_level("warning")
    if all(each.mending == "nobody" for each in before.findings):
        return _look_again(storage.root, before, wish)
    with _sources(configuration) as sources:
        planned = repair.plan(sources, before.findings)
        with hands(storage, level) as by:
            repair.carry_out(by, planned, before.findings, running=by.running)
        now = _look_again(storage.root, before, wish)
        if files := repair.replaced(sources, now.findings):
            with hands(storage, level) as by:
                by.set_aside(files)
            now = _look_again(storage.root, before, wish)
    return now


@contextmanager
def _sources(configuration: "Configuration") -> Iterator[Any]:
    from staticwado_daemon.inbound.journal_reader import opened
    from staticwado_daemon.operate import private
    from staticwado_daemon.operate.verify.reading import Reader
    from staticwado_daemon.operate.verify.sources import Sources

    places = places_of(configuration)
    with opened(places.journal) as journal, private.folder(places.root) as folder:
        yield Sources(Reader(places.root), journal, folder)


def _look_again(root: "Path", before: "Verified", wish: "Wish") -> "Verified":
    """Look again, of a tree of which only some studies were damaged only at these."""
    from staticwado_daemon.archive.target import Target
    from staticwado_daemon.operate.verify.check import verify as look

    if all(each.study for each in before.findings) and not wish.targets:
        wish = replace(
            wish, targets=tuple(Target(each) for each in sorted({e.study for e in before.findings if e.study}))
        )
    return look(root, wish)


def _print(before: "Verified", now: "Verified", root: "Path") -> None:
    left = {(each.kind, each.where) for each in now.findings}
    repaired = now is not before
    every = _every(before, now)
    for kind, _ in Counter(each.kind for each in every).most_common():
        _print_kind([each for each in every if each.kind == kind], left if repaired else None)
    rate = f" ({before.bytes / 1e6 / before.seconds:.0f} MB/s)" if before.seconds > 1 else ""
    click.echo(
        f"{root}: {outcomes.counted(before.studies, 'study')}, {outcomes.counted(before.instances, 'instance')}, "
        f"{outcomes.counted(before.files, 'file')} read, {size(before.bytes)} in {before.seconds:.1f} s{rate}"
    )
    for study in before.busy:
        click.echo(f"{click.style('not looked at:', fg='yellow')} {study}: it is being written to", err=True)
    if not before.findings:
        click.echo(click.style("all is well", fg="green"))
    elif repaired:
        mended = len(before.findings) - sum((each.kind, each.where) in left for each in before.findings)
        click.echo(f"{mended:,} of {len(before.findings):,} findings mended; {len(now.findings):,} left")
        for study in sorted({each.study for each in now.findings if each.study}):
            click.echo(f"  left in study {study}")
    else:
        click.echo(
            f"{outcomes.counted(len(before.findings), 'finding')}; `staticwado verify --repair` mends what can be"
        )


def _every(before: "Verified", now: "Verified") -> "list[Finding]":
    """What was found at first, and then what was found only after the repair."""
    known = {*before.findings}
    return [*before.findings, *(each for each in now.findings if each not in known)]


def _print_kind(found: "list[Finding]", left: set[tuple[Any, str]] | None) -> None:
    from staticwado_daemon.operate.verify.finding import MEANINGS, MENDINGS

    first = found[0]
    click.echo(f"{click.style(first.kind, fg='red', bold=True)} ({len(found):,}): {MEANINGS[first.kind].sentence}")
    if left is None:
        click.echo(f"  repair would {'do ' if first.mending == 'nobody' else ''}{MENDINGS[first.mending]}")
    for line in outcomes.first_of([_line(each, left) for each in found]):
        click.echo(f"  {line}")


def _line(each: "Finding", left: set[tuple[Any, str]] | None) -> str:
    state = "" if left is None else "left    " if (each.kind, each.where) in left else "mended  "
    return f"{state}{outcomes.printable(each.where)}" + (f" ({each.detail})" if each.detail else "")


def _to_json(before: "Verified", now: "Verified", sample: tuple[float, str] | None) -> str:
    import json

    left = {(each.kind, each.where) for each in now.findings}
    repaired = now is not before
    findings = [
        _as_object(each, None if not repaired else (each.kind, each.where) in left) for each in _every(before, now)
    ]
    return json.dumps(
        {
            "clean": not now.findings,
            "studies": before.studies,
            "instances": before.instances,
            "files": before.files,
            "bytes": before.bytes,
            "seconds": round(before.seconds, 3),
            "megabytesPerSecond": round(before.bytes / 1e6 / max(before.seconds, 1e-6), 1),
            "sample": {"percent": sample[0], "seed": sample[1]} if sample else None,
            "findings": findings,
            "busy": list(before.busy),
        }
    )


def _as_object(each: "Finding", left: bool | None) -> dict[str, Any]:
    from staticwado_daemon.operate.verify.finding import MENDINGS

    return {
        "kind": each.kind,
        "where": each.where,
        "study": each.study,
        "series": each.identity.series if each.identity else None,
        "instance": each.identity.instance if each.identity else None,
        "sentence": each.sentence,
        "repair": MENDINGS[each.mending],
        "outcome": None if left is None else "left" if left else "mended",
    }
