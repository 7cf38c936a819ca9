"""Requests: how a command asks the running daemon, which alone may write, to do its work.

A request is a file in `ROOT/.staticwado/requests/`, and what becomes of it shows in the files of its name, each made
by one rename: `.json` (asked), `.taken` (under way, with `.progress` beside it), `.answer` (done) or `.unreadable`.
Names that are not UTF-8 survive because JSON here is plain ASCII with escapes.
"""

import json
import os
import stat
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.lock import lock_holder
from staticwado_daemon.archive.target import Target
from staticwado_daemon.errors import Rejected, StaticwadoError
from staticwado_daemon.inbound.receipt import Receipt

Command = Literal["create", "index", "retry", "delete", "reject", "undo", "renew", "group", "aside"]

_POLL_SECONDS = 0.1
_STALE_SECONDS = 86_400.0
_REMAINS = frozenset({".answer", ".progress", ".unreadable", ".part"})
"""What is nobody's any more once it is old: whoever asked has gone without it."""


LONGEST_REASON = 1000
_LONGEST_NAME = 200
_LONGEST_REQUEST = 256 << 20
"""Bytes of a request, which is read whole: `create` names each file, and may name millions."""


@dataclass(frozen=True, slots=True)
class Options:
    """How something is to be done.

    Attributes:
        reason: why, as somebody gave it.
        by: who wants it.
        force: of `create`: files are taken although their content is known, or was deleted or rejected.
        delete: of `create`: each file is removed once it is durably stored and can be given back.
    """

    reason: str = ""
    by: str = ""
    force: bool = False
    delete: bool = False


NO_OPTIONS: Final = Options()


@dataclass(frozen=True, slots=True)
class Request:
    """Something to be done by the daemon.

    Attributes:
        id: names the request and its answer.
        command: what is to be done.
        paths: the files it is about, absolute.
        targets: the studies, series and instances it is about: `studies/S[/series/X[/instances/I]]`; what is to be
            set aside as paths below the root.
        options: how it is to be done.
    """

    id: str
    command: Command
    paths: tuple[Path, ...] = ()
    targets: tuple[str, ...] = ()
    options: Options = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file of a request.

    Attributes:
        path: the file's.
        outcome: as in a receipt, or "waiting": it ended too early and is followed until it has the rest.
        reason: why, in one sentence.
        instance: its SOP Instance UID, if it is known.
    """

    path: Path
    outcome: str
    reason: str | None
    instance: str | None

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        """What a receipt says to whoever asked."""
        instance = receipt.identity.instance if receipt.identity else None
        return cls(receipt.path, receipt.outcome, receipt.reason, instance)


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a request is: see `report`."""

    counts: Mapping[str, int]
    waits: str | None


def ask(
    root: Path,
    command: Command,
    paths: Sequence[Path] = (),
    on_progress: Callable[[Mapping[str, int]], None] = lambda _: None,
    on_wait: Callable[[str], None] = lambda _: None,
    *,
    targets: Sequence[str] = (),
    options: Options = NO_OPTIONS,
) -> list[Answer]:
    """Have the daemon of `root` do something; return when it is done.

    Args:
        root: of the tree.
        command: what is to be done.
        paths: the files it is about, absolute.
        on_progress: told now and then how many of the files have which outcome.
        on_wait: told, when the daemon begins to wait for something that somebody must mend, what that is.
        targets: what of the tree it is about, see `Request`.
        options: how it is to be done.

    Raises:
        StaticwadoError: if the daemon ends before it has answered, or can't read the request.
    """
    asked = root / layout.REQUESTS / f"{uuid.uuid4().hex}.json"
    told = _Progress({}, None)
    try:
        body = {"command": command, "paths": [str(path) for path in paths]}
        _write(asked, body | {"targets": list(targets), "options": asdict(options)})
        while _is_awaited(root, asked):
            now = _progress(asked) or told
            if now.counts and now.counts != told.counts:
                on_progress(now.counts)
            if now.waits and not told.waits:
                on_wait(now.waits)
            told = now
            time.sleep(_POLL_SECONDS)
        rows = json.loads(asked.with_suffix(".answer").read_text("ascii"))
    finally:
        # Also when interrupted: what was not begun is withdrawn, what was is finished and the answer thrown away.
        for suffix in (".json", ".answer", ".progress", ".unreadable"):
            asked.with_suffix(suffix).unlink(missing_ok=True)
    return [Answer(Path(path), outcome, reason, instance) for path, outcome, reason, instance in rows]


