"""Many small files, ways to overwhelm those who watch for them, and a daemon to watch."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from staticwado_daemon.inbound.journal_reader import JournalReader
from staticwado_daemon.inbound.receipt import Outcome, Receipt
from tests import corpus
from tests.crash.oracle import leftovers, originals, unreadable
from tests.crash.victim import Site, Victim
from tests.system.programs import STATICWADO, start

LONG = 1200.0
"""Seconds; generous, because 30,000 files are many for a loaded machine."""

SIDE = 16
"""Rows and columns of a small image."""

_STUDY, _INSTANCE = "1.2.826.0.1.3680043.8.498.7000001", "1.2.826.0.1.3680043.8.498.9000000001"
_PER_SERIES, _PER_STUDY = 100, 1000
_QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@dataclass(frozen=True, slots=True)
class Template:
    """A small image, from which others are made by replacing bytes: 30,000 of them in a second or two."""

    data: bytes

    @classmethod
    def make(cls, directory: Path) -> "Template":
        """Shrink a real MR slice."""
        directory.mkdir(parents=True, exist_ok=True)
        image = pydicom.dcmread(corpus.PYDICOM_DATA / "MR2_UNCR.dcm")
        pixels = image.pixel_array[:: image.Rows // SIDE, :: image.Columns // SIDE][:SIDE, :SIDE]
        del image[0xFFFCFFFC]
        image.Rows = image.Columns = SIDE
        image.PixelData = np.ascontiguousarray(pixels).tobytes()
        image.StudyInstanceUID, image.SeriesInstanceUID = _STUDY, f"{_STUDY}.1001"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = _INSTANCE
        path = directory / "template.dcm"
        image.save_as(path, enforce_file_format=True)
        return cls(path.read_bytes())

    def instance(self, number: int) -> bytes:
        """Another instance, with pixels of its own: 100 to a series, 1,000 to a study."""
        study = f"{_STUDY[:-7]}{7_000_001 + number // _PER_STUDY}"
        series = f"{study}.{1001 + number % _PER_STUDY // _PER_SERIES}"
        data = self.data.replace(f"{_STUDY}.1001".encode(), series.encode()).replace(_STUDY.encode(), study.encode())
        data = data.replace(_INSTANCE.encode(), f"{_INSTANCE[:-9]}{number + 1:09}".encode())
        return data[:-8] + number.to_bytes(4, "little") * 2


def write_tree(top: Path, template: Template, numbers: range, *, per_directory: int = 100) -> Counter[bytes]:
    """Write instances as a tree of directories; returns what must be exported in the end."""
    written: Counter[bytes] = Counter()
    for number in numbers:
        directory = top / f"patient{number // (10 * per_directory)}" / f"series{number // per_directory}"
        if number % per_directory == 0:
            directory.mkdir(parents=True)
        data = template.instance(number)
        (directory / f"IM{number:06}.dcm").write_bytes(data)
        written[data] += 1
    return written


@contextmanager
def started(site: Site, *before: str) -> Iterator[Victim]:
    """A daemon that has looked around once; at the end it must stop well.

    Args:
        site: where.
        before: a program that executes the daemon in its own place, with its arguments.
    """
    with site.watched():
        victim = _start(site, before) if before else site.start()
        victim.until(lambda: (now := site.status())["running"] and now["idle"], "idle for the first time")
        yield victim
        victim.stop()


def _start(site: Site, before: Sequence[str]) -> Victim:
    return Victim(site, start(site.config, command=(*before, *STATICWADO)), time.monotonic())


@contextmanager
def stopped(victim: Victim) -> Iterator[None]:
    """SIGSTOP for the main process alone: nobody reads the events; SIGCONT at the end."""
    process = victim.process.pid
    victim.process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: _states(process) == {"T"}, "every thread stopped")
        yield
    finally:
        victim.process.send_signal(signal.SIGCONT)


def _states(process: int) -> set[str]:
    threads = Path(f"/proc/{process}/task").iterdir()
    return {(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads}


def overflow_queue(folder: Path) -> None:
    """Fill the event queue of those who watch a folder, through files that are none of their business.

    Two files in turn, because the kernel merges equal events that follow each other.
    """
    one, other = folder / ".one", folder / ".other"
    for _ in range(int(_QUEUE.read_text()) // 2):
        for path in (one, other):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    for path in (one, other):
        path.unlink()


def log_events(site: Site, name: str) -> list[dict[str, Any]]:
    """What the daemon has logged under this name."""
    found = []
    for line in site.log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if entry.get("event") == name:
                found.append(entry)
    return found


def receipts(site: Site, outcome: Outcome = "published") -> list[Receipt]:
    """The journal's receipts of one outcome."""
    journal = JournalReader(site.journal)
    try:
        return journal.having(outcome)
    finally:
        journal.close()


def until_all_published(victim: Victim, expected: Counter[bytes]) -> None:
    """Wait; then each file was published once, and comes back byte for byte, and nothing is rejected or unfinished."""
    site, count = victim.site, expected.total()

    def done() -> bool:
        status = site.status()
        return bool(status["idle"]) and status["published"] >= count

    victim.until(done, f"idle with {count} published", LONG)
    status = site.status()
    assert (status["published"], status["instances"], status["rejected"]) == (count, count, 0), status
    assert len(receipts(site, "published")) == count
    assert originals(site.root) == expected
    assert leftovers(site.root) == []
    assert unreadable(site.root / "studies") == []


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Wait for something that isn't the daemon's to say."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
