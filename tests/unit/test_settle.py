from dataclasses import replace

import pytest

from staticwado_daemon.inbound.settle import Sight, Timing, Tracker
from staticwado_daemon.inbound.source import Stamp

TIMING = Timing(settle=2.0, incomplete=60.0, quiet=0.125)
STAMP = Stamp(device=1, inode=2, size=1000, mtime_ns=3)
GROWN = replace(STAMP, size=2000, mtime_ns=4)
LONGER = replace(STAMP, size=3000, mtime_ns=5)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> Tracker:
    return Tracker(TIMING, clock)


def looked_at(tracker: Tracker, clock: Clock, sight: Sight | None) -> str:
    """Go to the next moment at which a look is due, and look."""
    assert tracker.next_due is not None
    clock.now = max(clock.now, tracker.next_due)
    path = tracker.due()
    assert path is not None
    return tracker.look(path, sight)


def test_a_closed_file_is_complete_after_a_moment_of_quiet(tracker: Tracker, clock: Clock) -> None:
    tracker.heard("/in/a", closed=False)
    tracker.heard("/in/a", closed=True)
    assert tracker.due() is None
    assert looked_at(tracker, clock, Sight(STAMP)) == "ready"
    assert clock.now == 1000.125


def test_every_close_renews_the_quiet(tracker: Tracker, clock: Clock) -> None:
    tracker.heard("/in/a", closed=True)
    clock.now += 0.1
    tracker.heard("/in/a", closed=True)
    clock.now += 0.1
    assert tracker.due() is None
    clock.now += 0.03
    assert tracker.due() == "/in/a"


def test_a_file_that_only_appeared_must_stay_unchanged_for_the_settle_time(tracker: Tracker, clock: Clock) -> None:
    tracker.heard("/in/a", closed=False)
    assert looked_at(tracker, clock, Sight(STAMP)) == "wait"
    first_seen = clock.now
    assert looked_at(tracker, clock, Sight(GROWN)) == "wait"
    assert clock.now == first_seen + 2.0
    assert looked_at(tracker, clock, Sight(GROWN)) == "ready"
    assert clock.now == first_seen + 4.0


def test_a_changed_inode_is_a_changed_file(tracker: Tracker, clock: Clock) -> None:
    tracker.found("/in/a", Sight(STAMP))
    assert looked_at(tracker, clock, Sight(replace(STAMP, inode=9))) == "wait"


def test_a_change_after_which_the_time_was_set_back_is_a_change(tracker: Tracker, clock: Clock) -> None:
    tracker.found("/in/a", Sight(replace(STAMP, ctime_ns=1)))
    assert looked_at(tracker, clock, Sight(replace(STAMP, ctime_ns=2))) == "wait"
    assert looked_at(tracker, clock, Sight(replace(STAMP, ctime_ns=2))) == "ready"
    assert clock.now == 1004.0


def test_what_its_file_system_calls_old_is_complete_at_once(tracker: Tracker, clock: Clock) -> None:
    tracker.found("/in/a", Sight(STAMP, still=30.0))
    assert looked_at(tracker, clock, Sight(STAMP, still=30.0)) == "ready"
    assert clock.now == 1000.0


def test_what_was_touched_a_moment_ago_waits_for_the_rest_of_the_settle_time(tracker: Tracker, clock: Clock) -> None:
    tracker.found("/in/a", Sight(STAMP, still=1.5))
    assert looked_at(tracker, clock, Sight(STAMP, still=2.0)) == "ready"
    assert clock.now == 1000.5


def test_a_vanished_file_is_no_longer_followed(tracker: Tracker, clock: Clock) -> None:
    tracker.heard("/in/a", closed=True)
    assert looked_at(tracker, clock, None) == "gone"
    assert len(tracker) == 0
    assert tracker.next_due is None


def test_a_fifo_does_not_settle_it_is_ready(tracker: Tracker, clock: Clock) -> None:
    tracker.found("/in/fifo", Sight(STAMP, regular=False))
    assert looked_at(tracker, clock, Sight(STAMP, regular=False)) == "ready"
    assert clock.now == 1000.0


def test_an_incomplete_file_waits_until_it_changes(tracker: Tracker, clock: Clock) -> None:
    tracker.returned("/in/a", STAMP, incomplete=True)
    assert tracker.waiting == 1
    for _ in range(5):
        assert looked_at(tracker, clock, Sight(STAMP)) == "wait"
    assert looked_at(tracker, clock, Sight(GROWN)) == "wait"
    assert tracker.waiting == 0
    assert looked_at(tracker, clock, Sight(GROWN)) == "ready"


def test_an_incomplete_file_that_is_closed_is_tried_at_once(tracker: Tracker, clock: Clock) -> None:
    tracker.returned("/in/a", STAMP, incomplete=True)
    tracker.heard("/in/a", closed=True)
    assert looked_at(tracker, clock, Sight(GROWN)) == "ready"
    assert clock.now == 1000.125


def test_an_incomplete_file_is_given_up_after_the_incomplete_time_without_change(
    tracker: Tracker, clock: Clock
) -> None:
    tracker.returned("/in/a", STAMP, incomplete=True)
    verdict, changes = "wait", {1030.0: GROWN}
    stamp = STAMP
    while verdict == "wait":
        stamp = changes.get(clock.now, stamp)
        verdict = looked_at(tracker, clock, Sight(stamp))
        if stamp is GROWN and verdict == "ready":  # it is tried again after the change, in vain
            tracker.drop("/in/a")
            tracker.returned("/in/a", GROWN, incomplete=True)
            verdict = "wait"
    assert verdict == "final"
    assert 1090.0 <= clock.now <= 1097.0


