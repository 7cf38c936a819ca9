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

LEAST_SECONDS = 60.0
BYTES_PER_SECOND = 1_000_000
"""What a worker that reads and transcodes is certainly faster than: one that is slower hangs, and is killed."""

_PR_SET_PDEATHSIG = 1


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


class WorkerProcesses:
    """Workers on this machine.

    Args:
        count: processes.
        rules: how they ingest.
        memory: bytes of data one worker may hold (RLIMIT_DATA).
        prepare: called once in each process, to configure its logging.
    """

    def __init__(self, count: int, rules: Rules, memory: int, prepare: Callable[[], None]) -> None:
        self.count = count
        self._rules = rules
        self._pool = pebble.ProcessPool(
            max_workers=count, context=process_context(), initializer=_start, initargs=(memory, prepare)
        )

    def submit(self, sources: Sequence[Source], directory: Path) -> "Future[list[Result]]":
        """Ingest sources, staging below a directory of their own that doesn't exist yet."""
        future: Future[list[Result]] = self._pool.schedule(
            ingest.ingest_batch, args=(tuple(sources), directory, self._rules), timeout=time_limit(sources)
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


def time_limit(sources: Sequence[Source]) -> float:
    """The seconds that a batch may take."""
    return LEAST_SECONDS + sum(source.stamp.size for source in sources) / BYTES_PER_SECOND


def process_context() -> multiprocessing.context.ForkServerContext:
    """How processes are started: forked from a small server that has the heavy modules loaded and no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["staticwado_daemon.pipeline.ingest", "staticwado_daemon.pipeline.publisher"])
    return context


def _start(memory: int, prepare: Callable[[], None]) -> None:
    """Prepare a worker: it ends with its parent, leaves Ctrl-C to the main process, and can't eat the machine."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    memory = memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    os.umask(UMASK)
    prepare()


def end_with_parent() -> None:
    """Let this process be killed when the one that forked it ends, however that ends (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
