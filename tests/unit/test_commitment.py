"""Storage commitment: promised is what is whole on the disk, everything is answered, and what is asked outlives us."""

import queue
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from staticwado_daemon.archive import holdings, layout
from staticwado_daemon.archive.merge import merge
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse import implementation
from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.association.requestor import Local
from staticwado_daemon.dimse.commitment import messages as commitment_messages
from staticwado_daemon.dimse.commitment.answering import Terms
from staticwado_daemon.dimse.commitment.service import Commitment
from staticwado_daemon.dimse.commitment.transactions import DIRECTORY, Transaction
from staticwado_daemon.dimse.commitment.vouching import Archive
from staticwado_daemon.dimse.node.acceptance import Rules
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.node.server import Node, serve
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.errors import Transient
from staticwado_daemon.operate import safekeeping
from tests import corpus
from tests.system import programs
from tests.system.committing import CT, Answer, Asking, asking, committed, failed, listening, request

MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDS = 30.0
QUICK = Terms(missing=0.5, quiet=0.1, again=0.05, silence=0.2, retry=0.3, longest=0.5)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with a small CT series; tests that change it take a copy."""
    directory = tmp_path_factory.mktemp("stored")
    corpus.ct_study(directory / "in", instances=3, series=1, size=64)
    programs.create(directory / "root", [directory / "in"])
    return directory / "root"


@pytest.fixture
def place(tmp_path: Path, stored: Path) -> "Place":
    shutil.copytree(stored, tmp_path / "root", symlinks=True)
    return Place(tmp_path)


@dataclass
class Place:
    """A tree, and how it is asked."""

    directory: Path
    index: dict[str, list[Identity]] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)
    available: bool = True

    def __post_init__(self) -> None:
        for identity in self.identities:
            self.index.setdefault(identity.instance, []).append(identity)

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def study(self) -> UID:
        return UID(next((self.root / "studies").glob("*/")).name)

    @property
    def identities(self) -> list[Identity]:
        return [*merge(holdings.held(self.root, self.study))]

    @property
    def kept(self) -> list[Path]:
        return [*(self.directory / "state" / DIRECTORY).iterdir()]

    def instances(self, sop_instance_uid: UID) -> Sequence[Identity]:
        return self.index.get(sop_instance_uid, [])

    @contextmanager
    def open_index(self) -> Iterator["Place"]:
        if not self.available:
            raise Transient("the query index isn't there")
        yield self

    @contextmanager
    def serving(self, terms: Terms = QUICK) -> Iterator[int]:
        (self.directory / "drop").mkdir(exist_ok=True)
        archive = Archive(
            self.root, self.directory / "drop", self.directory / "state/status.json", self.open_index, 0.05
        )
        node = Node("STATICWADO", "127.0.0.1", 0, Rules(), Limits(), 10.0)
        local = Local("STATICWADO", answer_seconds=5.0)
        observed = Observed("STATICWADO", "127.0.0.1", tls=False)
        with ExitStack() as stack:
            service = stack.enter_context(
                Commitment(self.directory / "state", archive, local, self.peers, observed, terms)
            )
            yield stack.enter_context(serve(node, [service], observed))


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_whole_is_committed_to_on_the_requestors_association(place: Place) -> None:
    uids = [each.instance for each in place.identities]
    with place.serving() as port, asking(port) as modality:
        assert modality.ask(request("1.2.3", [(CT, uid) for uid in (*uids, uids[0])])) == 0x0000
        event_type, information = modality.answer()
        assert (event_type, information.TransactionUID) == (1, "1.2.3")
        assert committed(information) == uids
        assert information.RetrieveAETitle == "STATICWADO"
        assert "FailedSOPSequence" not in information
        until(lambda: not place.kept)


def test_the_association_may_be_used_again(place: Place) -> None:
    uid = place.identities[0].instance
    with place.serving() as port, asking(port) as modality:
        for number in range(3):
            assert modality.ask(request(f"1.2.{number}", [(CT, uid)])) == 0x0000
        assert {modality.answer()[1].TransactionUID for _ in range(3)} == {"1.2.0", "1.2.1", "1.2.2"}
        assert modality.ask(request("1.2.4", [(CT, uid)])) == 0x0000
        assert modality.answer()[0] == 1


def test_who_has_released_is_told_on_a_new_association(place: Place) -> None:
    uid = place.identities[0].instance
    with listening([0x0110]) as (own, told):
        place.peers["MODALITY"] = Peer("MODALITY", "127.0.0.1", own)
        with place.serving() as port:
            with asking(port) as modality:
                assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
            assert committed(told.get(timeout=SECONDS)[1]) == [uid]
            assert modality.told.empty()
            until(lambda: not place.kept)


def test_who_is_unknown_is_told_when_the_title_has_an_address(place: Place) -> None:
    uid = place.identities[0].instance
    with place.serving() as port:
        with asking(port) as modality:
            assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
        time.sleep(2 * QUICK.silence)
        assert len(place.kept) == 1
    with listening() as (own, told):
        place.peers["MODALITY"] = Peer("MODALITY", "127.0.0.1", own)
        with place.serving():
            assert committed(told.get(timeout=SECONDS)[1]) == [uid]
            until(lambda: not place.kept)


def test_what_cannot_be_vouched_for_fails_with_its_reason(place: Place) -> None:
    damaged, other, whole = (each.instance for each in place.identities)
    frame = place.root / layout.instance_dir(place.index[damaged][0])
    first = next((frame / "frames").iterdir())
    first.write_bytes(bytes(len(first.read_bytes())))
    with place.serving() as port, asking(port) as modality:
        assert modality.ask(request("1.2.3", [(CT, damaged), (MR, other), (CT, whole), (CT, "1.2.3.4")])) == 0x0000
        event_type, information = modality.answer()
        assert event_type == 2
        assert committed(information) == [whole]
        assert failed(information) == {damaged: 0x0110, other: 0x0119, "1.2.3.4": 0x0112}


@pytest.mark.parametrize("path", ["frames/1.*", "metadata.gz", "thumbnail"])
def test_no_file_of_an_instance_may_be_missing(place: Place, path: str) -> None:
    identity = place.identities[0]
    (file,) = (place.root / layout.instance_dir(identity)).glob(path)
    file.unlink()
    wanted = (identity, CT)
    assert safekeeping.look(place.root, place.study, [wanted]) == {wanted: "damaged"}


def test_an_original_that_cannot_be_given_back_is_not_committed_to(place: Place) -> None:
    for pack in holdings.pack_files(place.root, place.study):
        (place.root / pack).unlink()
    everything = [(each, CT) for each in place.identities]
    assert safekeeping.look(place.root, place.study, everything) == dict.fromkeys(everything, "no_original")


def test_what_is_rejected_is_not_committed_to(place: Place) -> None:
    identity = place.identities[0]
    programs.staticwado("--root", place.root, "reject", "--yes", "--reason", "test", identity.instance)
    assert safekeeping.look(place.root, place.study, [(identity, CT)]) == {(identity, CT): "removed"}


def test_what_is_on_its_way_is_waited_for(place: Place) -> None:
    uid = place.identities[0].instance
    late = place.index.pop(uid)
    with place.serving(Terms(missing=60.0, again=0.05, silence=0.1)) as port, asking(port) as modality:
        assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
        with pytest.raises(queue.Empty):
            modality.told.get(timeout=0.5)
        place.index[uid] = late
        assert committed(modality.answer()[1]) == [uid]


def test_nothing_is_decided_while_nothing_can_be_known(place: Place) -> None:
    uid = place.identities[0].instance
    place.available = False
    with place.serving() as port, asking(port) as modality:
        assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
        with pytest.raises(queue.Empty):
            modality.told.get(timeout=2 * QUICK.missing)
        place.available = True
        assert committed(modality.answer()[1]) == [uid]


def test_a_request_outlives_the_program(place: Place) -> None:
    uid = place.identities[0].instance
    place.available = False
    with listening() as (own, told):
        place.peers["MODALITY"] = Peer("MODALITY", "127.0.0.1", own)
        with place.serving() as port, asking(port) as modality:
            assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
        assert len(place.kept) == 1
        assert "MODALITY" not in place.kept[0].name
        place.available = True
        with place.serving():
            assert committed(told.get(timeout=SECONDS)[1]) == [uid]


def test_a_request_that_somebody_removes_is_over_and_may_be_made_again(place: Place) -> None:
    uid = place.identities[0].instance
    place.available = False
    with place.serving() as port, asking(port) as modality:
        assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
        shutil.rmtree(place.directory / "state" / DIRECTORY)
        time.sleep(4 * QUICK.again)
        place.available = True
        assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
        assert committed(modality.answer()[1]) == [uid]


def test_a_repeated_request_is_one_and_is_answered_where_it_was_asked_last(place: Place) -> None:
    uid = place.identities[0].instance
    place.available = False
    with place.serving() as port:
        with asking(port) as modality:
            assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
        with asking(port) as modality:
            assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
            assert len(place.kept) == 1
            assert modality.ask(request("1.2.3", [(CT, "1.2")])) == 0x0115
            place.available = True
            assert committed(modality.answer()[1]) == [uid]


@pytest.mark.parametrize(
    ("information", "status"),
    [
        (request("1.2.3", []), 0x0115),
        (request("", [(CT, "1.2")]), 0x0115),
        (request("1.2.3", [(CT, "")]), 0x0115),
        (request("1.2.3", [("", "1.2")]), 0x0115),
        (None, 0x0115),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused(place: Place, information: Dataset | None, status: int) -> None:
    with place.serving() as port, asking(port) as modality:
        assert modality.ask(information) == status
        assert not place.kept


def test_no_damage_to_a_request_does_more_than_have_it_refused() -> None:
    whole = encode(request("1.2.3", [(CT, f"1.2.{number}") for number in range(5)]), False, True)
    assert whole
    chance = random.Random(5)
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            _, references = commitment_messages.read(
                bytes(damaged[: chance.randint(0, len(whole))]), "1.2.840.10008.1.2.1"
            )
        except commitment_messages.Refused as why:
            assert why.status in commitment_messages.ACTION_STATUSES  # noqa: PT017
        else:
            assert references


def test_a_file_that_is_no_request_is_no_obstacle(place: Place) -> None:
    uid = place.identities[0].instance
    (place.directory / "state" / DIRECTORY).mkdir(parents=True)
    for name in (f"{'0' * 64}.json", ".0123456789abcdef.tmp"):
        (place.directory / "state" / DIRECTORY / name).write_text("{")
    with place.serving() as port, asking(port) as modality:
        assert modality.ask(request("1.2.3", [(CT, uid)])) == 0x0000
        assert committed(modality.answer()[1]) == [uid]
        until(lambda: [each.suffix for each in place.kept] == [".json"])


def test_another_action_or_instance_is_refused(place: Place) -> None:
    asked = request("1.2.3", [(CT, "1.2")])
    with place.serving() as port, asking(port) as modality:
        assert modality.ask(asked, action=2) == 0x0123
        assert modality.ask(asked, instance="1.2.3") == 0x0112
        assert not place.kept


def test_more_than_is_kept_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment_messages, "MAXIMUM_ITEMS", 2)
    monkeypatch.setattr("staticwado_daemon.dimse.commitment.pending.MAXIMUM_REFERENCES", 3)
    place.available = False
    with place.serving() as port, asking(port) as modality:
        assert modality.ask(request("1.2.3", [(CT, f"1.{number}") for number in range(3)])) == 0x0213
        assert modality.ask(request("1.2.4", [(CT, "1.2"), (CT, "1.3")])) == 0x0000
        assert modality.ask(request("1.2.5", [(CT, "1.2"), (CT, "1.3")])) == 0x0213


def test_what_nobody_can_be_told_makes_room_for_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise whoever asks for nonsense and goes away would keep everybody else out for a week."""
    monkeypatch.setattr("staticwado_daemon.dimse.commitment.pending.MAXIMUM_OPEN", 4)
    monkeypatch.setattr("staticwado_daemon.dimse.commitment.pending.MAXIMUM_OPEN_OF_PEER", 3)
    place.available = False
    with place.serving() as port:
        with asking(port, title="STRANGER") as stranger:
            asked = [stranger.ask(request(f"1.2.{number}", [(CT, "1.2")])) for number in range(4)]
            assert asked == [0x0000, 0x0000, 0x0000, 0x0213]
            with asking(port) as modality:
                assert modality.ask(request("1.2.3", [(CT, "1.2")])) == 0x0000
                with asking(port, title="THIRD") as third:
                    assert third.ask(request("1.2.3", [(CT, "1.2")])) == 0x0213, "who still waits keeps its place"
                    stranger.association.release()
                    until(lambda: third.ask(request("1.2.4", [(CT, "1.2")])) == 0x0000)
        assert len(place.kept) == 4


