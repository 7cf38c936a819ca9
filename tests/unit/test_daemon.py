"""The daemon's step, between inbound folders and a line that are stand-ins: who is told what, and in which order."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.inbound import drop, refused
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import OUTCOMES, STORED, Outcome, Receipt
from staticwado_daemon.inbound.source import AfterIngest, Source, Stamp
from staticwado_daemon.pipeline import asked
from staticwado_daemon.pipeline import daemon as module
from staticwado_daemon.pipeline.daemon import Daemon, Places
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.messages import Progress
from staticwado_daemon.pipeline.report import REPORT, Report, ReportFile
from staticwado_daemon.pipeline.space import Space
from staticwado_daemon.pipeline.staged import Finished, Unfinished

PATIENCE = 20.0
IDENTITY = Identity(UID("1.2"), UID("1.3"), UID("1.4"))
FULL = "No space left on device"


@dataclass
class Folders:
    """Stands for the inbound folders."""

    ready: list[Source] = field(default_factory=list)
    dones: list[Receipt] = field(default_factory=list)
    retries: list[tuple[Source, bool]] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    backlog: int = 0
    waiting: int = 0
    idle: bool = True
    degraded: list[str] = field(default_factory=list)
    modes: dict[str, str] = field(default_factory=dict)
    running: bool = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def take(self, limit: int) -> list[Source]:
        self.limits.append(limit)
        taken, self.ready = self.ready[:limit], self.ready[limit:]
        return taken

    def done(self, receipt: Receipt) -> None:
        self.dones.append(receipt)

    def retry(self, source: Source, *, incomplete: bool) -> None:
        self.retries.append((source, incomplete))


@dataclass
class Belt:
    """Stands for the line: answers what it was given as the test says, and flushes when the test says.

    Attributes:
        answer: what becomes of a source; None while nothing does.
        flushed: the last flush that is done.
        longest: seconds that a pump waits at most for something to be finished.
    """

    journal: Journal
    answer: Callable[[Source], Receipt | Unfinished | None] = lambda _: None
    room: int = 100
    idle: bool = True
    progress: Progress = field(default_factory=lambda: Progress(0, 0, 0))
    flushed: int = 1000
    longest: float = 0.01
    failure: str | None = None
    flushes: int = 0
    calls: list[str] = field(default_factory=list)
    submitted: list[Source] = field(default_factory=list)
    under_way: list[Source] = field(default_factory=list)
    concluded: list[Finished] = field(default_factory=list)
    journal_failure: str | None = None
    silence: float = 0.0
    woken: threading.Event = field(default_factory=threading.Event)
    purged: list[str] = field(default_factory=list)

    @property
    def backlog(self) -> int:
        return len(self.under_way)

    def conclude(self, source: Source, receipt: Receipt) -> None:
        self.concluded.append(Finished(source, receipt))

    def submit(self, sources: Sequence[Source]) -> None:
        self.submitted += sources
        self.under_way += sources

    def pump(self, timeout: float) -> list[Finished]:
        results = [(source, self.answer(source)) for source in self.under_way]
        finished = self.concluded + [Finished(source, result) for source, result in results if result is not None]
        self.concluded = []
        self.under_way = [source for source, result in results if result is None]
        if not finished:
            self.woken.wait(min(timeout, self.longest))
            self.woken.clear()
        receipts = [each.result for each in finished if isinstance(each.result, Receipt)]
        self.journal.write(receipts)
        return finished

    def wake(self) -> None:
        self.woken.set()

    def flush(self) -> int:
        self.calls.append("flush")
        self.flushes += 1
        return self.flushes

    def is_flushed(self, number: int) -> bool:
        if self.failure is not None:
            raise StaticwadoError(self.failure)
        return self.flushed >= number

    def reindex(self) -> None:
        self.calls.append("reindex")

    def purge(self, before: str) -> None:
        self.purged.append(before)

    def current(self, receipt: Receipt) -> Receipt:
        return replace(receipt, outcome="superseded") if receipt.outcome == "published" else receipt


@dataclass
class Disk:
    """Stands for the free space on the disk."""

    shortage_now: str | None = None

    def shortage(self) -> str | None:
        return self.shortage_now


@dataclass
class Site:
    """A daemon, what surrounds it, and its directories."""

    directory: Path
    journal: Journal
    folders: Folders
    line: Belt
    checks: list[Exception] = field(default_factory=list)
    told: list[Report] = field(default_factory=list)
    disk: Disk = field(default_factory=Disk)

    def __post_init__(self) -> None:
        for each in (self.root / layout.REQUESTS, self.state, self.inbound, self.directory / "really"):
            each.mkdir(parents=True)
        (self.directory / "drop").symlink_to(self.directory / "really")
        drop.prepare(self.drop)
        self.daemon = Daemon(
            Places(self.root, self.state, self.drop, cast("Space", self.disk)),
            cast("Line", self.line),
            cast("Inbound", self.folders),
            self.journal,
            self._check,
            self.told.append,
        )

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def inbound(self) -> Path:
        return self.directory / "inbound"

    @property
    def drop(self) -> Path:
        return self.directory / "drop"

    def _check(self) -> None:
        if self.checks:
            raise self.checks.pop()

    def step(self) -> None:
        self.daemon._step()

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself now."""
        self.daemon._report(running=True)
        told: dict[str, Any] = json.loads((self.state / REPORT).read_bytes())
        return told

    def find(self, name: str, after_ingest: AfterIngest = "keep", *, folder: Path | None = None) -> Source:
        """A file that an inbound folder has found."""
        path = (folder or self.inbound).resolve() / name
        path.write_bytes(name.encode())
        source = Source(path, Stamp.of(path.lstat()), after_ingest)
        self.folders.ready.append(source)
        return source

    def ask(self, command: str, *paths: Path, name: str = "7") -> Path:
        """Where the answer to a request will be."""
        asked = self.root / layout.REQUESTS / f"{name}.json"
        asked.write_text(json.dumps({"command": command, "paths": [str(path) for path in paths]}), "ascii")
        return asked.with_suffix(".answer")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        yield Site(tmp_path, journal, Folders(), Belt(journal))


