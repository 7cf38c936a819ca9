"""Files that somebody wants tried again: withdrawn, looked at again, and answered for when they have a new outcome."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound import drop
from staticwado_daemon.inbound.inbox import Inbound
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.operate import rejected
from staticwado_daemon.pipeline.asked import Asked
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.staged import Unfinished


@dataclass
class Belt:
    """Stands for a line that writes at once."""

    submitted: list[Source] = field(default_factory=list)

    def submit(self, sources: list[Source]) -> None:
        self.submitted += sources

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
        if path.is_relative_to(self.root):
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
        self.asked = Asked(
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

    def ask(self, *paths: Path) -> None:
        body = {"command": "retry", "paths": [str(path) for path in paths]}
        (self.directory / layout.REQUESTS / "7.json").write_text(json.dumps(body), "ascii")
        self.asked.take()

    def answer(self) -> list[tuple[str, str, str | None]] | None:
        """Path, outcome and reason of each file; None while there is no answer."""
        self.asked.answer()
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
    site.asked.note(receipt.path, Unfinished("disk full", incomplete=False, refused=True))
    site.asked.note(site.inbound / "other.dcm", receipt)
    assert site.answer() is None, "it is tried until it can be stored, and another file is another file"
    site.asked.note(receipt.path, replace(receipt, outcome="published", reason=None))
    assert site.answer() == [(str(receipt.path), "published", None)]


def test_a_file_that_ends_too_early_is_not_waited_for(site: Site) -> None:
    receipt = site.rejected(site.inbound / "1.dcm")
    site.ask(receipt.path)
    site.asked.note(receipt.path, Unfinished("it ends too early", incomplete=True))
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
