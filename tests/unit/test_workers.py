"""Real worker processes: what they answer, and what becomes of a task whose process dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import workers as module
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.workers import WorkerLostError, WorkerProcesses

PATIENCE = 60.0


def _nothing() -> None:
    """Prepares no logging."""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[WorkerProcesses]:
    with WorkerProcesses(1, Rules(Images(Choices("none")), Limits()), 2 << 30, _nothing, tmp_path) as started:
        yield started


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "note.txt"
    path.write_text("no DICOM, but longer than a preamble and its prefix are: " + "x" * 132)
    return Source(path, Stamp.of(path.lstat()))


def _outcome(workers: WorkerProcesses, source: Source, directory: Path) -> str:
    (result,) = workers.submit([source], directory).result(PATIENCE)
    assert isinstance(result, Receipt)
    return result.outcome


def test_a_task_is_answered(workers: WorkerProcesses, source: Source, tmp_path: Path) -> None:
    assert _outcome(workers, source, tmp_path / "a") == "ignored"


def test_a_process_that_died_with_nothing_to_do_costs_no_task(
    workers: WorkerProcesses, source: Source, tmp_path: Path
) -> None:
    assert _outcome(workers, source, tmp_path / "a") == "ignored"
    (worker,) = workers._running
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.join()
    assert _outcome(workers, source, tmp_path / "b") == "ignored"


def test_the_death_of_a_process_is_its_tasks_failure_and_the_next_task_has_another(
    workers: WorkerProcesses, source: Source, tmp_path: Path
) -> None:
    assert _outcome(workers, source, tmp_path / "a") == "ignored"
    (worker,) = workers._running
    os.kill(worker._process.pid, signal.SIGSTOP)
    future = workers.submit([source], tmp_path / "b")
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError):
        future.result(PATIENCE)
    assert _outcome(workers, source, tmp_path / "c") == "ignored"


def test_a_process_that_hangs_is_replaced(
    workers: WorkerProcesses, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _outcome(workers, source, tmp_path / "a") == "ignored"
    (worker,) = workers._running
    os.kill(worker._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(module, "LEAST_SECONDS", 0.2)
    with pytest.raises(TimeoutError):
        workers.submit([source], tmp_path / "b").result(PATIENCE)
    monkeypatch.setattr(module, "LEAST_SECONDS", PATIENCE)
    assert _outcome(workers, source, tmp_path / "c") == "ignored"


def test_the_end_does_not_wait_for_a_task_under_way(source: Source, tmp_path: Path) -> None:
    with WorkerProcesses(1, Rules(Images(Choices("none")), Limits()), 2 << 30, _nothing, tmp_path) as workers:
        assert _outcome(workers, source, tmp_path / "a") == "ignored"
        (worker,) = workers._running
        os.kill(worker._process.pid, signal.SIGSTOP)
        future = workers.submit([source], tmp_path / "b")
    with pytest.raises(WorkerLostError):
        future.result(0)
