"""How the daemon's processes are started, and how they end with it."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from staticwado_daemon import libc
from staticwado_daemon.pipeline.interrupts import start_fork_server

_PR_SET_PDEATHSIG = 1


def process_context() -> ForkServerContext:
    """How processes are started: forked from a small server that has the heavy modules loaded and no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["staticwado_daemon.pipeline.ingest", "staticwado_daemon.pipeline.publisher"])
    start_fork_server()
    return context


def end_with_parent() -> None:
    """Let this process be killed when the one that forked it ends, however that ends (prctl(2))."""
    libc.call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_daemon() -> None:
    """Let this process end at once when the daemon is gone, for one that reads nothing from it.

    The process that forked it doesn't end then: multiprocessing keeps it alive for as long as it has children.
    """
    daemon = multiprocessing.parent_process()
    if daemon is not None:
        threading.Thread(target=_outlive, args=(daemon,), daemon=True).start()


def _outlive(other: BaseProcess) -> None:
    other.join()
    os._exit(1)
