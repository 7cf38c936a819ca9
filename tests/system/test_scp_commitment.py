"""Storage commitment by the node as it runs: what was just sent is waited for, and no promise dies with a process."""

import os
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

from tests import corpus
from tests.system import nodes
from tests.system.committing import CT, TITLE, Asking, asking, committed, failed, listening, request
from tests.system.servers import free_port

SECONDS = 60.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(corpus.ct_study(tmp_path_factory.mktemp("ct"), instances=6, series=1, size=64).files)


def send(modality: Asking, files: list[Path]) -> list[str]:
    """Store files; their SOP Instance UIDs."""
    objects = [pydicom.dcmread(path) for path in files]
    for each in objects:
        assert modality.association.send_c_store(each).Status == 0x0000
    return [each.SOPInstanceUID for each in objects]


def storage(files: list[Path]) -> list[PresentationContext]:
    return [build_context(CT, pydicom.dcmread(files[0], specific_tags=[]).file_meta.TransferSyntaxUID)]


def test_what_was_just_sent_is_committed_to_on_the_same_association(tmp_path: Path, files: list[Path]) -> None:
    """What the daemon has is committed to; what nobody ever sent, and what the daemon rejects, is not."""
    node = nodes.prepare(tmp_path)
    with nodes.at_work(node), asking(node.port, storage(files)) as modality:
        uids = send(modality, files)
        assert modality.ask(request("1.2.3", [(CT, uid) for uid in uids])) == 0x0000
        event_type, information = modality.answer()
        assert (event_type, committed(information)) == (1, uids)
        assert modality.ask(request("1.2.4", [(CT, uids[0]), (CT, "1.2.840.99.1")])) == 0x0000
        event_type, information = modality.answer()
        assert (event_type, failed(information)) == (2, {"1.2.840.99.1": 0x0112})
        assert committed(information) == uids[:1]


def test_a_promise_outlives_a_kill(tmp_path: Path, files: list[Path]) -> None:
    """No daemon runs, so that nothing can be decided; the SCP is killed; both start, and the requestor is told."""
    own = free_port()
    node = nodes.prepare(tmp_path, {TITLE: own})
    with pytest.raises(AssertionError, match="ended by itself"):
        _ask_and_kill(node, files)
    with listening(port=own) as (_, told), nodes.at_work(node):
        event_type, information = told.get(timeout=SECONDS)
        assert (event_type, information.TransactionUID) == (1, "1.2.3")
        assert committed(information) == [pydicom.dcmread(path).SOPInstanceUID for path in files]


def _ask_and_kill(node: nodes.Node, files: list[Path]) -> None:
    with nodes.receiving(node) as process:
        modality = Asking(node.port, storage(files))
        assert modality.ask(request("1.2.3", [(CT, uid) for uid in send(modality, files)])) == 0x0000
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert modality.told.empty()


def test_a_requestor_who_never_answers_keeps_no_node_from_ending(tmp_path: Path, files: list[Path]) -> None:
    took: list[float] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        mute.settimeout(SECONDS)
        node = nodes.prepare(tmp_path, {TITLE: mute.getsockname()[1]})
        with pytest.raises(AssertionError, match="ended by itself"):
            _ask_and_end(node, files, mute, took)
    assert took[0] < 7.5
    assert len([*(node.state / "commitments").iterdir()]) == 1


def _ask_and_end(node: nodes.Node, files: list[Path], mute: socket.socket, took: list[float]) -> None:
    with nodes.at_work(node) as process:
        with asking(node.port, storage(files)) as modality:
            assert modality.ask(request("1.2.3", [(CT, uid) for uid in send(modality, files)])) == 0x0000
        with mute.accept()[0]:
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
            took.append(time.monotonic() - began)
