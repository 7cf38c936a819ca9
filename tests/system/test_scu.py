"""Asking others: echo, find, send and pull, with real peers, as commands that people and programs run."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest

from staticwado_daemon.cli import dicomwebscp_command, execute
from staticwado_daemon.dimse.pulling import lacking
from tests import corpus
from tests.system import dcmtk, nodes, peers
from tests.system.certificates import authority
from tests.system.programs import REPOSITORY, STATICWADO, create, told

FAILED, USAGE, PARTLY = 1, 2, 3
OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> corpus.Study:
    return corpus.ct_study(tmp_path_factory.mktemp("ct"), instances=12, series=2, size=64)


@pytest.fixture(scope="module")
def jpeg2000(tmp_path_factory: pytest.TempPathFactory) -> corpus.Study:
    return corpus.jpeg2000_study(tmp_path_factory.mktemp("jpeg2000"))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, ct: corpus.Study, jpeg2000: corpus.Study) -> nodes.Node:
    """A node whose tree has both studies; nothing of it runs."""
    made = nodes.prepare(tmp_path_factory.mktemp("node") / "node")
    create(made.root, [*ct.files, *jpeg2000.files])
    return made


def asked(node: nodes.Node, *words: str, expect: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(told("-c", node.config, *words, "--json", expect=expect))
    return answer


def at(port: int, title: str = "ARCHIVE") -> str:
    return f"{title}@127.0.0.1:{port}"


def uids(files: Sequence[Path]) -> set[str]:
    return {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files}


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_peer_by_its_name_answers(tmp_path: Path, ct: corpus.Study, capfd: pytest.CaptureFixture[str]) -> None:
    with peers.dcmqrscp(tmp_path / "archive", ct.files[:1]) as port:
        asking = nodes.prepare(tmp_path / "node", {"ARCHIVE": port, "WRONG": port, "NOBODY": 1})
        assert " answers STATICWADO in " in told("-c", asking.config, "echo", "ARCHIVE")
        answer = asked(asking, "echo", "ARCHIVE")
        milliseconds = answer.pop("milliseconds")
        assert 0 < milliseconds < 10_000
        assert answer == {"title": "ARCHIVE", "host": "127.0.0.1", "port": port, "answers": True, "problem": None}
        told("-c", asking.config, "echo", "WRONG", expect=FAILED)
        assert "isn't called WRONG (called AE title not recognised)" in capfd.readouterr().err
        assert "connection was refused" in asked(asking, "echo", "NOBODY", expect=FAILED)["problem"]
        told("-c", asking.config, "echo", "SOMEBODY", expect=USAGE)
        assert "it has ARCHIVE, WRONG, NOBODY" in capfd.readouterr().err


def test_what_a_peer_has_is_listed_at_every_level(tmp_path: Path, node: nodes.Node, ct: corpus.Study) -> None:
    with peers.dcmqrscp(tmp_path / "archive", ct.files) as port:
        found = asked(node, "find", at(port), "--study-date", "20240101-today", "--patient-name", "Test*")
        assert (found["title"], found["level"], len(found["answers"])) == ("ARCHIVE", "STUDY", 1)
        assert found["answers"][0]["0020000D"]["Value"] == [ct.uid]
        series = asked(node, "find", at(port), "--level", "series", "--study", ct.uid, "--modality", "CT")["answers"]
        own = [each["0020000E"]["Value"][0] for each in series]
        images = asked(node, "find", at(port), "--level", "image", "--study", ct.uid, "--series", own[0])["answers"]
        assert (len(own), len(images)) == (2, 6)
        assert asked(node, "find", at(port), "--level", "patient")["answers"][0]["00100020"]["Value"] == ["TEST-CT"]
        assert asked(node, "find", at(port), "--study-date", "today-1-")["answers"] == []
        told("-c", node.config, "find", at(port), "--level", "image", expect=USAGE)
        table = told("-c", node.config, "find", at(port), "--key", "StudyID").splitlines()
        assert table[0].split()[:2] == ["date", "patient"]
        assert table[1].endswith(ct.uid)
        assert table[-1] == "1 study"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # some of these files have such
def test_names_come_back_in_any_character_set(node: nodes.Node) -> None:
    files = [path for name, path in corpus.instances().items() if "charset" in name]
    expected = {str(pydicom.dcmread(path).PatientName) for path in files}
    with peers.archive(files) as archive:
        answers = asked(node, "find", at(archive.port))["answers"]
        table = told("-c", node.config, "find", at(archive.port))
    names = {"=".join(value for value in each["00100010"]["Value"][0].values() if value) for each in answers}
    plain = {name.replace("==", "=") for name in expected}
    assert len(plain) > 8
    assert names == plain
    assert all(name.split("=")[0] in table for name in plain)


def test_a_limit_ends_the_question(node: nodes.Node, ct: corpus.Study, jpeg2000: corpus.Study) -> None:
    with peers.archive([*ct.files, *jpeg2000.files]) as archive:
        assert len(asked(node, "find", at(archive.port))["answers"]) == 2
        assert len(asked(node, "find", at(archive.port), "--limit", "1")["answers"]) == 1


def test_what_is_sent_is_what_came_in(
    tmp_path: Path, node: nodes.Node, ct: corpus.Study, jpeg2000: corpus.Study
) -> None:
    with dcmtk.storescp(tmp_path / "out") as witness:
        answer = asked(node, "send", ct.uid, jpeg2000.uid, "--to", at(witness.port, "WITNESS"))
    assert [answer[key] for key in ("to", "stored", "present", "failed")] == ["WITNESS", 13, 0, 0]
    assert {each["status"] for each in answer["instances"]} == {0}
    received = {pydicom.dcmread(path).SOPInstanceUID: path for path in witness.received()}
    assert received.keys() == uids([*ct.files, *jpeg2000.files])
    for path in (*ct.files, *jpeg2000.files):
        one, other = pydicom.dcmread(path), pydicom.dcmread(received[pydicom.dcmread(path).SOPInstanceUID])
        assert one.file_meta.TransferSyntaxUID == other.file_meta.TransferSyntaxUID
        assert _data_set(path) == _data_set(received[one.SOPInstanceUID])
    logged = json.loads(told("-c", node.config, "audit", "--json"))["entries"][-1]
    assert (logged["action"], logged["counts"]["instances"]) == ("send", 13)


def _data_set(path: Path) -> bytes:
    """The bytes behind the file meta information."""
    data = path.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


def test_static_wados_name_for_it_sends_as_well(tmp_path: Path, node: nodes.Node, ct: corpus.Study) -> None:
    with dcmtk.storescp(tmp_path / "out") as witness:
        words = ["-c", str(node.config), "cstore", at(witness.port, "WITNESS"), ct.uid]
        assert execute(dicomwebscp_command, "dicomwebscp", words) == 0
        assert len(witness.received()) == 12


def test_refusals_are_told_and_the_rest_is_sent(
    node: nodes.Node, ct: corpus.Study, capfd: pytest.CaptureFixture[str]
) -> None:
    with peers.archive() as archive:
        archive.answer = lambda number: CANNOT_UNDERSTAND if number % 3 == 2 else 0
        printed = told("-c", node.config, "send", ct.uid, "--to", at(archive.port), expect=PARTLY)
        assert (archive.asked, len(archive.stored)) == (12, 8)
    assert "8 instances stored" in printed
    assert "4 failed" in printed
    assert capfd.readouterr().err.count("cannot understand or process it (0xC000)") == 4


def test_what_gets_lost_or_comes_at_a_bad_time_is_sent_again(node: nodes.Node, ct: corpus.Study) -> None:
    with peers.archive() as archive:
        archive.answer = lambda number: {4: None, 6: OUT_OF_RESOURCES}.get(number, 0)
        answer = asked(node, "send", ct.uid, "--to", at(archive.port))
        assert (answer["stored"], answer["failed"]) == (12, 0)
        assert sorted(archive.stored) == sorted(uids(ct.files)), "what it had confirmed was sent twice"
        assert (archive.asked, archive.associations) == (14, 3)


def test_what_is_there_already_can_be_left_out(tmp_path: Path, node: nodes.Node, ct: corpus.Study) -> None:
    with peers.dcmqrscp(tmp_path / "archive", ct.files[:5]) as port:
        answer = asked(node, "send", ct.uid, "--to", at(port), "--skip-present")
        assert [answer[key] for key in ("stored", "present", "failed")] == [7, 5, 0]
        answer = asked(node, "send", ct.uid, "--to", at(port), "--skip-present")
        assert [answer[key] for key in ("stored", "present", "failed")] == [0, 12, 0]


def test_a_peer_that_does_not_want_us_is_told(tmp_path: Path, node: nodes.Node, ct: corpus.Study) -> None:
    with dcmtk.storescp(tmp_path / "out", "--refuse") as witness:
        told("-c", node.config, "send", ct.uid, "--to", at(witness.port), expect=FAILED)
        told("-c", node.config, "pull", at(witness.port), "--study", ct.uid, expect=FAILED)
        assert not witness.received()


def test_what_we_lack_is_fetched_and_nothing_twice(tmp_path: Path, ct: corpus.Study, jpeg2000: corpus.Study) -> None:
    """By C-GET, beside a daemon that publishes it.

    The peer chooses contexts without looking at the transfer syntax: what it fails to send is asked for differently.
    """
    own = nodes.prepare(tmp_path / "node")
    words = ("--key", "PatientID=*")
    with peers.dcmqrscp(tmp_path / "archive", [*ct.files, *jpeg2000.files], "+xv") as port, nodes.at_work(own):
        assert asked(own, "pull", at(port), "--patient", "TEST-CT", "--date", "19000101-", "--dry-run")["found"] == 1
        dry = asked(own, "pull", at(port), *words, "--dry-run")
        assert [dry[key] for key in ("from", "by", "dryRun", "found", "lacked", "fetched")] == [
            *("ARCHIVE", "get", True, 2, 13, 0),
        ]
        answer = asked(own, "pull", at(port), *words)
        assert [answer[key] for key in ("found", "lacked", "fetched")] == [2, 13, 13]
        nodes.published(own, 13)
        assert asked(own, "pull", at(port), *words)["lacked"] == 0
        told("-c", own.config, "delete", jpeg2000.uid, "--yes", "--reason", "a test")
        assert asked(own, "pull", at(port), *words)["lacked"] == 0, "what was deleted comes back"


def test_our_own_node_receives_by_c_move(tmp_path: Path, ct: corpus.Study, capfd: pytest.CaptureFixture[str]) -> None:
    own = nodes.prepare(tmp_path / "node")
    with peers.dcmqrscp(tmp_path / "archive", ct.files, STATICWADO=own.port) as port:
        told("-c", own.config, "pull", at(port), "--study", ct.uid, "--move", expect=FAILED)
        assert "start `staticwado scp` first" in capfd.readouterr().err
        with nodes.receiving(own):
            answer = asked(own, "pull", at(port), "--study", ct.uid, "--move")
            assert (answer["by"], answer["fetched"]) == ("move", 12)
            assert lacking.waiting(own.drop) == uids(ct.files)
            assert asked(own, "pull", at(port), "--study", ct.uid, "--move")["lacked"] == 0


def test_what_a_peer_sends_elsewhere_is_not_said_to_be_fetched(tmp_path: Path, ct: corpus.Study) -> None:
    own = nodes.prepare(tmp_path / "node")
    with (
        dcmtk.storescp(tmp_path / "other") as other,
        peers.dcmqrscp(tmp_path / "archive", ct.files, STATICWADO=other.port) as port,
        nodes.receiving(own),
    ):
        answer = asked(own, "pull", at(port), "--study", ct.uid, "--move", expect=FAILED)
    assert answer["fetched"] == 0
    assert "didn't come here" in answer["studies"][0]["problem"]


def test_a_pull_that_was_killed_goes_on_where_it_ended(tmp_path: Path, ct: corpus.Study) -> None:
    own = nodes.prepare(tmp_path / "node")
    with peers.archive(ct.files) as archive:
        archive.pause = 0.1
        command = [*STATICWADO, "-c", str(own.config), "pull", at(archive.port), "--study", ct.uid]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as process:
            until(lambda: archive.given > 4, "nothing was fetched")
            process.kill()
        archive.pause = 0.0
        came = lacking.waiting(own.drop)
        assert 0 < len(came) < 12
        answer = asked(own, "pull", at(archive.port), "--study", ct.uid)
        assert (answer["lacked"], answer["fetched"]) == (12 - len(came), 12 - len(came))
    names = [str(pydicom.dcmread(path).SOPInstanceUID) for path in own.drop.glob("*.dcm")]
    assert sorted(names) == sorted(uids(ct.files))


def test_a_study_that_can_not_be_listed_keeps_no_other_from_being_fetched(
    tmp_path: Path, ct: corpus.Study, jpeg2000: corpus.Study
) -> None:
    own = nodes.prepare(tmp_path / "node")
    with peers.archive([*jpeg2000.files, *ct.files]) as archive:
        archive.fails = lambda asked: asked.get("StudyInstanceUID") == jpeg2000.uid
        words = ("pull", at(archive.port), "--study-date", "19000101-")
        assert asked(own, *words, "--dry-run", expect=PARTLY)["lacked"] == 12
        lines = told("-c", own.config, *words, expect=PARTLY).splitlines()
        assert lines[0] == f"{ct.uid}: 12 of 12 instances fetched"
        assert lines[1].startswith(f"{jpeg2000.uid}: ARCHIVE at 127.0.0.1:{archive.port} answers C-FIND with: ")
        answer = asked(own, *words, expect=FAILED)
        assert [(each["studyInstanceUID"], each["fetched"]) for each in answer["studies"]] == [(jpeg2000.uid, 0)]


def interrupted(node: nodes.Node, *words: str, when: Callable[[], Any]) -> str:
    """What a command says that is told to end by Ctrl-C at some moment."""
    command = [*STATICWADO, "-c", str(node.config), *words]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(when, "nothing happened")
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=30)
    assert (process.returncode, printed) == (130, "")
    return said.strip()


def test_ctrl_c_says_how_far_it_came_and_what_left_is_logged(tmp_path: Path, ct: corpus.Study) -> None:
    own = nodes.prepare(tmp_path / "node")
    create(own.root, ct.files)
    with peers.archive() as archive:
        archive.answer = lambda _number: int(time.sleep(0.2) or 0)
        said = interrupted(own, "send", ct.uid, "--to", at(archive.port), when=lambda: archive.asked > 3)
        assert archive.asked < 12
        found = re.fullmatch(r"interrupted after (\d+) of 12; `staticwado send --skip-present` sends the rest", said)
        assert found, said
    logged = json.loads(told("-c", own.config, "audit", "--json"))["entries"][-1]
    assert (logged["action"], logged["counts"]["instances"]) == ("send", int(found[1]))
    assert int(found[1]) >= 3


def test_ctrl_c_while_fetching_says_how_far_it_came(tmp_path: Path, ct: corpus.Study) -> None:
    own = nodes.prepare(tmp_path / "node")
    with peers.archive(ct.files) as archive:
        archive.pause = 0.2
        said = interrupted(own, "pull", at(archive.port), "--study", ct.uid, when=lambda: archive.given > 4)
    found = re.fullmatch(r"interrupted after (\d+) of 12; run it again to go on", said)
    assert found, said
    assert int(found[1]) == len(lacking.waiting(own.drop)) >= 3


def test_a_peer_that_aborts_costs_nothing(tmp_path: Path, ct: corpus.Study) -> None:
    own = nodes.prepare(tmp_path / "node")
    with peers.archive(ct.files) as archive:
        archive.gives = 5
        assert asked(own, "pull", at(archive.port), "--study", ct.uid)["fetched"] == 12
        assert archive.given == 12


def test_rules_keep_a_node_supplied(tmp_path: Path, ct: corpus.Study) -> None:
    with peers.archive(ct.files[:7]) as archive:
        rule = {"ae": "ARCHIVE", "every": 1, "filter": {"PatientID": "TEST-CT", "StudyDate": "20200101-today"}}
        own = nodes.prepare(tmp_path / "node", {"ARCHIVE": archive.port}, pull=[rule])
        with nodes.at_work(own):
            nodes.published(own, 7)
            archive.holdings += [pydicom.dcmread(path) for path in ct.files[7:]]
            nodes.published(own, 12)
        assert archive.given == 12
    lines = own.scp_log.read_text()
    assert '"fetched":7' in lines
    assert "TEST-CT" not in lines
    assert ct.uid not in lines


def test_a_rule_that_can_not_be_asked_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for keys, why in (({"StudyDate": "soon"}, "no date"), ({"Foo": "x"}, "no keyword"), ({}, "say which studies")):
        rule = {"ae": "ARCHIVE", "every": 60, "filter": keys}
        own = nodes.prepare(tmp_path / why.replace(" ", ""), {"ARCHIVE": 104}, pull=[rule])
        told("-c", own.config, "scp", expect=USAGE)
        said = capfd.readouterr().err
        assert "dicomWebScpConfig.pull[0].filter: " in said
        assert why in said


def test_tls_is_spoken_with_peers_that_want_it(tmp_path: Path, ct: corpus.Study) -> None:
    own = authority(tmp_path / "own")
    certificate, key = own.sign("server", "rsa")
    secured = ("+tls", str(key), str(certificate), "+cf", str(own.certificate))
    ours, our_key = own.sign("ours")
    files = {"certificate": str(ours), "key": str(our_key), "authorities": str(own.certificate)}
    speaking = nodes.prepare(tmp_path / "node", tls=files)
    create(speaking.root, ct.files[:3])
    with dcmtk.storescp(tmp_path / "out", *secured) as witness:
        to = at(witness.port, "WITNESS")
        assert asked(speaking, "echo", to, "--tls")["answers"]
        assert asked(speaking, "send", ct.uid, "--to", to, "--tls")["stored"] == 3
        assert "does it expect TLS?" in asked(speaking, "echo", to, expect=FAILED)["problem"]
        assert len(witness.received()) == 3
