"""C-FIND as a service, in this process: many answers, slow and vanishing peers, and what goes wrong."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dsutils import encode

from staticwado_daemon.archive.query_index import StudyRow
from staticwado_daemon.dicom.matching import Key, Unmatchable
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.contexts import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from staticwado_daemon.dimse.node.acceptance import Rules
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.node.server import Node, serve
from staticwado_daemon.dimse.query.identifier import Identifier
from staticwado_daemon.dimse.query.service import Query, question, selected
from tests.unit import dimse_peer

MANY = 30_000
PATIENCE_SECONDS = 20.0


class Endless:
    """A query index with more studies than anybody wants, which counts those that were looked at."""

    def __init__(self, rows: Callable[[int], bytes]) -> None:
        self._rows = rows
        self.looked_at = 0

    def __enter__(self):
        return self

    def __exit__(self, *_: object):
        return None

    def studies(self, _keys: object) -> Iterator[StudyRow]:
        for number in range(MANY):
            self.looked_at += 1
            yield StudyRow(UID(f"1.{number}"), self._rows(number))


def study(number: int) -> bytes:
    return orjson.dumps(
        {
            "0020000D": {"vr": "UI", "Value": [f"1.{number}"]},
            "00081030": {"vr": "LO", "Value": ["long " * 200]},
        }
    )


@contextmanager
def answering(index: Endless) -> Iterator[tuple[int, Observed]]:
    observed = Observed("STATICWADO", "127.0.0.1", tls=False)
    service = Query(Path("/nowhere"), lambda: index, "STATICWADO", observed)
    node = Node("STATICWADO", "127.0.0.1", 0, Rules(), Limits(), 30.0)
    with serve(node, [service], observed) as port:
        yield port, observed


@contextmanager
def associated(port: int) -> Iterator[Association]:
    made = AE().associate("127.0.0.1", port, [build_context(STUDY_ROOT_FIND)])
    assert made.is_established
    yield made
    if made.is_established:
        made.release()


def everything() -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.StudyDescription = "STUDY", None, None
    return asked


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_cancelled_query_ends_long_before_its_answers_do() -> None:
    index = Endless(study)
    with answering(index) as (port, observed), associated(port) as made:
        answers = made.send_c_find(everything(), STUDY_ROOT_FIND, msg_id=7)
        assert next(answers)[0].Status == 0xFF00
        made.send_c_cancel(7, query_model=STUDY_ROOT_FIND)
        *_, (last, _) = answers
        assert last.Status == 0xFE00
        assert index.looked_at < MANY / 2
        assert observed.report().operations["C-FIND"] == {"cancelled": 1}
        # The association is as good as new.
        assert next(made.send_c_find(everything(), STUDY_ROOT_FIND, msg_id=8))[0].Status == 0xFF00
        made.abort()


def test_who_takes_answers_as_fast_as_they_come_is_heard_meanwhile() -> None:
    index = Endless(study)
    contexts = [(STUDY_ROOT_FIND, dimse_peer.EXPLICIT)]
    with answering(index) as (port, observed), dimse_peer.associated(port, contexts) as peer:
        find(peer, everything())
        assert peer.connection.recv(1)
        cancel(peer)
        while observed.report().operations.get("C-FIND") is None:
            assert peer.connection.recv(1 << 20)
        assert observed.report().operations["C-FIND"] == {"cancelled": 1}
        assert index.looked_at < MANY / 2


def test_a_peer_that_goes_away_ends_the_work() -> None:
    index = Endless(study)
    with answering(index) as (port, observed):
        with associated(port) as made:
            next(made.send_c_find(everything(), STUDY_ROOT_FIND))
            made.abort()
        until(lambda: observed.report().open == 0)
        assert observed.report().operations["C-FIND"] == {"cancelled": 1}
        assert index.looked_at < MANY / 2


def test_a_peer_that_goes_away_while_nothing_is_found_ends_it_too() -> None:
    def slowly(number: int) -> bytes:
        time.sleep(0.001)
        return study(number)

    index = Endless(slowly)
    asked = everything()
    asked.StudyDescription = "nothing like it"
    with (
        answering(index) as (port, observed),
        dimse_peer.associated(port, [(STUDY_ROOT_FIND, dimse_peer.EXPLICIT)]) as peer,
    ):
        find(peer, asked)
        until(lambda: index.looked_at > 0)
        peer.connection.close()
        until(lambda: observed.report().open == 0)
        assert index.looked_at < MANY / 2


def test_a_peer_that_does_not_read_takes_up_no_memory() -> None:
    """Answers are looked for when those before have left: what the kernel holds, and a few."""
    index = Endless(study)
    with answering(index) as (port, observed):
        with dimse_peer.associated(port, [(STUDY_ROOT_FIND, dimse_peer.EXPLICIT)]) as peer:
            find(peer, everything())
            before = -1
            while index.looked_at != before:
                before = index.looked_at
                time.sleep(0.3)
            assert 0 < before < MANY / 2, "everything was looked for, though nobody takes it"
        until(lambda: observed.report().open == 0)


def find(peer: dimse_peer.Peer, asked: Dataset) -> None:
    """Send a C-FIND request and read nothing."""
    uid = STUDY_ROOT_FIND.encode() + b"\0" * (len(STUDY_ROOT_FIND) % 2)
    values = [(0x0002, uid), *((tag, struct.pack("<H", value)) for tag, value in ((0x100, 0x20), (0x110, 7)))]
    values += [(0x0700, struct.pack("<H", 0)), (0x0800, struct.pack("<H", 1))]
    peer.fragment(1, 3, b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in values))
    peer.fragment(1, 2, encode(asked, False, True))


def test_no_message_is_cut_into_by_another_one(tmp_path: Path) -> None:
    """Who stores while the answers to a query come has its own answers between them (PS3.8 annex E)."""
    observed = Observed("STATICWADO", "127.0.0.1", tls=False)
    service = Query(Path("/nowhere"), lambda: Endless(study), "STATICWADO", observed)
    contexts = [(STUDY_ROOT_FIND, dimse_peer.EXPLICIT), (dimse_peer.CT, dimse_peer.EXPLICIT)]
    with (
        dimse_peer.receiving(tmp_path, services=[service]) as port,
        dimse_peer.associated(port, contexts) as peer,
    ):
        find(peer, everything())
        stored, announced = 0, 0
        for number in range(3000):
            if number % 10 == 0:
                peer.request(3, dimse_peer.CT, f"1.2.{number}")
                peer.fragment(3, 2, b"")
            kind, body = peer.answer()
            assert kind == dimse_peer.P_DATA
            context, is_command = body[4], body[5] & 1
            assert is_command == (announced == 0), "a data set follows the command that announces it, and nothing else"
            announced = context if is_command and struct.pack("<HHIH", 0, 0x0800, 2, 1) in body else 0
            stored += context == 3
        assert stored > 10


def cancel(peer: dimse_peer.Peer) -> None:
    """Send a C-CANCEL request."""
    values = [(0x0100, 0x0FFF), (0x0120, 7), (0x0800, 0x0101)]
    peer.fragment(1, 3, b"".join(struct.pack("<HHIH", 0, tag, 2, value) for tag, value in values))


def test_a_cancellation_that_comes_with_its_request_counts_and_an_old_one_does_not() -> None:
    contexts = [(STUDY_ROOT_FIND, dimse_peer.EXPLICIT)]
    with answering(Endless(study)) as (port, observed):
        for number in range(10):
            with dimse_peer.associated(port, contexts) as peer:
                peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                find(peer, everything())
                cancel(peer)
                peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
                while len(told := peer.answer()[1]) and struct.pack("<HHIH", 0, 0x0900, 2, 0xFE00) not in told:
                    pass
                assert observed.report().operations["C-FIND"] == {"cancelled": number + 1}
        with dimse_peer.associated(port, contexts) as peer:
            cancel(peer)
            find(peer, everything())
            assert struct.pack("<HHIH", 0, 0x0900, 2, 0xFF00) in peer.answer()[1]


def test_a_fault_is_told_without_what_it_was_about() -> None:
    index = Endless(lambda _number: b"SECRET^PATIENT")
    with structlog.testing.capture_logs() as logged, answering(index) as (port, _), associated(port) as made:
        ((status, answer),) = made.send_c_find(everything(), STUDY_ROOT_FIND)
    assert answer is None
    assert (status.Status, status.ErrorComment) == (0xC000, "the archive could not be read")
    (failed,) = [each for each in logged if each["event"] == "query_failed"]
    assert failed["error"] == "JSONDecodeError"
    assert failed["place"].startswith("search.py:")
    assert "SECRET" not in str(logged)


def test_an_identifier_that_is_none() -> None:
    contexts = [(STUDY_ROOT_FIND, dimse_peer.EXPLICIT)]
    with answering(Endless(study)) as (port, _), dimse_peer.associated(port, contexts) as peer:
        find(peer, Dataset())
        assert peer.told() == dimse_peer.Told(0xA900, "(0008,0052) is none of STUDY, SERIES, IMAGE")


@pytest.mark.parametrize(
    ("level", "present", "model", "relational", "missing"),
    [
        ("PATIENT", "", PATIENT_ROOT_FIND, False, ""),
        ("STUDY", "", PATIENT_ROOT_FIND, False, "00100020"),
        ("STUDY", "00100020", PATIENT_ROOT_FIND, False, ""),
        ("STUDY", "", PATIENT_ROOT_FIND, True, ""),
        ("STUDY", "", STUDY_ROOT_FIND, False, ""),
        ("SERIES", "0020000D", PATIENT_ROOT_FIND, False, "00100020"),
        ("SERIES", "0020000D", STUDY_ROOT_FIND, False, ""),
        ("IMAGE", "0020000D", STUDY_ROOT_FIND, False, "0020000E"),
        ("IMAGE", "0020000E", STUDY_ROOT_FIND, False, "0020000D"),
        ("IMAGE", "0020000D 0020000E", STUDY_ROOT_FIND, False, ""),
        ("IMAGE", "00100020 0020000D 0020000E", PATIENT_ROOT_FIND, False, ""),
        ("IMAGE", "", STUDY_ROOT_FIND, True, ""),
        ("PATIENT", "", STUDY_ROOT_FIND, True, "00080052"),
        ("study", "", STUDY_ROOT_FIND, False, "00080052"),
    ],
)
def test_hierarchy(level: str, present: str, model: str, relational: bool, missing: str) -> None:
    asked = Identifier(level, tuple(Key(tag, "UI", ("1.2",)) for tag in present.split()))
    if missing:
        with pytest.raises(Unmatchable) as refused:
            question(asked, model, relational=relational)
        assert refused.value.tag == missing
    else:
        assert question(asked, model, relational=relational).level == level


@pytest.mark.parametrize(
    ("key", "is_partial"),
    [
        (Key("00100010", "PN", ("Doe*",)), False),
        (Key("0020000E", "UI"), True),  # of a level below
        (Key("00104000", "LT"), True),  # of no list
        (Key("00201200", "IS"), True),  # of patients alone
        (Key("00080054", "AE", ("US",)), False),
        (Key("00080056", "CS"), False),
        (Key("00080062", "UI"), False),
    ],
)
def test_what_is_not_supported_makes_an_answer_partial(key: Key, is_partial: bool) -> None:
    found = question(Identifier("STUDY", (key,)), STUDY_ROOT_FIND, relational=False)
    assert found.is_partial == is_partial
    assert found.availability == (key.tag == "00080056")


def test_a_binary_value_cannot_be_matched_by() -> None:
    for values, is_partial in (((), False), (("AA==",), True)):
        key = Key("00091001", "UN", values)
        assert question(Identifier("IMAGE", (key,)), STUDY_ROOT_FIND, relational=True).is_partial == is_partial


def test_what_is_told_of_a_sequence_is_what_was_asked_of_it() -> None:
    code = {"00080100": {"vr": "SH", "Value": ["1"]}, "00080104": {"vr": "LO", "Value": ["One"]}}
    answer = {"00081032": {"vr": "SQ", "Value": [code, {}]}}
    part = Key("00081032", "SQ", items=((Key("00080100", "SH"),),))
    assert selected([part], answer) == {
        "00081032": {"vr": "SQ", "Value": [{"00080100": code["00080100"]}, {"00080100": {"vr": "SH"}}]}
    }
    for whole in (Key("00081032", "SQ"), Key("00081032", "SQ", items=((),))):
        assert selected([whole], answer) == answer
    assert selected([part, Key("00100020", "LO")], {}) == {"00081032": {"vr": "SQ"}, "00100020": {"vr": "LO"}}
