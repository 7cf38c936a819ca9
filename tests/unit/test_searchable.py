"""The query index as the publisher keeps it: brought up to date, made anew, and never in anybody's way."""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import pytest
import structlog

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.query_index import QueryIndex
from staticwado_daemon.archive.query_tables import FILE
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Action
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Transient
from staticwado_daemon.pipeline import publisher, searchable
from staticwado_daemon.pipeline.messages import Batch, Flush, Flushed, Message, Progress, Reindex, Remove, Reply
from staticwado_daemon.pipeline.publisher import Publisher
from tests.bench import query
from tests.crash.test_full_disk import mounted, use_up_bytes
from tests.querying import assert_searchable, contents, of_tree
from tests.staging import stage

PATIENCE = 20.0
LOCKED = "the query index can't be used now: database is locked"


@dataclass
class Talk:
    """What the publisher is told, one message after the other; between two of them something may happen."""

    steps: list[Message | Callable[[], None]]
    replies: list[Reply] = field(default_factory=list)
    heard: bool = False
    until: float = field(default_factory=lambda: time.monotonic() + PATIENCE)

    def poll(self, _: float | None = None) -> bool:
        """One thing is heard in each round."""
        assert time.monotonic() < self.until, self.replies[-3:]
        if self.heard:
            self.heard = False
            return False
        while self.steps and callable(step := self.steps[0]):
            self.steps.pop(0)
            step()
        return bool(self.steps)

    def recv(self) -> Message:
        self.heard = True
        return cast("Message", self.steps.pop(0))

    def send(self, reply: Reply) -> None:
        self.replies.append(reply)

    @property
    def flushed(self) -> dict[int, str | None]:
        """What was said to each flush."""
        return {each.number: each.failure for each in self.replies if isinstance(each, Flushed)}


@dataclass(frozen=True, slots=True)
class New:
    """A batch of one instance, which is staged once the publisher runs."""

    number: int
    instance: dict[str, str]


def talk(root: Path, *steps: New | Message | Callable[[], None], path: Path | None = None) -> Talk:
    """Run a publisher that is told these things, and then to end."""
    with Store(root) as store:
        told = [
            Batch(each.number, (stage(root, **each.instance),)) if isinstance(each, New) else each for each in steps
        ]
        conversation = Talk([*told, None])
        Publisher(store, cast("Connection", conversation), path).serve()
    return conversation


def batch(number: int = 1, **instance: str) -> New:
    return New(number, instance)


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "RETRY_SECONDS", 0.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of two studies."""
    root = tmp_path / "root"
    batches = [batch(), batch(2, instance="1.2.3.5"), batch(3, study="1.9", series="1.9.3")]
    talk(root, *batches, Flush(1))
    return root


@pytest.fixture
def path(root: Path) -> Path:
    return root / layout.PRIVATE / FILE


def test_what_is_published_can_be_found(root: Path, path: Path) -> None:
    assert_searchable(root)
    with QueryIndex(path) as index:
        assert {row.uid for row in index.studies()} == {"1.2", "1.9"}


def test_what_is_deleted_can_not(root: Path, path: Path) -> None:
    assert talk(
        root, Remove(1, "delete", (Target(UID("1.9")),), "2026-01-01T00:00:00Z", "a", ""), Flush(1)
    ).flushed == {1: None}
    assert_searchable(root)
    with QueryIndex(path) as index:
        assert [row.uid for row in index.studies()] == ["1.2"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"something else" * 1000),
        lambda path: path.write_bytes(b""),
        lambda path: sqlite(path, "PRAGMA user_version = 77"),
        lambda path: path.write_bytes(path.read_bytes()[:4096]),
        lambda path: sqlite(path, "DELETE FROM studies WHERE uid = '1.9'"),
        lambda path: sqlite(path, "UPDATE study_answers SET answer = '{}'"),
        lambda path: sqlite(path, "UPDATE progress SET complete = 0"),
    ],
    ids=["deleted", "damaged", "empty", "of another version", "cut off", "lacking a study", "outdated", "incomplete"],
)
def test_whatever_was_done_to_it_it_is_made_again(root: Path, path: Path, spoil: Callable[[Path], None]) -> None:
    expected = contents(path)
    spoil(path)
    talk(root, Flush(1))
    assert contents(path) == expected == of_tree(root)


def test_it_may_be_deleted_at_any_time(root: Path, path: Path) -> None:
    more = [batch(number, study=f"1.4.{number}", series=f"1.4.{number}.1") for number in (1, 2)]
    talk(root, Flush(1), more[0], path.unlink, Flush(2), more[1], Flush(3))
    assert_searchable(root)


def test_another_one_in_its_place_is_not_believed(root: Path, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    talk(other, batch(study="1.7", series="1.7.1"), Flush(1))
    copy = (other / layout.PRIVATE / FILE).read_bytes()

    def replace() -> None:
        (path.parent / "copy").write_bytes(copy)
        (path.parent / "copy").rename(path)

    talk(root, Flush(1), replace, Flush(2), batch(study="1.5", series="1.5.1"), Flush(3))
    assert_searchable(root)


def test_where_nothing_comes_it_is_seen_to_be_gone(root: Path, path: Path) -> None:
    talk(root, Flush(1), path.unlink, Flush(2))
    assert_searchable(root)


def test_damage_that_is_found_only_later_is_mended_as_well(root: Path, path: Path) -> None:
    def damage() -> None:
        sqlite(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(random.Random(1).randbytes(path.stat().st_size - 4096))

    with structlog.testing.capture_logs() as logs:
        assert talk(root, Flush(1), damage, batch(1, instance="1.2.3.6"), Flush(2), Flush(3)).flushed[3] is None
    assert "query_index_made_anew" in [each["event"] for each in logs]
    assert_searchable(root)


def test_a_tree_that_changed_meanwhile_is_noticed(root: Path, path: Path) -> None:
    """As after a copy from a backup, with another program, or a daemon that knew no query index."""
    aside = path.with_name("aside")
    path.rename(aside)
    changes = [batch(1, instance="1.2.3.6"), batch(2, study="1.7", series="1.7.1")]
    order = Remove(3, "reject", (Target(UID("1.9")),), "2026-01-01T00:00:00Z", "a", "")
    talk(root, *changes, order, Flush(1))
    aside.rename(path)
    assert contents(path) != of_tree(root)
    talk(root, Flush(1))
    assert_searchable(root)


def test_it_is_made_in_portions_between_which_others_are_heard(
    root: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searchable, "PORTION_SECONDS", -1.0)
    path.unlink()
    seen: list[str] = []

    def look() -> None:
        with pytest.raises(Transient, match="is being made") as why:
            QueryIndex(path)
        seen.append(str(why.value))

    talk(root, Flush(1), look, Flush(2))
    assert seen == ["the query index is being made, 1 of 2 studies are in it: try again later"]
    assert_searchable(root)


def test_who_has_it_made_anew_hears_when_it_is(root: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searchable, "PORTION_SECONDS", -1.0)
    sqlite(path, "UPDATE series_answers SET answer = 'nonsense'")
    conversation = talk(root, Reindex(), Flush(1), Flush(2), Flush(3))
    assert conversation.flushed == {1: None, 2: None, 3: None}
    flushed = next(number for number, each in enumerate(conversation.replies) if isinstance(each, Flushed))
    assert sum(isinstance(each, Progress) for each in conversation.replies[:flushed]) > 2
    assert_searchable(root)


def test_a_study_whose_files_are_damaged_is_published_anew(root: Path, path: Path) -> None:
    path.unlink()
    (root / "studies/1.2/series/index.json.gz").write_bytes(b"damaged")
    with structlog.testing.capture_logs() as logs:
        talk(root, Flush(1), Flush(2))
    assert [each["event"] for each in logs] == ["study_not_searchable"]
    assert_searchable(root)


@pytest.mark.parametrize("study", ["1.2", "1.9"])
def test_it_is_made_anew_only_when_damaged_studies_are_in_it_as_well(
    root: Path, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when somebody else asks for a flush meanwhile."""
    monkeypatch.setattr(searchable, "PORTION_SECONDS", -1.0)
    (root / f"studies/{study}/series/index.json.gz").write_bytes(b"damaged")
    said: list[int] = []
    send = Talk.send

    def watch(self: Talk, reply: Reply) -> None:
        if isinstance(reply, Flushed):
            assert_searchable(root)
            said.append(reply.number)
        send(self, reply)

    monkeypatch.setattr(Talk, "send", watch)
    talk(root, Reindex(), *map(Flush, range(1, 10)))
    assert said == [*range(1, 10)]


