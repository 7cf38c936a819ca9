"""What was rejected: where it is now, and which of it somebody means."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.inbound import drop
from staticwado_daemon.inbound.journal_reader import JournalReader, opened
from staticwado_daemon.inbound.receipt import STORED, Receipt
from staticwado_daemon.inbound.source import Stamp

Place = Literal["there", "changed", "set aside", "gone"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A receipt of a rejected file, and where the file is now.

    Attributes:
        receipt: with path, time and reason.
        place: "there" as it was rejected, "changed" since, "set aside" in the drop folder's `rejected/`, or "gone".
        aside: where it was set aside.
    """

    receipt: Receipt
    place: Place
    aside: Path | None = None


def receipts(journal: Path, reason: str | None = None) -> list[Receipt]:
    """The receipts of rejected files, newest first.

    Args:
        journal: of receipts; it may be absent.
        reason: only those whose reason contains this text, whatever its case.

    Raises:
        Transient: if the journal can't be read now.
        Corrupt: if it is damaged.
    """
    with opened(journal) as reader:
        found = reader.having("rejected") if reader else []
    wanted = (reason or "").casefold()
    kept = [each for each in found if wanted in (each.reason or "").casefold()]
    return sorted(kept, key=lambda each: each.at or 0.0, reverse=True)


def locate(receipt: Receipt, drop_dir: Path | None) -> Rejection:
    """Find out where a rejected file is now."""
    try:
        now = Stamp.of(receipt.path.lstat())
    except OSError:
        aside = drop.find_rejected(drop_dir.resolve(), receipt) if drop_dir else None
        return Rejection(receipt, "set aside" if aside else "gone", aside)
    same = receipt.stamp is None or now.same_content(receipt.stamp)
    return Rejection(receipt, "there" if same else "changed")


def still_there(found: Iterable[Receipt], drop_dir: Path | None) -> list[Path]:
    """The paths of those that can be tried again, each once, in path order."""
    return sorted({each.path for each in found if locate(each, drop_dir).place != "gone"})


def meant(journal: Path, drop_dir: Path | None, paths: Sequence[Path]) -> list[Path]:
    """The paths under which the files that somebody names have their receipts.

    Args:
        journal: of receipts; it may be absent.
        drop_dir: the drop folder. A file in its `rejected/` stands for the one that was set aside there.
        paths: absolute.

    Raises:
        StaticwadoError: if one of them has no receipt, or was stored.
        Transient: if the journal can't be read now.
        Corrupt: if it is damaged.
    """
    with opened(journal) as reader:
        if reader is None:
            raise StaticwadoError("nothing was received as yet")
        return [_meant(reader, drop_dir, path) for path in paths]


def _meant(reader: JournalReader, drop_dir: Path | None, path: Path) -> Path:
    for candidate in names_of(path, drop_dir):
        found = reader.find(candidate)
        if found and all(each.outcome in STORED for each in found):
            raise StaticwadoError(f"{path} was stored ({found[0].outcome}): there is nothing to try again")
        if found:
            return candidate
    raise StaticwadoError(f"{path} has no receipt: `staticwado create` takes it, `staticwado explain` says more")


def names_of(path: Path, drop_dir: Path | None) -> list[Path]:
    """The paths under which a file at an absolute path may have its receipt.

    Args:
        path: as somebody says it.
        drop_dir: the drop folder. What is in its `rejected/` came under the name that it has there, or, if that was
            taken, under the same without the number.
    """
    # Inbound folders give real paths; a link at the end is an input of its own.
    real = Path(os.path.realpath(path.parent)) / path.name
    found = [path, real]
    if drop_dir:
        folder = drop_dir.resolve()
        if real.is_relative_to(folder / drop.REJECTED):
            came_as = folder / real.relative_to(folder / drop.REJECTED)
            found.append(came_as)
            if came_as.suffix[1:].isdecimal():
                found.append(came_as.with_suffix(""))
    return list(dict.fromkeys(found))
