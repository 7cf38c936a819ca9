"""The real publisher process, killed after any of its calls: in the end everything can be searched for as it is."""

from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.archive.disk import Disk
from staticwado_daemon.archive.query_index import QueryIndex
from staticwado_daemon.archive.query_tables import FILE
from staticwado_daemon.errors import Transient
from staticwado_daemon.pipeline import publishing
from staticwado_daemon.pipeline.messages import Flush, Flushed
from staticwado_daemon.pipeline.processes import process_context
from tests.crash.disks import Interposed, Killing
from tests.crash.rehearsal import Conversation, Material, Rehearsal, deletion, noted
from tests.querying import assert_searchable

PATIENCE = 20.0


@pytest.mark.parametrize("share", [23, pytest.param(1, marks=pytest.mark.soak)])
def test_nothing_is_lost_and_nothing_stays(tmp_path: Path, share: int) -> None:
    rehearsal = Rehearsal(tmp_path, *deletion(Material(tmp_path / "sources")))
    path = rehearsal.root / layout.PRIVATE / FILE
    last, ended = 1, None
    while ended != 0:
        rehearsal.begin()
        with noted(f"killed after call {last}"):
            conversation = Conversation()
            ended = publish(rehearsal, conversation, Killing(last))
            with suppress(Transient), QueryIndex(path) as index:
                assert all(row.answer for row in index.series()), "whoever asks meanwhile gets whole answers"
            assert publish(rehearsal, conversation, Interposed()) == 0
            assert_searchable(rehearsal.root)
        last += share
    assert last > 4 * share


def publish(rehearsal: Rehearsal, conversation: Conversation, disk: Disk) -> int | None:
    """Run a publisher process until it ends, one way or the other; say how."""
    context = process_context()
    ours, theirs = context.Pipe()
    process = context.Process(
        target=publishing.run, args=(theirs, rehearsal.root, None, "daemon", prepare_nothing, disk)
    )
    process.start()
    theirs.close()
    answered = conversation.receipts()
    with ours, suppress(EOFError, ConnectionError):
        tell(ours, rehearsal, [number for number in rehearsal.numbers if number not in answered], conversation)
    process.join(PATIENCE)
    return process.exitcode


def tell(ours: Connection, rehearsal: Rehearsal, numbers: list[int], conversation: Conversation) -> None:
    """Tell it of batches, then to write everything, then to end."""
    assert ours.poll(PATIENCE)
    ours.recv()
    for number in numbers:
        if isinstance(rehearsal.batches[number], tuple):
            rehearsal.bring(number, Interposed())
        ours.send(rehearsal.message(number))
    ours.send(Flush(1))
    while not isinstance(reply := ours.recv(), Flushed):
        conversation.send(reply)
    ours.send(None)
    while True:
        ours.recv()


def prepare_nothing() -> None:
    """Prepares no logging."""
