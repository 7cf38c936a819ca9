"""Real staged instances that a publisher is told of again and again, and the tree that must come of it.

Only the processes around the publisher are absent.
"""

import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import pydicom

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.archive.record import Held
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import Action
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import publish
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules, ingest_batch
from staticwado_daemon.pipeline.messages import Batch, Committed, Flush, Message, Obeyed, Remove, Reply
from staticwado_daemon.pipeline.publisher import Publisher
from staticwado_daemon.pipeline.staged import Staged
from tests import corpus
from tests.crash.disks import Interposed
from tests.crash.oracle import differences, leftovers, originals, records, tree, unreadable

RULES = Rules(Images(), Limits())

Batches = Sequence[Sequence[Path] | Remove]
"""Files, as they come together, and what somebody asks for in between."""


@dataclass
class Conversation:
    """What the main process says to the publisher, one message after the other, and what it hears."""

    messages: list[Message] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    bring: Callable[[int], None] = lambda _: None
    """Called with the number of a batch before the publisher is told of it."""

    def poll(self, timeout: float | None = None) -> bool:
        """Nothing comes together with anything else, and nothing before the publisher waits for it."""
        return timeout != 0 and bool(self.messages)

    def recv(self) -> Message:
        message = self.messages.pop(0)
        if isinstance(message, Batch):
            self.bring(message.number)
        return message

    def send(self, reply: Reply) -> None:
        self.replies.append(reply)

    def receipts(self) -> dict[int, tuple[Receipt | None, ...]]:
        """What has been answered, by the number of the batch."""
        answers = [each for each in self.replies if isinstance(each, Committed | Obeyed)]
        assert [each.failure for each in answers if each.failure] == []
        return {each.number: each.receipts if isinstance(each, Committed) else () for each in answers}


