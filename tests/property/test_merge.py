"""Merging is a matter of sets: of records and of tombstones, in whatever order and however often they come."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from staticwado_daemon.archive import layout, record
from staticwado_daemon.archive.merge import merge, precedence
from staticwado_daemon.archive.record import Held, Record
from staticwado_daemon.archive.store import Store
from staticwado_daemon.archive.tombstone import Tombstone
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.pipeline import publish, removal
from staticwado_daemon.pipeline.commit import commit, sweep
from staticwado_daemon.pipeline.listing import Listing
from staticwado_daemon.pipeline.recover import recover
from staticwado_daemon.pipeline.studies import Studies
from tests.records import make_record
from tests.staging import snapshot, stage

STUDY, SERIES = UID("1.2"), UID("1.2.3")
INSTANCES = st.sampled_from(["1.2.3.4", "1.2.3.5"])
CONTENTS = st.sampled_from(["c0", "c1", "c2"])
RECORDS = st.builds(
    make_record,
    instance=INSTANCES,
    content=CONTENTS,
    revision=st.integers(1, 3),
    source=st.sampled_from(["s0", "s1"]),
)
TOMBSTONES = st.builds(
    Tombstone,
    identity=st.builds(lambda instance: Identity(STUDY, SERIES, UID(instance)), INSTANCES),
    content=CONTENTS,
    action=st.sampled_from(["delete", "reject", "undo"]),
    number=st.integers(1, 3),
    at=st.just("2026-03-01T10:15:00Z"),
    by=st.sampled_from(["anna", "bert"]),
    reason=st.just("why"),
)
HELD = st.lists(RECORDS | TOMBSTONES, max_size=14)


def flat(held: list[Held]) -> list[Held]:
    return [each for versions in merge(held).values() for each in versions.held]


@given(HELD, st.randoms())
def test_the_order_of_arrival_does_not_matter(held: list[Held], chance: random.Random) -> None:
    shuffled = list(held)
    chance.shuffle(shuffled)
    assert merge(held) == merge(shuffled)


@given(HELD, HELD)
def test_merging_what_was_merged_gives_the_same(ours: list[Held], theirs: list[Held]) -> None:
    assert merge(flat(ours) + flat(theirs)) == merge(ours + theirs)


@given(HELD)
def test_merging_twice_changes_nothing(held: list[Held]) -> None:
    assert merge(flat(held)) == merge(held) == merge(held + held)


@given(HELD)
def test_every_content_is_visible_or_covered_and_the_winner_comes_first(held: list[Held]) -> None:
    merged = merge(held)
    for each in (one for one in held if isinstance(one, Record)):
        versions = merged[each.identity]
        contents = [version.content for version in versions.records]
        assert sorted(contents) == sorted({*contents, each.content})
        over = [one for one in held if isinstance(one, Tombstone) and _is_over(one, each)]
        covered = bool(over) and max(over, key=lambda one: one.precedence).covers
        assert covered is (each.content not in {version.content for version in versions.visible})
        if not covered:
            assert versions.winner is not None
            assert precedence(versions.winner) >= precedence(each)


def _is_over(tombstone: Tombstone, version: Record) -> bool:
    return (tombstone.identity, tombstone.content) == (version.identity, version.content)


@given(HELD.filter(bool))
def test_record_files_give_back_what_they_hold(held: list[Held]) -> None:
    name, data = record.to_file(held)
    assert set(record.from_file(data)) == set(held)
    assert record.to_file(reversed(held)) == (name, data)


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_published_bytes_follow_from_the_set_of_tombstones(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """On several nodes that have the same records, in whatever order and portions the tombstones come there."""
    tombstones = data.draw(st.lists(TOMBSTONES, min_size=1, max_size=8, unique=True))
    trees = []
    for _ in range(2):
        order = data.draw(st.permutations(tombstones))
        cut = data.draw(st.integers(0, len(order)))
        root = tmp_path_factory.mktemp("node")
        trees.append(_node(root, [order[:cut], order[cut:]]))
    assert trees[0] == trees[1]


def _node(root: Path, portions: list[list[Tombstone]]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What is served, and kept, by a node that was given tombstones over three contents of each of two instances."""
    with Store(root) as store:
        studies, listing = Studies(store.root, 1 << 20), Listing(store)
        for instance in ("1.2.3.4", "1.2.3.5"):
            for content in ("c0", "c1", "c2"):
                bulk = (f"bulkdata/{content}", "bulkdata/shared")
                batch = [stage(root, instance=instance, content=content, bulk=bulk)]
                commit(store, studies, batch)
                sweep(store, batch)
        for portion in portions:
            if portion:
                name, data = record.to_file(portion)
                store.put(f"{layout.records_dir(STUDY)}/{name}", data)
            recover(store, studies, STUDY)
            study = studies.get(STUDY)
            if study.series_uids():
                publish.publish_hot(store, study, study.series_uids(), listing.index)
                publish.publish_cold(store, study)
            removal.clear(store, study)
        return snapshot(root / "studies"), snapshot(root / layout.KEPT)


def test_a_later_node_undoes_what_an_earlier_one_did() -> None:
    identity = Identity(STUDY, SERIES, UID("1.2.3.4"))
    rejected = Tombstone(identity, "c0", "reject", 1, "2026-03-02T10:15:00Z", "anna", "")
    undone = replace(rejected, action="undo", number=2, at="2026-03-01T10:15:00Z")
    assert merge([undone, make_record(), rejected])[identity].winner == make_record()