def _is_awaited(root: Path, asked: Path) -> bool:
    """Whether the answer is still to come; false if it is there."""
    alive = lock_holder(root) == "daemon"
    # In the order in which the one becomes the other, so that a request on its way is never seen nowhere.
    pending = asked.exists() or asked.with_suffix(".taken").exists()
    if asked.with_suffix(".answer").exists():
        return False
    if asked.with_suffix(".unreadable").exists():
        raise StaticwadoError("the daemon can't read the request; run the command as the user that the daemon runs as")
    if not (alive and pending):
        raise StaticwadoError("the daemon ended before it had answered; run the command again")
    return True


def _progress(asked: Path) -> _Progress | None:
    """What the daemon has reported last; None if it hasn't."""
    try:
        body = json.loads(asked.with_suffix(".progress").read_text("ascii"))
        return _Progress(body["counts"], body["waits"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def abandon(root: Path) -> None:
    """Give up what an earlier daemon had begun; whoever asked for it learns that it has ended. Called at the start.

    It isn't begun anew, because it may be what the earlier daemon died of.
    """
    for taken in (root / layout.REQUESTS).glob("*.taken"):
        taken.unlink(missing_ok=True)


def pending(root: Path) -> list[Request]:
    """Take over the requests that nobody has taken yet; each is returned once."""
    found = []
    waiting = sorted((root / layout.REQUESTS).glob("*.json"))
    for path in waiting:
        try:
            request = _read(path)
            path.rename(path.with_suffix(".taken"))
        except FileNotFoundError:
            continue  # withdrawn
        except (OSError, ValueError, KeyError, TypeError, RecursionError, Rejected):
            with suppress(OSError):
                path.rename(path.with_suffix(".unreadable"))
        else:
            found.append(request)
    if waiting:
        _sweep(root / layout.REQUESTS)
    return found


def report(root: Path, request: str, counts: Mapping[str, int], waits: str | None = None) -> None:
    """Say how far a request is. Once or twice a second is often enough.

    Args:
        root: of the tree.
        request: its id.
        counts: how many of its files have which outcome.
        waits: what it waits for that somebody must mend, in one sentence.
    """
    _write(root / layout.REQUESTS / f"{request}.progress", {"counts": dict(counts), "waits": waits})


def answer(root: Path, request: str, results: Sequence[Receipt | Answer]) -> None:
    """Say what became of a request's files; that ends it."""
    answers = [Answer.of(each) if isinstance(each, Receipt) else each for each in results]
    rows = [(str(each.path), each.outcome, each.reason, each.instance) for each in answers]
    place = root / layout.REQUESTS / f"{request}.answer"
    _write(place, rows)
    for suffix in (".taken", ".progress"):
        place.with_suffix(suffix).unlink(missing_ok=True)


def _read(path: Path) -> Request:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LONGEST_REQUEST:
        raise ValueError(path.name)
    return _parse(path.stem, json.loads(path.read_text("ascii")))


def _parse(name: str, body: dict[str, Any]) -> Request:
    if body["command"] not in get_args(Command):
        raise ValueError(body["command"])
    paths = tuple(Path(path) for path in body["paths"])
    for path in paths:
        os.fsencode(path)  # raises for what can't be a name
    if not all(path.is_absolute() and "\0" not in str(path) for path in paths):
        raise ValueError("a path that can't be one")
    parse = _below_the_root if body["command"] == "aside" else _target
    targets = tuple(map(parse, body.get("targets", ())))
    return Request(name, body["command"], paths, targets, _options(body.get("options", {})))


def _target(text: str) -> str:
    return str(Target.parse(text))


def _below_the_root(text: str) -> str:
    os.fsencode(text)
    if not layout.is_by_study(text):
        raise ValueError("a path that nothing is set aside from")
    return text


def _options(body: dict[str, Any]) -> Options:
    options = Options(**body)
    texts = (options.reason, LONGEST_REASON), (options.by, _LONGEST_NAME)
    # They end in records and receipts, one a line, and on terminals.
    if not all(isinstance(text, str) and text.isprintable() and len(text) <= most for text, most in texts):
        raise ValueError("options that can't be right")
    if not (isinstance(options.force, bool) and isinstance(options.delete, bool)):
        raise TypeError("true or false")
    return options


def _sweep(directory: Path) -> None:
    """Remove what was left by requests of which nobody waits for the answer."""
    for path in directory.iterdir():
        with suppress(OSError):
            if path.suffix in _REMAINS and time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def _write(path: Path, body: Any) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.part")
    temporary.write_text(json.dumps(body), "ascii")
    # Whoever asks may be root with a mask of its own, the daemon another user; only the directory decides who gets in.
    temporary.chmod(0o644)
    temporary.rename(path)
