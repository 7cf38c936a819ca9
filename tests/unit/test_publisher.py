"""The publisher's loop, in a thread: what it is told, what it writes and answers, and a disk that refuses."""

import errno
import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import pytest

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import arrange, commit, publish, publisher, publishing, work
from staticwado_daemon.pipeline.messages import (
    Batch,
    Committed,
    Flush,
    Flushed,
    Message,
    Obeyed,
    Progress,
    Reindex,
    Reply,
    Sweep,
    Tidy,
)
from staticwado_daemon.pipeline.publisher import Publisher
from staticwado_daemon.pipeline.studies import Studies
from tests.staging import load, snapshot, stage

PATIENCE = 20.0
RETRY = 0.15
QUIET = 0.05
FULL = "No space left on device"

INDEX = layout.STUDIES_INDEX
METADATA = "studies/1.2/series/1.2.3/metadata.gz"
COLD = "studies/1.2/metadata.gz"
NEIGHBOUR = {"study": "1.9", "series": "1.9.3"}

ReplyType = TypeVar("ReplyType", Committed, Flushed, Obeyed, Progress)


@dataclass
class Side:
    """The main process's side of the connection, and everything that has come over it."""

    connection: Connection
    replies: list[Reply] = field(default_factory=list)

    def tell(self, message: Message) -> None:
        self.connection.send(message)

    def hear(self) -> Reply:
        assert self.connection.poll(PATIENCE), f"nothing came after {self.replies[-3:]}"
        self.replies.append(self.connection.recv())
        return self.replies[-1]

    def until(self, kind: type[ReplyType], so: Callable[[ReplyType], bool] = lambda _: True) -> ReplyType:
        """The next reply of a kind of which something is so."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            reply = self.hear()
            if isinstance(reply, kind) and so(reply):
                return reply
        raise AssertionError(f"not among {self.replies[-10:]}")

    def committed(self, number: int) -> Committed:
        return self.until(Committed, lambda reply: reply.number == number)

    def at_rest(self) -> Progress:
        """What is said once everything is written."""
        return replace(self.until(Progress, lambda reply: reply.dirty == 0), taken=0)


@contextmanager
def serving(store: Store, *first: Message) -> Iterator[Side]:
    """A publisher at work; `first` has been said to it before it begins."""
    ours, theirs = multiprocessing.Pipe()
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            Publisher(store, theirs).serve()
        except BaseException as failure:  # noqa: BLE001 - raised again where the test sees it
            failures.append(failure)
        finally:
            theirs.close()

    for message in first:
        ours.send(message)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Side(ours)
    finally:
        with suppress(OSError):
            ours.send(None)
        with suppress(EOFError, OSError):
            while ours.poll(PATIENCE):
                ours.recv()
        ours.close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        if failures:
            raise failures[0]


@dataclass
class Disk:
    """What a file system takes, and when it was asked for something that it doesn't.

    Attributes:
        refuses: whether an action ("put", "move", "remove", "sync") upon a path is refused.
    """

    refuses: Callable[[str, str], bool] = lambda *_: False
    tries: list[float] = field(default_factory=list)

    def ask(self, action: str, path: str = "") -> None:
        if self.refuses(action, path):
            self.tries.append(time.monotonic())
            raise OSError(errno.ENOSPC, FULL)

    def take_everything(self) -> None:
        self.refuses = lambda *_: False


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "root") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "RETRY_SECONDS", RETRY)
    monkeypatch.setattr(work, "QUIET_SECONDS", QUIET)


@pytest.fixture
def disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk below a store that is open already."""
    made = Disk()
    put, remove, sync, move = store.put, store.remove, store.sync, store.move
    monkeypatch.setattr(store, "put", lambda path, data: (made.ask("put", path), put(path, data))[1])
    monkeypatch.setattr(store, "remove", lambda path: (made.ask("remove", path), remove(path))[1])
    monkeypatch.setattr(store, "move", lambda path, other: (made.ask("move", path), move(path, other))[1])
    monkeypatch.setattr(store, "sync", lambda: (made.ask("sync"), sync())[1])
    return made