def test_a_request_that_cannot_be_kept_is_not_accepted(place: Place) -> None:
    with place.serving() as port, asking(port) as modality:
        shutil.rmtree(place.directory / "state" / DIRECTORY)
        (place.directory / "state" / DIRECTORY).touch()
        assert modality.ask(request("1.2.3", [(CT, "1.2")])) == 0x0110


def test_a_silent_association_is_no_obstacle_to_a_release(place: Place) -> None:
    """Requestors release at any moment, also while an event is about to be sent."""
    uid = place.identities[0].instance
    with listening() as (own, told):
        place.peers["MODALITY"] = Peer("MODALITY", "127.0.0.1", own)
        with place.serving(Terms(silence=0.02, again=0.05, retry=0.2)) as port:
            for number in range(20):
                modality = Asking(port)
                assert modality.ask(request(f"1.2.{number}", [(CT, uid)])) == 0x0000
                time.sleep(number * 0.003)
                began = time.monotonic()
                modality.association.release()
                assert time.monotonic() - began < 10
                answers: list[Answer] = []
                until(lambda: answers or _moved(modality.told, answers) or _moved(told, answers))  # noqa: B023 - at once
            until(lambda: not place.kept)
    assert not [each for each in threading.enumerate() if each.name.startswith("commitment")]


