"""Ctrl-C before there is anything to undo."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_INTERRUPTED = 130


@contextmanager
def interrupts_end_it() -> Iterator[None]:
    """Let Ctrl-C end a program that is still loading its modules: at once, and without a word.

    Whoever has other ideas about Ctrl-C, such as a program that imports this one, keeps them.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    except ValueError:  # only a main thread hears of signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
