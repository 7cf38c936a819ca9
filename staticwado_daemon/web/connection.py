"""A connection to the embedded server whose client can't keep it for ever, nor keep others out.

A client that sends its request byte by byte, says nothing, or doesn't take its answer costs a connection and some
memory. Both are bounded: time for each of these, and the number of connections, beyond which whoever has kept the
server waiting longest has to go. So there is always room for a client that means it.
"""

import asyncio
import math

from uvicorn.protocols.http.h11_impl import H11Protocol

ASKING_SECONDS = 30.0
"""How long the next request may take, from the end of the last answer to the last byte of the request's headers."""

TAKING_SECONDS = 60.0
"""How long a client may take for what has been written to it, a piece of a file (`static`) or a little more."""

MAXIMUM_CONNECTIONS = 400
"""With a file each still below the 1,024 descriptors that a process usually may have."""


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which waits for its client only so long.

    Whatever a client sends, the clock that runs for it isn't set back: only a whole request or a taken answer counts.

    Attributes:
        waiting_since: when it began to wait for its client (the loop's clock); None while it is for the server to act.
    """

    waiting_since: float | None = None
    _allowed: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _has_said_all: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._observe()
        if len(self.connections) > MAXIMUM_CONNECTIONS:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._observe()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn ends the connection in any case
        """Answer what was asked before the client said that it would say no more."""
        self._has_said_all = True
        return self._is_answering

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, if there can be one."""
        super().on_response_complete()
        if self._has_said_all and not self._is_answering:
            self.transport.close()
        self._observe()

    def pause_writing(self) -> None:
        """Begin to wait for the client to take its answer."""
        super().pause_writing()
        self._observe()

    def resume_writing(self) -> None:
        """Go on, as it has taken enough."""
        super().resume_writing()
        self._observe()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._wait(None)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _observe(self) -> None:
        """Run the clock for what is waited for now."""
        if self.flow.write_paused:
            allowed: float | None = TAKING_SECONDS
        else:
            allowed = None if self._is_answering else ASKING_SECONDS
        if allowed != self._allowed:
            self._wait(allowed)

    def _wait(self, allowed: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._allowed = allowed
        if allowed is None:
            self._timer, self.waiting_since = None, None
        else:
            # Not `close`, which waits until the client has taken what is written.
            self._timer = self.loop.call_later(allowed, self.transport.abort)
            self.waiting_since = self.loop.time()

    def _make_room(self) -> None:
        """Break off whichever connection has waited longest; this one waits as well, so there is one."""
        others = (each for each in self.connections if isinstance(each, Connection))
        longest = min(others, key=lambda each: math.inf if each.waiting_since is None else each.waiting_since)
        self.connections.discard(longest)  # now: the loop tells it only when it gets round to it
        longest.transport.abort()
