"""The line: batches to workers and publisher, receipts to the journal.

Workers are futures that the test resolves. The publisher is the test itself, or, at the end of this file, the real
process.
"""

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import pytest
from structlog.testing import capture_logs

from staticwado_daemon.archive import layout
from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.inbound.content import CHANGED
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Outcome, Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import line as lines
from staticwado_daemon.pipeline import publisher_process
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.messages import (
    Batch,
    Committed,
    Flush,
    Flushed,
    Message,
    Progress,
    Reindex,
    Reply,
    Sweep,
)
from staticwado_daemon.pipeline.staged import Finished, Unfinished
from staticwado_daemon.pipeline.workers import Result, WorkerLostError
from tests.lines import publishing
from tests.staging import load, stage

PATIENCE = 20.0
AT_REST = Progress(instances=0, studies=0, dirty=0)


@dataclass
class Task:
    """What a worker was given."""

    sources: tuple[Source, ...]
    directory: Path
    future: "Future[list[Result]]" = field(default_factory=Future)

    def done(self, root: Path) -> None:
        """Stage every source, each as an instance of its own."""
        self.future.set_result([_staged(root, source) for source in self.sources])


class Workers:
    """Two workers who do nothing until they are told to."""

    count = 2

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.stopped = False

    def submit(self, sources: Sequence[Source], directory: Path) -> "Future[list[Result]]":
        self.tasks.append(Task(tuple(sources), directory))
        return self.tasks[-1].future

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped = True


class Acted:
    """The publisher, played by the test: a process as the line sees it, and its end of the connection."""

    first: Reply | None = AT_REST

    def __init__(self, args: tuple[Connection, ...], **_: object) -> None:
        # The line closes its copy of this end once the process has its own.
        self.connection = Connection(os.dup(args[0].fileno()))
        self.heard = 0

    def start(self) -> None:
        if self.first is None:
            self.connection.close()
        else:
            self.say(self.first)

    def join(self, timeout: float | None = None) -> None:
        pass

    def kill(self) -> None:
        pass

    def say(self, reply: Reply) -> None:
        if isinstance(reply, Progress):
            reply = replace(reply, taken=self.heard)
        self.connection.send(reply)

    def hear(self) -> Message:
        assert self.connection.poll(PATIENCE)
        message: Message = self.connection.recv()
        self.heard += 1
        return message

    def hears_nothing(self) -> bool:
        return not self.connection.poll(0.05)


