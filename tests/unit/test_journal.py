import os
import random
import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Transient
from staticwado_daemon.inbound.journal import HISTORY_DAYS, Journal
from staticwado_daemon.inbound.journal_reader import JournalReader, Reason
from staticwado_daemon.inbound.receipt import OUTCOMES, Outcome, Receipt
from staticwado_daemon.inbound.source import NO_PERMISSION, Stamp

NOW = 1_700_000_000.0


def receipt(number: int, outcome: Outcome = "published", **changes: object) -> Receipt:
    plain = Receipt(
        path=Path(f"/in/study{number // 100}/IM{number:05d}.dcm"),
        stamp=Stamp(65024, 1000 + number, 500_000, 1_600_000_000_000_000_000 + number),
        outcome=outcome,
        reason=None if outcome in ("published", "duplicate") else f"because of {number % 3}",
        identity=Identity(UID("1.2.3"), UID("1.2.3.4"), UID(f"1.2.3.4.{number}")),
        content=f"{number:064x}",
        source=f"{number + 1:064x}",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Journal:
    return Journal(path, now=lambda: NOW)


def known(journal: Journal, of: Receipt) -> Outcome | None:
    assert of.stamp is not None
    return journal.known(str(of.path), of.stamp)


def test_a_receipt_comes_back_as_it_was(journal: Journal, path: Path) -> None:
    kept = [
        receipt(1),
        receipt(2, "rejected", identity=None, content=None, source=None),
        receipt(3, "ignored", stamp=None),
        receipt(4, path=Path(os.fsdecode(b"/in/caf\xe9/\xff.dcm"))),
        receipt(5, stamp=Stamp((1 << 64) - 1, (1 << 64) - 2, 0, -1)),
    ]
    journal.write(kept)
    journal.close()
    again = Journal(path)
    for one in kept:
        assert again.find(one.path) == [replace(one, at=NOW)]


def test_knows_each_state_of_a_file_also_after_a_restart(journal: Journal, path: Path) -> None:
    first = receipt(1)
    assert known(journal, first) is None
    journal.write([first, receipt(2, "rejected")])
    for opened in (journal, Journal(path)):
        assert known(opened, first) == "published"
        assert known(opened, receipt(2)) == "rejected"
        assert first.stamp is not None
        for other in ({"inode": 1}, {"size": 1}, {"mtime_ns": 1}):
            assert opened.known(str(first.path), replace(first.stamp, **other)) is None
        assert opened.known("/in/elsewhere", first.stamp) is None


def test_another_device_number_is_the_same_file(journal: Journal) -> None:
    journal.write([receipt(1)])
    stamp = receipt(1).stamp
    assert stamp is not None
    assert journal.known(str(receipt(1).path), replace(stamp, device=99)) == "published"


def test_a_new_state_replaces_the_old_one(journal: Journal, path: Path) -> None:
    journal.write([receipt(1, "rejected")])
    changed = receipt(1, stamp=Stamp(1, 2, 3, 4))
    journal.write([changed])
    for opened in (journal, Journal(path)):
        assert known(opened, changed) == "published"
        assert known(opened, receipt(1)) is None
        assert opened.counts() == {"published": 1, "duplicate": 0, "superseded": 0, "rejected": 0, "ignored": 0}


def test_counts_name_every_outcome(journal: Journal) -> None:
    assert journal.counts() == dict.fromkeys(OUTCOMES, 0)
    journal.write([receipt(number, OUTCOMES[number % 5]) for number in range(12)])
    assert journal.counts() == {"published": 3, "duplicate": 3, "superseded": 2, "rejected": 2, "ignored": 2}
    assert [one.path.name for one in journal.having("rejected")] == ["IM00003.dcm", "IM00008.dcm"]


def test_the_same_file_again_stays_published(journal: Journal) -> None:
    journal.write([receipt(1)])
    journal.write([receipt(1, "duplicate")])
    assert journal.find(receipt(1).path)[0].outcome == "published"
    journal.write([receipt(1, "duplicate", content="f" * 64)])
    assert journal.find(receipt(1).path)[0].outcome == "duplicate"


def test_supersede_meets_the_content_and_nothing_else(journal: Journal, path: Path) -> None:
    loser, winner = receipt(1), receipt(1, path=Path("/in/other"), content="e" * 64)
    rejected = receipt(1, "rejected", path=Path("/in/third"))
    journal.write([loser, winner, rejected, receipt(2)])
    assert loser.identity is not None
    journal.supersede([(loser.identity, loser.content or "")])
    assert journal.counts() == {"published": 2, "duplicate": 0, "superseded": 1, "rejected": 1, "ignored": 0}
    assert journal.find(loser.path)[0].outcome == "superseded"
    assert known(Journal(path), loser) == "superseded"


def test_a_duplicate_of_what_is_superseded_stays_a_duplicate(journal: Journal, path: Path) -> None:
    first, again = receipt(1), receipt(1, "duplicate", path=Path("/in/copy"))
    journal.write([first, again])
    assert first.identity is not None
    journal.supersede([(first.identity, first.content or "")])
    for opened in (journal, Journal(path)):
        assert known(opened, first) == "superseded"
        assert known(opened, again) == "duplicate"
        assert opened.counts() == {"published": 0, "duplicate": 1, "superseded": 1, "rejected": 0, "ignored": 0}
    assert journal.find(first.path)[0].reason == "a newer version of the instance was received"


def test_a_removed_file_is_superseded_without_becoming_known(journal: Journal) -> None:
    journal.write([receipt(1)])
    journal.removed([receipt(1).path])
    identity = receipt(1).identity
    assert identity is not None
    journal.supersede([(identity, receipt(1).content or "")])
    assert known(journal, receipt(1)) is None
    assert journal.counts()["superseded"] == 1


def test_find_by_any_uid(journal: Journal) -> None:
    journal.write([receipt(1), receipt(2)])
    assert [one.path for one in journal.find(UID("1.2.3.4.2"))] == [receipt(2).path]
    assert len(journal.find(UID("1.2.3.4"))) == 2
    assert len(journal.find(UID("1.2.3"))) == 2
    assert journal.find(UID("1.2")) == []


@pytest.mark.parametrize(
    ("question", "indexes"),
    [
        (lambda journal: journal.find(Path("/in/a")), {"current", "history"}),
        (lambda journal: journal.find(UID("1.2.3")), {"study", "series", "instance"}),
        (lambda journal: journal.having("rejected"), {"outcome"}),
        (lambda journal: journal.reasons("rejected", 5), {"outcome"}),
        (lambda journal: journal.supersede([(receipt(1).identity, "0" * 64)]), {"instance"}),
        (lambda journal: journal.write([receipt(1)]), {"current"}),
        (lambda journal: journal.removed([Path("/in/a")]), {"current"}),
        (lambda journal: journal.forget(Path("/in/a")), {"current"}),
        (lambda journal: journal.forget(Path("/in/a"), receipt(1).stamp), {"history"}),
        (lambda journal: journal.counts(), set()),
    ],
)
def test_no_question_reads_every_row(
    journal: Journal, question: Callable[[Journal], object], indexes: set[str]
) -> None:
    journal.write([receipt(1), receipt(2, "rejected")])
    asked: list[str] = []
    journal._database.set_trace_callback(asked.append)
    question(journal)
    journal._database.set_trace_callback(None)
    plans = [
        journal._database.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        for statement in asked
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))
    ]
    steps = [step for plan in plans for *_, step in plan]
    assert not [step for step in steps if step.startswith("SCAN")]
    assert {found for step in steps for found in re.findall(r"receipts_(\w+)", step)} == indexes


