"""Putting right what was found to be wrong: what to do, in which order, and what came of it.

What nothing speaks of is set aside, records and files come back from their originals, then the writer makes what it
computes from records. Nothing is deleted, and nothing is put back that isn't proven to be what was there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.merge import Versions, merge
from staticwado_daemon.archive.record import Held
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.inbound.receipt import STORED
from staticwado_daemon.operate.verify import blobs, recorded, strays
from staticwado_daemon.operate.verify.blobs import Placed
from staticwado_daemon.operate.verify.finding import Finding
from staticwado_daemon.operate.verify.reading import Reader
from staticwado_daemon.operate.verify.sources import Sources

_OF_RECORDS = frozenset({"record_unreadable", "record_misnamed", "record_missing", "pack_damaged", "remainder_missing"})
_BY_MOVING = frozenset({"set aside", "group"})
_LOSSES = frozenset({"record_missing", "remainder_missing", "instance_missing"})
_TRIES = 3
_DAMAGED_FILES = frozenset({"record_unreadable", "pack_damaged"})


class Hands(Protocol):
    """Who may write to the tree: the line of this process, or a daemon that is asked."""

    def store(self, files: Sequence[Path]) -> object:
        """Have files stored although their content is known."""

    def renew(self, studies: Sequence[UID]) -> None:
        """Have everything of these studies made anew that is computed from records, and the list of all studies."""

    def set_aside(self, paths: Sequence[str]) -> None:
        """Have paths below the root moved out of the way, unless they are of use by now."""

    def group(self, studies: Sequence[UID]) -> None:
        """Have the record files and packs of studies merged into one each."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about findings.

    Attributes:
        originals: files to be stored once more.
        renewed: studies to be written anew.
        grouped: studies whose record files are to be merged.
        aside: what is to be moved out of the way, below the root.
    """

    originals: tuple[Path, ...]
    renewed: tuple[UID, ...]
    grouped: tuple[UID, ...]
    aside: tuple[str, ...]


def plan(sources: Sources, findings: Sequence[Finding]) -> Plan:
    """Decide what to do, and find or make the originals that it needs.

    Raises:
        OSError: if an original can't be written, or something can't be read now.
    """
    originals: dict[Path, None] = {}
    renewed: list[UID] = []
    by_study: dict[UID, list[Finding]] = {}
    for each in findings:
        if each.study:
            by_study.setdefault(each.study, []).append(each)
    for study, found in sorted(by_study.items()):
        lacking = {each.kind for each in _originals(sources, study, found, originals)}
        # While a record is lost its instance is still shown by what was published before: that must not go.
        if "record_missing" not in lacking and any(each.mending not in _BY_MOVING for each in found):
            renewed.append(study)
    grouped = {each.study for each in findings if each.mending == "group" and each.study}
    # What was left among the private files is swept away by whoever opens the tree for writing.
    aside = tuple(each.where for each in findings if each.mending == "set aside" and layout.is_by_study(each.where))
    return Plan(tuple(originals), tuple(renewed), tuple(sorted(grouped)), aside)


def _originals(sources: Sources, study: UID, found: Sequence[Finding], originals: dict[Path, None]) -> list[Finding]:
    """Add the originals that a study's findings need; returns the findings for which there is none."""
    needing = [each for each in found if each.mending == "source" and each.identity]
    if not needing:
        return []
    instances = merge(_held(sources.reader, study))
    places = {
        (each.version.identity, each.version.content): each
        for versions in instances.values()
        for each in blobs.placed(versions)
        if not each.covered  # to store it once more would be to take back that it was deleted or rejected
    }
    for lost in strays.unrecorded(sources.reader.root, study, _shown(instances)):
        places[lost.identity, ""] = Placed(lost, layout.instance_dir(lost.identity))
    packs = holdings.pack_files(sources.reader.root, study)
    lacking = []
    for each in needing:
        place = places.get((each.identity, each.content)) if each.identity else None
        original = sources.of(place, packs) if place else None
        if original:
            originals[original] = None
        else:
            lacking.append(each)
    return lacking


def _held(reader: Reader, study: UID) -> tuple[Held, ...]:
    for _ in range(_TRIES):
        try:
            return recorded.read(reader, study).held
        except FileNotFoundError:
            continue  # a daemon has merged it into another one just now
    return recorded.read(reader, study).held


def _shown(instances: Mapping[Identity, Versions]) -> Iterable[Identity]:
    return (identity for identity, versions in instances.items() if versions.winner)


def carry_out(hands: Hands, planned: Plan, findings: Iterable[Finding], *, running: bool) -> None:
    """Do what is planned.

    Args:
        hands: who may write.
        planned: what is to be done.
        findings: because of which.
        running: whether a daemon does it, which knows the records as they were before they were damaged.
    """
    hands.set_aside(planned.aside)
    hands.group(planned.grouped)
    if running and (forgotten := {each.study for each in findings if each.kind in _OF_RECORDS}):
        hands.renew([study for study in planned.renewed if study in forgotten])
    if planned.originals:
        hands.store(planned.originals)
    hands.renew(planned.renewed)


def replaced(sources: Sources, now: Iterable[Finding]) -> list[str]:
    """The damaged record files and packs in whose place others stand now: of their studies nothing is lost any more.

    Args:
        sources: what is known of the originals.
        now: what is found after the repair.
    """
    found = list(now)
    lost = {each.study for each in found if each.kind in _LOSSES}
    files = [each for each in found if each.kind in _DAMAGED_FILES and each.study not in lost]
    return [each.where for each in files if each.study and _has_all(sources, each.study)]


def _has_all(sources: Sources, study: UID) -> bool:
    """Whether there are records of everything that, as far as the journal remembers, was stored of a study."""
    known = {(each.identity, each.content) for each in _held(sources.reader, study)}
    received = sources.journal.find(study) if sources.journal else []
    return all((each.identity, each.content) in known for each in received if each.outcome in STORED)