def becomes(outcome: Outcome, reason: str | None = None) -> Callable[[Source], Receipt]:
    def answer(source: Source) -> Receipt:
        identity, content = (IDENTITY, "c" * 64) if outcome in STORED else (None, None)
        return Receipt(source.path, source.stamp, outcome, reason, identity, content)

    return answer


def stays_unfinished(reason: str, *, incomplete: bool) -> Callable[[Source], Unfinished]:
    return lambda _: Unfinished(reason, incomplete=incomplete)


# Files of the inbound folders


def test_as_many_files_are_taken_as_the_line_has_room_for(site: Site) -> None:
    sources = [site.find(str(number)) for number in range(5)]
    site.line.room = 3
    site.step()
    assert site.line.submitted == sources[:3]
    site.line.room = 0
    site.step()
    assert site.folders.limits == [3, 0]
    assert site.folders.dones == []


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("after_ingest", ["keep", "delete"])
def test_only_what_is_stored_is_removed_and_only_where_it_is_wanted(
    site: Site, outcome: Outcome, after_ingest: AfterIngest
) -> None:
    source = site.find("1.dcm", after_ingest)
    site.line.answer = becomes(outcome)
    site.step()
    gone = after_ingest == "delete" and outcome in STORED
    assert source.path.exists() != gone
    assert [receipt.outcome for receipt in site.folders.dones] == [outcome]
    # A receipt of a path that may be used again is history.
    assert site.journal.known(str(source.path), source.stamp) == (None if gone else outcome)
    assert site.journal.counts()[outcome] == 1


