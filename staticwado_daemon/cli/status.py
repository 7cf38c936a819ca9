"""`staticwado status`: how far everything is, once or for as long as somebody watches."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.outcomes import COLORS, MEANINGS, counted, print_object, printable
from staticwado_daemon.cli.words import duration, moment, to_json, wrapped

if TYPE_CHECKING:
    from staticwado_daemon.operate.network import NetworkReport
    from staticwado_daemon.operate.status import State, Status

_WATCH_SECONDS = 1.0
_HEADLINES: dict["State", tuple[str, str]] = {
    "ok": ("OK", "green"),
    "busy": ("BUSY", "cyan"),
    "degraded": ("DEGRADED", "yellow"),
    "stopped": ("NOT RUNNING", "red"),
    "unknown": ("UNKNOWN", "yellow"),
}
_LABEL = 14  # columns


_EXAMPLES = """\b
Examples:
  staticwado status
  staticwado status --watch
  staticwado status --json | jq -e '.running and .degraded == []'
"""


@click.command(short_help="Say how far everything is.", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch one for each change.")
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C; where nobody looks, one line for each change.")
@shared("-o", "--dir")
@click.pass_obj
def status(common: Common, *, as_json: bool, watch: bool) -> None:
    """Say what is waiting, what is published, what was rejected and what isn't as it should be."""
    from staticwado_daemon.cli.assembly import JOURNAL
    from staticwado_daemon.cli.preflight import require_tree
    from staticwado_daemon.config.schema import BASE
    from staticwado_daemon.config.settings import COMMAND_LINE, DEFAULT
    from staticwado_daemon.operate.status import read

    configuration = common.configuration()
    storage = configuration.storage()
    root = str(storage.root)
    # A tree that a file names may be yet to be made by its daemon.
    if configuration.effective(BASE)["rootDir"].origin in {COMMAND_LINE, DEFAULT}:
        require_tree(storage.root)

    def look(before: "Status | None" = None) -> "Status":
        return read(storage.root, storage.state_dir, storage.state_dir / JOURNAL, before)

    if not watch:
        click.echo(to_json(look()) if as_json else page(look(), root))
        return
    try:
        if as_json:
            _print_changes(look, to_json)
        elif sys.stdout.isatty():
            _keep_showing(look, root)
        else:
            _print_changes(look, line)
    except KeyboardInterrupt:
        return


def line(now: "Status") -> str:
    """All that changes, on one line without the time."""
    counts = [f"{outcome} {count:,}" for outcome, count in now.receipts.items() if count]
    parts = [f"{_HEADLINES[now.state][0]}: {summary(now)}", f"instances {now.instances:,}", *counts, *now.degraded]
    if now.dicom:
        parts.append(f"DICOM {', '.join(_traffic(now.dicom))}")
    return " · ".join(map(printable, parts))


