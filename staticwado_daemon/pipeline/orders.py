"""What the publisher is asked to do to what is in the tree already, as opposed to files that are to come into it."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import DONE, Action
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.requests import Answer, Request

_WAIT_SECONDS = 0.5


def begin(line: Line, request: Request) -> int | None:
    """Tell the publisher what is to be done.

    Returns:
        a number to ask `Line.removed` by; None where a `flush` tells all there is to tell, or files are to be taken.
    """
    targets = [Target.parse(each) for each in request.targets]
    if request.command == "index":
        line.reindex()
    elif request.command == "renew":
        line.renew([each.study for each in targets])
    elif request.command in DONE:
        return line.remove(cast("Action", request.command), targets, request.options.by, request.options.reason)
    return None


def answers(request: Request, instances: Sequence[Target]) -> list[Answer]:
    """What became of the instances to which something was done."""
    outcome = DONE[cast("Action", request.command)]
    return [Answer(Path(str(each)), outcome, None, each.instance) for each in instances]


def carry_out(line: Line, request: Request) -> list[Answer]:
    """Have it done now; return when everything of it is written.

    Raises:
        StaticwadoError: if the disk refuses some of it, or the line can't go on.
    """
    found: list[Answer] = []
    number = begin(line, request)
    if number is not None:
        while (done := line.removed(number)) is None:
            line.pump(_WAIT_SECONDS)
        found = answers(request, done.instances)
        if done.failure:
            raise StaticwadoError(f"not everything was done, because of the disk: {done.failure}; run it again")
    flushed = line.flush()
    while not line.is_flushed(flushed):
        line.pump(_WAIT_SECONDS)
    return found
