"""`staticwado create`: files into the tree, now, without watching."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli import outcomes
from staticwado_daemon.cli.options import AbsolutePath, Common, shared

if TYPE_CHECKING:
    from staticwado_daemon.config import Storage
    from staticwado_daemon.pipeline.requests import Answer

_SKIPPED = "__MACOSX"
"""What macOS puts into archives beside the files: their resource forks, under the same names."""


@click.command(short_help="Put files and folders into the tree, now.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=AbsolutePath(exists=True))
@click.option("-t", "--content-type", type=click.Choice(["htj2k", "jls", "none"]), help="How native frames are stored.")
@click.option("-j", "--workers", type=click.IntRange(1, 1024), help="Worker processes (daemonConfig.workers).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: counts, and a receipt for each file.")
@shared("-o", "--dir")
@click.pass_obj
def create(
    common: Common, paths: tuple[Path, ...], content_type: str | None, workers: int | None, *, as_json: bool
) -> int:
    """Put DICOM files, and folders of them, into the tree.

    Exit code 3 means that some files were rejected; they are named with the reason.
    """
    configuration = common.configuration({"contentType": content_type, "workers": workers})
    started = time.monotonic()
    answers = _create(configuration.storage("mkdicomwebConfig"), find(paths), common)
    if as_json:
        outcomes.print_object(outcomes.to_json(answers))
    else:
        outcomes.print_summary(answers, time.monotonic() - started)
    return outcomes.exit_code(answers)


def _create(storage: "Storage", paths: list[Path], common: Common) -> "list[Answer]":
    """Do it here, or have the running daemon do it: a tree has one writer."""
    from staticwado_daemon.archive.store import is_locked
    from staticwado_daemon.pipeline import requests

    if is_locked(storage.root):
        with outcomes.Progress(len(paths)) as progress:
            progress.say("the running daemon has been asked")
            return requests.ask(storage.root, "create", paths)
    return _create_here(storage, paths, common)


def _create_here(storage: "Storage", paths: list[Path], common: Common) -> "list[Answer]":
    from staticwado_daemon.cli.assembly import open_line
    from staticwado_daemon.inbound.receipt import Receipt
    from staticwado_daemon.inbound.source import Source, Stamp
    from staticwado_daemon.pipeline.create import create as create_all
    from staticwado_daemon.pipeline.requests import Answer

    vanished: list[Receipt] = []

    def sources() -> Iterator[Source]:
        for path in paths:
            try:
                yield Source(path, Stamp.of(path.lstat()))
            except OSError as error:
                vanished.append(Receipt(path, None, "rejected", f"cannot be read: {error.strerror}"))

    level = common.log_level("warning")  # what happens to each file is told by the bar and the summary
    with open_line(storage, level) as (line, journal), outcomes.Progress(len(paths)) as progress:
        receipts = create_all(line, journal, storage.root, sources(), lambda receipt: progress.add([receipt.outcome]))
        progress.say("written")
    return [
        Answer(each.path, each.outcome, each.reason, each.identity.instance if each.identity else None)
        for each in sorted([*receipts, *vanished], key=lambda receipt: receipt.path)
    ]


def find(paths: Iterable[Path]) -> list[Path]:
    """List every file named and every one in the folders named, sorted, each once; links stand for what they point to.

    Names in folders that begin with a dot are passed over.
    """
    files: set[Path] = set()
    entered: set[tuple[int, int]] = set()  # device and inode: links may lead in circles
    ahead = list(paths)
    while ahead:
        path = ahead.pop()
        path = path.resolve() if path.is_symlink() else path
        if not path.is_dir():
            files.add(path)
            continue
        status = path.stat()
        if (status.st_dev, status.st_ino) not in entered:
            entered.add((status.st_dev, status.st_ino))
            ahead.extend(each for each in path.iterdir() if not each.name.startswith(".") and each.name != _SKIPPED)
    return sorted(files)
