"""The publisher process as the main process sees it: told things, heard of, and ended, without ever waiting for it.

A disk that hangs stops the publisher in the middle of a call. The main process still has to take in, to report, and to
end in time, so both directions of the connection have a thread of their own.
"""

import atexit
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeAlias

import structlog

from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.pipeline.messages import Message, Progress, Reply
from staticwado_daemon.pipeline.processes import process_context

_log = structlog.get_logger(__name__)

Hear: TypeAlias = Callable[[Reply | StaticwadoError], None]

_ENDING_SECONDS = 7.0
"""How long it may go on with what it was given when all is to end: a service manager waits for ten."""


class PublisherProcess:
    """The process, from `start` to `end`.

    Args:
        publish: what it does with its end of the connection: `publishing.run` of some root, as a partial that can be
            pickled.
        hear: called from another thread with each reply, and with an error when there will be no more.

    Attributes:
        told: how many messages it was told.
    """

    def __init__(self, publish: Callable[[Connection], None], hear: Hear) -> None:
        self._hear = hear
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.told = 0
        self._taken = 0
        self._owing_since = time.monotonic()
        context = process_context()
        self._connection, self._theirs = context.Pipe()
        self._process = context.Process(target=publish, args=(self._theirs,), name="staticwado-publisher")
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._speaker = threading.Thread(target=self._speak, daemon=True)

    def start(self) -> None:
        """Start it, and wait until it has opened the root.

        Raises:
            StaticwadoError: if it can't, say because another process is writing there.
        """
        self._process.start()
        # If `end` isn't called: multiprocessing would wait for ever for a process that nobody tells to end.
        atexit.register(self._process.kill)
        # Only the process may keep its own end open, or its death would go unnoticed.
        self._theirs.close()
        try:
            first = self._connection.recv()
        except EOFError:
            raise StaticwadoError("the publisher process did not start") from None
        if isinstance(first, StaticwadoError):
            self._process.join()
            raise first
        self._hear(first)
        self._listener.start()
        self._speaker.start()

    def tell(self, message: Message) -> None:
        """Have it do something, after everything that it was told before."""
        if self._taken == self.told:
            self._owing_since = time.monotonic()
        self.told += 1
        self._messages.put(message)

    @property
    def silence(self) -> float:
        """Seconds since it was last heard of, while it owes something; 0 if it doesn't."""
        return time.monotonic() - self._owing_since if self._taken != self.told else 0.0

    def end(self) -> None:
        """Let it finish what it has been given; if that takes too long the next start goes on from there."""
        self._messages.put(None)
        self._listener.join(_ENDING_SECONDS)
        if self._listener.is_alive():
            _log.error("publisher_hangs")
            self._process.kill()
            self._listener.join(_ENDING_SECONDS)
        self._process.join(_ENDING_SECONDS)
        self._connection.close()
        atexit.unregister(self._process.kill)

    def _speak(self) -> None:
        try:
            while (message := self._messages.get()) is not None:
                self._connection.send(message)
            self._connection.send(None)
        except OSError:
            return  # it has died, and the other thread says so

    def _listen(self) -> None:
        try:
            while True:
                reply = self._connection.recv()
                self._owing_since = time.monotonic()
                if isinstance(reply, Progress):
                    self._taken = reply.taken
                self._hear(reply)
        except (EOFError, OSError):
            self._hear(StaticwadoError("the publisher process has ended; its log says why"))
