"""The real publisher process, killed by its own disk after each call that it makes; its successor finishes."""

import itertools
from contextlib import suppress
from pathlib import Path

import pytest

from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.pipeline import publishing
from staticwado_daemon.pipeline.messages import Flush, Flushed, Progress
from staticwado_daemon.pipeline.processes import process_context
from tests.crash.disks import Interposed, Killing
from tests.crash.rehearsal import Batches, Conversation, Material, Reference, Rehearsal, noted

PATIENCE = 20.0
KILLED = -9


def mixed(of: Material) -> tuple[Batches, Batches]:
    """New instances, another study, a new content and a duplicate, after which there are more files than may be."""
    earlier = [[of.ct(number)] for number in range(7)]
    return earlier, [[of.ct(7), of.ct(0, "b"), of.mr()], [of.ct(1, "c"), of.ct(2), of.ct(8)]]


@pytest.mark.parametrize("share", [10, pytest.param(1, marks=pytest.mark.soak)])
def test_it_may_be_killed_after_any_call(tmp_path: Path, share: int) -> None:
    rehearsal = Rehearsal(tmp_path, *mixed(Material(tmp_path / "sources")))
    reference = Reference.of(rehearsal)
    for last in itertools.count(1, share):
        rehearsal.begin()
        with noted(f"killed after call {last}"):
            conversation = Conversation()
            ended = _talk(rehearsal, conversation, Killing(last))
            if ended == 0:
                break
            assert ended == KILLED
            rehearsal.assert_readers_see_no_gap()
            assert _talk(rehearsal, conversation, Interposed()) == 0
            reference.assert_equals(rehearsal.root)
    assert last > 100


def _talk(rehearsal: Rehearsal, conversation: Conversation, disk: Disk) -> int | None:
    """Run a publisher process until it ends, one way or the other; say how."""
    context = process_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=publishing.run, args=(theirs, rehearsal.root, None, "daemon", _nothing, disk))
    process.start()
    theirs.close()
    answered = conversation.receipts()
    with ours, suppress(EOFError, ConnectionError):
        assert ours.poll(PATIENCE)
        assert isinstance(ours.recv(), Progress)
        for number in rehearsal.numbers:
            if number not in answered:
                rehearsal.bring(number, Interposed())
                ours.send(rehearsal.message(number))
        ours.send(Flush(1))
        while not isinstance(reply := ours.recv(), Flushed):
            conversation.send(reply)
        ours.send(None)
        while True:
            ours.recv()
    process.join(PATIENCE)
    return process.exitcode


def _nothing() -> None:
    """Prepares no logging."""
