"""The workers: processes that read and transcode, behind one small interface.

A worker holds nothing that matters. If it dies or takes too long, the future of its task says so and another process
takes its place. Each has a pipe of its own: what they shared, one that was killed could leave locked for the others.

It takes files apart that anyone may have made, so it is not trusted: the kernel confines it to its job (`confine`),
and of its answers nothing is believed that could do harm elsewhere (`results`).
"""

import functools
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import structlog

from staticwado_daemon.archive.store import UMASK
from staticwado_daemon.errors import Corrupt, StaticwadoError
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline import confine, ingest, limits
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.processes import end_with_parent, process_context
from staticwado_daemon.pipeline.results import Result, pack, unpack

__all__ = ["Result", "WorkerLostError", "WorkerProcesses", "Workers"]

_log = structlog.get_logger(__name__)

LEAST_SECONDS = 60.0
BYTES_PER_SECOND = 1_000_000
"""What a worker that reads and transcodes is certainly faster than: one that is slower hangs, and is killed."""

MOST_PER_BYTE = 16
MOST_BESIDES = 256 * 1024 * 1024
"""An answer is no longer than this many bytes for each of its sources', and these for what they inflate to."""


class WorkerLostError(StaticwadoError):
    """The process died before it had done its task."""


class Workers(Protocol):
    """Whoever ingests batches of sources: this machine's processes, or a cluster.

    Attributes:
        count: how many batches can be worked on at once.
    """

    count: int

    def submit(self, sources: Sequence[Source], directory: Path) -> "Future[list[Result]]":
        """Ingest sources, staging below a directory of their own that doesn't exist yet."""

    def __enter__(self) -> Self:
        """Start working."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop at once; what is unfinished will be swept away."""


@dataclass(frozen=True, slots=True)
class _Task:
    sources: tuple[Source, ...]
    directory: Path
    future: "Future[list[Result]]" = field(default_factory=Future)


class WorkerProcesses:
    """Workers on this machine, each looked after by a thread that hands it one task after the other.

    Args:
        count: processes.
        rules: how they ingest.
        memory: bytes of data one worker may hold (RLIMIT_DATA).
        prepare: called once in each process, to configure its logging.
        staging: the directory below which tasks have theirs, and the only one that a worker may write to.
    """

    def __init__(self, count: int, rules: Rules, memory: int, prepare: Callable[[], None], staging: Path) -> None:
        self.count = count
        self._begin = functools.partial(_Worker, _Duties(rules, memory, prepare, staging))
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: set[_Worker] = set()
        self._stopping = False
        self._keepers = [threading.Thread(target=self._keep, daemon=True) for _ in range(count)]

    def submit(self, sources: Sequence[Source], directory: Path) -> "Future[list[Result]]":
        """Ingest sources, staging below a directory of their own that doesn't exist yet.

        The future's exception is `WorkerLostError` or TimeoutError if the process died or was too slow.
        """
        task = _Task(tuple(sources), directory)
        self._tasks.put(task)
        return task.future

    def __enter__(self) -> Self:
        """Start working."""
        for shortcoming in confine.shortcomings():
            _log.warning("workers_less_confined", reason=shortcoming)
        for keeper in self._keepers:
            keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop at once; what is unfinished will be swept away."""
        with self._lock:
            self._stopping = True
            for worker in self._running:
                worker.kill()
        for _ in self._keepers:
            self._tasks.put(None)
        for keeper in self._keepers:
            keeper.join()

    def _keep(self) -> None:
        """Keep one worker busy until told to stop; one that is lost is replaced when there is something to do."""
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            try:
                if worker and not worker.is_fit():
                    self._dismiss(worker)
                    worker = None
                worker = worker or self._hire()
                results = worker.do(task)
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is the task's failure, told by its future
                if worker:
                    self._dismiss(worker)
                worker = None
                task.future.set_exception(failure)
            else:
                task.future.set_result(results)
        if worker:
            self._dismiss(worker)

    def _hire(self) -> "_Worker":
        with self._lock:
            if self._stopping:
                raise WorkerLostError("the workers are being stopped")
            worker = self._begin()
            self._running.add(worker)
            return worker

    def _dismiss(self, worker: "_Worker") -> None:
        with self._lock:
            self._running.discard(worker)
        worker.kill()
        worker.join()


@dataclass(frozen=True, slots=True)
class _Duties:
    """What a worker is told once: see `WorkerProcesses`."""

    rules: Rules
    memory: int
    prepare: Callable[[], None]
    staging: Path


class _Worker:
    """One process and this side of its pipe."""

    def __init__(self, duties: _Duties) -> None:
        self._staging = duties.staging
        self._confined_to = _directory(duties.staging)
        context = process_context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, duties), name="staticwado-worker", daemon=True)
        self._process.start()
        # Only the process may hold its end, so that its death closes it.
        theirs.close()

    def is_fit(self) -> bool:
        """Whether the process lives, and the staging directory is still the one that it is confined to."""
        return self._process.is_alive() and _directory(self._staging) == self._confined_to

    def do(self, task: _Task) -> list[Result]:
        """Have a task done.

        Raises:
            WorkerLostError: if the process died.
            TimeoutError: if it takes too long.
            Corrupt: if what it answers is no answer.
        """
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.kill()

        # A limit on everything: a process may also hang with half its answer in the pipe.
        limit = threading.Timer(time_limit(task.sources), expire)
        limit.daemon = True
        limit.start()
        try:
            self._connection.send((task.sources, task.directory))
            answer = self._connection.recv_bytes(length_limit(task.sources))
        except (EOFError, ConnectionError) as error:
            raise TimeoutError if expired.is_set() else WorkerLostError("the process died") from error
        except OSError as error:
            raise TimeoutError if expired.is_set() else Corrupt("a worker's answer is cut off or too long") from error
        finally:
            limit.cancel()
        return unpack(answer, task.sources, task.directory)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def join(self) -> None:
        """Wait for its end and forget it."""
        self._process.join()
        self._connection.close()


def _directory(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _work(connection: Connection, duties: _Duties) -> None:
    """Be a worker: it ends with its parent, leaves Ctrl-C to the main process, and can't harm the machine."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits.limit(duties.memory)
    limits.keep_freed_memory()
    os.umask(UMASK)
    duties.prepare()
    confine.confine(duties.staging)
    try:
        while True:
            sources, directory = connection.recv()
            connection.send_bytes(pack(ingest.ingest_batch(sources, directory, duties.rules)))
    except (EOFError, ConnectionError):
        # The main process is gone, and so is whoever wanted the results.
        return


def time_limit(sources: Sequence[Source]) -> float:
    """The seconds that a batch may take."""
    return LEAST_SECONDS + sum(source.stamp.size for source in sources) / BYTES_PER_SECOND


def length_limit(sources: Sequence[Source]) -> int:
    """The bytes that the answer for a batch may have: what it says of a file is longer than the file, within reason."""
    return MOST_BESIDES + MOST_PER_BYTE * sum(source.stamp.size for source in sources)
