"""Given files: each input has one receipt, and what is known is neither read nor searched for."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import StaticwadoError, Transient
from staticwado_daemon.inbound.journal import Journal
from staticwado_daemon.inbound.named import look
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source
from staticwado_daemon.pipeline import create as module
from staticwado_daemon.pipeline.line import Line
from staticwado_daemon.pipeline.space import Space
from staticwado_daemon.pipeline.staged import Finished, Unfinished

IDENTITY = Identity(UID("1.2"), UID("1.3"), UID("1.4"))
Answer = Callable[[Source], Receipt | Unfinished]


class Instant:
    """Stands for the line: answers each source at once."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.submitted: list[Path] = []
        self._waiting: deque[Source] = deque()
        self.room = 3

    @property
    def backlog(self) -> int:
        return len(self._waiting)

    def submit(self, sources: Sequence[Source]) -> None:
        self.submitted.extend(source.path for source in sources)
        self._waiting.extend(sources)

    def pump(self, _timeout: float) -> list[Finished]:
        finished = [Finished(source, self._answer(source)) for source in self._waiting]
        self._waiting.clear()
        return finished

    def flush(self) -> int:
        return 1

    def is_flushed(self, _number: int) -> bool:
        return True

    def current(self, receipt: Receipt) -> Receipt:
        return receipt


def published(source: Source) -> Receipt:
    return Receipt(source.path, source.stamp, "published", identity=IDENTITY, content="c" * 64)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.sqlite")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.dcm" for number in range(8)]
    for path in paths:
        path.touch()
    return paths


def create(
    line: Instant,
    journal: Journal,
    root: Path,
    inputs: Sequence[Source | Receipt],
) -> tuple[list[Receipt], list[Receipt]]:
    """The receipts that `create` returns, and those it told while it went on; nothing may be left out."""
    told: list[Receipt] = []
    created = module.create(cast("Line", line), journal, Space(root, 0, 0), inputs, told.append)
    assert created.failure is None
    return created.receipts, told


def test_every_input_has_one_receipt_the_vanished_included(tmp_path: Path, journal: Journal, files: list[Path]) -> None:
    files[3].unlink()
    unlisted = Receipt(tmp_path / "closed", None, "rejected", "the folder can't be listed: Permission denied")
    line = Instant(published)
    receipts, told = create(line, journal, tmp_path, [unlisted, *map(look, files)])
    assert told == receipts
    assert sorted(receipt.path for receipt in receipts) == sorted([*files, tmp_path / "closed"])
    assert {receipt.path for receipt in receipts if receipt.outcome == "rejected"} == {files[3], tmp_path / "closed"}
    assert line.submitted == [path for path in files if path != files[3]]


def test_a_known_file_is_not_read_again_as_long_as_its_instance_stands(
    tmp_path: Path, journal: Journal, files: list[Path]
) -> None:
    sources = [look(path) for path in files]
    journal.write([published(source) for source in sources if isinstance(source, Source)])
    line = Instant(published)
    receipts, _ = create(line, journal, tmp_path, sources)
    assert line.submitted == files  # the tree is empty
    (tmp_path / layout.instance_dir(IDENTITY)).mkdir(parents=True)
    line.submitted.clear()
    files[0].write_bytes(b"changed")
    receipts, told = create(line, journal, tmp_path, [look(path) for path in files])
    assert line.submitted == files[:1]
    assert [receipt.outcome for receipt in told] == ["duplicate"] * 2 + ["published"] + ["duplicate"] * 5
    assert {receipt.identity for receipt in receipts} == {IDENTITY}


@pytest.mark.parametrize("damage", [Transient("the journal can't be used now"), None], ids=["locked", "set aside"])
def test_a_file_whose_receipt_is_not_to_be_had_is_read_again(
    tmp_path: Path, journal: Journal, files: list[Path], monkeypatch: pytest.MonkeyPatch, damage: Transient | None
) -> None:
    source = look(files[0])
    assert isinstance(source, Source)
    journal.write([published(source)])
    (tmp_path / layout.instance_dir(IDENTITY)).mkdir(parents=True)

    def find(_path: Path) -> list[Receipt]:
        if damage:
            raise damage
        return []

    monkeypatch.setattr(journal, "find", find)
    line = Instant(published)
    create(line, journal, tmp_path, [source])
    assert line.submitted == files[:1]


