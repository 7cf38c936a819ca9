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
    minimum: tuple[int, int] = (0, 0),
) -> tuple[list[Receipt], list[Receipt]]:
    """What `create` returns, and what it told while it went on."""
    told: list[Receipt] = []
    return module.create(cast("Line", line), journal, Space(root, *minimum), inputs, told.append), told


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
    with pytest.raises(StaticwadoError, match="minFreeBytes"):
        create(line, journal, tmp_path, [look(files[0])], minimum=(10**18, 0))
    assert line.submitted == []


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