def page(now: "Status", root: str) -> str:
    """Everything, for people: the state on the first line, then the numbers, then the reasons."""
    width = min(100, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    word, color = _HEADLINES[now.state]
    parts = [wrapped(summary(now), f"{word}  ", " " * len(f"{word}  "), width)]
    parts[0] = click.style(word, fg=color, bold=True) + parts[0][len(word) :]
    parts += [wrapped(printable(each), "  ! ", "    ", width) for each in now.degraded]
    parts += ["", *_numbers(now, root), "", *_receipts(now)]
    if now.folders:
        parts += ["", *_folders(now)]
    parts += _reasons(now, width)
    return "\n".join(parts)


def summary(now: "Status") -> str:
    """What the state means, in a few words."""
    if now.running is None:
        return "a daemon holds the tree and says nothing: it is starting, or it hangs"
    to_do = now.backlog - now.waiting
    if now.running is False:
        left = f"; {counted(now.backlog, 'file')} without a receipt when the daemon ended" if now.backlog else ""
        return f"no daemon takes what comes in{left}"
    if to_do > 0:
        soon = f", done in about {duration(now.eta)}" if now.eta is not None else ""
        return f"{counted(to_do, 'file')} to go{soon}"
    if now.waiting:
        return f"{counted(now.waiting, 'file')} ended too early and may get the rest"
    return "nothing is waiting" if now.idle else "the last files of the tree are being written"


def _numbers(now: "Status", root: str) -> Iterator[str]:
    yield _row("tree", printable(root))
    yield _row("instances", f"{now.instances:,} in {counted(now.studies, 'study')}")
    if now.conflicts:
        yield _row(
            "conflicts", f"{counted(now.conflicts, 'instance')} came with several contents; one of each is shown"
        )
    if now.rejected_instances:
        yield _row("rejected", f"{counted(now.rejected_instances, 'instance')} by `staticwado reject`, kept")
    if now.deleted_instances:
        yield _row("deleted", f"{counted(now.deleted_instances, 'instance')}, until they are purged")
    yield _row("last publish", moment(now.published_at) if now.published_at else "never")
    yield _row(
        "backlog", f"{now.backlog:,}" + (f", {now.waiting:,} of them waiting for the rest" if now.waiting else "")
    )
    if now.running:
        yield _row("rate", f"{now.rate:,.1f} files a second, over the last minute")
    if now.dicom:
        yield _row("DICOM", f"{printable(now.dicom.address)}{' in TLS' if now.dicom.tls else ''}")
        yield from (_row("", line) for line in _traffic(now.dicom))


def _traffic(node: "NetworkReport") -> Iterator[str]:
    """What the DICOM node did since it was started: its associations, and what was done on them, if anything was."""
    ended = {
        "rejected": node.associations.get("rejected", 0),
        "lost": sum(node.associations.get(each, 0) for each in ("aborted", "timeout")),
    }
    yield ", ".join([f"{counted(node.open, 'association')} open", *_nonzero(ended)])
    queries, retrievals = node.done("C-FIND"), node.done("C-GET") + node.done("C-MOVE")
    done = {
        "received": node.done("C-STORE", "success", "warning"),
        "refused": node.done("C-STORE", "failure"),
        "query" if queries == 1 else "queries": queries,
        "retrieval" if retrievals == 1 else "retrievals": retrievals,
        "sent": node.done("sent", "success", "warning"),
        "not sent": node.done("sent", "failure"),
    }
    if line := ", ".join(_nonzero(done)):
        yield line


def _nonzero(counts: Mapping[str, int]) -> Iterator[str]:
    return (f"{count:,} {word}" for word, count in counts.items() if count)


def _receipts(now: "Status") -> Iterator[str]:
    width = max(len(f"{count:,}") for count in now.receipts.values())
    for outcome, meaning in MEANINGS.items():
        if outcome in now.receipts:
            count = now.receipts[outcome]
            label = click.style(f"{outcome:<{_LABEL}}", fg=COLORS[outcome] if count else None)
            yield f"  {label}{count:>{width},}  {meaning}"


def _folders(now: "Status") -> Iterator[str]:
    width = max(map(len, now.folders.values()))
    for number, (folder, mode) in enumerate(sorted(now.folders.items())):
        shown = click.style(f"{mode:<{width}}", fg="red" if mode == "unavailable" else None)
        yield _row("" if number else "folders", f"{shown}  {printable(folder)}")


def _reasons(now: "Status", width: int | None) -> Iterator[str]:
    """The most frequent reasons, each with a file as an example where that is still in its place."""
    for outcome in dict.fromkeys(each.outcome for each in now.reasons):
        reasons = [each for each in now.reasons if each.outcome == outcome]
        total = now.receipts[outcome]
        digits = len(f"{total:,}")
        yield f"\n{click.style(outcome, fg=COLORS[outcome])} because"
        for each in reasons:
            indent = " " * (digits + 4)
            yield wrapped(printable(each.reason), f"  {each.count:>{digits},}  ", indent, width)
            if each.example:
                yield f"{indent}for example {printable(each.example)}"
        if (others := total - sum(each.count for each in reasons)) > 0:
            yield f"  {others:>{digits},}  for other reasons"


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def _print_changes(look: "Callable[[Status | None], Status]", shown: "Callable[[Status], str]") -> None:
    """Print one line now and one for each change, for programs and for files."""
    before: Status | None = None
    last = ""
    while True:
        before = look(before)
        if (text := shown(before)) != last:
            print_object(text)
            last = text
        time.sleep(_WATCH_SECONDS)


def _keep_showing(look: "Callable[[Status | None], Status]", root: str) -> None:
    """Show the page in one place of the terminal, anew every second."""
    from rich.live import Live
    from rich.text import Text

    now = look(None)
    with Live(Text.from_ansi(page(now, root)), auto_refresh=False) as live:
        while True:
            time.sleep(_WATCH_SECONDS)
            now = look(now)
            live.update(Text.from_ansi(page(now, root)), refresh=True)