def test_a_file_that_dribbles_for_ever_is_never_given_up(tracker: Tracker, clock: Clock) -> None:
    tracker.found("/in/a", Sight(STAMP))
    for size in range(100):
        assert looked_at(tracker, clock, Sight(replace(STAMP, size=size))) == "wait"


def test_an_old_incomplete_file_gets_its_receipt_with_the_first_try(tracker: Tracker, clock: Clock) -> None:
    tracker.found("/in/a", Sight(STAMP, still=3600.0))
    assert looked_at(tracker, clock, Sight(STAMP, still=3600.0)) == "final"


def test_a_touch_does_not_make_an_unchanged_file_young(tracker: Tracker, clock: Clock) -> None:
    tracker.returned("/in/a", STAMP, incomplete=True)
    verdict = "wait"
    while verdict == "wait":
        verdict = looked_at(tracker, clock, Sight(STAMP, still=0.5))
    assert verdict == "final"
    assert clock.now <= 1062.0


def test_a_file_that_is_open_for_writing_can_be_postponed_until_it_is_final(tracker: Tracker, clock: Clock) -> None:
    tracker.heard("/in/a", closed=True)
    verdict = looked_at(tracker, clock, Sight(STAMP))
    while verdict == "ready":
        tracker.postpone("/in/a")
        verdict = looked_at(tracker, clock, Sight(STAMP))
    assert verdict == "final"
    assert 1060.0 <= clock.now <= 1063.0


def test_a_transient_failure_is_tried_again_after_the_settle_time(tracker: Tracker, clock: Clock) -> None:
    tracker.returned("/in/a", STAMP, incomplete=False)
    assert looked_at(tracker, clock, Sight(STAMP)) == "ready"
    assert clock.now == 1002.0


def rests(tracker: Tracker, clock: Clock, stamps: list[Stamp]) -> list[float]:
    """Hand a file back whenever it is ready, as one that can't be stored; say how long it rested each time."""
    found = []
    tracker.returned("/in/a", stamps[0], incomplete=False)
    for stamp in stamps:
        began = clock.now
        while looked_at(tracker, clock, Sight(stamp)) == "wait":
            pass
        found.append(clock.now - began)
        tries = tracker.tries("/in/a")
        tracker.drop("/in/a")
        tracker.returned("/in/a", stamp, incomplete=False, tries=tries)
    return found


def test_what_comes_back_again_and_again_rests_twice_as_long_each_time(tracker: Tracker, clock: Clock) -> None:
    assert rests(tracker, clock, [STAMP] * 8) == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert tracker.waiting == 0


def test_what_comes_back_is_tried_soon_again_once_it_has_changed(tracker: Tracker, clock: Clock) -> None:
    # When the change is noticed, the file must first settle.
    assert rests(tracker, clock, [STAMP, STAMP, STAMP, GROWN, GROWN]) == [2.0, 4.0, 8.0, 18.0, 2.0]


def test_a_scan_that_finds_a_resting_file_changed_ends_its_rest(tracker: Tracker, clock: Clock) -> None:
    tracker.returned("/in/a", STAMP, incomplete=False, tries=5)
    tracker.found("/in/a", Sight(STAMP))
    assert tracker.next_due == clock.now + 60.0
    tracker.found("/in/a", Sight(GROWN))
    assert looked_at(tracker, clock, Sight(GROWN)) == "ready"
    assert clock.now == 1002.0
    assert tracker.tries("/in/a") == 0


def test_neither_a_settle_time_of_nothing_nor_a_long_one_breaks_the_rest(clock: Clock) -> None:
    assert rests(Tracker(Timing(settle=0.0), clock), clock, [STAMP] * 3) == [0.5, 1.0, 2.0]
    assert rests(Tracker(Timing(settle=90.0), clock), clock, [STAMP] * 3) == [90.0, 90.0, 90.0]


def test_a_second_notice_does_not_forget_the_first(tracker: Tracker, clock: Clock) -> None:
    tracker.heard("/in/a", closed=True)
    tracker.found("/in/a", Sight(STAMP))
    tracker.heard("/in/a", closed=False)
    assert len(tracker) == 1
    assert looked_at(tracker, clock, Sight(STAMP)) == "ready"


def test_looks_come_in_the_order_in_which_they_fall_due(tracker: Tracker, clock: Clock) -> None:
    tracker.found("/in/slow", Sight(LONGER))
    tracker.heard("/in/b", closed=True)
    tracker.heard("/in/a", closed=True)
    clock.now += 10.0
    assert [tracker.due() for _ in range(4)] == ["/in/a", "/in/b", "/in/slow", None]


@pytest.mark.parametrize("incomplete", [False, True])
def test_a_scan_that_meets_a_file_on_its_way_back_does_not_make_it_new(
    tracker: Tracker, clock: Clock, incomplete: bool
) -> None:
    tracker.found("/in/a", Sight(STAMP))
    tracker.returned("/in/a", STAMP, incomplete=incomplete, tries=3)
    assert (tracker.tries("/in/a"), tracker.waiting) == ((0, 1) if incomplete else (4, 0))
    assert looked_at(tracker, clock, Sight(STAMP)) == ("wait" if incomplete else "ready")
    assert clock.now == 1000.0 + (2.0 if incomplete else 16.0)


@pytest.mark.parametrize("newer", ["closed", "another"])
def test_what_is_known_of_a_file_since_it_was_handed_over_is_newer(tracker: Tracker, newer: str) -> None:
    if newer == "closed":
        tracker.heard("/in/a", closed=True)
    else:
        tracker.found("/in/a", Sight(GROWN))
    tracker.returned("/in/a", STAMP, incomplete=False, tries=3)
    assert tracker.tries("/in/a") == 0