def test_a_source_is_removed_then_journalled_as_removed_then_let_go(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [site.find(name, "delete") for name in ("1", "2")]
    events: list[object] = []

    def standing() -> list[bool]:
        return [source.path.exists() for source in sources]

    removed, done = site.journal.removed, site.folders.done
    monkeypatch.setattr(
        site.journal, "removed", lambda paths: (events.append(("removed", paths, standing())), removed(paths))
    )
    monkeypatch.setattr(site.folders, "done", lambda receipt: (events.append("done"), done(receipt)))
    site.line.answer = becomes("published")
    site.step()
    assert events == [("removed", [source.path for source in sources], [False, False]), "done", "done"]


def test_a_file_that_has_changed_since_is_not_removed(site: Site) -> None:
    source = site.find("1", "delete")
    source.path.write_bytes(b"something else")
    site.line.answer = becomes("published")
    site.step()
    assert source.path.read_bytes() == b"something else"
    assert len(site.folders.dones) == 1
    assert site.journal.known(str(source.path), source.stamp) == "published"


def test_a_file_that_cannot_be_removed_is_let_go_all_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn, other = site.find("1", "delete"), site.find("2", "delete")
    real = module.remove

    def refuse(source: Source) -> bool:
        if source == stubborn:
            raise Transient("a source can't be removed: Read-only file system")
        return real(source)

    monkeypatch.setattr(module, "remove", refuse)
    site.line.answer = becomes("published")
    site.step()
    assert [receipt.path for receipt in site.folders.dones] == [stubborn.path, other.path]
    assert site.journal.known(str(stubborn.path), stubborn.stamp) == "published"
    assert site.journal.known(str(other.path), other.stamp) is None


def test_a_journal_that_does_not_take_removals_stops_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise Transient("disk full")

    monkeypatch.setattr(site.journal, "removed", refuse)
    source = site.find("1", "delete")
    site.line.answer = becomes("published")
    site.step()
    assert not source.path.exists()
    assert len(site.folders.dones) == 1
    site.step()
    assert len(site.folders.dones) == 1


def test_the_drop_folder_is_emptied_and_keeps_what_is_rejected_aside(site: Site) -> None:
    outcomes: dict[str, Outcome] = {"1": "published", "2": "rejected", "3": "ignored", "4": "duplicate"}
    sources = {name: site.find(name, "delete", folder=site.drop) for name in outcomes}
    site.line.answer = lambda source: becomes(outcomes[source.path.name], "why")(source)
    site.step()
    assert [path.name for path in site.drop.iterdir() if path.is_file()] == []
    aside = site.drop / drop.REJECTED
    assert sorted(path.name for path in aside.iterdir()) == ["2", "2.reason.json", "3", "3.reason.json"]
    assert (aside / "2").read_bytes() == b"2"
    assert json.loads((aside / "2.reason.json").read_bytes())["reason"] == "why"
    assert len(site.folders.dones) == 4
    for source in sources.values():
        assert site.journal.known(str(source.path), source.stamp) is None
    assert site.journal.counts()["rejected"] == 1


@pytest.mark.parametrize("incomplete", [True, False])
@pytest.mark.parametrize("final", [True, False])
def test_what_is_unfinished_is_tried_again_unless_it_ends_too_early_for_good(
    site: Site, incomplete: bool, final: bool
) -> None:
    source = replace(site.find("1"), final=final)
    site.folders.ready = [source]
    site.line.answer = stays_unfinished("ends inside an element", incomplete=incomplete)
    site.step()
    if incomplete and final:
        assert (site.folders.retries, site.folders.dones) == ([], []), "the journal doesn't have it yet"
        site.step()
        (receipt,) = site.folders.dones
        assert (receipt.outcome, receipt.reason) == ("rejected", "ends inside an element")
        assert site.journal.known(str(source.path), source.stamp) == "rejected"
    else:
        assert site.folders.retries == [(source, incomplete)]
        assert site.folders.dones == []
        assert site.journal.find(source.path) == []


def test_the_log_counts_files_and_names_none(site: Site) -> None:
    for number in range(3):
        site.find(f"Doe^John-{number}", "delete")
    site.line.answer = becomes("rejected", "Doe^John")
    with capture_logs() as logs:
        site.step()
    assert [(each["event"], each["log_level"], each["rejected"]) for each in logs] == [("files_done", "warning", 3)]
    assert "Doe" not in str(logs)


# Requests


def test_a_request_is_answered_once_everything_of_it_is_written(site: Site) -> None:
    files = [site.inbound / name for name in ("1", "2")]
    for path in files:
        path.touch()
    missing = site.inbound / os.fsdecode(b"3\xff")
    answer = site.ask("create", *files, missing)
    site.line.flushed = 0
    site.step()
    assert [(source.path, source.requested) for source in site.line.submitted] == [(path, "7") for path in files]
    outcomes: dict[str, Outcome] = {"1": "published", "2": "rejected"}
    site.line.answer = lambda source: becomes("published")(source) if source.path == files[0] else None
    site.step()
    assert site.line.flushes == 0  # one of its files is still under way
    site.line.answer = lambda source: becomes(outcomes[source.path.name], "why")(source)
    site.step()
    site.step()
    assert site.line.flushes == 1
    assert not answer.exists()
    site.line.flushed = 1
    site.step()
    rows = {
        Path(path): (outcome, reason, instance) for path, outcome, reason, instance in json.loads(answer.read_text())
    }
    assert rows == {
        files[0]: ("superseded", None, "1.4"),
        files[1]: ("rejected", "why", None),
        missing: ("rejected", "cannot be read: No such file or directory", None),
    }
    assert sorted(path.name for path in answer.parent.iterdir()) == ["7.answer"]
    assert site.folders.dones == []  # no inbound folder was asked about them
    assert all(path.exists() for path in files)


def test_a_file_that_may_be_read_another_time_is_tried_again_for_who_asked(site: Site) -> None:
    path = site.inbound / "1"
    path.touch()
    answer = site.ask("create", path)
    replies: list[Receipt | Unfinished] = [Unfinished("changed", incomplete=False)] * 2

    def reply(source: Source) -> Receipt | Unfinished:
        return replies.pop() if replies else becomes("duplicate")(source)

    site.line.answer = reply
    for _ in range(3):
        assert not answer.exists()
        site.step()
    assert [row[1] for row in json.loads(answer.read_text())] == ["duplicate"]
    assert site.folders.retries == []


def test_a_file_whose_receipt_still_holds_is_not_read_again_for_who_asked(site: Site) -> None:
    path = site.inbound / "1"
    path.touch()
    stamp = Stamp.of(path.lstat())
    site.journal.write([Receipt(path, stamp, "published", identity=IDENTITY, content="c" * 64)])
    (site.root / layout.instance_dir(IDENTITY)).mkdir(parents=True)
    answer = site.ask("create", path)
    site.step()
    assert site.line.submitted == []
    assert json.loads(answer.read_text()) == [[str(path), "duplicate", None, "1.4"]]


def test_the_index_is_made_anew_for_who_asked_and_written_before_the_answer(site: Site) -> None:
    answer = site.ask("index")
    site.line.flushed = 0
    site.step()
    assert site.line.calls == ["reindex", "flush"]
    assert not answer.exists()
    site.line.flushed = 1
    site.step()
    assert json.loads(answer.read_text()) == []


def test_a_disk_that_refuses_delays_the_answer_until_a_later_flush_succeeds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = site.ask("index")
    site.line.failure = FULL
    site.step()
    assert site.line.calls == ["reindex", "flush"]
    assert not answer.exists()
    site.line.failure, site.line.flushed = None, 1  # the first flush is over, and has failed
    site.step()
    assert site.line.calls == ["reindex", "flush"]  # the disk is not asked again at once
    monkeypatch.setattr(asked, "_AGAIN_SECONDS", 0.0)
    site.step()
    assert site.line.calls == ["reindex", "flush", "flush"]
    assert not answer.exists()
    site.line.flushed = 2
    site.step()
    assert json.loads(answer.read_text()) == []


def test_who_asked_is_told_how_far_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0.0)
    files = [site.inbound / name for name in ("1", "2")]
    for path in files:
        path.touch()
    answer = site.ask("create", *files)
    site.line.answer = lambda source: becomes("rejected")(source) if source.path == files[0] else None
    site.step()
    assert json.loads(answer.with_suffix(".progress").read_text())["counts"] == {"rejected": 1}
    site.line.answer = becomes("published")
    site.step()
    assert len(json.loads(answer.read_text())) == 2
    assert not answer.with_suffix(".progress").exists()