def _moved(told: "queue.Queue[Answer]", answers: list[Answer]) -> bool:
    try:
        answers.append(told.get_nowait())
    except queue.Empty:
        return False
    return True


def test_what_is_under_way_is_seen(tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    for name in (".part", "rejected", "ward"):
        (drop / name).mkdir(parents=True)
    (drop / ".part/half").touch()
    (drop / "rejected/bad").touch()
    assert safekeeping.is_under_way(tmp_path, drop, tmp_path / "none")  # nobody to ask
    (drop / "ward/object").touch()
    assert safekeeping.is_under_way(tmp_path, drop, tmp_path / "none")


def test_a_request_of_thousands_is_taken_and_we_say_who_we_are(place: Place) -> None:
    uids = [each.instance for each in place.identities]
    asked = [(CT, f"1.2.826.0.1.3680043.8.498.12345678901234567890.{number}") for number in range(9_000)]
    with place.serving() as port, asking(port) as modality:
        assert modality.association.acceptor.implementation_class_uid == implementation.CLASS_UID
        assert modality.ask(request("1.2.3", [*asked, (CT, uids[0])])) == 0x0000
        event_type, information = modality.answer()
        assert event_type == 2
        assert len(failed(information)) == len(asked)
        assert committed(information) == uids[:1]


def test_a_requestor_who_never_answers_keeps_no_node_from_ending(place: Place) -> None:
    """What isn't told is told by the next start."""
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        place.peers["MODALITY"] = Peer("MODALITY", "127.0.0.1", mute.getsockname()[1])
        with place.serving() as port:
            with asking(port) as modality:
                assert modality.ask(request("1.2.3", [(CT, place.identities[0].instance)])) == 0x0000
            connection, _ = mute.accept()
            began = time.monotonic()
        assert time.monotonic() - began < 5
        connection.close()
        assert len(place.kept) == 1
        until(lambda: not [each for each in threading.enumerate() if each.name == "commitment"])


def test_what_delays_an_answer_is_said_once(place: Place) -> None:
    place.available = False
    with place.serving() as port, asking(port) as modality, structlog.testing.capture_logs() as logged:
        assert modality.ask(request("1.2.3", [(CT, place.identities[0].instance)])) == 0x0000
        time.sleep(10 * QUICK.again)
    assert [each["reason"] for each in logged if each["event"] == "commitment_delayed"] == [
        "the query index isn't there"
    ]


def test_the_oldest_makes_room_first_also_after_a_start(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("staticwado_daemon.dimse.commitment.pending.MAXIMUM_OPEN", 8)
    place.available = False
    with place.serving() as port, asking(port, title="STRANGER") as stranger:
        for number in range(8):
            assert stranger.ask(request(f"1.2.{number}", [(CT, "1.2")])) == 0x0000
            time.sleep(0.002)
    with place.serving() as port, asking(port) as modality:
        for number in range(4):
            assert modality.ask(request(f"1.3.{number}", [(CT, "1.2")])) == 0x0000
        kept = [msgspec.json.decode(path.read_bytes(), type=Transaction).uid for path in place.kept]
    assert sorted(kept) == [*(f"1.2.{number}" for number in range(4, 8)), *(f"1.3.{number}" for number in range(4))]
