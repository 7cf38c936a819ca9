"""Requests: how a command asks the running daemon, which alone may write, to do its work.

A request is a file in `ROOT/.staticwado/requests/`, made by rename, and so is its answer. Names that are not UTF-8
survive because JSON here is plain ASCII with escapes.
"""

import json
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.store import is_locked
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.inbound.receipt import Receipt

Command = Literal["create", "index"]

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Request:
    """Something to be done by the daemon.

    Attributes:
        id: names the request and its answer.
        command: what is to be done.
        paths: the files it is about, absolute.
    """

    id: str
    command: Command
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file of a request."""

    path: Path
    outcome: str
    reason: str | None
    instance: str | None


def ask(root: Path, command: Command, paths: Sequence[Path] = ()) -> list[Answer]:
    """Have the daemon of `root` do something; return when it is done.

    Raises:
        StaticwadoError: if the daemon ends before it has answered.
    """
    request = Request(uuid.uuid4().hex, command, tuple(paths))
    directory = root / layout.REQUESTS
    _write(directory / f"{request.id}.json", {"command": command, "paths": [str(path) for path in paths]})
    answer = directory / f"{request.id}.answer"
    while not answer.exists():
        if not is_locked(root):
            (directory / f"{request.id}.json").unlink(missing_ok=True)
            raise StaticwadoError("the daemon ended before it had answered; run the command again")
        time.sleep(_POLL_SECONDS)
    rows = json.loads(answer.read_text("ascii"))
    answer.unlink()
    return [Answer(Path(path), outcome, reason, instance) for path, outcome, reason, instance in rows]


def pending(root: Path) -> list[Request]:
    """Take over the requests that nobody has answered yet; each is returned once."""
    found = []
    for path in sorted((root / layout.REQUESTS).glob("*.json")):
        try:
            body = json.loads(path.read_text("ascii"))
            found.append(_parse(path.stem, body))
        except (ValueError, KeyError, TypeError):
            path.rename(path.with_suffix(".unreadable"))
        else:
            path.unlink()
    return found


def answer(root: Path, request: str, receipts: Sequence[Receipt]) -> None:
    """Say what became of a request's files."""
    rows = [
        (str(each.path), each.outcome, each.reason, each.identity.instance if each.identity else None)
        for each in receipts
    ]
    _write(root / layout.REQUESTS / f"{request}.answer", rows)


def _parse(name: str, body: dict[str, Any]) -> Request:
    if body["command"] not in get_args(Command):
        raise ValueError(body["command"])
    return Request(name, body["command"], tuple(Path(path) for path in body["paths"]))


def _write(path: Path, body: Any) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.part")
    temporary.write_text(json.dumps(body), "ascii")
    temporary.rename(path)
