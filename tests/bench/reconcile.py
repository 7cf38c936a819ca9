"""Many files that are known already: what it costs to find that there is nothing to do."""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.inbound import reconcile
from staticwado_daemon.inbound.folder import InboundDir
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.settle import Timing
from staticwado_daemon.inbound.source import Stamp
from tests.system.programs import running, write_config

_DIRECTORIES = 100
_BATCH = 64
"""Receipts in one transaction, as the line writes them under load."""

_SCANS = 4


@dataclass(frozen=True, slots=True)
class Journalled:
    """What the receipts of many files cost.

    Attributes:
        write: seconds to write them, in batches as the line does.
        load: seconds to open the journal that holds them.
        size: bytes of the file.
    """

    write: float
    load: float
    size: int


def warm_reconcile(files: int) -> float:
    """Seconds for a full scan of an inbound folder in which every file has its receipt; the best of a few."""
    with _known_files(files) as (directory, state), closing(Journal(state / "journal.sqlite")) as journal:
        timing = Timing(reconcile=0.1)
        inbound = Inbound([InboundDir(directory)], journal.known, timing, lambda: None)
        (folder,) = inbound._folders
        inbound.start()
        try:
            return min(_scans(folder.scans))
        finally:
            inbound.stop()


def _scans(scans: reconcile.Scans) -> Iterator[float]:
    for number in range(1, _SCANS + 1):
        while scans.completed < number:
            time.sleep(0.01)
        yield scans.seconds


def start_up(files: int) -> float:
    """Seconds from the start of a daemon until it says that every file of its inbound folder has its receipt."""
    with _known_files(files) as (directory, state):
        config = write_config(
            state.parent,
            {"rootDir": str(state.parent / "root")},
            {"inbound": [{"dir": str(directory)}], "stateDir": str(state)},
        )
        began = time.monotonic()
        with running(config) as daemon:
            daemon.until(lambda: (now := daemon.status())["running"] and now["idle"], "idle")
            return time.monotonic() - began


def journal(files: int) -> Journalled:
    """What the receipts of so many files cost."""
    with _files(files) as (directory, state):
        receipts = _receipts(directory)
        began = time.monotonic()
        _write(state, receipts)
        written = time.monotonic()
        with closing(Journal(state / "journal.sqlite")):
            loaded = time.monotonic()
        return Journalled(written - began, loaded - written, (state / "journal.sqlite").stat().st_size)


@contextmanager
def _known_files(files: int) -> Iterator[tuple[Path, Path]]:
    with _files(files) as (directory, state):
        _write(state, _receipts(directory), batch=max(1, files))
        yield directory, state


@contextmanager
def _files(files: int) -> Iterator[tuple[Path, Path]]:
    """An inbound folder with so many empty files, and a state directory."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        directory, state = Path(scratch, "inbound"), Path(scratch, "state")
        for number in range(_DIRECTORIES):
            series = directory / f"study{number // 10}" / f"series{number}"
            series.mkdir(parents=True)
            for instance in range(number, files, _DIRECTORIES):
                (series / f"IM{instance:06}.dcm").touch()
        yield directory, state


def _receipts(directory: Path) -> list[Receipt]:
    return [
        Receipt(
            Path(path),
            Stamp.of(status),
            "published",
            identity=Identity(UID("1.2.3"), UID(f"1.2.3.{number % _DIRECTORIES}"), UID(f"1.2.3.4.{number}")),
            content=f"{number:064x}",
            source=f"{number + 1:064x}",
        )
        for number, (path, status) in enumerate(reconcile.walk(str(directory.resolve())))
    ]


def _write(state: Path, receipts: Sequence[Receipt], batch: int = _BATCH) -> None:
    with closing(Journal(state / "journal.sqlite")) as opened:
        for start in range(0, len(receipts), batch):
            opened.write(receipts[start : start + batch])


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"{count} files")
    print(f"warm reconcile: {warm_reconcile(count):.2f} s")
    print(f"start-up: {start_up(count):.2f} s, of which {start_up(0):.2f} s without any file")
    print(journal(count))
