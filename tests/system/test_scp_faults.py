"""What the node needs is taken away while it runs: it goes on, says so, and has it again."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from staticwado_daemon.archive.query_tables import FILE
from staticwado_daemon.archive.query_writer import QueryIndexWriter
from staticwado_daemon.operate.network import REPORT
from tests import corpus
from tests.querying import assert_searchable
from tests.system import dcmtk, peers
from tests.system.committing import CT, asking, committed, request
from tests.system.nodes import Node, at_work, prepare, published, receiving

INSTANCES = 4
PATIENCE_SECONDS = 30.0


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)


def _found(node: Node) -> bool:
    keys = [each for key in ("QueryRetrieveLevel=STUDY", "StudyInstanceUID") for each in ("-k", key)]
    return (
        "StudyInstanceUID" in dcmtk.run("findscu", "-v", "-S", *keys, "127.0.0.1", node.port).partition("Response")[2]
    )


def _pulled(node: Node, rounds: int) -> bool:
    return node.scp_log.read_text().count('"event":"pulled"') >= rounds


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(corpus.ct_study(tmp_path_factory.mktemp("sources"), instances=INSTANCES, series=1, size=128).files)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> Iterator[Node]:
    """A node that has published all but the last file."""
    node = prepare(tmp_path_factory.mktemp("node"))
    with at_work(node):
        dcmtk.run("storescu", "127.0.0.1", node.port, *files[:-1])
        published(node, len(files) - 1)
        yield node


def _replaced(index: Path) -> None:
    other = index.with_name("other")
    with closing(QueryIndexWriter(other)) as writer, writer.transaction():
        writer.finish()
    other.rename(index)


@pytest.mark.parametrize("spoil", [Path.unlink, _replaced], ids=["removed", "replaced"])
def test_a_query_index_that_is_lost_comes_back_though_nothing_is_received(
    node: Node, spoil: Callable[[Path], None]
) -> None:
    index, made = node.state / FILE, node.log.read_text().count("query_index_made_anew")
    spoil(index)
    _until(lambda: node.log.read_text().count("query_index_made_anew") > made, "the loss is noticed")
    _until(lambda: _found(node), "the study is found again")
    published(node, INSTANCES - 1)
    assert_searchable(node.root, index)


def test_a_commitment_is_kept_where_the_directory_for_it_was_removed(node: Node) -> None:
    shutil.rmtree(node.state / "commitments")
    instance = corpus.uid("ct", 1, 1)
    with asking(node.port) as asked:
        assert asked.ask(request("1.2.3.4", [(CT, instance)])) == 0x0000
        _, information = asked.answer()
    assert committed(information) == [instance]


def test_a_state_directory_that_is_lost_keeps_nobody_from_storing(node: Node, files: list[Path]) -> None:
    shutil.rmtree(node.state)
    _until(lambda: "report_not_written" in node.scp_log.read_text(), "the node says what is wrong")
    dcmtk.run("storescu", "127.0.0.1", node.port, files[-1])
    node.state.mkdir()
    _until((node.state / REPORT).exists, "the report is there again")
    _until(lambda: _found(node), "the study is found again")
    published(node, INSTANCES)


def test_what_waits_for_the_daemon_is_not_fetched_again_by_who_starts_anew(tmp_path: Path, files: list[Path]) -> None:
    with peers.archive(files) as archive:
        rule = {"ae": "ARCHIVE", "every": 1, "filter": {"PatientID": "TEST-CT"}}
        node = prepare(tmp_path / "node", {"ARCHIVE": archive.port}, pull=[rule])
        for rounds in (1, 2):
            with receiving(node):
                _until(partial(_pulled, node, rounds), "a round is done")
        assert archive.given == len([*node.drop.glob("*.dcm")]) == len(files)
