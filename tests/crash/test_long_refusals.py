"""A whole line, processes and all, on a disk that refuses everything for three seconds."""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.staged import Unfinished
from staticwado_daemon.pipeline.workers import WorkerProcesses
from tests import corpus
from tests.crash.disks import Interposed, Unwilling
from tests.crash.oracle import differences, leftovers, originals, tree, unreadable
from tests.lines import publishing

SECONDS = 3.0
PATIENCE = 60.0
PAUSE = 0.2
"""How long the daemon, here the test, waits before it submits once more what could not be stored."""

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EDQUOT)
EACH = 4
"""Files that arrive while a disk refuses."""


def test_a_line_outlasts_a_disk_that_refuses_everything_for_a_while(tmp_path: Path) -> None:
    files = corpus.ct_study(tmp_path / "sources", instances=EACH * (1 + len(ERRORS)), series=2, size=32).files
    portions = [files[start : start + EACH] for start in range(0, len(files), EACH)]
    error = tmp_path / "error"
    root, reference = tmp_path / "root", tmp_path / "reference"
    with running(root, Unwilling(error)) as line:
        _deliver(line, portions[0])
        for code, portion in zip(ERRORS, portions[1:], strict=True):
            before = tree(root / "studies")
            error.write_text(str(code))
            assert os.strerror(code) in _refused(line, portion)
            assert line.progress.failure == os.strerror(code)
            assert tree(root / "studies") == before
            error.unlink()
            _deliver(line, portion)
            assert line.progress.failure is None
    with running(reference, Interposed()) as line:
        _deliver(line, files)
    assert leftovers(root) == []
    assert unreadable(root) == []
    assert differences(tree(root / "studies"), tree(reference / "studies")) == []
    assert originals(root) == originals(reference)


@contextmanager
def running(root: Path, disk: Disk) -> Iterator[Line]:
    """A line with two workers, and a journal beside the root."""
    workers = WorkerProcesses(2, Rules(Images(Choices("none")), Limits()), 1 << 31, _nothing, root / layout.STAGING)
    with (
        closing(Journal(root.with_suffix(".state") / "journal.sqlite")) as journal,
        Line(root, workers, journal, publishing(root, disk)) as line,
    ):
        yield line


def _deliver(line: Line, files: Sequence[Path]) -> None:
    """Submit files until each has its receipt and all is written."""
    deadline = time.monotonic() + PATIENCE
    waiting = _sources(files)
    while waiting or not line.idle:
        assert time.monotonic() < deadline, line.progress
        line.submit(waiting)
        waiting = [finished.source for finished in line.pump(PAUSE) if isinstance(finished.result, Unfinished)]


def _refused(line: Line, files: Sequence[Path]) -> set[str]:
    """Submit files again and again for as long as the disk refuses; say which reasons were given."""
    reasons: set[str] = set()
    end = time.monotonic() + SECONDS
    waiting = _sources(files)
    while line.backlog or time.monotonic() < end:
        assert time.monotonic() < end + PATIENCE, line.progress
        if time.monotonic() < end:
            line.submit(waiting)
            waiting = []
        for finished in line.pump(PAUSE):
            assert isinstance(finished.result, Unfinished), finished
            waiting.append(finished.source)
            reasons.add(finished.result.reason)
        time.sleep(PAUSE)
    return reasons


def _sources(files: Sequence[Path]) -> list[Source]:
    return [Source(path, Stamp.of(path.lstat())) for path in files]


def _nothing() -> None:
    """Prepares no logging."""