def test_what_may_pass_is_tried_three_times_and_not_held_against_the_file(
    tmp_path: Path, journal: Journal, files: list[Path]
) -> None:
    line = Instant(lambda _: Unfinished("the disk is full", incomplete=False))
    receipts, _ = create(line, journal, tmp_path, [look(files[0])])
    assert line.submitted == files[:1] * 3
    assert [(receipt.outcome, receipt.reason) for receipt in receipts] == [("rejected", "the disk is full")]
    assert journal.find(files[0]) == []


def test_an_incomplete_file_is_rejected_at_once(tmp_path: Path, journal: Journal, files: list[Path]) -> None:
    line = Instant(lambda _: Unfinished("ends too early", incomplete=True))
    create(line, journal, tmp_path, [look(files[0])])
    assert line.submitted == files[:1]
    assert journal.find(files[0])[0].reason == "ends too early"


def test_nothing_is_taken_while_there_is_too_little_room(tmp_path: Path, journal: Journal, files: list[Path]) -> None:
    line = Instant(published)
    created = module.create(
        cast("Line", line), journal, Space(tmp_path, 10**18, 0), [look(files[0])], lambda _: pytest.fail("told")
    )
    assert line.submitted == []
    assert created.receipts == []
    assert "minFreeBytes" in (created.failure or "")


class Filling(Space):
    """A disk that has room for a few looks."""

    def __init__(self, root: Path, looks: int) -> None:
        super().__init__(root, 0, 0)
        self._looks = looks

    def shortage(self) -> str | None:
        self._looks -= 1
        return None if self._looks >= 0 else "intake waits for space"


def test_what_was_taken_is_finished_when_the_room_runs_out(tmp_path: Path, journal: Journal, files: list[Path]) -> None:
    tries = 0

    def second_time(source: Source) -> Receipt | Unfinished:
        nonlocal tries
        tries += 1
        return published(source) if tries > 6 else Unfinished("changed", incomplete=False)

    line, inputs, told = Instant(second_time), iter([look(path) for path in files]), list[Receipt]()
    created = module.create(cast("Line", line), journal, Filling(tmp_path, 2), inputs, told.append)
    assert sorted(receipt.path for receipt in created.receipts) == files[:6]
    assert {receipt.outcome for receipt in created.receipts} == {"published"}
    assert told == created.receipts
    assert created.failure == "intake waits for space"
    assert next(inputs) == look(files[6]), "what is not taken is not looked at"


@pytest.mark.parametrize("method", ["flush", "is_flushed"])
def test_receipts_outlast_a_tree_that_cannot_be_written_completely(
    tmp_path: Path, journal: Journal, files: list[Path], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def refuse(*_: object) -> None:
        raise StaticwadoError("the tree could not be written completely: No space left on device")

    monkeypatch.setattr(Instant, method, refuse)
    created = module.create(
        cast("Line", Instant(published)), journal, Space(tmp_path, 0, 0), map(look, files), lambda _: None
    )
    assert len(created.receipts) == len(files)
    assert created.failure == "the tree could not be written completely: No space left on device"


def test_a_journal_that_refuses_costs_no_answer(
    tmp_path: Path, journal: Journal, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_receipts: object) -> None:
        raise Transient("the journal can't be used now: disk full")

    monkeypatch.setattr(journal, "write", refuse)
    line = Instant(lambda _: Unfinished("ends too early", incomplete=True))
    receipts, _ = create(line, journal, tmp_path, [look(path) for path in files])
    assert {receipt.outcome for receipt in receipts} == {"rejected"}
    assert len(receipts) == len(files)
