"""The worker pool: processes that read and transcode, behind one small interface.

A worker holds nothing that matters. If it dies or takes too long, its task's future says so and the pool goes on.
"""

import ctypes
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pebble

from staticwado_daemon.archive.store import UMASK
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline import ingest
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.staged import Staged, Unfinished

Result = Staged | Receipt | Unfinished

WORKER_FAILURES = (pebble.ProcessExpired, TimeoutError)
"""What a future raises when its worker was lost, rather than the task done."""

_PR_SET_PDEATHSIG = 1


class Workers(Protocol):
    """Whoever ingests batches of sources: this machine's processes, or a cluster."""

    def submit(self, sources: Sequence[Source], directory: Path) -> "Future[list[Result]]":
        """Ingest sources, staging below a directory of their own that doesn't exist yet."""

    def __enter__(self) -> Self:
        """Start working."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop at once; what is unfinished will be swept away."""


class WorkerProcesses:
    """Workers on this machine.

    Args:
        count: processes.
        rules: how they ingest.
        task_seconds: the time one batch may take before its worker is killed.
        memory: bytes of data one worker may hold (RLIMIT_DATA).
        prepare: called once in each process, to configure its logging.
    """

    def __init__(self, count: int, rules: Rules, task_seconds: float, memory: int, prepare: Callable[[], None]) -> None:
        self._rules = rules
        self._task_seconds = task_seconds
        self._pool = pebble.ProcessPool(
            max_workers=count, context=process_context(), initializer=_start, initargs=(memory, prepare)
        )

    def submit(self, sources: Sequence[Source], directory: Path) -> "Future[list[Result]]":
        """Ingest sources, staging below a directory of their own that doesn't exist yet."""
        future: Future[list[Result]] = self._pool.schedule(
            ingest.ingest_batch, args=(tuple(sources), directory, self._rules), timeout=self._task_seconds
        )
        return future

    def __enter__(self) -> Self:
        """Start working."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop at once; what is unfinished will be swept away."""
        self._pool.stop()
        self._pool.join()


def process_context() -> multiprocessing.context.ForkServerContext:
    """How processes are started: forked from a small server that has the heavy modules loaded and no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["staticwado_daemon.pipeline.ingest", "staticwado_daemon.pipeline.publisher"])
    return context


def _start(memory: int, prepare: Callable[[], None]) -> None:
    """Prepare a worker: it ends with its parent, leaves Ctrl-C to the main process, and can't eat the machine."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    os.umask(UMASK)
    prepare()