def test_counts_in_memory_are_those_on_the_disk(journal: Journal, path: Path) -> None:
    chance = random.Random(5)
    reader = JournalReader(path)
    for _ in range(300):
        numbers = [chance.randrange(20) for _ in range(3)]
        match chance.randrange(6):
            case 0:
                journal.removed([receipt(number).path for number in numbers])
            case 1:
                journal.forget(receipt(numbers[0]).path)
            case 2:
                identity = receipt(numbers[0]).identity
                assert identity is not None
                journal.supersede([(identity, receipt(numbers[0]).content or "")])
            case _:
                journal.write([receipt(number, chance.choice(OUTCOMES)) for number in numbers])
        assert journal.counts() == reader.counts()
    assert sum(journal.counts().values()) > 100
    fresh = Journal(path, now=lambda: NOW)
    assert fresh.counts() == journal.counts()
    assert fresh._known == journal._known


def test_history_is_pruned_by_age_and_still_counted(journal: Journal, path: Path) -> None:
    journal.write([receipt(1), receipt(2, "rejected"), receipt(3)])
    journal.removed([receipt(1).path, receipt(2).path])
    journal.close()
    last_day = NOW + HISTORY_DAYS * 86_400
    assert Journal(path, now=lambda: last_day).find(receipt(1).path)
    for _ in range(2):
        later = Journal(path, now=lambda: last_day + 1)
        assert later.find(receipt(1).path) == []
        assert later.find(UID("1.2.3.4.3")) == [replace(receipt(3), at=NOW)]
        assert later.counts() == {"published": 2, "duplicate": 0, "superseded": 0, "rejected": 1, "ignored": 0}
        assert JournalReader(path).counts() == later.counts()
        later.close()


