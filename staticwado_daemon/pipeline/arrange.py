"""Where the blobs of an instance's versions stand: the published one's are served, all others are kept aside.

Whatever an interrupted attempt left, each directory is where one of them belongs, and they are told apart by their
digests. Each step is one rename; done twice it changes nothing.
"""

from collections.abc import Iterable

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.merge import Versions
from staticwado_daemon.archive.record import Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.pipeline.studies import Study


def arrange_if_needed(store: Store, versions: Versions) -> None:
    """Arrange an instance that has several versions, or whose one version may stand aside; else it costs no reading."""
    if versions.winner and (len(versions.records) > 1 or (store.root / _kept(versions.winner)).exists()):
        arrange(store, versions)


def arrange(store: Store, versions: Versions) -> None:
    """Let the winner of an instance stand where it is published, and each other version among the kept.

    What has no winner stays where it is until nothing speaks of it any more (`put_aside`).
    """
    winner = versions.winner
    if winner is None:
        return
    published = layout.instance_dir(winner.identity)
    spares = [f"{_kept(each)}-exchanged" for each in versions.records]
    places = [*map(_kept, versions.records), *spares]
    if not holdings.holds(store.root / published, winner):
        place = _find(store, places, winner)
        if (store.root / published).exists():
            if place:
                store.replace(published, place, spares)
        elif place or (store.root / _kept(winner)).exists():
            store.move(place or _kept(winner), published)
    for other in versions.records[1:]:
        own = _kept(other)
        if holdings.holds(store.root / own, other) or not (place := _find(store, places, other)):
            continue
        if (store.root / own).exists():
            # It may be the only place of another version.
            store.replace(own, place, spares)
        else:
            store.move(place, own)
    if holdings.holds(store.root / published, winner):
        store.discard(_kept(winner))


def put_aside(store: Store, versions: Versions) -> None:
    """Let nothing stand where an instance is published of which no version is visible."""
    published = layout.instance_dir(versions.records[0].identity)
    if not (store.root / published).exists():
        return
    lacking = [each for each in versions.records if not (store.root / _kept(each)).exists()]
    # A damaged one is told from others by there being no other place for it; it must go as well.
    found = lacking if len(lacking) == 1 else [each for each in lacking if holdings.holds(store.root / published, each)]
    if chosen := next(iter(found or lacking), None):
        store.move(published, _kept(chosen))
    else:
        store.sync()  # or a power cut might take those as well
        store.discard(published)


def bring_bulk_back(store: Store, study: Study) -> None:
    """Let all bulk data of visible versions stand where they are served."""
    aside = layout.kept_study_dir(study.uid)
    if not (store.root / aside / "bulkdata").exists():
        return
    served = layout.study_dir(study.uid)
    for path in sorted(_bulk(each for versions in study.instances() for each in versions.visible)):
        if not (store.root / aside / path).exists():
            continue
        if (store.root / served / path).exists():
            store.sync()  # or a power cut might take both
            store.discard(f"{aside}/{path}")
        else:
            store.move(f"{aside}/{path}", f"{served}/{path}")


def put_bulk_aside(store: Store, study: Study) -> None:
    """Let no bulk data be served that only deleted or rejected versions have."""
    visible = _bulk(each for versions in study.instances() for each in versions.visible)
    covered = _bulk(each.record for versions in study.instances() for each in versions.covered)
    served, aside = layout.study_dir(study.uid), layout.kept_study_dir(study.uid)
    for path in sorted(covered - visible):
        if (store.root / served / path).exists():
            store.move(f"{served}/{path}", f"{aside}/{path}")


def is_whole(store: Store, study: Study, known: Record) -> bool:
    """Whether everything that a record speaks of is there; of a deleted or rejected version, wherever it may stand."""
    versions = study.versions(known.identity)
    covered = known not in versions.visible
    published = layout.instance_dir(known.identity)
    if known == versions.winner:
        is_there = holdings.holds(store.root / published, known)
    else:
        is_there = _find(store, [_kept(known), published][: 1 + covered], known) is not None
    return is_there and holdings.holds_bulk(store.root, known, kept=covered) and study.has_remainder(store.root, known)


def _kept(version: Record) -> str:
    return layout.kept_dir(version.identity, version.content)


def _find(store: Store, places: Iterable[str], version: Record) -> str | None:
    return next((place for place in places if holdings.holds(store.root / place, version)), None)


def _bulk(versions: Iterable[Record]) -> set[str]:
    return {blob.path for version in versions for blob in version.blobs if layout.is_bulk(blob.path)}
