from hypothesis import given
from hypothesis import strategies as st

from staticwado_daemon.archive.merge import merge, precedence
from tests.records import make_record

RECORDS = st.lists(
    st.builds(
        make_record,
        instance=st.sampled_from(["1.2.3.4", "1.2.3.5"]),
        content=st.sampled_from(["c0", "c1", "c2"]),
        revision=st.integers(1, 3),
        source=st.sampled_from(["s0", "s1"]),
    ),
    max_size=12,
)


def flat(records):
    return [record for versions in merge(records).values() for record in versions]


@given(RECORDS, st.randoms())
def test_the_order_of_arrival_does_not_matter(records, random) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)
    assert merge(records) == merge(shuffled)


@given(RECORDS, RECORDS)
def test_merging_what_was_merged_gives_the_same(ours, theirs) -> None:
    assert merge(flat(ours) + flat(theirs)) == merge(ours + theirs)


@given(RECORDS)
def test_merging_twice_changes_nothing(records) -> None:
    assert merge(flat(records)) == merge(records) == merge(records + records)


@given(RECORDS)
def test_the_winner_precedes_all_versions_and_no_content_is_lost(records) -> None:
    merged = merge(records)
    for record in records:
        versions = merged[record.identity]
        assert precedence(versions[0]) >= precedence(record)
        assert record.content in {version.content for version in versions}
        assert len({version.content for version in versions}) == len(versions)
