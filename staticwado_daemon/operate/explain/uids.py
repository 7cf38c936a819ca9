"""What a Study, Series or SOP Instance UID stands for."""

from pathlib import Path

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Rejected, StaticwadoError
from staticwado_daemon.inbound.journal_reader import JournalReader, opened
from staticwado_daemon.operate import targets
from staticwado_daemon.operate.explain import instances, studies
from staticwado_daemon.operate.explain.instances import Instance
from staticwado_daemon.operate.explain.places import SearchPlaces
from staticwado_daemon.operate.explain.studies import Series, Study
from staticwado_daemon.operate.study_records import StudyRecords
from staticwado_daemon.operate.uids import completed


def explain_uid(places: SearchPlaces, text: str) -> tuple[Study | Series | Instance, ...]:
    """Say what a Study, Series or SOP Instance UID stands for; several things if several studies have it.

    Args:
        places: where to look.
        text: the UID, or as much of the beginning of a Study or Series Instance UID as no other one begins with.

    Raises:
        Transient: if the journal can't be read now.
        Corrupt: if it is damaged.
        StaticwadoError: if it is unknown, or the beginning of several.
    """
    with opened(places.journal) as journal:
        having = _studies_of(places.root, text, journal)
        uid = UID(text) if having else completed(places.root, text)
        receipts = journal.find(uid) if journal else []
    found: list[Study | Series | Instance] = []
    for study in having or _having(places.root, uid):
        held = StudyRecords(places.root, study)
        if uid == study:
            found.append(studies.describe(held))
        if any(identity.series == uid for identity in held.versions):
            found.append(studies.describe_series(held, uid))
        found += [
            instances.describe(held, identity, receipts) for identity in held.versions if identity.instance == uid
        ]
    if not found:
        raise StaticwadoError(
            f"{uid} is known, but {places.root} has no readable record of it: run `staticwado verify`"
        )
    return tuple(found)


def _studies_of(root: Path, text: str, journal: JournalReader | None) -> list[UID]:
    """The studies that are, or have, what a whole UID names; none if it names nothing."""
    try:
        uid = UID(text)
    except Rejected:
        return []
    if targets.is_study(root, uid):
        return [uid]
    # The journal knows it at once, but not for ever, and not of a tree that came from elsewhere.
    identities: set[Identity] = {each.identity for each in (journal.find(uid) if journal else []) if each.identity}
    return sorted({each.study for each in identities if targets.is_study(root, each.study)}) or _having(root, uid)


def _having(root: Path, uid: UID) -> list[UID]:
    """The studies that are, or have, what is shown or kept under this UID."""
    return list(dict.fromkeys(each.study for each in targets.named(root, uid)))
