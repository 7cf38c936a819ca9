"""From a set of records to what is published: a pure function, whatever the order the records came in."""

from collections.abc import Iterable

from staticwado_daemon.archive.record import Record
from staticwado_daemon.dicom.uids import Identity


def precedence(record: Record) -> tuple[int, str, str, str]:
    """The order among versions of one instance; the highest is published. No clock has a say in it."""
    return record.revision, record.content, record.source, record.name


def merge(records: Iterable[Record]) -> dict[Identity, list[Record]]:
    """Every version of every instance, one per content, the winner first.

    Commutative, associative and idempotent: the result depends on the set of records alone.
    """
    versions: dict[Identity, dict[str, Record]] = {}
    for record in records:
        contents = versions.setdefault(record.identity, {})
        rival = contents.get(record.content)
        if rival is None or precedence(record) > precedence(rival):
            contents[record.content] = record
    return {
        identity: sorted(versions[identity].values(), key=precedence, reverse=True) for identity in sorted(versions)
    }