def test_reasons_come_with_their_counts_and_an_example(journal: Journal) -> None:
    journal.write([receipt(number, "rejected", reason="why" if number % 3 else "because") for number in range(9)])
    journal.write([receipt(20, "rejected", reason=None), receipt(21, "ignored")])
    journal.removed([receipt(1).path, receipt(20).path])
    assert journal.reasons("rejected", 5) == [
        Reason("why", 6, receipt(2).path),
        Reason("because", 3, receipt(0).path),
        Reason("", 1, None),
    ]
    assert [reason.text for reason in journal.reasons("rejected", 1)] == ["why"]


def test_looking_up_each_of_many_files_is_not_quadratic(journal: Journal) -> None:
    def seconds() -> float:
        began = time.process_time()
        for number in range(0, 2_000, 2):
            assert journal.find(receipt(number).path)
        return time.process_time() - began

    journal.write([receipt(number) for number in range(2_000)])
    few = min(seconds() for _ in range(3))
    journal.write([receipt(number) for number in range(2_000, 40_000)])
    assert min(seconds() for _ in range(3)) < 5 * few


def test_forget_makes_a_file_new_again(journal: Journal, path: Path) -> None:
    journal.write([receipt(1, "rejected")])
    journal.forget(receipt(1).path)
    assert known(journal, receipt(1)) is None
    assert known(Journal(path), receipt(1)) is None
    assert journal.counts()["rejected"] == 0


def test_the_receipt_of_one_removed_file_is_withdrawn_and_no_other(journal: Journal, path: Path) -> None:
    name = Path("/drop/IM1.dcm")
    for number in range(3):
        journal.write([receipt(number, "rejected", path=name)])
        journal.removed([name])
    journal.write([receipt(3, "rejected", path=name)])
    journal.forget(name, receipt(1).stamp)
    for opened in (journal, Journal(path, now=lambda: NOW)):
        assert [one.content for one in opened.find(name)] == [f"{number:064x}" for number in (3, 2, 0)]
        assert opened.counts()["rejected"] == 3
        assert known(opened, receipt(3, path=name)) == "rejected"


def test_a_path_may_be_used_again_after_its_file_was_removed(journal: Journal, path: Path) -> None:
    for number in range(3):
        one = receipt(number, path=Path("/drop/IM1.dcm"))
        journal.write([one])
        journal.removed([one.path])
        assert known(journal, one) is None
    assert journal.counts()["published"] == 3
    again = Journal(path, now=lambda: NOW)
    assert [one.content for one in again.find(Path("/drop/IM1.dcm"))] == [f"{n:064x}" for n in (2, 1, 0)]


