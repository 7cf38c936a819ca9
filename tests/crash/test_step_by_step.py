"""The publisher is stopped in the midst of each single step that changes the disk; the next one makes all whole."""

import itertools
import random
from pathlib import Path

import pytest

from tests.crash.disks import Killed, Plain, Stopping
from tests.crash.rehearsal import (
    REMOVALS,
    SCENARIOS,
    Conversation,
    Material,
    Reference,
    Rehearsal,
    Scenario,
    conflicting_contents,
    noted,
)


def is_complete(rehearsal: Rehearsal, conversation: Conversation, disk: Stopping) -> bool:
    """Whether a daemon whose publisher ends with the disk's last step came to its own end."""
    try:
        rehearsal.catch_up(conversation, disk)
    except Killed:
        return False
    return True


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_next_one_completes_what_was_stopped_anywhere(tmp_path: Path, scenario: Scenario) -> None:
    rehearsal = Rehearsal(tmp_path, *scenario(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    for last in itertools.count():
        rehearsal.begin()
        conversation = Conversation()
        disk = Stopping(last)
        if is_complete(rehearsal, conversation, disk):
            break
        with noted(f"stopped after step {last}: {disk.calls[-1:]}"):
            rehearsal.assert_readers_see_no_gap()
            rehearsal.let_go()
            rehearsal.catch_up(conversation)
            reference.assert_equals(rehearsal.root)
            rehearsal.assert_nothing_is_new()
    assert last > 50


@pytest.mark.parametrize("scenario", REMOVALS)
def test_what_is_deleted_or_brought_back_meanwhile_is_in_the_end(tmp_path: Path, scenario: Scenario) -> None:
    rehearsal = Rehearsal(tmp_path, *scenario(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    rehearsal.assert_nothing_is_new()
    for last in itertools.count():
        rehearsal.begin()
        conversation = Conversation()
        disk = Stopping(last)
        if is_complete(rehearsal, conversation, disk):
            break
        with noted(f"stopped after step {last}: {disk.calls[-1:]}"):
            rehearsal.assert_what_is_listed_is_there()
            rehearsal.let_go()
            rehearsal.catch_up(conversation)
            reference.assert_equals(rehearsal.root)
    assert last > 50


def test_so_it_does_where_an_exchange_takes_three_steps(tmp_path: Path) -> None:
    """A reader may miss an instance for an instant there, but no version of it is ever lost."""
    rehearsal = Rehearsal(tmp_path, *conflicting_contents(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    swaps = 0
    for last in itertools.count():
        rehearsal.begin()
        conversation = Conversation()
        disk = Stopping(last, exchanges=False)
        if is_complete(rehearsal, conversation, disk):
            break
        swaps += any("-exchanged" in str(path) for call in disk.calls[-1:] for path in call.paths)
        with noted(f"stopped after step {last}: {disk.calls[-1:]}"):
            rehearsal.let_go()
            rehearsal.catch_up(conversation, Plain())
            reference.assert_equals(rehearsal.root)
            rehearsal.assert_nothing_is_new()
    assert swaps > 2


@pytest.mark.soak
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_so_does_one_after_several_that_were_stopped(tmp_path: Path, scenario: Scenario) -> None:
    rehearsal = Rehearsal(tmp_path, *scenario(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    for seed in range(500):
        chance = random.Random(seed)
        rehearsal.begin()
        conversation = Conversation()
        with noted(f"seed {seed}"):
            while not is_complete(rehearsal, conversation, Stopping(chance.randrange(150))):
                rehearsal.assert_readers_see_no_gap()
                rehearsal.let_go()
            reference.assert_equals(rehearsal.root)
            rehearsal.assert_nothing_is_new()
