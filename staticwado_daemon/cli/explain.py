"""`staticwado explain`: what became of a file, and where the bytes of a study, series or instance are."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.outcomes import COLORS, counted, first_of, print_object, printable
from staticwado_daemon.cli.places import places_of
from staticwado_daemon.cli.words import date_time, moment, to_json, wrapped
from staticwado_daemon.units import size

if TYPE_CHECKING:
    from staticwado_daemon.operate.explain.files import FileHistory, HistoryEntry
    from staticwado_daemon.operate.explain.instances import Instance, Version
    from staticwado_daemon.operate.explain.studies import Conflict, Removal, Series, Study, Usage

_LABEL = 11  # columns

_NOW = {
    "unchanged": "is still what it was",
    "changed": "has other bytes now",
    "gone": "is no longer there",
    "unreadable": "can't be read now, so there is no telling whether it is still what it was",
}


_EXAMPLES = """\b
Examples:
  staticwado explain /dicom/ct/1-0001.dcm
  staticwado explain 1.2.840.113619.2.55
"""


@click.command(short_help="Say what became of a file, or where something is.", epilog=_EXAMPLES)
@click.argument("what", metavar="PATH|UID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@shared("-o", "--dir")
@click.pass_obj
def explain(common: Common, what: str, *, as_json: bool) -> None:
    """Say what became of a file, when and why; or which versions of an instance there are, and where their bytes are.

    A UID may be that of a study, series or instance. Of the first two the beginning is enough, if no other begins so.
    What could be both is a PATH if there is such a file.
    """
    from staticwado_daemon import log
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.operate.explain.files import explain_file
    from staticwado_daemon.operate.explain.uids import explain_uid
    from staticwado_daemon.operate.uids import looks_like_uid

    places = places_of(common.configuration())
    require_tree(places.root)
    log.configure(common.log_level("warning"))  # or its lines would stand among the answer
    path = Path(what).absolute()
    if looks_like_uid(what) and not path.is_file():
        found = explain_uid(places, what)
        if as_json:
            print_object(f'{{"kind": "uid", "found": {to_json(found)}}}')
        else:
            click.echo("\n\n".join("\n".join(_of_uid(each)) for each in found))
        return
    told = explain_file(places, path)
    if as_json:
        print_object(to_json(told))
    else:
        click.echo("\n".join(_of_file(told)))


def _of_file(told: "FileHistory") -> Iterator[str]:
    yield printable(told.path)
    if not told.receipts:
        yield _row("", told.note or "")
        return
    latest, *earlier = told.receipts
    yield from _outcome(latest)
    if told.now:
        yield _row("the file", f"was set aside, as {printable(told.set_aside)}" if told.set_aside else _NOW[told.now])
    if latest.instance:
        yield _row("instance", latest.instance)
        yield _row("series", latest.series or "")
        yield _row("study", latest.study or "")
    if told.instance:
        yield from _as_stored(told.instance, latest)
    if told.same_content:
        yield from _list("also from", [printable(each) for each in told.same_content])
    for number, each in enumerate(earlier):
        yield _row("" if number else "before", f"{each.outcome}, {date_time(each.at or 0.0)}{_because(each)}")


def _outcome(told: "HistoryEntry") -> Iterator[str]:
    label = click.style(f"{told.outcome:<{_LABEL}}", fg=COLORS[told.outcome], bold=True)
    yield f"  {label}{moment(told.at) if told.at else 'at an unknown time'}"
    if told.reason:
        yield _row("because", printable(told.reason))


def _because(told: "HistoryEntry") -> str:
    return f": {printable(told.reason)}" if told.reason else ""


def _as_stored(instance: "Instance", latest: "HistoryEntry") -> Iterator[str]:
    """What the tree has of the instance that a file became."""
    if not instance.versions:
        yield _row("stored", click.style("nothing: the tree has no record of this instance", fg="red"))
        return
    mine = [each for each in instance.versions if each.source == latest.source]
    version = (mine or instance.versions)[0]
    yield _row("version", _standing(version, instance))
    yield from _bytes(version)


def _of_uid(told: "Study | Series | Instance") -> Iterator[str]:
    from staticwado_daemon.operate.explain.studies import Series, Study

    if isinstance(told, Study):
        yield from _study(told)
    elif isinstance(told, Series):
        yield from _series(told)
    else:
        yield from _instance(told)


def _study(told: "Study") -> Iterator[str]:
    yield f"study {told.study}"
    yield _row("holds", f"{counted(told.instances, 'instance')} in {len(told.series):,} series")
    yield _row("published", _published(told))
    yield _row("written", "not everything as yet" if told.dirty else "everything")
    yield _row("files", f"{_usage(told.published)} shown")
    yield _row("", f"{_usage(told.records)} of records")
    yield _row("", f"{_usage(told.restore)} for restoring originals")
    if told.kept.files:
        yield _row("", f"{_usage(told.kept)} of versions that are not shown")
    yield from _removed(told.removed)
    for number, each in enumerate(told.series):
        described = " ".join(printable(part) for part in (each.modality, each.description) if part)
        yield _row("" if number else "series", each.series)
        yield _row("", f"  {counted(each.instances, 'instance')}, {size(each.published.bytes)}  {described}".rstrip())
    yield from _conflicts([conflict for each in told.series for conflict in each.conflicts])
    yield from _unreadable(told.unreadable)


def _published(told: "Study | Series") -> str:
    if told.published_at:
        return moment(told.published_at)
    return "nothing now" if told.removed else "not yet"


def _series(told: "Series") -> Iterator[str]:
    yield f"series {told.series}"
    yield _row("study", told.study)
    described = " ".join(printable(part) for part in (told.modality, told.description) if part)
    if described:
        yield _row("is", described)
    yield _row("holds", counted(told.instances, "instance"))
    yield _row("published", _published(told))
    yield _row("in", f"studies/{told.study}/series/{told.series}")
    yield _row("", _usage(told.published))
    yield from _removed(told.removed)
    yield from _conflicts(told.conflicts)


def _no_remainder(version: "Version") -> str:
    if version.exact:
        return click.style("is missing: no original without it", fg="red")
    return "none, for the original was kept whole" if version.original else "none: the source can't be given back"


def _instance(told: "Instance") -> Iterator[str]:
    yield f"instance {told.instance}"
    yield _row("series", told.series)
    yield _row("study", told.study)
    for version in told.versions:
        yield ""
        yield _row("version", _standing(version, told))
        yield from _list(
            "received",
            [f"{each.outcome}, {date_time(each.at or 0.0)}, from {printable(each.path)}" for each in version.received]
            or ["from a file that the journal no longer knows"],
        )
        yield from _bytes(version)
        yield _row("record", version.record or "has just been replaced; ask again")
        yield _row("remainder", version.remainder or _no_remainder(version))
        if version.original:
            yield _row("original", version.original)
        yield _row("content", version.content)
        yield _row("source", version.source)
    if not told.versions:
        yield from _list("known as", [*told.tombstones])
    yield from _unreadable(told.unreadable)


def _standing(version: "Version", instance: "Instance") -> str:
    shown = "shown" if version.published else version.removed or "kept, not shown"
    several = f" of {len(instance.versions)}" if len(instance.versions) > 1 else ", the only one"
    return f"revision {version.revision}{several}: {shown}"


def _bytes(version: "Version") -> Iterator[str]:
    total = size(sum(each.bytes for each in version.files))
    if version.sender:
        yield _row("sent by", printable(version.sender))
    yield _row("came as", _syntax(version.source_transfer_syntax))
    yield _row("stored as", _syntax(version.stored_transfer_syntax))
    yield _row("in", version.directory)
    yield _row("", f"{counted(len(version.files), 'file')}, {total}")
    missing = [each.path for each in version.files if not each.there]
    if missing:
        yield from _list(click.style(f"{'MISSING':<{_LABEL}}", fg="red"), missing)


def _syntax(uid: str) -> str:
    from staticwado_daemon.dicom.transfer_syntaxes import transfer_syntax

    name = transfer_syntax(uid).name
    return name if name and name != uid else uid


def _usage(told: "Usage") -> str:
    return f"{counted(told.files, 'file')}, {size(told.bytes)}"


def _conflicts(conflicts: "tuple[Conflict, ...] | list[Conflict]") -> Iterator[str]:
    """The instances that came with several contents."""
    if conflicts:
        yield from _list("conflicts", [f"{each.instance}: {each.versions} versions" for each in conflicts])


def _removed(removals: "tuple[Removal, ...]") -> Iterator[str]:
    """What was deleted or rejected."""
    if removals:
        yield from _list(
            "removed", [f"{counted(each.instances, 'instance')}: {printable(each.what)}" for each in removals]
        )


def _unreadable(files: tuple[str, ...]) -> Iterator[str]:
    if files:
        yield from _list(click.style(f"{'UNREADABLE':<{_LABEL}}", fg="red"), [*map(printable, files)])


def _list(label: str, lines: list[str]) -> Iterator[str]:
    for number, each in enumerate(first_of(lines)):
        yield _row("" if number else label, each)


def _row(label: str, text: str) -> str:
    width = min(100, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    first = f"  {label:<{_LABEL}}"
    # What can be copied stays on its line; only words are broken into several.
    return wrapped(text, first, " " * (_LABEL + 2), width) if "\x1b" not in first + text else first + text