def listed(store: Store) -> list[str]:
    return [study["0020000D"]["Value"][0] for study in load(store.root, INDEX)]


def marks(store: Store) -> list[str]:
    return store.names(layout.DIRTY)


# What it writes and answers


def test_a_batch_is_stored_published_and_answered(store: Store) -> None:
    with serving(store) as side:
        side.tell(Batch(7, (stage(store.root, t00080060="CT"),)))
        committed = side.committed(7)
        assert [receipt.outcome for receipt in committed.receipts] == ["published"]
        assert committed.failure is None
        assert load(store.root, METADATA)[0]["00080018"]["Value"] == ["1.2.3.4"]
        assert side.at_rest() == Progress(instances=1, studies=1, dirty=0)
    assert listed(store) == ["1.2"]
    assert len(load(store.root, COLD)) == 1
    assert marks(store) == []


def test_what_a_batch_supersedes_is_answered(store: Store) -> None:
    with serving(store) as side:
        side.tell(Batch(1, (stage(store.root, content="old"),)))
        assert side.committed(1).superseded == ()
        side.tell(Batch(2, (stage(store.root, content="new"), stage(store.root, content="old"))))
        committed = side.committed(2)
    assert [receipt.outcome for receipt in committed.receipts] == ["published", "duplicate"]
    assert committed.superseded == ((committed.receipts[0].identity, "old"),)


def test_the_answer_comes_once_records_are_on_the_disk_and_files_visible(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def note(owner: object, name: str, event: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *values, **named: (events.append(event), real(*values, **named))[1])

    note(store, "publish", "rename")
    note(store, "sync", "sync")
    note(publish, "publish_hot", "visible")
    answer = Publisher._answer
    monkeypatch.setattr(
        Publisher, "_answer", lambda self, commits: (answer(self, commits), events.extend(["answer"] * len(commits)))
    )
    batches = [Batch(number, (stage(store.root, study=f"1.{number}"),)) for number in (4, 5, 6)]
    with serving(store, *batches) as side:
        side.committed(6)
    last_record = max(place for place, event in enumerate(events[: events.index("visible")]) if event == "rename")
    after = [event for event in events[last_record + 1 :] if event != "rename"]
    # One sync for all three, which came together.
    assert after[:7] == ["visible", "visible", "visible", "sync", "answer", "answer", "answer"]
    assert [type(reply) for reply in side.replies] == [Progress, Committed, Committed, Committed]
    assert [reply.number for reply in side.replies[1:]] == [4, 5, 6]


def test_cold_files_wait_until_a_study_is_quiet(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "QUIET_SECONDS", 0.3)
    written: list[float] = []
    real = publish.publish_cold
    monkeypatch.setattr(publish, "publish_cold", lambda *values: (written.append(time.monotonic()), real(*values))[1])
    with serving(store) as side:
        for number in range(4):
            last = time.monotonic()
            side.tell(Batch(number, (stage(store.root, instance=f"1.2.3.{number}", content=str(number)),)))
            side.committed(number)
        side.at_rest()
    assert len(load(store.root, COLD)) == 4
    assert written[-1] >= last + 0.3


def test_a_busy_study_rests_between_publications(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "QUIET_SECONDS", 600.0)  # one that has come to rest may be published at once
    times: list[tuple[float, float]] = []
    real = publish.publish_hot

    def slowly(*values: object) -> None:
        started = time.monotonic()
        real(*values)
        while time.monotonic() < started + 0.02:
            pass
        times.append((started, time.monotonic()))

    monkeypatch.setattr(publish, "publish_hot", slowly)
    with serving(store) as side:
        for number in range(30):
            side.tell(Batch(number, (stage(store.root, instance=f"1.2.3.{number}", content=str(number)),)))
            side.committed(number)
        side.until(Progress, lambda reply: reply.instances == 30)
    assert 1 < len(times) < 30
    pairs = itertools.pairwise(times)
    assert all(later - ended >= publisher.HOT_DUTY * (ended - started) for (started, ended), (later, _) in pairs)


def test_a_flush_is_answered_once_cold_files_are_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "QUIET_SECONDS", 600.0)
    with serving(store) as side:
        side.tell(Batch(1, (stage(store.root),)))
        side.committed(1)
        assert not (store.root / COLD).exists()
        assert marks(store) == ["1.2"]
        side.tell(Flush(41))
        assert side.until(Flushed) == Flushed(41, None)
        assert len(load(store.root, COLD)) == 1
        assert (store.root / "studies/1.2/thumbnail").read_bytes() == b"jpeg c0"
        assert listed(store) == ["1.2"]
        assert marks(store) == []
        side.tell(Flush(42))
        assert side.until(Flushed) == Flushed(42, None)


