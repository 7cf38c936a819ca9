"""Inbound folders with the real inotify, and a line behind them that is easily pleased."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from staticwado_daemon.errors import Rejected, Transient
from staticwado_daemon.inbound.folder import InboundDir
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.receipt import Outcome, Receipt
from staticwado_daemon.inbound.settle import Timing
from staticwado_daemon.inbound.source import Source, Stamp, opened

TIMING = Timing(settle=0.5, reconcile=60.0, incomplete=3.0)
MAGIC = b"WHOLE"


def content(size: int = 3000) -> bytes:
    """A file that says where it ends, as DICOM does."""
    return size.to_bytes(4, "big") + os.urandom(size - 4 - len(MAGIC)) + MAGIC


def is_whole(data: bytes) -> bool:
    return len(data) >= 4 and int.from_bytes(data[:4], "big") == len(data) and data.endswith(MAGIC)


@dataclass
class Line:
    """Stands for everything behind the inbound folders: takes, reads, answers, remembers."""

    receipts: dict[Path, Receipt] = field(default_factory=dict)
    tries: Counter[Path] = field(default_factory=Counter)
    answered: Counter[Path] = field(default_factory=Counter)
    taken_at: dict[Path, float] = field(default_factory=dict)
    known_states: dict[tuple[str, Stamp], Outcome] = field(default_factory=dict)
    awake: threading.Event = field(default_factory=threading.Event)
    stopping: bool = False

    def known(self, path: str, stamp: Stamp) -> Outcome | None:
        return self.known_states.get((path, stamp))

    def work(self, inbound: Inbound) -> None:
        while not self.stopping:
            sources = inbound.take(50)
            assert sources == sorted(sources, key=lambda source: str(source.path))
            for source in sources:
                self.answer(inbound, source)
            if not sources:
                self.awake.wait(0.5)
                self.awake.clear()

    def answer(self, inbound: Inbound, source: Source) -> None:
        self.tries[source.path] += 1
        self.taken_at[source.path] = time.monotonic()
        try:
            with opened(source) as content:
                data = bytes(content[:])
        except Transient:
            inbound.retry(source, incomplete=False)
            return
        except Rejected as why:
            receipt = Receipt(source.path, source.stamp, "rejected", why.reason)
        else:
            if not is_whole(data) and not source.final:
                inbound.retry(source, incomplete=True)
                return
            receipt = Receipt(source.path, source.stamp, "published" if is_whole(data) else "rejected")
        self.receipts[source.path] = receipt
        self.answered[source.path] += 1
        self.known_states[str(source.path), source.stamp] = receipt.outcome
        if source.after_ingest == "delete":
            source.path.unlink()
        inbound.done(receipt)

    def published(self) -> set[Path]:
        return {path for path, receipt in self.receipts.items() if receipt.outcome == "published"}


@contextmanager
def running(
    *dirs: Path | InboundDir, timing: Timing = TIMING, line: Line | None = None
) -> Iterator[tuple[Inbound, Line]]:
    line = line or Line()
    specs = [each if isinstance(each, InboundDir) else InboundDir(each) for each in dirs]
    inbound = Inbound(specs, line.known, timing, line.awake.set)
    worker = threading.Thread(target=line.work, args=[inbound])
    inbound.start()
    worker.start()
    try:
        until(lambda: "starting" not in inbound.modes.values() and inbound.idle)
        yield inbound, line
    finally:
        line.stopping = True
        line.awake.set()
        worker.join()
        began = time.monotonic()
        inbound.stop()
        assert time.monotonic() - began < 2.0
        assert not any(thread.name.startswith("inbound") for thread in threading.enumerate())


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it took too long"
        time.sleep(0.02)
