"""Have something done to the tree: by the running daemon, which alone may write then, else here."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from staticwado_daemon.cli.options import warn

if TYPE_CHECKING:
    from staticwado_daemon.config import Storage
    from staticwado_daemon.log import Level
    from staticwado_daemon.pipeline.requests import Answer, Command, Options


def have_done(
    storage: "Storage",
    level: "Level",
    command: "Command",
    targets: Sequence[str] = (),
    options: "Options | None" = None,
    on_progress: Callable[[Mapping[str, int]], None] = lambda _: None,
) -> "list[Answer]":
    """Have a command obeyed that is about what is in the tree; return when everything of it is written.

    Args:
        storage: the tree.
        level: how much to log where it is done here.
        command: what is to be done: "index", "renew", "delete", "reject" or "undo".
        targets: the studies, series and instances it is about: `studies/S[/series/X[/instances/I]]`.
        options: how it is to be done.
        on_progress: told now and then how many instances have which outcome.

    Raises:
        StaticwadoError: if it can't be done, or not all of it be written.
    """
    from staticwado_daemon.cli.assembly import line_or_daemon
    from staticwado_daemon.pipeline import orders, requests
    from staticwado_daemon.pipeline.requests import Options, Request

    options = options or Options()
    with line_or_daemon(storage, level) as opened:
        if opened is None:
            return requests.ask(storage.root, command, (), on_progress, warn, targets=targets, options=options)
        line, _ = opened
        return orders.carry_out(line, Request("here", command, (), tuple(targets), options))
