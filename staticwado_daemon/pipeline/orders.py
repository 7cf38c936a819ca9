"""What the publisher is asked to do to what is in the tree already, as opposed to files that are to come into it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import DONE, Action
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.requests import Answer, Request

_WAIT_SECONDS = 0.5
_TIDIED: Mapping[str, str] = {"aside": "set aside", "group": "grouped"}


def begin(line: Line, request: Request) -> int | None:
    """Tell the publisher what is to be done.

    Returns:
        a number to ask `Line.obeyed` by; None where a `flush` tells all there is to tell, or files are to be taken.
    """
    if request.command == "aside":
        return line.tidy(aside=request.targets)
    targets = [Target.parse(each) for each in request.targets]
    if request.command == "index":
        line.reindex()
    elif request.command == "renew":
        line.renew([each.study for each in targets])
    elif request.command == "group":
        return line.tidy(grouped=[each.study for each in targets])
    elif request.command in DONE:
        return line.remove(cast("Action", request.command), targets, request.options.by, request.options.reason)
    return None


def answers(request: Request, done: Sequence[str]) -> list[Answer]:
    """What became of the instances, studies or paths to which something was done."""
    if request.command in _TIDIED:
        return [Answer(Path(each), _TIDIED[request.command], None, None) for each in done]
    outcome = DONE[cast("Action", request.command)]
    return [Answer(Path(each), outcome, None, Target.parse(each).instance) for each in done]


def carry_out(line: Line, request: Request) -> list[Answer]:
    """Have it done now; return when everything of it is written.

    Raises:
        StaticwadoError: if the disk refuses some of it, or the line can't go on.
    """
    found: list[Answer] = []
    number = begin(line, request)
    if number is not None:
        while (done := line.obeyed(number)) is None:
            line.pump(_WAIT_SECONDS)
        found = answers(request, done.done)
        if done.failure:
            raise StaticwadoError(f"not everything was done, because of the disk: {done.failure}; run it again")
    flushed = line.flush()
    while not line.is_flushed(flushed):
        line.pump(_WAIT_SECONDS)
    return found
