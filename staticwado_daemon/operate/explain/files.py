"""What became of a file."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.inbound import drop, names
from staticwado_daemon.inbound.journal_reader import opened
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Stamp, not_a_file
from staticwado_daemon.operate.explain import instances
from staticwado_daemon.operate.explain.instances import Instance
from staticwado_daemon.operate.explain.places import SearchPlaces
from staticwado_daemon.operate.health import judge
from staticwado_daemon.operate.rejected import names_of
from staticwado_daemon.operate.study_records import StudyRecords
from staticwado_daemon.pipeline.report import REPORT

Now = Literal["unchanged", "changed", "gone", "unreadable"]


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one content of a path, and when (Unix time)."""

    outcome: str
    reason: str | None
    at: float | None
    bytes: int | None
    study: str | None
    series: str | None
    instance: str | None
    source: str | None


class FileHistory(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="file"):
    """What is known of a file.

    Attributes:
        path: under which it was received; else as it was asked for.
        now: whether it is still what it was when it got its latest receipt; None without one.
        note: without a receipt: one sentence on why there is none.
        set_aside: where it is now, if it was moved to `rejected/`.
        receipts: the latest first, then those of earlier contents of the same path.
        instance: what its latest content became, if that was stored.
        same_content: other files that brought the same content.
    """

    path: str
    now: Now | None = None
    note: str | None = None
    set_aside: str | None = None
    receipts: tuple[HistoryEntry, ...] = ()
    instance: Instance | None = None
    same_content: tuple[str, ...] = ()


def explain_file(places: SearchPlaces, path: Path) -> FileHistory:
    """Say what became of the file at an absolute path.

    Raises:
        Transient: if the journal can't be read now.
        Corrupt: if it is damaged.
        StaticwadoError: if nothing is known of it at all.
    """
    with opened(places.journal) as journal:
        for candidate in names_of(path, places.drop_dir):
            receipts = journal.find(candidate) if journal else []
            if receipts:
                others = journal.find(receipts[0].identity.instance) if journal and receipts[0].identity else []
                return _known(places, candidate, receipts, others)
    return FileHistory(path=str(path), note=_why_unknown(places, path))


def _known(places: SearchPlaces, path: Path, receipts: list[Receipt], others: list[Receipt]) -> FileHistory:
    latest = receipts[0]
    identity, content = latest.identity, latest.content
    return FileHistory(
        path=str(path),
        now=_compare(path, latest),
        set_aside=_set_aside(places, latest),
        receipts=tuple(map(_outcome, receipts)),
        instance=instances.describe(StudyRecords(places.root, identity.study), identity, others) if identity else None,
        same_content=tuple(
            dict.fromkeys(
                str(each.path)
                for each in others
                if (each.identity, each.content) == (identity, content) and each.path != path
            )
        ),
    )


def _outcome(receipt: Receipt) -> HistoryEntry:
    identity = receipt.identity
    return HistoryEntry(
        outcome=receipt.outcome,
        reason=receipt.reason,
        at=receipt.at,
        bytes=receipt.stamp.size if receipt.stamp else None,
        study=identity.study if identity else None,
        series=identity.series if identity else None,
        instance=identity.instance if identity else None,
        source=receipt.source,
    )


def _compare(path: Path, receipt: Receipt) -> Now:
    """Compare a file with its receipt, byte by byte where that says what the bytes were."""
    try:
        status = path.lstat()
        if receipt.source and stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == receipt.source
        else:
            same = receipt.stamp is not None and Stamp.of(status).same_content(receipt.stamp)
    except (FileNotFoundError, NotADirectoryError):
        return "gone"
    except OSError:
        return "unreadable"
    return "unchanged" if same else "changed"


def _set_aside(places: SearchPlaces, receipt: Receipt) -> str | None:
    place = drop.find_rejected(places.drop_dir.resolve(), receipt) if places.drop_dir else None
    return str(place) if place else None


def _why_unknown(places: SearchPlaces, path: Path) -> str:
    """One sentence on why a file has no receipt.

    Raises:
        StaticwadoError: if there is no such file either.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise StaticwadoError(f"{path}: there is no such file, and none is known to have come from there") from None
    real = os.path.realpath(path.parent) + "/" + path.name
    if stat.S_ISDIR(mode):
        return "it is a folder: name a file in it"
    folder = _folder_of(places, real)
    # The drop folder may stand among the tree's private files.
    if folder is None and real.startswith(os.path.realpath(places.root) + "/"):
        return "it is a file of the tree itself"
    if folder is None:
        return "it lies in none of the inbound folders, so no daemon looks at it; `staticwado create` takes it"
    relative = real[len(folder) + 1 :]
    if places.drop_dir and folder == os.path.realpath(places.drop_dir) and relative.startswith(f"{drop.REJECTED}/"):
        return "it was set aside, but its receipt is no longer known; `staticwado create` tries it again"
    for part in relative.split("/"):
        if names.skip_directory(part):
            why = names.reason_to_skip(part) or "litter of desktops or storage"
            return f"it is passed over because of its name: {part} is a {why}; `staticwado create` takes it"
    return _why_not_yet(places, folder, mode)


def _why_not_yet(places: SearchPlaces, folder: str, mode: int) -> str:
    """One sentence on what an input without a receipt waits for."""
    daemon = judge(places.state_dir / REPORT, places.root)
    if daemon.running is False:
        return "it has not been taken, because no daemon is running"
    report = daemon.report
    if report and report.folders.get(folder) == "unavailable":
        return f"it has not been taken, because {folder} is unavailable to the daemon"
    if not stat.S_ISREG(mode):
        return f"it has not been looked at yet; it is {not_a_file(mode)}, and will be rejected"
    if report and report.waiting:
        return (
            "it has not been taken yet: it waits for its turn, is being written, or ended too early and may go on; "
            "that, and an image without Pixel Data, is waited for until it has rested for `incompleteSeconds`"
        )
    return "it has not been taken yet: it waits for its turn, or is still being written"


def _folder_of(places: SearchPlaces, real: str) -> str | None:
    """The inbound folder in which a path lies, the innermost if several."""
    folders = [*places.inbound, *([places.drop_dir] if places.drop_dir else [])]
    holding = [each for each in map(os.path.realpath, folders) if real.startswith(f"{each}/")]
    return max(holding, key=len, default=None)