def test_a_file_without_permission_is_never_known(journal: Journal, path: Path) -> None:
    refused = receipt(1, "rejected", reason=NO_PERMISSION)
    journal.write([refused])
    assert known(journal, refused) is None
    assert known(Journal(path), refused) is None
    assert journal.counts()["rejected"] == 1


def test_every_commit_is_on_the_disk(journal: Journal) -> None:
    assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("damage", [b"this is not a database" * 300, b"SQLite format 3\0" + b"\xff" * 8192])
def test_a_damaged_journal_is_set_aside(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    journal = Journal(path)
    journal.write([receipt(1)])
    assert known(journal, receipt(1)) == "published"
    assert path.with_name("journal.sqlite.set-aside-1").read_bytes() == damage


def test_a_journal_with_damaged_pages_is_set_aside(path: Path) -> None:
    journal = Journal(path)
    journal.write([receipt(number) for number in range(2000)])
    journal.close()
    data = bytearray(path.read_bytes())
    data[8192 : len(data) // 2] = os.urandom(len(data) // 2 - 8192)
    path.write_bytes(data)
    again = Journal(path)
    assert again.counts()["published"] == 0
    assert known(again, receipt(5)) is None
    assert path.with_name("journal.sqlite.set-aside-1").exists()


@pytest.mark.parametrize("first", ["write", "find"])
def test_a_journal_that_is_damaged_while_it_is_open_is_set_aside(journal: Journal, path: Path, first: str) -> None:
    journal.write([receipt(number) for number in range(2000)])
    journal._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    journal._database.execute("PRAGMA cache_size = 0")
    if first == "find":
        assert journal.find(receipt(5).path) == []
    journal.write([receipt(9999)])
    assert journal.counts()["published"] == 1
    assert known(journal, receipt(9999)) == "published"
    assert path.with_name("journal.sqlite.set-aside-1").exists()


def test_another_version_is_set_aside(journal: Journal, path: Path) -> None:
    journal.write([receipt(1)])
    journal._database.execute("PRAGMA user_version = 99")
    journal.close()
    assert Journal(path).counts()["published"] == 0
    assert path.with_name("journal.sqlite.set-aside-1").exists()


def test_a_locked_journal_is_not_taken_for_damaged(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write([receipt(1)])
    monkeypatch.setattr("staticwado_daemon.inbound.database._BUSY_TIMEOUT", 0.05)
    impatient = Journal(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Transient, match="locked"):
        impatient.write([receipt(2)])
    assert known(impatient, receipt(2)) is None
    other.execute("ROLLBACK")
    impatient.write([receipt(2)])
    assert impatient.counts()["published"] == 2
    assert not path.with_name("journal.sqlite.set-aside-1").exists()


def test_a_failed_batch_is_kept_in_no_part(journal: Journal) -> None:
    journal.write([receipt(1)])
    with pytest.raises(AttributeError):
        journal.write([receipt(2), "no receipt"])  # type: ignore[list-item]
    assert journal.counts()["published"] == 1
    assert known(journal, receipt(2)) is None


def test_a_reader_beside_the_daemon(journal: Journal, path: Path) -> None:
    journal.write([receipt(1)])
    reader = JournalReader(path)
    journal.write([receipt(2)])
    assert reader.counts()["published"] == 2
    assert reader.find(receipt(2).path)[0].outcome == "published"
    reader.close()
    journal.close()
    assert JournalReader(path).counts()["published"] == 2


def test_a_reader_creates_nothing(path: Path) -> None:
    with pytest.raises(Transient):
        JournalReader(path)
    assert not path.exists()


def test_a_hundred_thousand_files_are_loaded_quickly(journal: Journal, path: Path) -> None:
    for start in range(0, 100_000, 10_000):
        journal.write([receipt(number) for number in range(start, start + 10_000)])
    journal.close()
    began = time.process_time()
    again = Journal(path)
    seconds = time.process_time() - began
    assert known(again, receipt(99_999)) == "published"
    assert seconds < 0.5, f"{seconds:.2f} s"