class Rehearsal:
    """A root in which the same batches arrive again and again, from the same beginning."""

    def __init__(self, directory: Path, earlier: Batches, batches: Batches) -> None:
        self.root = directory / "root"
        self.beginning = directory / "beginning"
        self._prepared = directory / "prepared"
        self.sources = [path for batch in (*earlier, *batches) if not isinstance(batch, Remove) for path in batch]
        self.batches: list[tuple[Staged, ...] | Remove] = []
        self._stage(batches)
        if earlier:
            before = Rehearsal(directory / "earlier", (), earlier)
            before.catch_up(Conversation())
            before.root.rename(self.beginning)

    def _stage(self, batches: Batches) -> None:
        (self.root / layout.STAGING).mkdir(parents=True)
        for number, batch in enumerate(batches):
            if isinstance(batch, Remove):
                self.batches.append(replace(batch, number=number))
                continue
            sources = [Source(path, Stamp.of(path.lstat())) for path in batch]
            results = ingest_batch(sources, self.root / layout.STAGING / f"task{number}", RULES)
            assert all(isinstance(each, Staged) for each in results), results
            self.batches.append(tuple(each for each in results if isinstance(each, Staged)))
        (self.root / layout.STAGING).rename(self._prepared)

    @property
    def numbers(self) -> range:
        """Of the batches."""
        return range(len(self.batches))

    def begin(self) -> None:
        """Set the beginning up again."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self.beginning.exists():
            shutil.copytree(self.beginning, self.root)

    def bring(self, number: int, disk: Disk) -> None:
        """Stage a batch once more, as workers do."""
        task = self._prepared / f"task{number}"
        staging = self.root / layout.STAGING
        disk.mkdir(staging / task.name)
        for path in sorted(task.rglob("*")):
            target = staging / path.relative_to(self._prepared)
            if path.is_dir():
                disk.mkdir(target)
            else:
                disk.write(target, [path.read_bytes()])

    def talk(
        self, numbers: Sequence[int], conversation: Conversation, disk: Disk | None = None, workers: Disk | None = None
    ) -> None:
        """Run a publisher that is given these batches, then told to write everything, then to end."""
        with Store(self.root, disk=disk or Interposed()) as opened:
            conversation.bring = lambda number: self.bring(number, workers or Interposed())
            conversation.messages.extend([*map(self.message, numbers), Flush(1), None])
            Publisher(opened, cast("Connection", conversation)).serve()

    def message(self, number: int) -> Message:
        batch = self.batches[number]
        return batch if isinstance(batch, Remove) else Batch(number, batch)

    def catch_up(self, conversation: Conversation, disk: Disk | None = None, workers: Disk | None = None) -> None:
        """What the next daemon does: sources without a receipt come again."""
        answered = conversation.receipts()
        conversation.messages.clear()
        self.talk([number for number in self.numbers if number not in answered], conversation, disk, workers)

    def assert_readers_see_no_gap(self) -> None:
        """Whatever was there before is still there, in one version or the other, and nothing is there by half."""
        found = tree(self.root / "studies")
        assert tree(self.beginning / "studies").keys() - found.keys() == set()
        assert unreadable(self.root / "studies") == []

    def assert_what_is_listed_is_there(self) -> None:
        """No summary speaks of an instance that isn't where it says, and no list of a study that isn't there."""
        studies = self.root / "studies"
        for path in studies.rglob("metadata.gz"):
            if "instances" not in path.parts:
                for each in json.loads(gzip.decompress(path.read_bytes())):
                    study, series, instance = (each[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
                    assert (studies / study / "series" / series / "instances" / instance).is_dir(), path
        listed = studies / "index.json.gz"
        for each in json.loads(gzip.decompress(listed.read_bytes())) if listed.exists() else ():
            assert (studies / each["0020000D"]["Value"][0] / "series/index.json.gz").exists()

    def let_go(self) -> None:
        """Close what the root's files are opened as: the kernel does it when a process ends, and frees the lock."""
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if descriptor.readlink().is_relative_to(self.root):
                    os.close(int(descriptor.name))

    def assert_nothing_is_new(self) -> None:
        """All of it once more, as after the loss of the journal, touches nothing."""
        before = _stamps(self.root)
        conversation = Conversation()
        self.talk([number for number in self.numbers if not isinstance(self.batches[number], Remove)], conversation)
        outcomes = {receipt.outcome for receipts in conversation.receipts().values() for receipt in receipts if receipt}
        assert outcomes <= {"duplicate", "ignored"}
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
    notes: dict[str, bytes]
    records: set[Held]
    sources: Counter[bytes]

    @classmethod
    def of(cls, rehearsal: Rehearsal) -> "Reference":
        rehearsal.begin()
        rehearsal.catch_up(Conversation())
        root = rehearsal.root
        sources = Counter({path.read_bytes(): 1 for path in rehearsal.sources})
        kept, notes = tree(root / layout.KEPT), tree(root / layout.HIDDEN)
        return cls(tree(root / "studies"), kept, notes, records(root), sources)

    def assert_equals(self, root: Path) -> None:
        """Published, kept and recorded is the same, and every source can be rebuilt."""
        assert leftovers(root) == []
        assert unreadable(root) == []
        assert differences(tree(root / "studies"), self.published) == []
        assert differences(tree(root / layout.KEPT), self.kept) == []
        assert tree(root / layout.HIDDEN) == self.notes
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

    def order(self, action: Action, *numbers: int) -> Remove:
        """An order about the instances of these numbers; about their whole study without any."""
        read = (pydicom.dcmread(self._study.files[number]) for number in numbers or (0,))
        targets = [
            Target(UID(each.StudyInstanceUID), UID(each.SeriesInstanceUID), UID(each.SOPInstanceUID)) for each in read
        ]
        named = tuple(targets) if numbers else (Target(targets[0].study),)
        return Remove(0, action, named, "2026-03-01T10:15:00Z", "anna", "because")

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


def deletion(of: Material) -> tuple[Batches, Batches]:
    """Of a part, then of all that is left of a study; one instance has several versions, one comes in between."""
    earlier = [[of.ct(0), of.ct(1), of.mr()], [of.ct(1, "b")]]
    return earlier, [of.order("delete", 1), [of.ct(2)], of.order("reject")]


def undoing(of: Material) -> tuple[Batches, Batches]:
    """Of a part, while a new version of something deleted comes; then of the rest."""
    earlier = [[of.ct(0), of.ct(1)], [of.ct(1, "b")], of.order("delete")]
    return earlier, [of.order("undo", 0), [of.ct(1, "c"), of.ct(0)], of.order("undo")]


Scenario = Callable[[Material], tuple[Batches, Batches]]
"""What is there already, and what arrives."""

SCENARIOS: list[Scenario] = [first_instances, growing_studies, conflicting_contents, grouping]
REMOVALS: list[Scenario] = [deletion, undoing]
"""In these something that was there before is there no more."""


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Say with a failure when it happened."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise
