"""Which instances are sent, and what is to be known of them before: what is published, as its records tell it."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from staticwado_daemon.archive import holdings
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.target import Target
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.operate.export.originals import Originals
from staticwado_daemon.operate.export.selection import Version

_SOP_CLASS_UID: Final = "00080016"
_AVAILABLE_TRANSFER_SYNTAX_UID: Final = "00083002"


@dataclass(frozen=True, slots=True)
class Chosen:
    """An instance that is to be sent, and what has to be known of it before.

    Attributes:
        identity: Study, Series and SOP Instance UID.
        content: of the version that is published.
        sop_class: SOP Class UID.
        transfer_syntax: of the file that is given back, as far as records tell.
    """

    identity: Identity
    content: str
    sop_class: str
    transfer_syntax: str


def published(root: Path, studies: Iterable[UID], is_meant: Callable[[Identity], bool]) -> Iterator[Chosen]:
    """Yield the published instances of studies that are meant, each once, in the order of their UIDs.

    Args:
        root: of the tree.
        studies: whose instances are looked at; one that isn't there has none.
        is_meant: decides about each.
    """
    originals = Originals(root)
    for study in sorted(set(studies)):
        for identity, known in merge(holdings.held(root, study)).items():
            if known.winner and is_meant(identity):
                version = Version(known.winner, published=True)
                yield _of_record(known.winner, has_original=originals.lacks(version) is None)


def of_targets(root: Path, targets: Collection[Target]) -> list[Chosen]:
    """The published instances of some studies, series and instances, each once, in the order of their UIDs."""
    studies = {target.study for target in targets}
    return list(published(root, studies, lambda identity: any(target.names(identity) for target in targets)))


def _of_record(record: Record, *, has_original: bool) -> Chosen:
    attributes = orjson.loads(record.dataset)
    syntax = first_text(attributes, _AVAILABLE_TRANSFER_SYNTAX_UID) or EXPLICIT_VR_LITTLE_ENDIAN
    return Chosen(
        record.identity,
        record.content,
        first_text(attributes, _SOP_CLASS_UID),
        record.source_transfer_syntax if has_original else syntax,
    )
