"""What an interrupted batch left of a study is completed or withdrawn, so that nothing recorded is missing.

A record gets its name after its blobs have theirs, but until the sync that follows a power cut may keep the one and
lose the other. The study's mark names the records for which that sync is not known to have succeeded: nobody was told
of them, so their sources come again. Only these are compared with what is on the disk.
"""

from collections.abc import Sequence

import structlog

from staticwado_daemon.archive import layout, record
from staticwado_daemon.archive.record import Held, Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from staticwado_daemon.pipeline.arrange import arrange, arrange_if_needed, bring_bulk_back, is_whole
from staticwado_daemon.pipeline.studies import Studies, Study

_log = structlog.get_logger(__name__)


def recover(store: Store, studies: Studies, uid: UID) -> None:
    """Arrange the versions of a study's instances, and withdraw the records that an interrupted batch left incomplete.

    Raises:
        OSError: if the disk doesn't let it; then it is to be tried again.
    """
    studies.forget(uid)
    study = studies.get(uid)
    bring_bulk_back(store, study)
    for versions in study.instances():
        arrange_if_needed(store, versions)
    for path, held in _doubtful(store, uid):
        damaged = [each for each in held if isinstance(each, Record) and _is_damaged(store, study, each)]
        if damaged:
            _withdraw(store, path, held, damaged)
            studies.forget(uid)
            _rearrange(store, studies, uid, damaged)
            study = studies.get(uid)


def _doubtful(store: Store, uid: UID) -> list[tuple[str, list[Held]]]:
    """The record files that the study's mark names, with what they hold."""
    found = []
    directories = layout.records_dir(uid), layout.pending_dir(uid)
    for path in (store.read(layout.dirty_mark(uid)) or b"").decode(errors="replace").splitlines():
        data = store.read(path) if path.rpartition("/")[0] in directories else None
        try:
            if data is not None:
                found.append((path, list(record.from_file(data))))
        except Corrupt as why:
            _log.error("not_recovered", study=uid, file=path, reason=str(why))
    return found


def _is_damaged(store: Store, study: Study, each: Record) -> bool:
    return each in study.versions(each.identity).records and not is_whole(store, study, each)


def _withdraw(store: Store, path: str, held: Sequence[Held], damaged: Sequence[Record]) -> None:
    _log.warning("records_withdrawn", count=len(damaged), study=held[0].identity.study)
    whole = [each for each in held if each not in damaged]
    if whole:
        name, data = record.to_file(whole)
        store.supersede([path], f"{layout.records_dir(held[0].identity.study)}/{name}", data)
    else:
        store.remove(path)


def _rearrange(store: Store, studies: Studies, uid: UID, withdrawn: Sequence[Record]) -> None:
    """Let what is the winner now stand where it is published."""
    for each in withdrawn:
        arrange(store, studies.get(uid).versions(each.identity))