@dataclass
class Scene:
    """A running line, and everybody around it."""

    root: Path
    line: Line
    workers: Workers
    publisher: Acted
    journal: Journal

    @property
    def tasks(self) -> list[Task]:
        return self.workers.tasks

    def pump(self, count: int) -> list[Finished]:
        """What leaves the line, until it is so many."""
        return _pump(self.line, count)

    def hear_batch(self) -> Batch:
        message = self.publisher.hear()
        assert isinstance(message, Batch)
        return message

    def commit(self, batch: Batch) -> None:
        """Answer that a batch was stored."""
        self.publisher.say(Committed(batch.number, tuple(_receipt(each.source) for each in batch.staged)))

    def settle(self, so: Callable[[], bool]) -> None:
        """Pump until something is so; nothing may leave the line meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not so():
            assert time.monotonic() < deadline
            assert self.line.pump(0.05) == []


def _pump(line: Line, count: int) -> list[Finished]:
    finished: list[Finished] = []
    deadline = time.monotonic() + PATIENCE
    while len(finished) < count:
        assert time.monotonic() < deadline, finished
        finished += line.pump(0.1)
    return finished


def _source(number: int, size: int = 1000) -> Source:
    return Source(Path(f"/in/{number:04}"), Stamp(1, number + 1, size, 4))


def _staged(root: Path, source: Source) -> Result:
    number = source.stamp.inode
    return stage(root, instance=f"1.2.3.{number}", content=f"{number:064}", source=source)


def _receipt(source: Source, outcome: Outcome = "published") -> Receipt:
    return Receipt(source.path, source.stamp, outcome)


def _outcomes(finished: Sequence[Finished]) -> list[str]:
    return [each.result.outcome if isinstance(each.result, Receipt) else "unfinished" for each in finished]


def _paths(finished: Sequence[Finished]) -> list[Path]:
    return [each.source.path for each in finished]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "state/journal.sqlite")) as opened:
        yield opened


@pytest.fixture
def _acted(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Acted)
    monkeypatch.setattr(publisher_process, "process_context", lambda: context)


@pytest.fixture
def scene(tmp_path: Path, journal: Journal, _acted: None) -> Iterator[Scene]:
    (tmp_path / "root" / layout.STAGING).mkdir(parents=True)
    workers = Workers()
    line = Line(tmp_path / "root", workers, journal, publishing(tmp_path / "root"))
    publisher = line._publisher._process
    assert isinstance(publisher, Acted)
    with line:
        assert line.pump(PATIENCE) == []  # takes the first report
        yield Scene(tmp_path / "root", line, workers, publisher, journal)
        publisher.connection.close()


# In, through, and out


def test_what_was_submitted_first_is_committed_and_answered_first(scene: Scene) -> None:
    sources = [_source(number) for number in range(4)]
    for source in sources:
        scene.line.submit([source])
    assert [task.sources for task in scene.tasks] == [(source,) for source in sources]
    for task in reversed(scene.tasks[1:]):
        task.done(scene.root)
        assert scene.line.pump(0) == []
    assert scene.publisher.hears_nothing()
    scene.tasks[0].done(scene.root)
    assert scene.line.pump(0) == []
    batches = [scene.hear_batch() for _ in sources]
    assert [each.source for batch in batches for each in batch.staged] == sources
    assert [batch.number for batch in batches] == [1, 2, 3, 4]
    for batch in batches:
        scene.commit(batch)
    finished = scene.pump(4)
    assert [each.source for each in finished] == sources
    assert _outcomes(finished) == ["published"] * 4
    assert scene.journal.counts()["published"] == 4


def test_what_is_not_staged_leaves_without_the_publisher(scene: Scene) -> None:
    results: list[Result] = [
        Receipt(_source(0).path, _source(0).stamp, "rejected", "why"),
        Receipt(_source(1).path, _source(1).stamp, "ignored", "not a DICOM file"),
        Unfinished("ends too early", incomplete=True),
    ]
    for number, result in enumerate(results):
        scene.line.submit([_source(number)])
        scene.tasks[-1].future.set_result([result])
    finished = scene.pump(3)
    assert [each.result for each in finished] == results
    assert scene.publisher.hears_nothing()
    assert scene.journal.known("/in/0000", _source(0).stamp) == "rejected"
    assert scene.journal.find(_source(2).path) == []  # it has no receipt: it may be tried again
    assert scene.line.idle


@pytest.mark.parametrize("failure", ["No space left on device", None])
def test_a_batch_that_was_not_stored_is_given_back(scene: Scene, failure: str | None) -> None:
    scene.line.submit([_source(0)])
    scene.tasks[0].done(scene.root)
    scene.line.pump(0)
    scene.publisher.say(Committed(scene.hear_batch().number, (None,), failure=failure))
    again = Unfinished(failure or CHANGED, incomplete=False, refused=failure is not None)
    assert scene.pump(1) == [Finished(_source(0), again)]
    assert scene.journal.find(_source(0).path) == []
    assert scene.line.backlog == 0


def test_what_was_superseded_is_journalled_and_told(scene: Scene) -> None:
    receipts = []
    for number, superseded in ((0, False), (1, True)):
        scene.line.submit([_source(number)])
        staged = stage(scene.root, content=str(number), source=_source(number))
        scene.tasks[-1].future.set_result([staged])
        scene.line.pump(0)
        identity = staged.record.identity
        receipt = replace(_receipt(staged.source), identity=identity, content=str(number))
        pairs = ((identity, "0"),) if superseded else ()
        scene.publisher.say(Committed(scene.hear_batch().number, (receipt,), pairs))
        receipts += [each.result for each in scene.pump(1)]
    assert [receipt.outcome for receipt in receipts] == ["published", "published"]
    assert [scene.line.current(receipt).outcome for receipt in receipts] == ["superseded", "published"]
    assert scene.journal.counts()["superseded"] == 1


def test_batches_have_limits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BATCH_BYTES", 5_000)
    sources = [_source(number, size=1000 if number < 300 else 4_000) for number in range(400)]
    sources[20] = _source(20, size=1_000_000)
    scene.line.submit(sources)
    finished: list[Finished] = []
    for place in itertools.count():
        if place == len(scene.tasks):
            break
        task = scene.tasks[place]
        assert len(task.sources) <= lines.BATCH_FILES
        assert len(task.sources) == 1 or sum(source.stamp.size for source in task.sources) <= 5_000
        task.future.set_result([_receipt(source, "rejected") for source in task.sources])
        finished += scene.line.pump(0)
    assert [each.source for each in finished] == sources
    assert 400 / 5 <= len(scene.tasks) < 400


def test_many_files_go_in_large_batches_and_a_few_in_small_ones(scene: Scene) -> None:
    scene.line.submit([_source(0), _source(1)])
    assert [len(task.sources) for task in scene.tasks] == [1, 1]
    scene.line.submit([_source(number) for number in range(2, 1000)])
    assert [len(task.sources) for task in scene.tasks[2:]] == [lines.BATCH_FILES] * 2


def test_a_slow_batch_lets_others_pass_but_not_without_end(scene: Scene) -> None:
    scene.line.submit([_source(number) for number in range(2000)])
    place = 1
    while place < len(scene.tasks):
        scene.tasks[place].future.set_result([_receipt(source, "rejected") for source in scene.tasks[place].sources])
        assert scene.line.pump(0) == []
        place += 1
    assert 4 < len(scene.tasks) < 40
    submitted = [source for task in scene.tasks for source in task.sources]
    assert scene.line.backlog == 2000
    scene.tasks[0].future.set_result([_receipt(source, "rejected") for source in scene.tasks[0].sources])
    assert [each.source for each in scene.line.pump(0)] == submitted


def test_a_waiting_pump_can_be_woken(scene: Scene) -> None:
    started = time.monotonic()
    waker = threading.Timer(0.05, scene.line.wake)
    waker.start()
    assert scene.line.pump(600) == []
    waker.join()
    assert time.monotonic() - started < PATIENCE


# Workers that fail


FAILURES = [
    (WorkerLostError("the process died"), "the process that read it died, twice"),
    (TimeoutError("slow"), "took too long to read"),
    (RuntimeError("pool"), "the process that read it died, twice"),
]


@pytest.mark.parametrize(("failure", "reason"), FAILURES, ids=lambda each: type(each).__name__)
def test_who_costs_a_worker_its_life_is_found_and_its_neighbours_are_published(
    scene: Scene, failure: Exception, reason: str
) -> None:
    sources = [_source(number) for number in range(9)]
    scene.line.submit(sources)
    first = scene.tasks[0].sources
    assert len(first) == 3
    running = len(scene.tasks)
    assert scene.publisher.hears_nothing(), "nothing is swept while a worker may write there"
    scene.tasks[0].future.set_exception(failure)
    assert scene.line.pump(0) == []
    assert scene.publisher.hear() == Sweep(scene.tasks[0].directory)
    alone = scene.tasks[running:]
    assert [task.sources for task in alone] == [(source,) for source in first]
    alone[1].future.set_exception(failure)
    assert scene.line.pump(0) == []
    assert scene.publisher.hear() == Sweep(alone[1].directory)
    for task in [alone[2], alone[0]]:
        task.done(scene.root)
    assert _outcomes(scene.line.pump(0)) == ["rejected"]
    for task in scene.tasks:
        if not task.future.done():
            task.done(scene.root)
            scene.line.pump(0)
    told: list[Source] = []
    while not scene.publisher.hears_nothing():
        batch = scene.hear_batch()
        told += [each.source for each in batch.staged]
        scene.commit(batch)
    assert told == [source for source in sources if source != first[1]]
    assert _outcomes(scene.pump(8)) == ["published"] * 8
    (rejected,) = scene.journal.having("rejected")
    assert (rejected.path, rejected.reason, rejected.stamp) == (first[1].path, reason, first[1].stamp)
    assert scene.line.backlog == 0


def test_a_worker_that_dies_once_costs_nothing(scene: Scene) -> None:
    scene.line.submit([_source(0)])
    scene.tasks[0].future.set_exception(WorkerLostError("the process died"))
    scene.line.pump(0)
    assert scene.publisher.hear() == Sweep(scene.tasks[0].directory)
    scene.tasks[1].done(scene.root)
    scene.line.pump(0)
    scene.commit(scene.hear_batch())
    assert _outcomes(scene.pump(1)) == ["published"]
    assert len(scene.tasks) == 2


# A journal that refuses


@pytest.mark.parametrize("method", ["write", "supersede"])
def test_receipts_are_held_until_the_journal_takes_them(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    refusals: list[object] = []

    def refuse(values: object) -> None:
        refusals.append(values)
        raise Transient("disk full")

    staged = [stage(scene.root, content=str(number), source=_source(number)) for number in (0, 1)]
    scene.line.submit([_source(0), _source(1)])
    with monkeypatch.context() as patched:
        patched.setattr(scene.journal, method, refuse)
        for task, each in zip(scene.tasks, staged, strict=True):
            task.future.set_result([each])
            assert scene.line.pump(0) == []
        for each in staged:
            receipt = replace(_receipt(each.source), identity=each.record.identity, content=each.record.content)
            # The first supersedes nothing that the journal knows, the second the first.
            superseded = (each.record.identity, "0" if receipt.content == "1" else "earlier")
            scene.publisher.say(Committed(scene.hear_batch().number, (receipt,), (superseded,)))
        scene.publisher.say(AT_REST)
        scene.settle(lambda: len(scene.line._unwritten) == 2)
        tried = len(refusals)
        assert scene.line.pump(0) == []  # without any event it tries again
        assert len(refusals) == tried + 1
        assert scene.line.backlog == 2
        assert not scene.line.idle
    assert [each.source for each in scene.line.pump(0)] == [_source(0), _source(1)]
    assert scene.line.pump(0) == []
    assert scene.line.backlog == 0
    assert [scene.journal.known(str(_source(number).path), _source(number).stamp) for number in (0, 1)] == [
        "superseded",
        "published",
    ]
    assert {outcome: count for outcome, count in scene.journal.counts().items() if count} == {
        "superseded": 1,
        "published": 1,
    }
    # What the journal has taken isn't told it again.
    monkeypatch.setattr(scene.journal, "supersede", refuse)
    scene.line.submit([_source(2)])
    scene.tasks[-1].future.set_result([_receipt(_source(2), "rejected")])
    assert [each.source for each in scene.line.pump(0)] == [_source(2)]


def test_a_journal_that_refuses_is_told_logged_once_and_lets_no_more_in(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = ["disk full"] * 5 + ["read-only"] * 5

    def refuse(_: object) -> None:
        raise Transient(reasons.pop(0))

    most = scene.line.room
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(scene.journal, "write", refuse)
        scene.line.submit([_source(number) for number in range(most)])
        for place in itertools.count():
            if place == len(scene.tasks):
                break
            sources = scene.tasks[place].sources
            scene.tasks[place].future.set_result([_receipt(source, "rejected") for source in sources])
            reasons.insert(0, "disk full")
            assert scene.line.pump(0) == []
        assert scene.line.journal_failure == "disk full"
        assert (scene.line.room, scene.line.backlog) == (0, most)
        while reasons:
            assert scene.line.pump(0) == []
        assert scene.line.journal_failure == "read-only"
    assert [(each["event"], each["reason"]) for each in logs if each["event"] == "journal_refused"] == [
        ("journal_refused", "disk full"),
        ("journal_refused", "read-only"),
    ]
    assert len(scene.line.pump(0)) == most
    assert (scene.line.journal_failure, scene.line.room) == (None, most)


def test_what_others_decide_leaves_the_line_once_it_is_journalled(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise Transient("disk full")

    receipt = _receipt(_source(0), "rejected")
    with monkeypatch.context() as patched:
        patched.setattr(scene.journal, "write", refuse)
        scene.line.conclude(_source(0), receipt)
        assert scene.line.pump(0) == []
        assert scene.line.backlog == 1
    assert scene.line.pump(0) == [Finished(_source(0), receipt)]
    assert scene.journal.known(str(receipt.path), _source(0).stamp) == "rejected"


# What the line says of itself


def test_the_numbers_are_right_at_every_stage(scene: Scene) -> None:
    line = scene.line
    most = line.room
    assert most > 0
    assert (line.backlog, line.idle) == (0, True)
    sources = [_source(number) for number in range(most)]
    line.submit(sources)
    working = sum(len(task.sources) for task in scene.tasks)
    assert 0 < working < most
    assert (line.backlog, line.idle, line.room) == (most, False, working)
    line.submit([_source(most + number) for number in range(working)])
    assert (line.backlog, line.room) == (most + working, 0)
    line.submit([_source(5000)])
    assert line.room == 0
    total = most + working + 1
    done = 0
    for place in itertools.count():  # more tasks start while there are results
        if place == len(scene.tasks):
            break
        scene.tasks[place].done(scene.root)
        assert line.pump(0) == []
        batch = scene.hear_batch()
        assert (line.backlog, line.idle) == (total - done, False)
        scene.commit(batch)
        done += len(scene.pump(len(batch.staged)))
        assert line.backlog == total - done
    assert (line.backlog, line.room) == (0, most)
    assert not line.idle  # stored, but not yet said to be written
    scene.publisher.say(Progress(instances=total, studies=1, dirty=1))
    scene.settle(lambda: line.progress.instances == total)
    assert not line.idle
    scene.publisher.say(Progress(instances=total, studies=1, dirty=0))
    scene.settle(lambda: line.idle)


def test_who_asked_for_the_index_or_a_flush_finds_the_line_at_work(scene: Scene) -> None:
    for ask, message in ((scene.line.reindex, Reindex()), (scene.line.flush, Flush(1))):
        ask()
        assert scene.publisher.hear() == message
        assert not scene.line.idle
        scene.publisher.say(AT_REST)
        scene.settle(lambda: scene.line.idle)


def test_what_was_said_before_it_was_asked_does_not_make_the_line_idle(scene: Scene) -> None:
    scene.publisher.say(AT_REST)
    scene.line.reindex()
    scene.settle(lambda: scene.line.progress is not None)
    assert not scene.line.idle


def test_a_flush_is_done_once_it_is_answered_and_fails_as_the_disk_does(scene: Scene) -> None:
    line = scene.line
    numbers = [line.flush(), line.flush(), line.flush()]
    assert [scene.publisher.hear() for _ in numbers] == [Flush(number) for number in numbers]
    assert [line.is_flushed(number) for number in numbers] == [False] * 3
    scene.publisher.say(Flushed(numbers[0], None))
    scene.settle(lambda: line.is_flushed(numbers[0]))
    assert not line.is_flushed(numbers[1])
    scene.publisher.say(Flushed(numbers[1], "No space left on device"))
    with pytest.raises(StaticwadoError, match="could not be written completely: No space left on device"):
        scene.settle(lambda: line.is_flushed(numbers[1]))
    assert not line.is_flushed(numbers[2])
    scene.publisher.say(Flushed(numbers[2], None))
    scene.settle(lambda: line.is_flushed(numbers[2]))
    assert line.is_flushed(numbers[1])


# A publisher that can't begin


@pytest.mark.usefixtures("_acted")
@pytest.mark.parametrize(
    ("first", "error", "sentence"),
    [
        (Transient("another staticwado is writing"), Transient, "another staticwado"),
        (None, StaticwadoError, "did not start"),
    ],
    ids=["refused", "died"],
)
def test_a_line_does_not_start_without_its_publisher(
    tmp_path: Path,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    first: Reply | None,
    error: type[Exception],
    sentence: str,
) -> None:
    monkeypatch.setattr(Acted, "first", first)
    line = Line(tmp_path / "root", Workers(), journal, publishing(tmp_path / "root"))
    with pytest.raises(error, match=sentence):
        line.__enter__()


# With the real publisher


def test_workers_that_do_not_start_leave_no_publisher_behind(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Workers) -> Workers:
        raise OSError("no more processes")

    line = Line(tmp_path / "root", Workers(), journal, publishing(tmp_path / "root"))
    with monkeypatch.context() as patched:
        patched.setattr(Workers, "__enter__", fail)
        with pytest.raises(OSError, match="no more processes"):
            line.__enter__()
    assert line._publisher._process.exitcode == 0
    with Line(tmp_path / "root", Workers(), journal, publishing(tmp_path / "root")) as successor:
        assert successor.pump(PATIENCE) == []


@pytest.fixture
def real(tmp_path: Path, journal: Journal) -> Iterator[tuple[Line, Workers, Path]]:
    workers = Workers()
    with Line(tmp_path / "root", workers, journal, publishing(tmp_path / "root")) as line:
        yield line, workers, tmp_path / "root"
    assert workers.stopped


def test_sources_become_files_and_receipts(real: tuple[Line, Workers, Path], journal: Journal) -> None:
    line, workers, root = real
    line.submit([_source(number) for number in range(3)])
    for task in workers.tasks:
        task.done(root)
    finished = _pump(line, 3)
    assert _paths(finished) == [_source(number).path for number in range(3)]
    assert journal.counts()["published"] == 3
    number = line.flush()
    deadline = time.monotonic() + PATIENCE
    while not (line.is_flushed(number) and line.idle):
        assert time.monotonic() < deadline
        assert line.pump(0.1) == []
    assert len(load(root, "studies/1.2/metadata.gz")) == 3
    assert replace(line.progress, taken=0) == Progress(instances=3, studies=1, dirty=0)


def test_what_the_publisher_was_given_is_finished_at_the_end(tmp_path: Path, journal: Journal) -> None:
    workers, root = Workers(), tmp_path / "root"
    with Line(root, workers, journal, publishing(root)) as line:
        line.submit([_source(0), _source(1)])
        for task in workers.tasks:
            task.done(root)
        line.pump(0)
    assert journal.counts()["published"] == 2
    assert len(load(root, "studies/1.2/metadata.gz")) == 2
    assert list((root / layout.DIRTY).iterdir()) == []


def test_the_death_of_the_publisher_is_told_and_its_successor_takes_over(tmp_path: Path, journal: Journal) -> None:
    root = tmp_path / "root"
    with Line(root, Workers(), journal, publishing(root)) as line:
        assert line._publisher._process.pid is not None
        os.kill(line._publisher._process.pid, signal.SIGKILL)
        with pytest.raises(StaticwadoError, match="the publisher process has ended"):
            _pump(line, 1)
    with Line(root, Workers(), journal, publishing(root)) as line:
        assert line.pump(PATIENCE) == []
