"""A disk that fails to write, says so once, and goes on showing what it lost: nothing of that may be relied upon."""

import itertools
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import pytest

from staticwado_daemon.archive.store import Store
from staticwado_daemon.pipeline import publisher, work
from staticwado_daemon.pipeline.publisher import Publisher
from tests.crash import power
from tests.crash.disks import Recording
from tests.crash.rehearsal import SCENARIOS, Material, Reference, Rehearsal, Scenario, noted
from tests.crash.test_refusals import Insistence


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(work, "QUIET_SECONDS", 0.0)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_was_written_before_a_sync_failed_is_written_again(tmp_path: Path, scenario: Scenario) -> None:
    rehearsal = Rehearsal(tmp_path, *scenario(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    beginning: power.Directory = {"root": power.load(rehearsal.beginning)} if rehearsal.beginning.exists() else {}
    for failing in itertools.count():
        rehearsal.begin()
        disk = Recording()
        conversation = Insistence([rehearsal.message(each) for each in rehearsal.numbers])
        conversation.bring = lambda number, disk=disk: rehearsal.bring(number, disk)
        with Store(rehearsal.root, disk=disk) as store:
            disk.fail_sync(failing)
            Publisher(store, cast("Connection", conversation)).serve()
        if disk.failed is None:
            break
        reference.assert_equals(rehearsal.root)
        on_the_disk = power.after_lost_writes(beginning, disk.calls, disk.failed, rehearsal.root.parent)
        power.write(on_the_disk, tmp_path / f"found{failing}")
        with noted(f"sync {failing} failed"):
            reference.assert_equals(tmp_path / f"found{failing}/root")
    assert failing > 2
