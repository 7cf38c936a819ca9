"""Ctrl-C while processes are being started: it is the main process's alone, and comes at a moment when it can act."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker


def start_fork_server() -> None:
    """Start the process that the others are forked from, if it isn't there; a terminal's Ctrl-C doesn't reach it.

    By itself it ignores that only once it has loaded its modules, and until then dies of it with a long story. What is
    forked from it inherits the mask: it is ended by its parent.
    """
    resource_tracker.ensure_running()  # which would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupts_put_off() -> Iterator[None]:
    """Put the first Ctrl-C off until the end of this block, but not a second one.

    A process that is only half started can't be ended in an orderly way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = threading.Event()

    def note(*_: object) -> None:
        heard.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if heard.is_set():
            signal.raise_signal(signal.SIGINT)
