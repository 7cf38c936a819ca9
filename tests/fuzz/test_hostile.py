"""Thousands of hostile files through a real daemon: it stays up, accounts for each, publishes the good ones whole."""

import os
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from staticwado_daemon.inbound.journal_reader import JournalReader
from staticwado_daemon.inbound.receipt import OUTCOMES, Receipt
from tests.crash import oracle
from tests.crash.victim import Site, Victim, exported
from tests.fuzz import hostile
from tests.fuzz.hostile import Made

FILES = 5_000
SOAK_SEEDS = range(1, 21)
WORKER_BYTES = 1 << 30
PATIENCE = 900.0

NOT_REGULAR = 5

_SENTENCE = re.compile(r"[ -~]{8,200}")
"""Printable ASCII alone, so nothing that a terminal obeys, and short enough to be read."""

_PATIENTS = (
    "Doe",
    "script",
    "Yamada",
    "passwd",
    "etc/",
    "DROP",
    "AAAA",
    "CompressedSamples",
    "Anonymized",
)
"""What hostile and real files say of patients, and what is planted in them as UIDs and names."""

_OURS = ("internal error", "died", "took too long", "memory")
"""Reasons that would be a fault of ours: no file of this size may cost a worker its life, its time or its memory."""


@contextmanager
def _watched_memory(victim: Victim) -> Iterator[dict[int, int]]:
    """Note the most memory that each process of a daemon ever had while something happens, in bytes (VmHWM)."""
    peaks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for process in victim.members():
                with suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{process}/status").read_text().splitlines()
                    line = next(line for line in lines if line.startswith("VmHWM:"))
                    peaks[process] = int(line.split()[1]) * 1024

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def _irregular(directory: Path) -> None:
    """What isn't a file, and one that is larger than any memory."""
    directory.mkdir()
    os.mkfifo(directory / "fifo.dcm")
    (directory / "link.dcm").symlink_to("/etc/passwd")
    (directory / "circle").symlink_to(directory)
    with closing(socket.socket(socket.AF_UNIX)) as unix, suppress(OSError):
        unix.bind(str(directory / "socket.dcm"))
    with (directory / "sparse.dcm").open("wb") as sparse:
        sparse.truncate(10 << 30)


def _names(directory: Path, *besides: Path) -> dict[Path, tuple[int, int] | None]:
    """Everything below a directory, files with size and time, apart from what is below others."""
    found: dict[Path, tuple[int, int] | None] = {}
    for path in sorted(directory.rglob("*")):
        if not any(path.is_relative_to(each) for each in besides):
            status = path.lstat()
            found[path] = None if path.is_dir() else (status.st_size, status.st_mtime_ns)
    return found


def _receipts(site: Site) -> dict[Path, Receipt]:
    """The receipts by path; each file has exactly one."""
    journal = JournalReader(site.journal)
    try:
        all_of_them = [receipt for outcome in OUTCOMES for receipt in journal.having(outcome)]
    finally:
        journal.close()
    assert len({receipt.path for receipt in all_of_them}) == len(all_of_them)
    return {receipt.path: receipt for receipt in all_of_them}


def _check_reasons(receipts: dict[Path, Receipt]) -> None:
    refused = {path: receipt.reason for path, receipt in receipts.items() if receipt.outcome in {"rejected", "ignored"}}
    assert {path: reason for path, reason in refused.items() if not reason or not _SENTENCE.fullmatch(reason)} == {}
    for words in (_OURS, _PATIENTS):
        assert {
            p.name: reason for p, reason in refused.items() if reason and any(word in reason for word in words)
        } == {}


def _check_tree(site: Site, made: list[Made], receipts: dict[Path, Receipt]) -> None:
    """What is published can be read, and is what came in."""
    assert oracle.unreadable(site.root / "studies") == []
    assert oracle.leftovers(site.root) == []
    published = Counter(
        each.data for each in made if receipts[site.inbound / "files" / each.name].outcome == "published"
    )
    assert exported(site, site.directory / "exported") == published
    good = [receipts[site.inbound / "files" / each.name] for each in made if each.good]
    assert len(good) >= len(made) // hostile.GOOD_EVERY
    assert {receipt.path.name: receipt.reason for receipt in good if receipt.outcome != "published"} == {}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in SOAK_SEEDS)])
def test_hostile_files_harm_nobody(tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path / "site").prepare(incompleteSeconds=0.5)
    (tmp_path / "canary" / "studies").mkdir(parents=True)
    (tmp_path / "canary" / "studies" / "1.2.3").write_text("sings")
    made = hostile.write(seed, FILES, tmp_path / "files")
    _irregular(tmp_path / "irregular")
    expected = FILES + len(list((tmp_path / "irregular").iterdir()))
    assert expected == FILES + NOT_REGULAR
    (tmp_path / "files").rename(site.inbound / "files")
    (tmp_path / "irregular").rename(site.inbound / "irregular")
    mine = (site.root, site.state, site.log)
    before = _names(tmp_path, *mine)
    begun = time.monotonic()
    with site.watched():
        victim = site.start()
        with _watched_memory(victim) as peaks:
            victim.until(lambda: _is_done(site, expected), f"receipts for {expected} files", PATIENCE)
        receipts = _receipts(site)
        victim.stop()
    outcomes = Counter(str(receipt.outcome) for receipt in receipts.values())
    seconds, peak = time.monotonic() - begun, max(peaks.values())
    sys.stdout.write(f"\n{expected} files in {seconds:.0f} s, at most {peak >> 20} MiB a process: {dict(outcomes)}\n")
    assert _names(tmp_path, *mine) == before
    assert peak <= WORKER_BYTES
    assert "Traceback" not in site.log.read_text(errors="replace")
    assert len(receipts) == expected
    _check_reasons(receipts)
    _check_tree(site, made, receipts)


def _is_done(site: Site, expected: int) -> bool:
    if not site.journal.exists():
        return False
    status = site.status()
    return bool(status["idle"]) and sum(status["receipts"].values()) >= expected


def test_the_same_seed_makes_the_same_files() -> None:
    assert [*hostile.files(7, 60)] == [*hostile.files(7, 60)]
    assert {maker.__name__ for maker in hostile.KINDS} == {
        each.name.split("-")[2].removesuffix(".dcm") for each in hostile.files(0, 1_000) if not each.good
    }