def test_at_its_end_everything_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "QUIET_SECONDS", 600.0)
    with serving(store, Batch(1, (stage(store.root),)), None) as side:
        side.committed(1)
    assert len(load(store.root, COLD)) == 1
    assert listed(store) == ["1.2"]
    assert marks(store) == []


def test_a_new_root_gets_an_empty_studies_index(store: Store) -> None:
    with serving(store) as side:
        assert side.at_rest() == Progress(instances=0, studies=0, dirty=0)
        assert listed(store) == []


def test_what_a_lost_task_has_staged_is_swept(store: Store) -> None:
    lost, other = stage(store.root), stage(store.root, **NEIGHBOUR)
    with serving(store, Sweep(lost.directory.parent), Sweep(store.root / layout.STAGING / "absent")) as side:
        side.tell(Flush(1))
        side.until(Flushed)
        assert not lost.directory.parent.exists()
        assert other.directory.exists()
        side.tell(Flush(2))
        assert side.until(Progress, lambda reply: reply.taken == 4)


# Going on where an earlier process ended


class Death(Exception):
    """The end of a process, at a place of the test's choice."""


def _die(*_: object) -> None:
    raise Death


@pytest.fixture
def _begun(store: Store) -> None:
    """A tree that has its index: what isn't listed there is found by its mark alone."""
    with serving(store, None):
        pass


@pytest.mark.usefixtures("_begun")
def test_what_an_earlier_process_had_not_published_is_published(store: Store) -> None:
    for number in (1, 2):
        batch = [stage(store.root, series=f"1.2.{number}"), stage(store.root, **NEIGHBOUR, instance=f"1.9.3.{number}")]
        commit.commit(store, Studies(store.root, 1), batch)
    assert marks(store) == ["1.2", "1.9"]
    with serving(store) as side:
        assert side.at_rest() == Progress(instances=4, studies=2, dirty=0)
    assert sorted(listed(store)) == ["1.2", "1.9"]
    assert len(load(store.root, "studies/1.2/series/index.json.gz")) == 2
    assert len(load(store.root, "studies/1.9/series/1.9.3/metadata.gz")) == 2
    assert marks(store) == []


@pytest.mark.usefixtures("_begun")
@pytest.mark.parametrize("end", ["arrange", "replace", "move"])
@pytest.mark.parametrize("contents", ["ab", "ba", "bca"])
def test_a_swap_that_was_interrupted_is_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch, end: str, contents: str
) -> None:
    *earlier, last = contents
    versions = tuple(stage(store.root, content=content, t00081030=content) for content in earlier)
    with serving(store, Batch(1, versions), None) as side:
        assert side.committed(1).failure is None
    assert marks(store) == []
    winner = stage(store.root, content=last, t00081030=last)
    identity = winner.record.identity
    with monkeypatch.context() as patched:
        patched.setattr(arrange if end == "arrange" else store, end, _die)
        with pytest.raises(Death):
            commit.commit(store, Studies(store.root, 1), [winner])
    assert marks(store) == ["1.2"]
    published = store.root / layout.instance_dir(identity) / "frames/1.mht"
    assert published.read_bytes() == (last if end == "move" else earlier[-1]).encode()
    with serving(store) as side:
        assert side.at_rest().instances == 1
    assert published.read_bytes() == last.encode()
    assert load(store.root, METADATA)[0]["00081030"]["Value"] == [last]
    kept = f"{layout.KEPT}/1.2/1.2.3/1.2.3.4"
    assert store.names(kept) == sorted(earlier)
    for content in earlier:
        assert store.read(f"{kept}/{content}/frames/1.mht") == content.encode()


