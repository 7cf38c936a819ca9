"""One study becomes ours: everything is staged first, then changes places with what stands, then is told of.

The order of the steps is what makes a crash harmless, and what keeps the study readable throughout:

1. all instances are staged; until here nothing has changed, and a damaged file leaves the study as it is;
2. what was read of the study is noted, for step 4 replaces what it was read from;
3. a study below a directory named by a hash moves, in one rename; record files of theirs are put aside;
4. each instance directory changes places with its successor in one step (`commit`), and all get their record at once;
5. the study's files are written anew, and only then what they no longer speak of is put aside;
6. notes and mark go.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from staticwado_daemon.archive import gzipped, layout
from staticwado_daemon.archive.index import StudiesIndex
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.target import Target
from staticwado_daemon.archive.tombstone import moment
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Corrupt, Rejected
from staticwado_daemon.operate.adopt import instance, metadata, rest, tree
from staticwado_daemon.operate.adopt.instance import Adopted
from staticwado_daemon.operate.adopt.metadata import Found
from staticwado_daemon.operate.adopt.tree import Candidate, Contents
from staticwado_daemon.pipeline import publish, removal
from staticwado_daemon.pipeline.commit import commit
from staticwado_daemon.pipeline.ingest import Rules
from staticwado_daemon.pipeline.messages import Remove
from staticwado_daemon.pipeline.notes import Notes
from staticwado_daemon.pipeline.staged import Staged
from staticwado_daemon.pipeline.studies import Studies

_BY = "static-wado"
_REASON = "was rejected in the tree that was adopted"


@dataclass(slots=True)
class Told:
    """What became of a study, or would.

    Attributes:
        study: its UID.
        instances: adopted ones, of them `rejected` that are not shown.
        frames: of these.
        left: why the study was left as it is; None if it wasn't.
        lacks: what its own program should have kept and didn't, by instance.
        notes: contradictions and corrections, by instance.
        unknown: files in its directory that are nobody's.
    """

    study: str
    instances: int = 0
    rejected: int = 0
    frames: int = 0
    left: str | None = None
    lacks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Adoption:
    """A root that is being adopted.

    Attributes:
        store: its one writer.
        studies: what the writer knows.
        notes: on what is stored but not shown.
        index: the list of all studies, theirs included.
        rules: how instances are stored.
        on_instance: called for each that is staged.
    """

    store: Store
    studies: Studies
    notes: Notes
    index: StudiesIndex
    rules: Rules
    on_instance: Callable[[], None]

    def adopt(self, candidate: Candidate) -> Told:
        """Let a study become ours, or leave it as it is and say why."""
        root, told = self.store.root, Told(candidate.uid)
        task = root / layout.STAGING / f"adopt-{uuid.uuid4().hex}"
        try:
            contents = tree.read(root, candidate)
            _refuse_without_instances(contents)
            staged = self._stage(candidate, contents.instances, task, told)
        except (Corrupt, Rejected) as why:
            told.left = _below(root, str(why))
            self.store.sweep(task)
            return told
        self._change(candidate, contents, staged)
        self.store.sweep(task)
        self._publish(candidate.uid, contents.rejected)
        self._finish(candidate.uid, told)
        return told

    def _stage(self, candidate: Candidate, found: Sequence[Found], task: Path, told: Told) -> list[Staged]:
        study = self.store.root / candidate.directory
        if candidate.under_way and not study.is_dir():
            study = self.store.root / layout.study_dir(candidate.uid)
        staged = []
        for number, each in enumerate(found):
            try:
                adopted = instance.stage(study, each, task / str(number), self.rules)
            except Rejected as why:
                raise Rejected(f"instance {each.identity.instance}: {why.reason}") from why
            staged.append(adopted.staged)
            _tell(told, each, adopted)
            self.on_instance()
        return staged

    def _change(self, candidate: Candidate, contents: Contents, staged: list[Staged]) -> None:
        """Steps 2 to 4."""
        store = self.store
        if not candidate.under_way:
            store.put(tree.notes_of(candidate.uid), gzipped.pack(metadata.to_json(contents.instances)))
            store.sync()
        if str(candidate.directory) != layout.study_dir(candidate.uid):
            store.move(str(candidate.directory), layout.study_dir(candidate.uid))
        for path in candidate.record_files:
            if path.parts[0] != "studies" and (store.root / path).exists():
                rest.put_aside(store, str(path))
        self.studies.forget(candidate.uid)
        commit(store, self.studies, staged)

    def _publish(self, uid: UID, rejected: Sequence[Identity]) -> None:
        """Step 5, without putting aside."""
        if rejected:
            targets = tuple(Target.of(each) for each in rejected)
            order = Remove(0, "reject", targets, moment(), _BY, _REASON)
            removal.remove(self.store, self.studies, uid, order)
        study = self.studies.get(uid)
        if study.series_uids():
            publish.publish_hot(self.store, study, study.series_uids(), self.index)
            publish.publish_cold(self.store, study)
        else:
            self.index.remove(uid)
        publish.group(self.store, uid)
        self.store.sync()

    def _finish(self, uid: UID, told: Told) -> None:
        """Put aside what is theirs, and say that nothing is left to do."""
        left = rest.of_study(self.store.root, self.studies.get(uid))
        for path in left.theirs:
            rest.put_aside(self.store, path)
        told.unknown += left.unknown
        rest.tidy(self.store, uid)
        removal.clear(self.store, self.studies.get(uid))
        self.notes.note(self.studies.get(uid))
        notes = tree.notes_of(uid)
        if (self.store.root / notes).exists():
            done = notes.replace("under-way", f"metadata-{uuid.uuid4().hex[:8]}")
            self.store.move(notes, done)
        self.store.sync()
        self.store.remove(layout.dirty_mark(uid))
        self.studies.forget(uid)


def look(root: Path, candidate: Candidate) -> Told:
    """What adopting a study would do, as far as that can be told without reading frames; nothing is changed."""
    told = Told(candidate.uid)
    try:
        contents = tree.read(root, candidate)
        _refuse_without_instances(contents)
    except (Corrupt, Rejected) as why:
        told.left = _below(root, str(why))
        return told
    for each in contents.instances:
        directory = root / candidate.directory / "series" / each.identity.series / "instances" / each.identity.instance
        told.frames += sum(path.is_file() for path in (directory / "frames").glob("[1-9]*"))
        told.instances += 1
        told.rejected += each.rejected
        told.notes += [f"{each.identity.instance}: {note}" for note in each.notes]
    return told


def _refuse_without_instances(contents: Contents) -> None:
    if not contents.instances and not contents.known:
        raise Rejected("nothing in it says what its instances are")


def _tell(told: Told, found: Found, adopted: Adopted) -> None:
    told.instances += 1
    told.rejected += found.rejected
    told.frames += adopted.frames
    told.lacks += [f"{found.identity.instance}: {each}" for each in adopted.lacks]
    told.notes += [f"{found.identity.instance}: {each}" for each in adopted.notes]


def _below(root: Path, text: str) -> str:
    """A sentence in which paths begin at the root."""
    return text.replace(f"{root}/", "")