def test_while_it_is_locked_everything_else_goes_on(root: Path, path: Path) -> None:
    with locked(path) as let_go:

        def look() -> None:
            assert (root / "studies/1.4/metadata.gz").exists(), "the cold files are written"
            assert [each.name for each in (root / layout.DIRTY).iterdir()] == ["1.4"]
            let_go()

        conversation = talk(root, batch(study="1.4", series="1.4.1"), Flush(1), look, Flush(2))
    assert conversation.flushed == {1: LOCKED, 2: None}
    refused = [each for each in conversation.replies if isinstance(each, Progress) and each.failure]
    assert {(each.dirty, each.failure) for each in refused} == {(1, LOCKED)}
    assert_searchable(root)
    assert [*(root / layout.DIRTY).iterdir()] == []


def test_what_it_lacks_at_the_end_it_gets_at_the_next_start(root: Path, path: Path) -> None:
    with locked(path):
        conversation = talk(root, batch(study="1.4", series="1.4.1"), Flush(1))
    assert conversation.flushed == {1: LOCKED}
    assert contents(path) != of_tree(root)
    talk(root, Flush(1))
    assert_searchable(root)
    assert [*(root / layout.DIRTY).iterdir()] == []


def test_a_full_disk_under_it_keeps_nobody_from_publishing(root: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "state", "size=400k") as state:
        path = state / FILE
        talk(root, Flush(1), path=path)
        assert_searchable(root, path)
        ballast = state / "ballast"
        ballast.mkdir()
        many = [batch(number, study=f"1.4.{number}", series=f"1.4.{number}.1") for number in range(20)]
        free = (ballast / "bytes").unlink
        conversation = talk(
            root, Flush(1), lambda: use_up_bytes(ballast, 8), *many, Flush(2), free, Flush(3), Flush(4), path=path
        )
        assert conversation.flushed == {
            1: None,
            2: "the query index can't be used now: database or disk is full",
            3: None,
            4: None,
        }
        assert_searchable(root, path)
        assert [*(root / layout.DIRTY).iterdir()] == []


def test_a_sync_that_fails_makes_it_doubtful(root: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "fdatasync", fail)
    # While it is open, its number can't become another file's.
    with path.open("rb") as before, structlog.testing.capture_logs() as logs:
        talk(root, batch(study="1.4", series="1.4.1"), Flush(1), monkeypatch.undo, Flush(2))
        assert not os.path.samestat(path.stat(), os.fstat(before.fileno()))
    assert [each["event"] for each in logs] == ["query_index_made_anew"]
    assert_searchable(root)


def test_after_whatever_was_done_it_is_as_if_made_anew(root: Path) -> None:
    generator = random.Random(20260401)
    instances = [
        (f"1.{study}", f"1.{study}.{series}", f"1.{study}.{series}.{number}")
        for study in (2, 3, 4)
        for series in (1, 2)
        for number in (1, 2)
    ]
    for number in range(12):
        steps: list[New | Message] = []
        for step in range(generator.randrange(1, 4)):
            study, series, instance = generator.choice(instances)
            action = generator.choice(["delete", "reject", "undo"])
            target = Target(*map(UID, (study, series, instance)[: generator.randrange(1, 4)]))
            values = {"study": study, "series": series, "instance": instance}
            steps.append(
                batch(step, content=f"c{number}", t00080060=generator.choice(["CT", "MR"]), **values)
                if generator.random() < 0.6
                else Remove(step, cast("Action", action), (target,), f"2026-01-01T00:00:{number:02}Z", "a", "")
            )
        talk(root, *steps, Flush(1))
        assert_searchable(root)


def test_many_studies_are_compared_quickly(tmp_path: Path) -> None:
    """What a start costs: a twentieth of the studies that it may have two seconds for."""
    store = tmp_path / "root"
    with Store(store):
        pass
    path = store / layout.PRIVATE / FILE
    query.build(path, 5000, instances=0)
    with QueryIndex(path) as index:
        listed = searchable.StudiesIndex()
        for row in index.studies():
            listed.put(row.uid, row.answer)
    with Store(store) as opened, closing(searchable.Searchable(opened, path, listed)) as compared:
        started = time.perf_counter()
        assert compared.write(cast("searchable.Studies", None)) == []
        assert time.perf_counter() - started < 1.0
        assert compared.due is None


def sqlite(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], None]]:
    """Somebody looks at the file with a tool that keeps others from writing; yields what ends that."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield database.rollback
