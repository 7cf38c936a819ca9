"""A disk that refuses one call, or everything for a while: the publisher stays, says so, and goes on by itself."""

import errno
import itertools
import os
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import pytest

from staticwado_daemon.archive.store import Store
from staticwado_daemon.errors import Transient
from staticwado_daemon.pipeline import publisher, work
from staticwado_daemon.pipeline.messages import Batch, Committed, Message, Progress, Reply
from staticwado_daemon.pipeline.publisher import Publisher
from tests.crash.disks import Interposed, Refusing, Stopping
from tests.crash.oracle import tree
from tests.crash.rehearsal import SCENARIOS, Conversation, Material, Reference, Rehearsal, Scenario, noted

ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EDQUOT]
errors = pytest.mark.parametrize("code", ERRORS, ids=[errno.errorcode[code] for code in ERRORS])
shares = pytest.mark.parametrize("share", [10, pytest.param(1, marks=pytest.mark.soak)])
"""One in so many of all calls is refused."""


class Insistence(Conversation):
    """A main process that brings again what could not be stored, and ends when everything is written."""

    def poll(self, timeout: float | None = None) -> bool:
        """Whoever has nothing to do any more, and nothing to come, is told to end."""
        last = [each for each in self.replies if isinstance(each, Progress)][-1]
        if timeout == publisher.LOOK_SECONDS and not self.messages and (last.dirty, last.failure) == (0, None):
            self.messages.append(None)
        if timeout and not self.messages:
            time.sleep(timeout)
        return timeout != 0 and bool(self.messages)

    def recv(self) -> Message:
        self.told = super().recv()
        return self.told

    def send(self, reply: Reply) -> None:
        super().send(reply)
        assert len(self.replies) < 1000, self.replies[-3:]
        if isinstance(reply, Committed) and isinstance(self.told, Batch):
            pairs = zip(self.told.staged, reply.receipts, strict=True)
            refused = tuple(staged for staged, receipt in pairs if receipt is None)
            if refused:
                # Before what came later: contents that conflict are told apart by their order.
                self.messages.insert(0, Batch(reply.number, refused))

    def failures(self) -> set[str]:
        """What the main process was told that the disk refuses."""
        return {each.failure for each in self.replies if isinstance(each, Committed | Progress) and each.failure}


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(work, "QUIET_SECONDS", 0.0)


@pytest.mark.parametrize("scenario", SCENARIOS)
@errors
@shares
def test_any_call_may_be_refused_once(tmp_path: Path, scenario: Scenario, code: int, share: int) -> None:
    rehearsal = Rehearsal(tmp_path, *scenario(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    whole = {data for part in (rehearsal.root, rehearsal.beginning) for data in _frames(part).values()}

    def look() -> None:
        """While the disk refuses, what was there is there, each frame as it was or as it is to be."""
        rehearsal.assert_readers_see_no_gap()
        assert set(_frames(rehearsal.root).values()) <= whole

    for number in itertools.count(random.Random(code).randrange(share), share):
        rehearsal.begin()
        disk = Refusing(number, code, look)
        conversation = Insistence([rehearsal.message(each) for each in rehearsal.numbers])
        with noted(f"call {number} refused"):
            _talk(rehearsal, conversation, disk)
            if disk.armed:
                break
            with noted(str(disk.call)):
                reference.assert_equals(rehearsal.root)
                assert disk.call
                assert disk.call.sweeps() or os.strerror(code) in conversation.failures()
    reference.assert_equals(rehearsal.root)
    assert number > 30


def _talk(rehearsal: Rehearsal, conversation: Insistence, disk: Refusing) -> None:
    conversation.bring = lambda number: rehearsal.bring(number, Interposed())
    with Store(rehearsal.root, disk=disk) as store:
        disk.armed = True
        Publisher(store, cast("Connection", conversation)).serve()


def _frames(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(root).items() if "/frames/" in name}


@errors
def test_a_root_that_can_not_be_opened_is_a_sentence_and_the_next_attempt_succeeds(tmp_path: Path, code: int) -> None:
    whole = Stopping()
    Store(tmp_path / "whole", disk=whole).__exit__(None, None, None)
    calls = len(whole.calls)
    assert calls > 5
    for number in range(calls):
        disk = Refusing(number, code, lambda: None)
        disk.armed = True
        with pytest.raises(Transient, match=os.strerror(code)):
            Store(tmp_path / str(number), disk=disk).__exit__(None, None, None)
        with Store(tmp_path / str(number)):
            pass
