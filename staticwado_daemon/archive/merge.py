"""From a set of records and tombstones to what is published: a pure function, whatever the order they came in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from staticwado_daemon.archive.record import Held, Record
from staticwado_daemon.archive.tombstone import Tombstone
from staticwado_daemon.dicom.uids import Identity


class Covered(NamedTuple):
    """A version that isn't shown, and the tombstone that says so."""

    record: Record
    tombstone: Tombstone


@dataclass(frozen=True, slots=True)
class Versions:
    """What is known of one instance, one record for each content.

    Attributes:
        visible: the published version, then those that it has superseded; empty if all is deleted or rejected.
        covered: what is deleted or rejected, in the same order.
        tombstones: the one that counts for each content, if there is one: also over what has no record, say because
            that was purged.
    """

    visible: tuple[Record, ...] = ()
    covered: tuple[Covered, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()

    @property
    def winner(self) -> Record | None:
        """The version that is published."""
        return self.visible[0] if self.visible else None

    @property
    def records(self) -> tuple[Record, ...]:
        """Every version, the published one first if there is one."""
        return (*self.visible, *(each.record for each in self.covered))

    @property
    def held(self) -> tuple[Held, ...]:
        """Everything that these versions follow from."""
        return (*self.records, *self.tombstones)

    def tombstone(self, content: str) -> Tombstone | None:
        """The tombstone that counts for a content."""
        return next((each for each in self.tombstones if each.content == content), None)


UNKNOWN = Versions()


def precedence(record: Record) -> tuple[int, str, str, str]:
    """The order among versions of one instance; the highest is published. No clock has a say in it."""
    return record.revision, record.content, record.source, record.name


def merge(held: Iterable[Held]) -> dict[Identity, Versions]:
    """Every version of every instance.

    Commutative, associative and idempotent: the result depends on the set of records and tombstones alone.
    """
    records: dict[Identity, dict[str, Record]] = {}
    tombstones: dict[Identity, dict[str, Tombstone]] = {}
    for each in held:
        if isinstance(each, Tombstone):
            decisions = tombstones.setdefault(each.identity, {})
            other = decisions.get(each.content)
            if other is None or each.precedence > other.precedence:
                decisions[each.content] = each
        else:
            contents = records.setdefault(each.identity, {})
            rival = contents.get(each.content)
            if rival is None or precedence(each) > precedence(rival):
                contents[each.content] = each
    return {
        identity: _versions(records.get(identity, {}), tombstones.get(identity, {}))
        for identity in sorted(records.keys() | tombstones.keys())
    }


def _versions(records: Mapping[str, Record], tombstones: Mapping[str, Tombstone]) -> Versions:
    ordered = tuple(records.values())
    if len(ordered) > 1:  # a record's name is costly, and most instances have one
        ordered = tuple(sorted(ordered, key=precedence, reverse=True))
    if not tombstones:
        return Versions(ordered)
    covering = {content: each for content, each in tombstones.items() if each.covers}
    return Versions(
        visible=tuple(each for each in ordered if each.content not in covering),
        covered=tuple(Covered(each, covering[each.content]) for each in ordered if each.content in covering),
        tombstones=tuple(tombstones[content] for content in sorted(tombstones)),
    )