@pytest.mark.usefixtures("_begun")
def test_a_mark_without_records_is_removed_and_lists_no_study(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lone = stage(store.root)
    real = store.publish

    def publish_until_records(prepared: Path, path: str) -> None:
        if path.startswith((layout.RESTORE, "instances")):
            raise Death
        real(prepared, path)

    with monkeypatch.context() as patched:
        patched.setattr(store, "publish", publish_until_records)
        with pytest.raises(Death):
            commit.commit(store, Studies(store.root, 1), [lone])
    assert marks(store) == ["1.2"]
    assert (store.root / layout.instance_dir(lone.record.identity)).is_dir()
    with serving(store) as side:
        assert side.at_rest() == Progress(instances=0, studies=0, dirty=0)
    assert marks(store) == []
    assert listed(store) == []
    assert not (store.root / "studies/1.2/index.json.gz").exists()


# A disk that refuses


def test_a_study_that_is_refused_blocks_no_other_and_is_tried_now_and_then(store: Store, disk: Disk) -> None:
    disk.refuses = lambda action, path: (action, path) == ("put", METADATA)
    with serving(store) as side:
        side.tell(Batch(0, (stage(store.root),)))
        number = 0
        deadline = time.monotonic() + PATIENCE
        while len(disk.tries) < 4 and time.monotonic() < deadline:
            # Each batch for the other study makes the publisher go round once.
            number += 1
            other = stage(store.root, **NEIGHBOUR, instance=f"1.9.3.{number}", content=str(number))
            side.tell(Batch(number, (other,)))
            assert side.committed(number).failure is None
        assert len(disk.tries) >= 4
        assert any(isinstance(reply, Progress) and reply.failure == FULL for reply in side.replies)
        side.until(Progress, lambda reply: reply.dirty == 1 and reply.failure == FULL)
        assert listed(store) == ["1.9"]
        assert len(load(store.root, "studies/1.9/metadata.gz")) == number
        assert marks(store) == ["1.2"]
        disk.take_everything()
        assert side.at_rest() == Progress(instances=number + 1, studies=2, dirty=0, failure=None)
    assert sorted(listed(store)) == ["1.2", "1.9"]
    assert len(load(store.root, METADATA)) == 1
    assert all(later - earlier >= RETRY for earlier, later in itertools.pairwise(disk.tries))


@pytest.mark.parametrize(
    ("action", "path"),
    [("put", METADATA), ("put", INDEX), ("put", COLD), ("remove", layout.dirty_mark(UID("1.2")))],
    ids=["hot", "index", "cold", "mark"],
)
def test_what_is_refused_is_waited_for_and_written_once_the_disk_takes_it(
    store: Store, disk: Disk, action: str, path: str
) -> None:
    disk.refuses = lambda *asked: asked == (action, path)
    with serving(store) as side:
        side.tell(Batch(1, (stage(store.root), stage(store.root, **NEIGHBOUR))))
        assert side.committed(1).failure is None
        side.until(Progress, lambda reply: reply.failure == FULL and len(disk.tries) >= 4)
        assert (store.root / "studies/1.9/series/1.9.3/metadata.gz").exists()
        assert "1.2" in marks(store)
        # It sleeps in between: each try costs a round or two, and not as many as the processor makes.
        assert len(side.replies) < 4 * len(disk.tries) + 10
        disk.take_everything()
        assert side.at_rest() == Progress(instances=2, studies=2, dirty=0, failure=None)
    assert all(later - earlier >= RETRY for earlier, later in itertools.pairwise(disk.tries))
    assert sorted(listed(store)) == ["1.2", "1.9"]
    assert len(load(store.root, COLD)) == 1
    assert marks(store) == []


def test_the_mark_stays_until_what_it_stands_for_is_on_the_disk(store: Store, disk: Disk) -> None:
    with serving(store) as side:
        side.at_rest()
        syncs = itertools.count()
        # The third comes after the batch's own and that of its answer.
        disk.refuses = lambda action, _: action == "sync" and next(syncs) >= 2
        side.tell(Batch(1, (stage(store.root),)))
        assert side.committed(1).failure is None
        side.until(Progress, lambda reply: reply.failure == FULL and len(disk.tries) >= 2)
        assert marks(store) == ["1.2"]
        assert len(side.replies) < 4 * len(disk.tries) + 10
        disk.take_everything()
        side.at_rest()
    assert marks(store) == []


def test_a_flush_says_what_the_disk_refused(store: Store, disk: Disk) -> None:
    disk.refuses = lambda _, path: path == COLD
    with serving(store) as side:
        side.tell(Batch(1, (stage(store.root),)))
        side.tell(Flush(1))
        assert side.until(Flushed) == Flushed(1, FULL)
        disk.take_everything()
        side.tell(Flush(2))
        assert side.until(Flushed) == Flushed(2, None)
        assert len(load(store.root, COLD)) == 1


def test_a_batch_that_is_refused_fails_alone_and_succeeds_later(store: Store, disk: Disk) -> None:
    disk.refuses = lambda *asked: asked == ("put", layout.dirty_mark(UID("1.2")))
    batches = [Batch(1, (stage(store.root),)), Batch(2, (stage(store.root, **NEIGHBOUR),))]
    with serving(store, *batches) as side:
        assert side.committed(1) == Committed(1, (None,), failure=FULL)
        assert [receipt.outcome for receipt in side.committed(2).receipts] == ["published"]
        side.at_rest()
        assert store.names(layout.STAGING) == []
        assert listed(store) == ["1.9"]
        disk.take_everything()
        side.tell(Batch(3, (stage(store.root),)))
        assert [receipt.outcome for receipt in side.committed(3).receipts] == ["published"]
        side.at_rest()
    assert sorted(listed(store)) == ["1.2", "1.9"]


def test_batches_that_come_together_share_a_sync_and_are_answered_each_for_itself(
    store: Store, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "QUIET_SECONDS", PATIENCE)  # what is synced later isn't asked about
    syncs: list[str] = []
    disk.refuses = lambda action, path: action == "sync" and syncs.append(path) is not None
    batches = [Batch(number, (stage(store.root, instance=f"1.2.3.{number}"),)) for number in range(1, 5)]
    again = stage(store.root, instance="1.2.3.1", content="c1")
    with serving(store, *batches, Batch(5, (again, stage(store.root, **NEIGHBOUR)))) as side:
        answered = [side.committed(number) for number in range(1, 6)]
        assert len(syncs) == 3  # one for each of the two studies, and one before the answers
    outcomes = [[receipt.outcome for receipt in each.receipts if receipt] for each in answered]
    assert outcomes == [["published"], ["published"], ["published"], ["published"], ["published", "published"]]
    assert [len(each.superseded) for each in answered] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("which", ["first", "second"])
def test_no_receipt_before_a_sync_has_succeeded(store: Store, disk: Disk, which: str) -> None:
    with serving(store) as side:
        side.at_rest()
        count = iter((which == "first", which == "second"))
        disk.refuses = lambda action, _: action == "sync" and next(count, False)
        side.tell(Batch(1, (stage(store.root),)))
        assert side.committed(1) == Committed(1, (None,), failure=FULL)
        side.tell(Batch(2, (stage(store.root),)))
        (receipt,) = side.committed(2).receipts
        assert receipt.outcome == ("published" if which == "first" else "duplicate")
        assert side.at_rest() == Progress(instances=1, studies=1, dirty=0)
    assert len(holdings.records(store.root, UID("1.2"))) == 1


def test_a_failure_is_told_for_as_long_as_it_lasts_whatever_else_happens(
    store: Store, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "RETRY_SECONDS", 600.0)
    disk.refuses = lambda *asked: asked == ("put", METADATA)
    with serving(store, Batch(1, (stage(store.root),))) as side:
        side.until(Progress, lambda reply: reply.failure == FULL)
        side.tell(Batch(2, (stage(store.root, **NEIGHBOUR),)))
        side.committed(2)
        assert side.until(Progress).failure == FULL
        disk.take_everything()


def test_a_refused_study_costs_no_neighbour_in_its_batch(
    store: Store, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "QUIET_SECONDS", 600.0)
    disk.refuses = lambda *asked: asked == ("put", layout.dirty_mark(UID("1.2")))
    with serving(store, Batch(1, (stage(store.root), stage(store.root, **NEIGHBOUR)))) as side:
        refused, stored = side.committed(1).receipts
        assert refused is None
        assert stored is not None
        assert stored.outcome == "published"
        side.until(Progress, lambda reply: reply.failure == FULL)
        disk.take_everything()


def test_a_source_that_is_gone_before_it_could_be_kept_is_no_failure_of_the_disk(store: Store, tmp_path: Path) -> None:
    with serving(store) as side:
        side.tell(Batch(1, (stage(store.root),)))
        side.committed(1)
        side.at_rest()
        known = stage(store.root, source=Source(tmp_path / "gone", Stamp(1, 2, 3, 4), "delete"))
        other = replace(known, record=replace(known.record, source="f" * 64))
        side.tell(Batch(2, (other, stage(store.root, instance="1.2.3.5", content="neighbour"))))
        lost, stored = side.committed(2).receipts
        assert (lost, stored and stored.outcome) == (None, "published")
        side.tell(Flush(1))
        assert side.until(Flushed) == Flushed(1, None)
        assert side.at_rest().failure is None


@pytest.mark.parametrize("what", [("put", layout.dirty_mark(UID("1.2"))), ("sync", "")])
def test_a_failure_ends_with_the_disk_s_refusal_though_the_source_never_comes_again(
    store: Store, disk: Disk, monkeypatch: pytest.MonkeyPatch, what: tuple[str, str]
) -> None:
    monkeypatch.setattr(work, "QUIET_SECONDS", 600.0)
    once = iter((True,))
    disk.refuses = lambda *asked: asked == what and next(once, False)
    with serving(store, Batch(1, (stage(store.root),))) as side:
        assert side.committed(1) == Committed(1, (None,), failure=FULL)
        side.until(Progress, lambda reply: reply.failure == FULL)
        side.tell(Flush(1))
        assert side.at_rest().failure is None
        assert side.until(Flushed) == Flushed(1, None)


def test_what_was_superseded_is_told_again_by_the_next_attempt(store: Store, disk: Disk) -> None:
    with serving(store) as side:
        side.tell(Batch(1, (stage(store.root, content="old"),)))
        side.committed(1)
        side.at_rest()
        syncs = itertools.count()
        disk.refuses = lambda action, _: action == "sync" and next(syncs) == 1
        side.tell(Batch(2, (stage(store.root, content="new"),)))
        assert side.committed(2).failure == FULL
        side.tell(Batch(3, (stage(store.root, content="new"),)))
        assert [content for _, content in side.committed(3).superseded] == ["old"]


@pytest.mark.usefixtures("_begun")
@pytest.mark.parametrize(("following", "losers"), [("c", ["a", "b"]), ("a", ["a"])])
def test_versions_survive_whatever_follows_an_interrupted_swap(
    store: Store, monkeypatch: pytest.MonkeyPatch, following: str, losers: list[str]
) -> None:
    commit.commit(store, Studies(store.root, 1), [stage(store.root, content="a")])
    with monkeypatch.context() as patched:
        patched.setattr(store, "move", _die)
        with pytest.raises(Death):
            commit.commit(store, Studies(store.root, 1), [stage(store.root, content="b")])
    with serving(store, Batch(1, (stage(store.root, content=following),))) as side:
        side.committed(1)
        side.at_rest()
    kept = f"{layout.KEPT}/1.2/1.2.3/1.2.3.4"
    assert store.names(kept) == losers
    for content in losers:
        assert store.read(f"{kept}/{content}/frames/1.mht") == content.encode()


# Making the index anew


def test_reindex_mends_what_is_damaged(store: Store) -> None:
    with serving(store) as side:
        side.tell(Batch(1, (stage(store.root), stage(store.root, **NEIGHBOUR))))
        side.tell(Flush(1))
        side.until(Flushed)
        good = snapshot(store.root / "studies")
        (store.root / INDEX).write_bytes(b"garbage")
        (store.root / "studies/1.9/index.json.gz").write_bytes(b"")
        side.tell(Reindex())
        side.tell(Flush(2))
        assert side.until(Flushed) == Flushed(2, None)
        assert snapshot(store.root / "studies") == good


def test_files_are_put_in_order(store: Store, disk: Disk) -> None:
    for path in ("studies/1.2/x", "studies/1.2/y"):
        store.put(path, b"odd")
    batches = [Batch(number, (stage(store.root, instance=f"1.2.3.{number}"),)) for number in (4, 5)]
    disk.refuses = lambda action, path: action == "move" and path.endswith("/x")
    with serving(store) as side:
        for batch in batches:
            side.tell(batch)
            side.committed(batch.number)
        order = Tidy(7, ("studies/1.2/x", "studies/1.2/y", INDEX, METADATA), (UID("1.2"), UID("1.9")))
        side.tell(order)
        assert side.until(Obeyed) == Obeyed(7, ("studies/1.2/y", "studies/1.2"), FULL)
        disk.take_everything()
        side.tell(order)
        assert side.until(Obeyed) == Obeyed(7, ("studies/1.2/x",))
        side.tell(Flush(1))
        assert side.until(Flushed).failure is None
    assert len(holdings.record_files(store.root, UID("1.2"))) == 1
    assert (store.root / METADATA).exists()


def test_an_index_that_was_damaged_meanwhile_is_made_anew_at_the_start(store: Store) -> None:
    with serving(store, Batch(1, (stage(store.root), stage(store.root, **NEIGHBOUR))), None) as side:
        side.committed(1)
    good = snapshot(store.root / "studies")
    (store.root / INDEX).write_bytes(good["index.json.gz"][:-9])
    with serving(store) as side:
        assert side.at_rest() == Progress(instances=2, studies=2, dirty=0)
    assert snapshot(store.root / "studies") == good


# The process around it


@pytest.fixture
def _no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("staticwado_daemon.pipeline.publishing.signal.signal", lambda *_: None)
    monkeypatch.setattr(publishing, "LOCK_SECONDS", 0.0)


@pytest.mark.usefixtures("_no_signals")
def test_a_root_that_cannot_be_written_is_an_answer(store: Store) -> None:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        publishing.run(theirs, store.root, None, "daemon", lambda: None)
        error = ours.recv()
    assert isinstance(error, Transient)
    assert "another staticwado" in str(error)


@pytest.mark.usefixtures("_no_signals")
def test_whoever_is_left_alone_lets_go_of_the_root(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    ours.close()
    with theirs:
        publishing.run(theirs, tmp_path / "root", None, "daemon", lambda: None)
    with Store(tmp_path / "root"):
        pass


@pytest.mark.usefixtures("_no_signals")
def test_a_fault_of_ours_ends_the_process_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Publisher, "serve", _die)
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs, pytest.raises(SystemExit) as ended:
        publishing.run(theirs, tmp_path / "root", None, "daemon", lambda: None)
    assert ended.value.code == 1