def test_what_an_earlier_daemon_had_begun_is_given_up(site: Site) -> None:
    taken = site.ask("index").with_suffix(".taken")
    taken.with_suffix(".json").rename(taken)
    site.checks = [StaticwadoError("the end")]
    with pytest.raises(StaticwadoError, match="the end"):
        site.daemon.run()
    assert not taken.exists()
    assert site.line.calls == []


def test_notes_that_cannot_be_read_are_told_once_and_counted_once_they_can(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NOTES_SECONDS", -1.0)
    part = site.drop / drop.PART / "1.dcm"
    part.write_bytes(b"x")
    refused.keep(site.drop.resolve(), part, "1.dcm", "why")

    def refuse(*_: object) -> None:
        raise Transient("the notes can't be read")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(module.refused, "take", refuse)
        site.step()
        site.step()
    assert [each["event"] for each in logs] == ["refusals_not_noted"]
    with capture_logs() as logs:
        site.step()
        site.step()
    assert [(each["event"], each.get("rejected")) for each in logs] == [("files_done", 1)]
    assert site.journal.counts()["rejected"] == 1


# Status and the end


def test_the_status_says_how_things_stand(site: Site) -> None:
    site.journal.write(
        [
            Receipt(Path(f"/in/{number}"), Stamp(1, number + 1, 3, 4), outcome)
            for number, outcome in enumerate(
                ["published", "published", "duplicate", "superseded", "rejected", "ignored"]
            )
        ]
    )
    site.line.progress = Progress(instances=21, studies=5, dirty=0, failure=FULL)
    site.line.under_way = [Source(Path("/in/9"), Stamp(1, 9, 3, 4))]
    site.folders.backlog, site.folders.waiting = 3, 2
    site.folders.degraded = [os.fsdecode(b"/in/caf\xe9 is polled")]
    assert site.status() == {
        "running": True,
        "pid": os.getpid(),
        "backlog": 4,
        "published": 4,
        "instances": 21,
        "studies": 5,
        "receipts": {"published": 2, "duplicate": 1, "superseded": 1, "rejected": 1, "ignored": 1},
        "rejected": 1,
        "waiting": 2,
        "degraded": ["/in/caf\\udce9 is polled", f"the tree can't be written: {FULL}"],
        "idle": False,
        "folders": {},
        "rate": 0.0,
        "published_at": None,
        "hidden": {"conflicts": 0, "rejected": 0, "deleted": 0, "oldest": None},
    }


def test_idle_is_who_has_nothing_left_to_do_anywhere(site: Site) -> None:
    assert site.status()["idle"]
    site.line.idle = False
    assert not site.status()["idle"]
    site.line.idle, site.folders.idle = True, False
    assert not site.status()["idle"]
    site.folders.idle, site.folders.backlog = True, 1
    assert not site.status()["idle"]
    site.folders.backlog = 0
    assert site.status()["idle"]


def test_a_report_that_cannot_be_written_is_logged_once_and_written_when_it_can(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.status()
    site.folders.backlog = 1

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(ReportFile, "write", refuse)
        assert site.status()["backlog"] == 0
        site.status()
    assert [each["event"] for each in logs] == ["report_not_written"]
    assert site.status()["backlog"] == 1


def test_who_looks_after_the_daemon_is_told_every_report(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0.0)
    site.folders.modes = {"/in": "inotify"}
    site.step()
    site.step()
    assert len(site.told) == 2
    assert site.told[-1].folders == {"/in": "inotify"}


def test_nothing_is_taken_in_while_there_is_too_little_room(site: Site) -> None:
    site.find("1")
    (site.inbound / "2").touch()
    answer = site.ask("create", site.inbound / "2")
    site.disk.shortage_now = "intake waits for space"
    with capture_logs() as logs:
        site.step()
        site.step()
    assert site.line.submitted == []
    assert "intake waits for space" in site.status()["degraded"]
    assert (site.status()["backlog"], site.status()["idle"]) == (1, False)
    assert [each["event"] for each in logs if each["log_level"] != "info"] == ["intake_waits"]
    assert json.loads(answer.with_suffix(".progress").read_text())["waits"] == "intake waits for space"
    site.disk.shortage_now = None
    site.line.answer = becomes("published")
    site.step()
    assert len(site.line.submitted) == 2
    assert answer.exists()
    assert site.status()["degraded"] == []
    assert (site.status()["backlog"], site.status()["idle"]) == (0, True)


def test_what_needs_no_file_is_done_while_there_is_too_little_room(site: Site) -> None:
    answer = site.ask("index")
    site.disk.shortage_now = "intake waits for space"
    site.step()
    assert site.line.calls == ["reindex", "flush"]
    assert answer.exists()


def test_a_publisher_that_hangs_is_told(site: Site) -> None:
    site.line.silence = 59.0
    assert site.status()["degraded"] == []
    site.line.silence = 61.0
    assert ["the publisher has been busy" in each for each in site.status()["degraded"]] == [True]


def test_a_journal_that_refuses_is_told(site: Site) -> None:
    (site.inbound / "1").touch()
    answer = site.ask("create", site.inbound / "1")
    site.step()
    site.line.journal_failure = "the journal can't be used now: disk full"
    (told,) = site.status()["degraded"]
    assert (
        told == f"the journal can't be used now: disk full; files wait until {site.state} has room and can be written"
    )
    assert json.loads(answer.with_suffix(".progress").read_text())["waits"] == told
    site.line.journal_failure = None
    assert site.status()["degraded"] == []


def test_many_files_that_somebody_asks_for_leave_room_for_the_folders(site: Site) -> None:
    paths = [site.inbound / str(number) for number in range(20)]
    for path in paths:
        path.touch()
    site.ask("create", *paths)
    site.line.room = 7
    site.step()
    assert [source.path for source in site.line.submitted] == paths[:4]


def test_a_step_does_not_wait_while_there_is_more_to_look_at(site: Site) -> None:
    answer = site.ask("create", *(site.inbound / f"gone {number}" for number in range(100)))
    site.line.room, site.line.longest = 2, PATIENCE
    started = time.monotonic()
    while not answer.exists():
        site.step()
    assert time.monotonic() - started < PATIENCE
    assert len(json.loads(answer.read_text())) == 100


def test_the_status_follows_the_steps(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0.0)
    site.find("1")
    site.step()
    assert json.loads((site.state / REPORT).read_bytes())["backlog"] == 1
    site.line.answer = becomes("published")
    site.step()
    assert json.loads((site.state / REPORT).read_bytes())["published"] == 1


def test_to_be_told_to_stop_ends_the_loop_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_SECONDS", 600.0)
    site.line.longest = 600.0
    thread = threading.Thread(target=site.daemon.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not (site.folders.running and site.folders.limits):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    site.daemon.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not site.folders.running
    assert json.loads((site.state / REPORT).read_bytes())["running"] is False


def test_what_must_end_the_daemon_ends_it_and_is_told(site: Site) -> None:
    site.checks = [StaticwadoError("a folder is no longer watched")]
    otherwise = threading.Timer(PATIENCE, site.daemon.stop)
    otherwise.start()
    with pytest.raises(StaticwadoError, match="no longer watched"):
        site.daemon.run()
    otherwise.cancel()
    assert not site.folders.running
    assert json.loads((site.state / REPORT).read_bytes())["running"] is False


def test_what_was_deleted_long_ago_is_purged_now_and_then(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.step()
    site.step()
    assert len(site.line.purged) == 1, "not in every step"
    before = datetime.fromisoformat(site.line.purged[0])
    assert timedelta(days=29) < datetime.now(UTC) - before < timedelta(days=31)
    monkeypatch.setattr(module, "_PURGE_SECONDS", 0.0)
    site.step()
    assert len(site.line.purged) == 2
