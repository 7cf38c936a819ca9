"""The publisher is stopped before each single step that changes the disk; the next one makes the tree whole.

The steps are real ones, on real staged instances; only the processes around the publisher are absent.
"""

import io
import itertools
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest

from staticwado_daemon.archive import layout, store
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import publish
from staticwado_daemon.pipeline.ingest import Rules, ingest_batch
from staticwado_daemon.pipeline.publisher import Batch, Flush, Publisher
from staticwado_daemon.pipeline.staged import Committed, Staged
from tests import corpus
from tests.crash.oracle import differences, leftovers, originals, records, tree, unreadable

RULES = Rules("htj2k", Limits())
CHANGES_THE_DISK = ("rename", "replace", "unlink", "remove", "mkdir", "rmdir", "link", "symlink", "utime", "truncate")

Batches = Sequence[Sequence[Path]]
"""Files, as they come together."""


class Killed(BaseException):
    """The process would not have got any further."""


class Machine:
    """Counts the steps that change the disk; from a given one on there are none any more, as after a kill -9."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.last: int | None = None
        for name in CHANGES_THE_DISK:
            patch.setattr(os, name, self._counted(name, getattr(os, name)))
        patch.setattr(store, "_exchange", self._counted("exchange", store._exchange))
        # What is written stays written when a process is killed; only a power cut would tell the difference.
        patch.setattr(Store, "sync", self._counted("sync", lambda _: None))
        patch.setattr(io, "open", self._opened(io.open))
        patch.setattr(os, "open", self._created(os.open))

    def run(self, work: Callable[[], Any], last: int) -> bool:
        """Do the work, or its first `last` steps; says whether that was all of it."""
        self.steps.clear()
        self.last = last
        try:
            work()
        except Killed:
            return False
        finally:
            self.last = None
        return True

    def _step(self, name: str, *arguments: Any) -> None:
        if self.last is not None and len(self.steps) >= self.last:
            raise Killed
        self.steps.append(" ".join([name, *(str(each) for each in arguments if isinstance(each, str | Path))]))

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._step(name, *arguments)
            return function(*arguments, **named)

        return call

    def _opened(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            if mode.strip("bt") == "r":
                return function(file, mode, *arguments, **named)
            self._step("create", file)
            opened = function(file, mode, *arguments, **named)
            self._step("write", file)
            return opened

        return call

    def _created(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & os.O_CREAT:
                self._step("create", path)
            return function(path, flags, *arguments, **named)

        return call


@dataclass
class Conversation:
    """What the main process says to the publisher, one message after the other, and what it hears."""

    messages: list[Any]
    replies: list[Any] = field(default_factory=list)

    def poll(self, timeout: float | None = None) -> bool:
        """Nothing comes together with anything else, and nothing before the publisher waits for it."""
        return timeout != 0 and bool(self.messages)

    def recv(self) -> Any:
        return self.messages.pop(0)

    def send(self, reply: Any) -> None:
        self.replies.append(reply)

    def receipts(self) -> dict[int, tuple[Receipt, ...]]:
        """What has been answered, by the number of the batch."""
        answers = [each for each in self.replies if isinstance(each, Committed)]
        assert [each.failure for each in answers if each.failure] == []
        return {each.number: each.receipts for each in answers}


class Rehearsal:
    """A root in which the same batches arrive again and again, from the same beginning."""

    def __init__(self, directory: Path, earlier: Batches, batches: Batches) -> None:
        self.root = directory / "root"
        self._beginning = directory / "beginning"
        self._prepared = directory / "prepared"
        self.sources = [path for batch in (*earlier, *batches) for path in batch]
        self._batches: list[tuple[Staged, ...]] = []
        self._stage(batches)
        if earlier:
            before = Rehearsal(directory / "earlier", (), earlier)
            before.catch_up(Conversation([]))
            before.root.rename(self._beginning)

    def _stage(self, batches: Batches) -> None:
        (self.root / layout.STAGING).mkdir(parents=True)
        for number, batch in enumerate(batches):
            sources = [Source(path, Stamp.of(path.lstat())) for path in batch]
            results = ingest_batch(sources, self.root / layout.STAGING / f"task{number}", RULES)
            assert all(isinstance(each, Staged) for each in results), results
            self._batches.append(tuple(each for each in results if isinstance(each, Staged)))
        (self.root / layout.STAGING).rename(self._prepared)

    @property
    def numbers(self) -> range:
        """Of the batches."""
        return range(len(self._batches))

    def begin(self) -> None:
        """Set the beginning up again."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._beginning.exists():
            shutil.copytree(self._beginning, self.root)

    def talk(self, numbers: Sequence[int], conversation: Conversation) -> None:
        """Run a publisher that is given these batches, then told to write everything, then to end."""
        with Store(self.root) as opened:
            for number in numbers:
                # By another process, as workers are: it is not the publisher's work.
                subprocess.run(["cp", "-a", self._prepared / f"task{number}", self.root / layout.STAGING], check=True)
            batches = [Batch(number, self._batches[number]) for number in numbers]
            conversation.messages.extend([*batches, Flush(1), None])
            Publisher(opened, conversation).serve()

    def assert_readers_see_no_gap(self) -> None:
        """Whatever was there before is still there, in one version or the other, and nothing is there by half."""
        found = tree(self.root / "studies")
        assert tree(self._beginning / "studies").keys() - found.keys() == set()
        assert unreadable(self.root / "studies") == []

    def let_go(self) -> None:
        """Close what the root's files are opened as: the kernel does it when a process ends, and frees the lock."""
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if descriptor.readlink().is_relative_to(self.root):
                    os.close(int(descriptor.name))

    def catch_up(self, receipts: Conversation) -> None:
        """What the next daemon does: sources without a receipt come again."""
        answered = receipts.receipts()
        receipts.messages.clear()
        self.talk([number for number in self.numbers if number not in answered], receipts)

    def assert_nothing_is_new(self) -> None:
        """All of it once more, as after the loss of the journal, touches nothing."""
        before = _stamps(self.root)
        conversation = Conversation([])
        self.talk(self.numbers, conversation)
        outcomes = {receipt.outcome for receipts in conversation.receipts().values() for receipt in receipts}
        assert outcomes == {"duplicate"}
        assert _stamps(self.root) == before


