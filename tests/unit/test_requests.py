"""Requests: each is taken once and answered, and nobody waits for an answer that can't come."""

import fcntl
import json
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import StaticwadoError
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.pipeline import requests
from staticwado_daemon.pipeline.requests import Answer, Options, Request

ODD = Path(os.fsdecode(b"/in/caf\xe9 \x1b.dcm"))
RECEIPT = Receipt(ODD, None, "published", None, Identity(UID("1.2"), UID("1.3"), UID("1.4")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / layout.REQUESTS).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def daemon(root: Path) -> Iterator[Callable[[], None]]:
    """Holds the lock as a daemon does; call it to let go."""
    lock = (root / layout.LOCK).open("wb", buffering=0)
    lock.write(b"daemon")
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield lock.close
    lock.close()


@pytest.fixture
def asker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def files(root: Path) -> list[str]:
    return sorted(path.suffix for path in (root / layout.REQUESTS).iterdir())


def taken(root: Path) -> Request:
    """Wait for the one request, as the daemon's loop does."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if found := requests.pending(root):
            return found[0]
        time.sleep(0.01)
    raise AssertionError("no request came")


@pytest.mark.usefixtures("daemon")
def test_a_request_is_taken_once_reported_on_and_answered(root: Path, asker: ThreadPoolExecutor) -> None:
    heard: queue.SimpleQueue[Mapping[str, int]] = queue.SimpleQueue()
    answers = asker.submit(requests.ask, root, "create", [ODD], heard.put)
    request = taken(root)
    assert (request.command, request.paths) == ("create", (ODD,))
    assert requests.pending(root) == []
    requests.report(root, request.id, {"published": 1})
    assert heard.get(timeout=5) == {"published": 1}
    requests.report(root, request.id, {"published": 2, "rejected": 1})
    assert heard.get(timeout=5) == {"published": 2, "rejected": 1}
    time.sleep(0.3)
    requests.answer(root, request.id, [RECEIPT])
    assert answers.result(5) == [Answer(ODD, "published", None, "1.4")]
    assert heard.empty()  # the same again is no news
    assert files(root) == []


@pytest.mark.usefixtures("daemon")
def test_who_asks_is_told_once_that_the_daemon_waits(root: Path, asker: ThreadPoolExecutor) -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    answers = asker.submit(requests.ask, root, "create", [ODD], lambda _: None, heard.put)
    request = taken(root)
    for waits in ("2 MB free", "1 MB free", None, "3 MB free"):
        requests.report(root, request.id, {}, waits)
        time.sleep(0.3)
    requests.answer(root, request.id, [RECEIPT])
    assert len(answers.result(5)) == 1
    assert [heard.get(timeout=0), heard.get(timeout=0)] == ["2 MB free", "3 MB free"]
    assert heard.empty()


@pytest.mark.usefixtures("daemon")
def test_progress_that_cannot_be_read_is_no_progress(root: Path, asker: ThreadPoolExecutor) -> None:
    heard: list[Mapping[str, int]] = []
    answers = asker.submit(requests.ask, root, "create", [ODD], heard.append)
    request = taken(root)
    progress = root / layout.REQUESTS / f"{request.id}.progress"
    for text in ("", "[1]", '{"publ', '{"published": 1}'):
        progress.write_text(text)
        time.sleep(0.25)
    requests.answer(root, request.id, [])
    assert answers.result(5) == []
    assert heard == []


def test_who_asks_learns_that_the_daemon_has_ended(
    root: Path, daemon: Callable[[], None], asker: ThreadPoolExecutor
) -> None:
    answers = asker.submit(requests.ask, root, "index")
    taken(root)
    daemon()
    with pytest.raises(StaticwadoError, match="ended before it had answered"):
        answers.result(5)
    assert files(root) == [".taken"]


def test_a_command_that_writes_is_no_daemon(root: Path) -> None:
    with (root / layout.LOCK).open("wb", buffering=0) as lock:
        lock.write(b"create")
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StaticwadoError, match="ended before it had answered"):
            requests.ask(root, "index")
    assert files(root) == []


@pytest.mark.usefixtures("daemon")
def test_what_an_earlier_daemon_began_is_given_up_by_the_next(root: Path, asker: ThreadPoolExecutor) -> None:
    answers = asker.submit(requests.ask, root, "index")
    taken(root)
    requests.abandon(root)  # quicker than anybody could see that the lock was free
    assert requests.pending(root) == []
    with pytest.raises(StaticwadoError, match="ended before it had answered"):
        answers.result(5)
    assert files(root) == []


def test_an_answer_counts_even_if_the_daemon_ends_right_after_it(
    root: Path, daemon: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_and_end(_seconds: float) -> None:
        requests.answer(root, taken(root).id, [RECEIPT])
        daemon()

    monkeypatch.setattr("staticwado_daemon.pipeline.requests.time.sleep", answer_and_end)
    assert len(requests.ask(root, "create", [ODD])) == 1


@pytest.mark.usefixtures("daemon")
def test_an_interrupted_command_withdraws_its_request(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("staticwado_daemon.pipeline.requests.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        requests.ask(root, "create", [ODD])
    assert requests.pending(root) == []
    assert files(root) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"command": "create"}',
        b'{"command": "destroy", "paths": []}',
        b'{"command": "create", "paths": ["relative"]}',
        b'{"command": "create", "paths": ["/in/\\u0000"]}',
        b'{"command": "create", "paths": 7}',
        b'{"command": "create", "paths": [7]}',
        b"\xff",
    ],
)
def test_what_is_no_request_is_set_aside(root: Path, body: bytes) -> None:
    (root / layout.REQUESTS / "1.json").write_bytes(body)
    assert requests.pending(root) == []
    assert files(root) == [".unreadable"]


@pytest.mark.usefixtures("daemon")
def test_who_asks_learns_that_the_daemon_may_not_read_the_request(
    root: Path, asker: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.read_text

    def refuse(path: Path, encoding: str) -> str:
        if path.suffix == ".json":
            raise PermissionError(13, "Permission denied")
        return real(path, encoding)

    monkeypatch.setattr(Path, "read_text", refuse)  # the tests may run as root, whom nobody refuses
    answers = asker.submit(requests.ask, root, "index")
    until = time.monotonic() + 10
    while not answers.done() and time.monotonic() < until:
        assert requests.pending(root) == []
    with pytest.raises(StaticwadoError, match="as the user that the daemon runs as"):
        answers.result(0)


def test_a_request_can_be_read_whatever_the_mask_of_who_asks(root: Path, daemon: Callable[[], None]) -> None:
    before = os.umask(0o077)
    try:
        requests.report(root, "1", {"published": 1})
    finally:
        os.umask(before)
        daemon()
    assert (root / layout.REQUESTS / "1.progress").stat().st_mode & 0o777 == 0o644


def test_what_nobody_waits_for_is_removed_after_a_day(root: Path) -> None:
    directory = root / layout.REQUESTS
    for age in (23, 25):
        for suffix in ("answer", "progress", "unreadable", "part", "taken"):
            path = directory / f"{age}.{suffix}"
            path.touch()
            os.utime(path, (time.time() - age * 3600,) * 2)
    assert requests.pending(root) == []
    assert len(files(root)) == 10
    (directory / "new.json").write_text('{"command": "index", "paths": []}')
    assert [each.command for each in requests.pending(root)] == ["index"]
    left = {path.name for path in directory.iterdir() if path.name.startswith("25")}
    assert left == {"25.taken"}  # it may still be under way
    assert len(files(root)) == 7


@pytest.mark.usefixtures("daemon")
def test_targets_and_options_arrive_as_they_were_meant(root: Path, asker: ThreadPoolExecutor) -> None:
    targets = ("studies/1.2", "studies/1.2/series/3/instances/4")
    options = Options(reason="naïve?", by="anna", force=True, delete=True)
    answers = asker.submit(requests.ask, root, "delete", targets=targets, options=options)
    request = taken(root)
    assert (request.command, request.paths, request.targets, request.options) == ("delete", (), targets, options)
    requests.answer(root, request.id, [])
    assert answers.result(5) == []


NOT_ASIDE = (
    "studies",
    "studies/",
    "/studies/1.2",
    "./studies/1.2",
    "studies/../.staticwado/lock",
    "studies/1.2/..",
    "studies/./1.2",
    "studies//1.2",
    "studies/1.2/\0",
    "studies/1.2/\ud800",
    ".staticwado/originals/x",
    "etc/passwd",
    "",
    5,
)


@pytest.mark.parametrize(
    "body",
    [
        {"command": "burn"},
        {"targets": ["1.2"]},
        {"targets": ["studies/../.."]},
        {"targets": 5},
        {"options": {"reason": "two\nlines"}},
        {"options": {"reason": "x" * 1001}},
        {"options": {"by": 5}},
        {"options": {"force": "yes"}},
        {"options": {"delete": 1}},
        {"command": "group", "targets": ["restore/1.2"]},
        *({"command": "aside", "targets": [target]} for target in NOT_ASIDE),
        {"options": {"another": 1}},
        {"options": []},
    ],
    ids=lambda body: str(body)[:40],
)
def test_what_nobody_can_mean_is_not_obeyed(root: Path, body: dict[str, object]) -> None:
    (root / layout.REQUESTS / "7.json").write_text(json.dumps({"command": "delete", "paths": [], **body}), "ascii")
    assert requests.pending(root) == []
    assert files(root) == [".unreadable"]


def test_a_request_too_long_to_be_one_is_not_read(root: Path) -> None:
    with (root / layout.REQUESTS / "a.json").open("wb") as file:
        file.truncate(1 << 40)
    assert requests.pending(root) == []
    assert files(root) == [".unreadable"]
