"""A file that costs a worker its life is tried once more, alone, and then rejected; its neighbours never notice.

The line, its publisher and its confined workers are real; only what happens to a worker with the cursed file is made.
"""

import ctypes
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import ingest, results
from staticwado_daemon.pipeline import workers as module
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.workers import WorkerProcesses
from tests.fuzz.seeds import renamed, seeds
from tests.lines import publishing

MEMORY = 512 << 20
LIMIT_SECONDS = 5.0
PATIENCE = 180.0
NEIGHBOURS = 8

DEATH = "the process that read it died, twice"
FORGED = "the process that read it gave no valid answer, twice"
SLOW = "took too long to read"
MEMORY_SPENT = "needs more memory than a worker may use"


def _hang() -> None:
    while True:
        signal.pause()


def _spin() -> None:
    while True:
        pass


def _swallow() -> None:
    """As a codec that believes a header."""
    bytearray(2 * MEMORY)


def _swallow_natively() -> None:
    """As a codec that doesn't ask whether it got its memory."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    ctypes.memset(libc.malloc(ctypes.c_size_t(2 * MEMORY)), 1, 2 * MEMORY)


def _forge() -> None:
    """As whoever has taken a worker over by a codec, and would have files removed that were never stored."""
    results._row = lambda _: ["refused", "published", "stored"]


FATES: dict[str, tuple[Callable[[], object], str, int]] = {
    "segfault": (lambda: ctypes.string_at(0), DEATH, 2),
    "killed": (lambda: signal.raise_signal(signal.SIGKILL), DEATH, 2),
    "hang": (_hang, SLOW, 2),
    "spin": (_spin, SLOW, 2),
    "swallow": (_swallow, MEMORY_SPENT, 0),
    "malloc": (_swallow_natively, DEATH, 2),
    "forge": (_forge, FORGED, 2),
}
"""What happens, what the receipt says in the end, and how many workers it costs."""


def _cursed() -> None:
    """Let a worker meet the fate that a file is named for, while it is being read."""
    real = ingest.sources.opened

    def meet(source: Source, *more: Any) -> Any:
        if source.path.stem in FATES:
            FATES[source.path.stem][0]()
        return real(source, *more)

    ingest.sources.opened = meet


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    root = tmp_path / "root"
    workers = WorkerProcesses(1, Rules(Images(Choices("none")), Limits()), MEMORY, _cursed, root / layout.STAGING)
    with (
        closing(Journal(tmp_path / "journal.sqlite")) as journal,
        Line(root, workers, journal, publishing(root)) as started,
    ):
        yield started


def _sources(directory: Path, fate: str) -> list[Source]:
    """Good files with the cursed one among them."""
    paths = [directory / f"{number}.dcm" for number in range(NEIGHBOURS)]
    for number, path in enumerate(paths):
        path.write_bytes(renamed(seeds()[number][1], number))
    paths.insert(NEIGHBOURS // 2, directory / f"{fate}.dcm")
    paths[NEIGHBOURS // 2].write_bytes(b"cursed")
    return [Source(path, Stamp.of(path.lstat()), final=True) for path in paths]


@pytest.mark.parametrize("fate", FATES)
def test_a_cursed_file_goes_alone(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str) -> None:
    _, sentence, deaths = FATES[fate]
    if sentence == SLOW:
        monkeypatch.setattr(module, "LEAST_SECONDS", LIMIT_SECONDS)
    receipts: dict[str, Receipt] = {}
    with capture_logs() as logged:
        line.submit(_sources(tmp_path, fate))
        deadline = time.monotonic() + PATIENCE
        while len(receipts) <= NEIGHBOURS:
            assert time.monotonic() < deadline, receipts
            for finished in line.pump(0.2):
                assert isinstance(finished.result, Receipt), finished
                receipts[finished.source.path.stem] = finished.result
    cursed = receipts.pop(fate)
    assert (cursed.outcome, cursed.reason) == ("rejected", sentence)
    assert {receipt.outcome for receipt in receipts.values()} == {"published"}
    assert sum(entry["event"] == "worker_lost" for entry in logged) == deaths
    while not line.idle:
        line.pump(0.2)
    assert list((tmp_path / "root" / layout.STAGING).iterdir()) == [], "what the lost have left is swept"
