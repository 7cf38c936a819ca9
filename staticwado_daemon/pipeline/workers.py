"""The workers: processes that read and transcode, behind one small interface.

A worker holds nothing that matters. If it dies or takes too long, the future of its task says so and another process
takes its place. Each has a pipe of its own: what they shared, one that was killed could leave locked for the others.
"""

import ctypes
import functools
import multiprocessing
import os
import queue
import resource
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from staticwado_daemon.archive.store import UMASK
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline import ingest
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.staged import Staged, Unfinished

Result: TypeAlias = Staged | Receipt | Unfinished

LEAST_SECONDS = 60.0
BYTES_PER_SECOND = 1_000_000
"""What a worker that reads and transcodes is certainly faster than: one that is slower hangs, and is killed."""

_PR_SET_PDEATHSIG = 1


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
    """

    def __init__(self, count: int, rules: Rules, memory: int, prepare: Callable[[], None]) -> None:
        self.count = count
        self._begin = functools.partial(_Worker, rules, memory, prepare)
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


class _Worker:
    """One process and this side of its pipe."""

    def __init__(self, rules: Rules, memory: int, prepare: Callable[[], None]) -> None:
        context = process_context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, rules, memory, prepare), name="staticwado-worker", daemon=True
        )
        self._process.start()
        # Only the process may hold its end, so that its death closes it.
        theirs.close()

    def do(self, task: _Task) -> list[Result]:
        """Have a task done.

        Raises:
            WorkerLostError: if the process died.
            TimeoutError: if it takes too long.
        """
        try:
            self._connection.send((task.sources, task.directory))
            if not self._connection.poll(time_limit(task.sources)):
                raise TimeoutError
            results: list[Result] = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise WorkerLostError("the process died") from error
        return results

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def join(self) -> None:
        """Wait for its end and forget it."""
        self._process.join()
        self._connection.close()


def _work(connection: Connection, rules: Rules, memory: int, prepare: Callable[[], None]) -> None:
    """Be a worker: it ends with its parent, leaves Ctrl-C to the main process, and can't eat the machine."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    memory = memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    os.umask(UMASK)
    prepare()
    try:
        while True:
            sources, directory = connection.recv()
            connection.send(ingest.ingest_batch(sources, directory, rules))
    except (EOFError, ConnectionError):
        # The main process is gone, and so is whoever wanted the results.
        return


def time_limit(sources: Sequence[Source]) -> float:
    """The seconds that a batch may take."""
    return LEAST_SECONDS + sum(source.stamp.size for source in sources) / BYTES_PER_SECOND


def process_context() -> multiprocessing.context.ForkServerContext:
    """How processes are started: forked from a small server that has the heavy modules loaded and no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["staticwado_daemon.pipeline.ingest", "staticwado_daemon.pipeline.publisher"])
    return context


def end_with_parent() -> None:
    """Let this process be killed when the one that forked it ends, however that ends (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
