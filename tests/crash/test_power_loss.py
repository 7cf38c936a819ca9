"""The power goes after any call: nothing that was told is lost, and the next daemon makes the tree whole."""

import random
import shutil
from pathlib import Path

import pytest

from staticwado_daemon.pipeline.messages import Committed, Obeyed, Reply
from tests.crash import power
from tests.crash.disks import Recording
from tests.crash.power import Directory
from tests.crash.rehearsal import REMOVALS, SCENARIOS, Conversation, Material, Reference, Rehearsal, Scenario, noted

counts = pytest.mark.parametrize("cuts", [50, pytest.param(500, marks=pytest.mark.soak)])
"""For each of four scenarios."""


class Timed(Conversation):
    """Knows how many calls the disk had done when a batch was answered."""

    def __init__(self, disk: Recording, answered: Conversation) -> None:
        super().__init__(replies=list(answered.replies))
        self._disk = disk
        self.answers: list[tuple[int, Committed | Obeyed]] = []

    def send(self, reply: Reply) -> None:
        super().send(reply)
        if isinstance(reply, Committed | Obeyed):
            self.answers.append((len(self._disk.calls), reply))

    def until(self, calls: int, before: Conversation) -> Conversation:
        """What had been heard by then."""
        return Conversation(replies=[*before.replies, *(reply for done, reply in self.answers if done <= calls)])


@counts
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_was_told_survives_a_power_cut(tmp_path: Path, scenario: Scenario, cuts: int) -> None:
    through_power_cuts(tmp_path, scenario, cuts)


@pytest.mark.parametrize("cuts", [20, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.parametrize("scenario", REMOVALS)
def test_so_does_what_was_deleted_or_brought_back(tmp_path: Path, scenario: Scenario, cuts: int) -> None:
    through_power_cuts(tmp_path, scenario, cuts)


def through_power_cuts(tmp_path: Path, scenario: Scenario, cuts: int) -> None:
    """Cut the power again and again, each time from the same beginning, and let the next daemon catch up."""
    rehearsal = Rehearsal(tmp_path, *scenario(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    beginning: Directory = {"root": power.load(rehearsal.beginning)} if rehearsal.beginning.exists() else {}
    for seed in range(cuts):
        chance = random.Random(seed)
        with noted(f"seed {seed}"):
            found, heard = beginning, Conversation()
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                found, heard = _cut(rehearsal, found, heard, chance)
            _restore(rehearsal, found)
            rehearsal.catch_up(heard)
            reference.assert_equals(rehearsal.root)


def _cut(
    rehearsal: Rehearsal, found: Directory, heard: Conversation, chance: random.Random
) -> tuple[Directory, Conversation]:
    """Let a daemon work on what was found until the power goes: what is found then, and what had been told."""
    _restore(rehearsal, found)
    disk = Recording()
    conversation = Timed(disk, heard)
    rehearsal.catch_up(conversation, disk, workers=disk)
    # The last calls, after which nobody looks at the study again, are the most delicate ones.
    last = chance.choice((chance.randint(0, len(disk.calls)), len(disk.calls) - chance.randint(0, 5)))
    found = power.after_power_cut(found, disk.calls[:last], rehearsal.root.parent, chance)
    return found, conversation.until(last, heard)


def _restore(rehearsal: Rehearsal, found: Directory) -> None:
    shutil.rmtree(rehearsal.root, ignore_errors=True)
    held = found.get("root")
    if isinstance(held, dict):
        power.write(held, rehearsal.root)
