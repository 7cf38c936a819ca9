"""Files that somebody wants tried again: withdrawn, looked at again, and answered for when they have a new outcome."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound import drop, names
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.operate import rejected
from staticwado_daemon.pipeline import asked
from staticwado_daemon.pipeline.asked import Requests
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.messages import Obeyed
from staticwado_daemon.pipeline.staged import Finished, Unfinished


@dataclass
class Belt:
    """Stands for a line that writes at once."""

    submitted: list[Source] = field(default_factory=list)
    ordered: list[tuple[str, list[str], str]] = field(default_factory=list)
    done: dict[int, Obeyed] = field(default_factory=dict)

    def submit(self, sources: list[Source]) -> None:
        self.submitted += sources

    def remove(self, action: str, targets: list[Target], by: str, _reason: str) -> int:
        self.ordered.append((action, [str(each) for each in targets], by))
        return len(self.ordered)

    def tidy(self, *, aside: Sequence[str] = (), grouped: Sequence[UID] = ()) -> int:
        self.ordered.append(("tidy", [*aside, *grouped], ""))
        return len(self.ordered)

    def obeyed(self, number: int) -> Obeyed | None:
        return self.done.get(number)

    def flush(self) -> int:
        return 1

    def is_flushed(self, _number: int) -> bool:
        return True

    def current(self, receipt: Receipt) -> Receipt:
        return receipt


@dataclass
class Folders:
    """Stands for the inbound folders."""

    root: Path
    looked: list[Path] = field(default_factory=list)

    def look_again(self, path: Path) -> bool:
        if path.is_relative_to(self.root) and not names.skip_path(str(path.relative_to(self.root))):
            self.looked.append(path)
            return True
        return False


@dataclass
class Site:
    """Requests between stand-ins, with a real journal and a real drop folder."""

    directory: Path
    journal: Journal

    def __post_init__(self) -> None:
        self.inbound, self.drop = self.directory / "in", self.directory / "in/drop"
        (self.directory / layout.REQUESTS).mkdir(parents=True)
        self.inbound.mkdir()
        drop.prepare(self.drop)
        self.line, self.folders = Belt(), Folders(self.inbound)
        self.requests = Requests(
            self.directory, cast("Line", self.line), self.journal, cast("Inbound", self.folders), self.drop
        )

    def rejected(self, path: Path, reason: str = "why") -> Receipt:
        """A file that was rejected."""
        path.write_bytes(reason.encode())
        receipt = Receipt(path, Stamp.of(path.lstat()), "rejected", reason)
        self.journal.write([receipt])
        return receipt

    def set_aside(self, name: str, reason: str = "why") -> Receipt:
        """One of the drop folder."""
        receipt = self.rejected(self.drop / name, reason)
        drop.clear(self.drop, receipt)
        self.journal.removed([receipt.path])
        return receipt

    def ask(self, *paths: Path, command: str = "retry", limit: int = 100) -> bool:
        """Ask for something, and let up to `limit` files be looked at."""
        body = {"command": command, "paths": [str(path) for path in paths]}
        (self.directory / layout.REQUESTS / "7.json").write_text(json.dumps(body), "ascii")
        self.requests.take()
        return self.requests.submit(limit)

    def answer(self) -> list[tuple[str, str, str | None]] | None:
        """Path, outcome and reason of each file; None while there is no answer."""
        self.requests.answer()
        answer = self.directory / layout.REQUESTS / "7.answer"
        return [tuple(row[:3]) for row in json.loads(answer.read_text())] if answer.exists() else None


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        yield Site(tmp_path, journal)


def test_a_file_of_an_inbound_folder_is_withdrawn_looked_at_and_answered_for(site: Site) -> None:
    receipt = site.rejected(site.inbound / "1.dcm")
    site.ask(receipt.path)
    assert site.journal.find(receipt.path) == []
    assert (site.folders.looked, site.line.submitted) == ([receipt.path], [])
    assert site.answer() is None
    site.requests.note(receipt.path, Unfinished("disk full", incomplete=False, refused=True))
    site.requests.note(site.inbound / "other.dcm", receipt)
    assert site.answer() is None, "it is tried until it can be stored, and another file is another file"
    site.requests.note(receipt.path, replace(receipt, outcome="published", reason=None))
    assert site.answer() == [(str(receipt.path), "published", None)]


def test_a_file_that_ends_too_early_is_not_waited_for(site: Site) -> None:
    receipt = site.rejected(site.inbound / "1.dcm")
    site.ask(receipt.path)
    site.requests.note(receipt.path, Unfinished("it ends too early", incomplete=True))
    assert site.answer() == [(str(receipt.path), "waiting", "it ends too early")]


def test_all_that_was_set_aside_under_one_name_comes_back(site: Site) -> None:
    receipts = [site.set_aside("1.dcm", reason) for reason in ("one", "another")]
    assert (site.drop / "rejected/1.dcm.2").exists()
    site.ask(receipts[0].path)
    back = {site.drop / "1.dcm", site.drop / "1.dcm.2"}
    assert set(site.folders.looked) == back
    assert {path.read_bytes() for path in back} == {b"one", b"another"}
    assert site.journal.find(receipts[0].path) == []
    assert not any((site.drop / "rejected").iterdir())


def test_a_file_that_somebody_takes_away_meanwhile_is_waited_for_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = site.rejected(site.inbound / "1.dcm")
    site.ask(receipt.path)
    receipt.path.unlink()
    later = time.monotonic() + 5
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert site.answer() == [(str(receipt.path), "rejected", "cannot be read: No such file or directory")]


@pytest.mark.parametrize("name", ["elsewhere/1.dcm", "in/.hidden/1.dcm", "in/1.tmp"])
def test_what_no_folder_would_find_is_taken_as_create_does(site: Site, name: str) -> None:
    path = site.directory / name
    path.parent.mkdir(exist_ok=True)
    site.rejected(path)
    site.ask(path)
    assert [(each.path, each.requested) for each in site.line.submitted] == [(path, "7")]
    assert site.folders.looked == []


def test_what_is_stored_or_gone_is_answered_for_at_once(site: Site) -> None:
    stored = replace(site.rejected(site.inbound / "1.dcm"), outcome="published", reason=None)
    site.journal.write([stored])
    site.ask(stored.path, site.inbound / "gone.dcm")
    assert site.answer() == [
        (str(stored.path), "published", None),
        (str(site.inbound / "gone.dcm"), "rejected", "cannot be read: No such file or directory"),
    ]
    assert site.journal.find(stored.path)


def test_a_journal_that_takes_nothing_now_is_an_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Transient("the disk is full")

    receipt = site.rejected(site.inbound / "1.dcm")
    monkeypatch.setattr(site.journal, "forget", refuse)
    site.ask(receipt.path)
    assert site.answer() == [(str(receipt.path), "rejected", "can't be tried again now: the disk is full")]


# A step deals with a few files


def test_no_more_files_are_looked_at_than_there_is_room_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [site.directory / f"{number}.dcm" for number in range(10)]
    for path in paths:
        path.touch()
    looked: list[Path] = []
    real = asked.look
    monkeypatch.setattr(asked, "look", lambda path, **given: (looked.append(path), real(path, **given))[1])
    assert not site.ask(*paths, command="create", limit=4), "all of them wait for the line"
    assert looked == paths[:4]
    assert not site.requests.submit(0)
    assert looked == paths[:4]
    paths[5].unlink()
    assert site.requests.submit(4), "one was answered for without the line, so there may be more of these"
    assert looked == paths[:8]
    assert not site.requests.submit(4)
    assert [each.path for each in site.line.submitted] == [path for path in paths if path != paths[5]]


def test_what_is_asked_first_is_looked_at_first(site: Site) -> None:
    paths = [site.directory / f"{number}.dcm" for number in range(4)]
    for number, path in enumerate(paths):
        path.touch()
        body = {"command": "create", "paths": [str(path)]}
        (site.directory / layout.REQUESTS / f"{number}.json").write_text(json.dumps(body), "ascii")
        site.requests.take()
    site.requests.submit(3)
    site.requests.submit(3)
    assert [each.path for each in site.line.submitted] == paths


def test_a_slow_folder_keeps_the_daemon_for_a_moment_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    paths = [site.directory / f"{number}.dcm" for number in range(10)]
    monkeypatch.setattr(asked, "_LONGEST_SECONDS", 2.5)
    for path in paths:
        path.touch()
    site.ask(*paths, command="create")
    assert [each.path for each in site.line.submitted] == paths[:2]


def test_an_answer_waits_for_the_last_file(site: Site) -> None:
    site.ask(site.inbound / "gone", site.inbound / "gone too", command="create", limit=1)
    assert site.answer() is None
    site.requests.submit(1)
    assert [row[1] for row in site.answer() or []] == ["rejected", "rejected"]


def test_a_few_files_are_missed_at_a_time_and_all_of_them_in_turn(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_MISS_FILES", 2)
    monkeypatch.setattr(asked, "_MISS_SECONDS", 0.0)
    receipts = [site.rejected(site.inbound / f"{number}.dcm") for number in range(5)]
    site.ask(*(receipt.path for receipt in receipts))
    looked: list[Path] = []
    real = asked.look
    monkeypatch.setattr(asked, "look", lambda path: (looked.append(path), real(path))[1])
    for number in (4, 0):
        receipts[number].path.unlink()
    for _ in range(3):
        assert site.answer() is None
    assert looked == [receipts[number].path for number in (0, 1, 2, 3, 4, 1)]
    for number in (1, 2, 3):
        site.requests.note(receipts[number].path, receipts[number])
    assert len(site.answer() or []) == 5


def test_who_waits_is_told_what_for(site: Site) -> None:
    def waits() -> str | None:
        site.requests.report("too little room", None)
        told: str | None = json.loads((site.directory / layout.REQUESTS / "7.progress").read_text())["waits"]
        return told

    (site.directory / "1.dcm").touch()
    site.ask(site.directory / "1.dcm", command="create", limit=0)
    assert waits() == "too little room"
    site.requests.submit(1)
    assert waits() is None, "it is on the line: nothing keeps it"
    site.requests.report("too little room", "no receipts")
    assert "no receipts" in (site.directory / layout.REQUESTS / "7.progress").read_text()


# Which files somebody means


def test_a_file_is_meant_by_any_of_its_names(site: Site) -> None:
    receipt = site.set_aside("1.dcm")
    link = site.directory / "link"
    link.symlink_to(site.inbound)
    for name in (receipt.path, site.drop / "rejected/1.dcm", link / "drop/rejected/1.dcm", link / "drop/1.dcm"):
        assert rejected.meant(site.directory / "journal.sqlite", site.drop, [name]) == [receipt.path]
    assert site.drop / "2.dcm" in rejected.names_of(site.drop / "rejected/2.dcm.3", site.drop)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda _: None, "there"),
        (lambda path: path.write_bytes(b"longer than it was"), "changed"),
        (lambda path: path.unlink(), "gone"),
    ],
)
def test_where_a_rejected_file_is(site: Site, change: Callable[[Path], None], place: str) -> None:
    receipt = site.rejected(site.inbound / "1.dcm")
    aside = site.set_aside("2.dcm")
    change(receipt.path)
    assert rejected.locate(receipt, site.drop).place == place
    found = rejected.locate(aside, site.drop)
    assert (found.place, found.aside) == ("set aside", site.drop / "rejected/2.dcm")
    there = rejected.still_there([receipt, aside], site.drop)
    assert there == [each for each in (receipt.path, aside.path) if each == aside.path or place != "gone"]
    shutil.rmtree(site.drop / "rejected")
    assert rejected.locate(aside, site.drop).place == "gone"


def test_rejected_files_are_found_by_their_reasons_the_newest_first(tmp_path: Path) -> None:
    seconds = iter(range(100))
    with closing(Journal(tmp_path / "journal.sqlite", now=lambda: next(seconds))) as journal:
        for name, reason in (("b", "No UID"), ("a", "no pixels"), ("c", "no UID (0008,0018)")):
            journal.write([Receipt(Path("/in") / name, Stamp(1, 2, 3, 4), "rejected", reason)])
    found = rejected.receipts(tmp_path / "journal.sqlite")
    assert [each.path.name for each in found] == ["c", "a", "b"]
    assert [each.path.name for each in rejected.receipts(tmp_path / "journal.sqlite", "no uid")] == ["c", "b"]
    assert rejected.receipts(tmp_path / "absent") == []


def test_what_the_disk_does_not_let_be_deleted_is_asked_for_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"command": "delete", "paths": [], "targets": ["studies/1.2", "studies/1.3"], "options": {"by": "anna"}}
    (site.directory / layout.REQUESTS / "7.json").write_text(json.dumps(body), "ascii")
    site.requests.take()
    order = ("delete", ["studies/1.2", "studies/1.3"], "anna")
    assert (site.answer(), site.line.ordered) == (None, [order])
    site.line.done[1] = Obeyed(1, ("studies/1.2/series/3/instances/4",), "disk full")
    for _ in range(10):
        assert (site.answer(), site.line.ordered) == (None, [order]), "a disk isn't mended in a moment"
    later = time.monotonic() + 1.1
    monkeypatch.setattr(asked.time, "monotonic", lambda: later)
    for _ in range(2):
        assert (site.answer(), site.line.ordered) == (None, [order, order])
    site.requests.report(None, None)
    progress = json.loads((site.directory / layout.REQUESTS / "7.progress").read_text())
    assert progress == {"counts": {"deleted": 1}, "waits": "disk full"}
    site.line.done[2] = Obeyed(2, ("studies/1.3/series/3/instances/4",))
    assert site.answer() == [
        ("studies/1.2/series/3/instances/4", "deleted", None),
        ("studies/1.3/series/3/instances/4", "deleted", None),
    ]


@pytest.mark.parametrize(
    ("command", "targets", "ordered", "outcome"),
    [
        ("aside", ["studies/1.2/a b", "restore/1.2/x"], ["studies/1.2/a b", "restore/1.2/x"], "set aside"),
        ("group", ["studies/1.2", "studies/1.3/series/4"], ["1.2", "1.3"], "grouped"),
    ],
)
def test_files_are_put_in_order(site: Site, command: str, targets: list[str], ordered: list[str], outcome: str) -> None:
    body = {"command": command, "paths": [], "targets": targets}
    (site.directory / layout.REQUESTS / "7.json").write_text(json.dumps(body), "ascii")
    site.requests.take()
    assert (site.answer(), site.line.ordered) == (None, [("tidy", ordered, "")])
    site.line.done[1] = Obeyed(1, (targets[0],))
    assert site.answer() == [(targets[0], outcome, None)]


def _stored(site: Site, path: Path) -> None:
    """Let the line be done with a file that it was given."""
    (source,) = [each for each in site.line.submitted if each.path == path]
    identity = Identity(UID("1.2"), UID("1.3"), UID("1.4"))
    receipt = Receipt(path, source.stamp, "published", identity=identity, content="c" * 64)
    site.journal.write([receipt])
    site.requests.settle(Finished(source, receipt))


def test_files_that_are_to_go_go_once_they_are_stored(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [site.directory / f"{number}.dcm" for number in range(4)]
    for path in paths:
        path.write_bytes(b"DICM")
    body = {"command": "create", "paths": [str(path) for path in paths], "options": {"delete": True}}
    (site.directory / layout.REQUESTS / "7.json").write_text(json.dumps(body), "ascii")
    site.requests.take()
    site.requests.submit(100)
    assert {each.after_ingest for each in site.line.submitted} == {"delete"}
    assert all(path.exists() for path in paths)
    _stored(site, paths[0])
    assert not paths[0].exists()
    paths[1].write_bytes(b"more than before")
    _stored(site, paths[1])
    rejected = site.line.submitted[2]
    site.requests.settle(Finished(rejected, Receipt(rejected.path, rejected.stamp, "rejected", "no UID")))
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", _refuse)
        _stored(site, paths[3])
    assert site.answer() == [
        (str(paths[0]), "published", None),
        (str(paths[1]), "published", "the source has changed since, and stays"),
        (str(paths[2]), "rejected", "no UID"),
        (str(paths[3]), "published", "a source can't be removed: Permission denied"),
    ]
    assert [path.exists() for path in paths] == [False, True, True, True]
    assert site.journal.known(str(paths[0]), site.line.submitted[0].stamp) is None, "the path may be used again"
    assert site.journal.known(str(paths[3]), site.line.submitted[3].stamp) == "published"


def _refuse(_path: Path, **_: object) -> None:
    raise PermissionError(13, "Permission denied")