def _stamps(root: Path) -> dict[str, tuple[int, int]]:
    """When each file of the tree changed last, the publisher's own working directory left out."""
    found = (path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] != layout.PRIVATE)
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in found}


@dataclass(frozen=True, slots=True)
class Reference:
    """What there is when nobody was disturbed."""

    published: dict[str, bytes]
    kept: dict[str, bytes]
    records: set[Record]
    sources: Counter[bytes]

    @classmethod
    def of(cls, rehearsal: Rehearsal) -> "Reference":
        rehearsal.begin()
        rehearsal.catch_up(Conversation([]))
        root = rehearsal.root
        sources = Counter({path.read_bytes(): 1 for path in rehearsal.sources})
        return cls(tree(root / "studies"), tree(root / layout.KEPT), records(root), sources)

    def assert_equals(self, root: Path) -> None:
        """Published, kept and recorded is the same, and every source can be rebuilt."""
        assert leftovers(root) == []
        assert unreadable(root) == []
        assert differences(tree(root / "studies"), self.published) == []
        assert differences(tree(root / layout.KEPT), self.kept) == []
        assert records(root) == self.records
        assert originals(root) == self.sources


class Material:
    """Small CT instances with a private value that becomes bulk data, and other contents of the same instances."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._study = corpus.ct_study(directory / "base", instances=16, series=2, size=32)

    def ct(self, number: int, content: str = "") -> Path:
        """One content of the instance of this number."""
        image = pydicom.dcmread(self._study.files[number])
        image.ImageComments = content
        image.private_block(0x0009, "STATICWADO TEST", create=True).add_new(1, "OB", content.encode().ljust(200, b"."))
        path = self._directory / f"{number}{content}.dcm"
        image.save_as(path)
        return path

    def mr(self) -> Path:
        """An instance of another study."""
        return corpus.mr_study(self._directory / "mr", instances=1, series=1).files[0]


def first_instances(of: Material) -> tuple[Batches, Batches]:
    """Nothing is there, not even the root."""
    return (), [[of.ct(0), of.ct(1), of.mr()]]


def growing_studies(of: Material) -> tuple[Batches, Batches]:
    return [[of.ct(0), of.ct(1)]], [[of.ct(2)], [of.ct(3), of.mr()]]


def conflicting_contents(of: Material) -> tuple[Batches, Batches]:
    """Superseded by one batch and again by the next, one of them twice, while others are known or new."""
    earlier = [[of.ct(0), of.ct(1)], [of.ct(1, "b")]]
    return earlier, [[of.ct(0, "b"), of.ct(1, "c")], [of.ct(0, "c"), of.ct(0, "d"), of.ct(1, "b"), of.ct(2)]]


def grouping(of: Material) -> tuple[Batches, Batches]:
    """One record file and one pack more than a study may have."""
    return [[of.ct(number)] for number in range(publish.MAXIMUM_FILES)], [[of.ct(publish.MAXIMUM_FILES)]]


Scenario = Callable[[Material], tuple[Batches, Batches]]
"""What is there already, and what arrives."""

SCENARIOS = [first_instances, growing_studies, conflicting_contents, grouping]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_next_one_completes_what_was_stopped_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Scenario
) -> None:
    rehearsal = Rehearsal(tmp_path, *scenario(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    machine = Machine(monkeypatch)
    for last in itertools.count():
        rehearsal.begin()
        conversation = Conversation([])
        if machine.run(partial(rehearsal.catch_up, conversation), last):
            break
        with noted(f"stopped after step {last}: {machine.steps[-1:]}"):
            rehearsal.assert_readers_see_no_gap()
            rehearsal.let_go()
            rehearsal.catch_up(conversation)
            reference.assert_equals(rehearsal.root)
            rehearsal.assert_nothing_is_new()
    assert len(machine.steps) > 50


@pytest.mark.soak
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_so_does_one_after_several_that_were_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Scenario
) -> None:
    rehearsal = Rehearsal(tmp_path, *scenario(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    machine = Machine(monkeypatch)
    for seed in range(500):
        chance = random.Random(seed)
        rehearsal.begin()
        conversation = Conversation([])
        with noted(f"seed {seed}"):
            while not machine.run(partial(rehearsal.catch_up, conversation), chance.randrange(150)):
                rehearsal.assert_readers_see_no_gap()
                rehearsal.let_go()
            reference.assert_equals(rehearsal.root)
            rehearsal.assert_nothing_is_new()


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Say with a failure when it happened."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise
