"""One study, looked at as a whole: its records, its files, and what is published of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.operate.verify import blobs, published, recorded, restored, strays
from staticwado_daemon.operate.verify.blobs import Placed
from staticwado_daemon.operate.verify.finding import Finding
from staticwado_daemon.operate.verify.published import Published
from staticwado_daemon.operate.verify.reading import Reader
from staticwado_daemon.operate.verify.recorded import Recorded
from staticwado_daemon.operate.verify.sample import Sample


@dataclass(frozen=True)
class Wish:
    """How closely to look.

    Attributes:
        sample: of the files, which are read: of all others existence and length are looked at.
        restore: whether the originals of the sample are made again and compared.
        targets: of each study only the files that belong to these are read; without any, all.
    """

    sample: Sample
    restore: bool = False
    targets: tuple[Target, ...] = ()

    @cached_property
    def by_study(self) -> Mapping[UID, Sequence[Target]]:
        """The targets by their studies: a repair may look again at every study of a tree."""
        found: dict[UID, list[Target]] = {}
        for each in self.targets:
            found.setdefault(each.study, []).append(each)
        return found

    def has(self, identity: Identity) -> bool:
        """Whether an instance is to be looked at."""
        return not self.targets or any(each.names(identity) for each in self.by_study.get(identity.study, ()))


@dataclass(frozen=True, slots=True)
class StudyFound:
    """What was found of a study.

    Attributes:
        findings: what is wrong with it.
        instances: how many are published.
        queries: what the list of all studies may say of it; nothing if it isn't to be listed.
    """

    findings: tuple[Finding, ...]
    instances: int
    queries: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class State:
    """By what a change of a study is told: whoever changes it marks it first, and leaves other records or packs."""

    marked: bool
    files: tuple[str, ...]

    @classmethod
    def of(cls, reader: Reader, study: UID) -> "State":
        """The state of a study now."""
        root = reader.root
        files = (*holdings.record_files(root, study), *holdings.pack_files(root, study))
        return cls((root / layout.dirty_mark(study)).exists(), files)


def look(reader: Reader, study: UID, wish: Wish) -> StudyFound:
    """Look at a study that nobody changes; FileNotFoundError or odd findings if somebody does."""
    told = recorded.read(reader, study)
    instances = merge(told.held)
    winners = {identity: each.winner for identity, each in instances.items() if each.winner}
    everything = [placed for each in instances.values() for placed in blobs.placed(each)]
    lost = {each.identity: each for each in strays.unrecorded(reader.root, study, winners)}
    may_be = [Published.of(study, {**winners, **lost}), *([Published.of(study, winners)] if lost else [])]
    meant = [each for each in everything if wish.has(each.version.identity)]
    damaged = [*_missing_remainders(reader, told, meant), *blobs.Blobs(reader, wish.sample, meant).check()]
    found = [
        *told.findings,
        *(Finding("record_missing", layout.instance_dir(each), study, each) for each in lost),
        *damaged,
        *published.check(reader, may_be),
        *published.check_note(reader, study, instances.values()),
        *strays.strays(reader.root, study, _known(reader, told, everything, may_be[0])),
    ]
    if wish.restore:
        found += _restored(reader, told, meant, damaged, wish.sample)
    queries = tuple(query for each in may_be if (query := each.query) is not None)
    return StudyFound(tuple(found), len(winners), queries)


def _missing_remainders(reader: Reader, told: Recorded, everything: list[Placed]) -> Iterator[Finding]:
    for each in everything:
        version = each.version
        kept_whole = reader.root / layout.original(version.content, version.source)
        if version.is_exact and version.remainder[0] not in told.remainders and not kept_whole.exists():
            yield Finding("remainder_missing", each.directory, told.study, version.identity, version.content)


def _known(reader: Reader, told: Recorded, everything: list[Placed], full: Published) -> Iterator[str]:
    """Every file that belongs into the study's published directory."""
    yield from (path for path, _ in full.bodies())
    yield from (path for path, _ in full.thumbnails())
    for each in everything:
        yield f"{each.directory}/{layout.METADATA}"
        yield from (each.path(blob, reader.root) for blob in each.version.blobs)
    # Bulk data also of records whose place others of the same content have taken: these stay.
    home = layout.study_dir(told.study)
    visible = {(each.version.identity, each.version.content) for each in everything if not each.covered}
    for record in told.held:
        if isinstance(record, Record) and (record.identity, record.content) in visible:
            yield from (f"{home}/{blob.path}" for blob in record.blobs if layout.is_bulk(blob.path))
    for makeshift in (each for each in full.winners.values() if not each.content):
        placed = Placed(makeshift, layout.instance_dir(makeshift.identity))
        yield f"{placed.directory}/{layout.METADATA}"
        yield from (placed.path(blob, reader.root) for blob in makeshift.blobs)


def _restored(
    reader: Reader, told: Recorded, meant: list[Placed], damaged: list[Finding], sample: Sample
) -> Iterator[Finding]:
    """Originals of versions whose files are whole: of the others it is known already that they don't come back."""
    broken = {(each.identity, each.content) for each in damaged}
    # Bulk data that several versions share are told of one of them only.
    files = {each.where for each in damaged}
    whole = (
        each
        for each in meant
        if each.version.is_exact
        and sample.has(each.directory)
        and (each.version.identity, each.version.content) not in broken
        and files.isdisjoint(each.path(blob, reader.root) for blob in each.version.blobs if layout.is_bulk(blob.path))
    )
    return restored.check(reader, whole, told.remainders)
