"""What is asked for, who is sent what, and how an object goes over the wire."""

import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from staticwado_daemon.dicom.matching import Unmatchable
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association import command, pdata, requestor, transmission
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.association.messages import Answer
from staticwado_daemon.dimse.association.requestor import Local
from staticwado_daemon.dimse.patience import Patience
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.query import identifier
from staticwado_daemon.dimse.query.identifier import Identifier
from staticwado_daemon.dimse.retrieve.selection import requested
from staticwado_daemon.dimse.sending import delivery
from staticwado_daemon.dimse.sending import operations as sending
from staticwado_daemon.dimse.sending.delivery import Delivery
from staticwado_daemon.dimse.sending.instances import Chosen
from staticwado_daemon.dimse.sending.operations import Sent
from staticwado_daemon.dimse.sending.renditions import Rendition, Renditions
from staticwado_daemon.errors import Corrupt, StaticwadoError, Transient

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT = contexts.MESSAGE_SYNTAXES
HTJ2K = "1.2.840.10008.1.2.4.201"


def _chosen(number: int, sop_class: str = CT, syntax: str = EXPLICIT) -> Chosen:
    return Chosen(Identity(UID("1.2"), UID("1.2.3"), UID(f"1.2.3.{number}")), "0" * 64, sop_class, syntax)


def _identifier(**keys: Any) -> Identifier:
    made = Dataset()
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return identifier.read(encode(made, True, True), IMPLICIT)


def test_unique_keys_are_read_by_their_levels() -> None:
    asked = requested(
        _identifier(
            QueryRetrieveLevel="IMAGE",
            PatientID="A 1 ",
            StudyInstanceUID="1.2",
            SeriesInstanceUID="1.2.3",
            SOPInstanceUID=["1.2.3.4", "1.2.3.5", "1.2.3.4"],
        ),
        patient_root=True,
    )
    assert (asked.level, asked.patient, asked.studies, asked.series) == ("IMAGE", "A 1", ("1.2",), ("1.2.3",))
    assert asked.instances == ("1.2.3.4", "1.2.3.5")


@pytest.mark.parametrize(
    ("patient_root", "keys", "where"),
    [
        (True, {}, "(0008,0052) is none of PATIENT, STUDY, SERIES, IMAGE"),
        (False, {"QueryRetrieveLevel": "WORKLIST", "PatientID": "1"}, "(0008,0052) is none of STUDY, SERIES, IMAGE"),
        (True, {"QueryRetrieveLevel": "PATIENT"}, "(0010,0020) is missing"),
        (True, {"QueryRetrieveLevel": "PATIENT", "PatientID": ["1", "2"]}, "(0010,0020) must have a single value"),
        (True, {"QueryRetrieveLevel": "PATIENT", "PatientID": "A*"}, "(0010,0020) has wild cards"),
        (False, {"QueryRetrieveLevel": "STUDY"}, "(0020,000D) is missing"),
        (False, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1..2"}, "(0020,000D) is no UID"),
        (False, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "../1"}, "(0020,000D) is no UID"),
        (
            False,
            {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": ["1.2", "1.3"], "SeriesInstanceUID": "1.2.3"},
            "(0020,000D) must have a single value",
        ),
        (False, {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.2", "SOPInstanceUID": "1"}, "(0020,000E)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_an_identifier_against_the_rules(patient_root: bool, keys: dict[str, Any], where: str) -> None:
    with pytest.raises(Unmatchable) as caught:
        requested(_identifier(**keys), patient_root=patient_root)
    assert str(caught.value).startswith(where)
    assert f"({caught.value.tag[:4]},{caught.value.tag[4:]})" == where[:11]


def test_each_class_is_proposed_as_it_is_and_uncompressed() -> None:
    (batch,) = sending.batches([_chosen(1), _chosen(2, MR, HTJ2K), _chosen(3, MR, EXPLICIT)])
    proposed = {(str(each.abstract_syntax), str(*each.transfer_syntax)) for each in batch.contexts}
    assert proposed == {(CT, EXPLICIT), (CT, IMPLICIT), (MR, HTJ2K), (MR, EXPLICIT), (MR, IMPLICIT)}
    assert len(batch.chosen) == 3


@pytest.mark.parametrize("sop_class", ["", "CT Image Storage"])
def test_an_object_whose_class_is_none_keeps_no_other_from_being_sent(sop_class: str) -> None:
    (batch,) = sending.batches([_chosen(1, sop_class), _chosen(2)])
    assert {str(each.abstract_syntax) for each in batch.contexts} == {CT}
    assert len(batch.chosen) == 2
    (alone,) = sending.batches([_chosen(1, sop_class)])
    peer = Peer("PEER", "127.0.0.1", 1)
    with pytest.raises(StaticwadoError, match="SOP Class"), requestor.associated(Local("US"), peer, alone.contexts):
        pass


def test_no_association_gets_more_contexts_than_it_can_hold() -> None:
    many = [_chosen(number, f"1.2.3.{number % 70}", (EXPLICIT, HTJ2K)[number % 2]) for number in range(280)]
    strange = [_chosen(number, CT, f"1.2.840.113619.{number}") for number in range(300)]
    batches = sending.batches([*many, *strange])
    assert len(batches) > 3
    assert {each for batch in batches for each in batch.chosen} == {*many, *strange}
    assert sum(len(batch.chosen) for batch in batches) == 580
    for batch in batches:
        assert len(batch.contexts) <= contexts.MAXIMUM
        proposed = {
            (str(each.abstract_syntax), str(syntax)) for each in batch.contexts for syntax in each.transfer_syntax
        }
        assert len(proposed) == len(batch.contexts)
        for each in batch.chosen:
            assert {(each.sop_class, syntax) for syntax in (each.transfer_syntax, EXPLICIT, IMPLICIT)} <= proposed


def _association(*, acceptor: bool, roles: Collection[str] = ()) -> Any:
    accepted = [
        SimpleNamespace(context_id=2 * number + 1, abstract_syntax=uid, transfer_syntax=[syntax], as_scu=as_scu)
        for number, (uid, syntax, as_scu) in enumerate(
            [
                (CT, EXPLICIT, True),
                (CT, HTJ2K, True),
                (CT, EXPLICIT, True),
                (MR, IMPLICIT, True),
                ("1.2.3", IMPLICIT, False),
            ]
        )
    ]
    selected = {uid: SimpleNamespace(scp_role=True) for uid in roles}
    return SimpleNamespace(
        accepted_contexts=accepted,
        is_acceptor=acceptor,
        is_requestor=not acceptor,
        requestor=SimpleNamespace(role_selection=selected),
    )


def test_only_contexts_in_which_the_peer_receives_are_used() -> None:
    assert sending.accepted(_association(acceptor=False)) == {CT: {EXPLICIT: 1, HTJ2K: 3}, MR: {IMPLICIT: 7}}
    assert sending.accepted(_association(acceptor=True, roles={MR})) == {MR: {IMPLICIT: 7}}
    assert sending.accepted(_association(acceptor=True)) == {}


@pytest.mark.parametrize("maximum", [0, 7, 100, 16_384, 131_072])
@pytest.mark.parametrize("length", [0, 1, 94, 188, 70_000])
def test_an_object_goes_over_the_wire_as_pdus_that_fit(maximum: int, length: int) -> None:
    data_set = bytes(range(256)) * (length // 256 + 1)
    data_set = data_set[:length]
    head = command.encoded_request(StoreRequest(5, CT, "1.2.3.4", ("ASKER", 6)))
    first = b"".join(pdata.pdus(3, head, maximum, kind=pdata.COMMAND))
    sent = b"".join(transmission._portions(first, 3, data_set, maximum))
    commands, data, controls = b"", b"", []
    while sent:
        kind, size, item, context, control = struct.unpack_from(">BxIIBB", sent)
        assert (kind, context, size) == (4, 3, item + 4)
        assert not maximum or size <= maximum
        fragment, sent = sent[12 : 6 + size], sent[6 + size :]
        controls.append(control)
        if control & 1:
            commands += fragment
        else:
            data += fragment
    assert (commands, data) == (head, data_set)
    assert [control for control in controls if control & 2] == [3, 2]
    assert controls[-1] == 2
    request = command.store_request(command.elements(commands) or {})
    assert request == StoreRequest(5, CT, "1.2.3.4")


@pytest.mark.parametrize(
    ("status", "completed", "warning"),
    [
        (0x0000, True, False),
        (0xB000, False, True),
        (0xB007, False, True),
        (0xA700, False, False),
        (0x0110, False, False),
    ],
)
def test_statuses_are_counted_by_their_class(status: int, completed: bool, warning: bool) -> None:
    sent = Sent(_chosen(1), status)
    assert (sent.is_completed, sent.is_warning, sent.is_failed) == (completed, warning, not completed and not warning)


class _Renditions:
    """Makes renditions of some bytes, as slowly as a test wants."""

    def __init__(self, make: Callable[[Chosen], Rendition]) -> None:
        self.make = make
        self.begun: list[Chosen] = []
        self.given_up = 0

    def prepare(self, chosen: Chosen, accepted: Collection[str], is_given_up: Callable[[], bool]) -> Rendition:
        assert set(accepted) == {EXPLICIT, HTJ2K}
        self.begun.append(chosen)
        try:
            return self.make(chosen)
        finally:
            self.given_up += is_given_up()


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, StoreRequest]]:
    """Everything that is sent, and answered with success."""
    seen: list[tuple[int, StoreRequest]] = []

    def store(_association: Any, context_id: int, request: StoreRequest, _data_set: Any) -> Answer | None:
        seen.append((context_id, request))
        return Answer(0, "")

    monkeypatch.setattr(sending, "store", store)
    monkeypatch.setattr(sending, "is_over", lambda _: False)
    monkeypatch.setattr(sending, "undisturbed", lambda _: threading.Lock())
    return seen


def test_all_are_sent_in_their_order_with_numbers_of_their_own(answered: list[tuple[int, StoreRequest]]) -> None:
    def make(chosen: Chosen) -> Rendition:
        time.sleep(0.001 * (hash(chosen) % 5))
        if chosen.identity.instance.endswith("7"):
            raise Corrupt("it is damaged")
        return Rendition(chosen.transfer_syntax, b"12345678", is_original=True)

    chosen = [_chosen(number, CT, (EXPLICIT, HTJ2K)[number % 2]) for number in range(40)]
    results = [*sending.send(_association(acceptor=False), chosen, _Renditions(make))]  # type: ignore[arg-type]
    assert [each.chosen for each in results] == chosen
    failed = [each for each in results if each.is_failed]
    assert {(each.status, each.reason, each.length) for each in failed} == {(None, "it is damaged", 0)}
    assert len(failed) == 4
    assert {context_id for context_id, _ in answered} == {1, 3}
    numbers = [request.message_id for _, request in answered]
    assert numbers == sorted(set(numbers))


def test_not_much_is_prepared_ahead_and_nothing_after_the_end(answered: list[tuple[int, StoreRequest]]) -> None:
    made = _Renditions(lambda chosen: Rendition(chosen.transfer_syntax, bytes(16 << 20), is_original=True))
    results = sending.send(
        _association(acceptor=False),
        [_chosen(number) for number in range(100)],
        made,  # type: ignore[arg-type]
    )
    next(results)
    next(results)
    time.sleep(0.2)
    assert len(made.begun) <= 2 + 5, "64 MiB and one"
    results.close()
    begun = len(made.begun)
    time.sleep(0.05)
    assert len(made.begun) == begun
    assert len(answered) == 2


def test_all_who_send_at_the_same_time_share_what_is_prepared_ahead(answered: list[tuple[int, StoreRequest]]) -> None:
    sizes = 16 << 20
    made = [_Renditions(lambda each: Rendition(each.transfer_syntax, bytes(sizes), is_original=True)) for _ in range(8)]
    every = [
        sending.send(_association(acceptor=False), [_chosen(number) for number in range(20)], each)  # type: ignore[arg-type]
        for each in made
    ]
    for results in every:
        next(results)
    for results in every:
        next(results)
    time.sleep(0.2)
    assert sum(len(each.begun) for each in made) - len(answered) <= 256 // 16 + len(made), "256 MiB, and one each"
    assert len(answered) == 2 * len(made)
    for results in every:
        results.close()


def test_it_stops_when_told_and_calls_while_it_waits(
    answered: list[tuple[int, StoreRequest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_LOOK_SECONDS", 0.01)
    waited: list[None] = []

    def make(chosen: Chosen) -> Rendition:
        time.sleep(0.1)
        return Rendition(chosen.transfer_syntax, b"", is_original=True)

    results = sending.send(
        _association(acceptor=False),
        [_chosen(number) for number in range(10)],
        _Renditions(make),  # type: ignore[arg-type]
        is_stopped=lambda: len(answered) == 3,
        waiting=lambda: waited.append(None),
    )
    assert len([*results]) == 3
    assert waited


def test_a_lost_association_is_the_last_that_is_told(
    answered: list[tuple[int, StoreRequest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "store", lambda *_: None)
    made = _Renditions(lambda _: Rendition(EXPLICIT, b"", is_original=True))
    (only,) = sending.send(_association(acceptor=False), [_chosen(1), _chosen(2)], made)  # type: ignore[arg-type]
    assert (only.lost, only.is_failed, only.status) == (True, True, None)
    assert not answered


Sender = Callable[[list[Chosen]], Iterator[Sent]]
"""Gives what becomes of what is sent on one association, until that ends; raises where there is none."""


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sender], None]:
    """What `delivery` sends goes to a function."""

    def use(sender: Sender) -> None:
        @contextmanager
        def associated(*_: object) -> Iterator[None]:
            yield

        def send(_association: object, chosen: list[Chosen], _renditions: object, **_: object) -> Iterator[Sent]:
            return sender(chosen)

        monkeypatch.setattr(delivery, "associated", associated)
        monkeypatch.setattr(delivery, "send", send)

    return use


def _delivery(**terms: Any) -> Delivery:
    unused = Renditions(Path("/nowhere"), Path("/nowhere"), 0)
    patience = Patience(tries=3, wait=lambda _: None)
    return Delivery(Local("US"), Peer("THEY", "127.0.0.1", 104), unused, patience, **terms)


def test_an_object_that_always_ends_the_association_costs_no_other(network: Callable[[Sender], None]) -> None:
    chosen = [_chosen(number) for number in range(4)]
    poison = chosen[1]

    def sender(batch: list[Chosen]) -> Iterator[Sent]:
        for each in batch:
            yield Sent(each, None if each == poison else 0, lost=each == poison)
            if each == poison:
                return

    network(sender)
    found = [*_delivery().send(chosen)]
    assert sorted(each.chosen.identity.instance for each in found if each.is_completed) == sorted(
        each.identity.instance for each in chosen if each != poison
    )
    assert [each.chosen for each in found if each.is_failed] == [poison]


def test_a_peer_that_ends_every_association_after_an_object_gets_all_of_them(
    network: Callable[[Sender], None],
) -> None:
    network(lambda batch: iter([Sent(batch[0], 0), *(Sent(each, None, lost=True) for each in batch[1:2])]))
    chosen = [_chosen(number) for number in range(30)]
    found = [*_delivery().send(chosen)]
    assert len(found) == 30
    assert not [each for each in found if each.is_failed]


@pytest.mark.parametrize("retries", [True, False])
def test_refusals_that_pass_are_tried_again_where_somebody_has_the_patience(
    network: Callable[[Sender], None], retries: bool
) -> None:
    asked: Counter[Chosen] = Counter()

    def sender(batch: list[Chosen]) -> Iterator[Sent]:
        for each in batch:
            asked[each] += 1
            yield Sent(each, 0xA700 if asked[each] == 1 else 0)

    network(sender)
    found = [*_delivery(retries_refusals=retries).send([_chosen(1), _chosen(2)])]
    assert [each.is_completed for each in found] == [retries, retries]


def test_what_is_told_in_the_end_is_what_was_answered_last(network: Callable[[Sender], None]) -> None:
    """And not that there once was no association."""
    answers = iter(["lost", "unreachable", "full", "full", "full", "full"])

    def sender(batch: list[Chosen]) -> Iterator[Sent]:
        answer = next(answers)
        if answer == "unreachable":
            raise Transient("THEY can't be reached")
        status = 0xA700 if answer == "full" else None
        return iter([Sent(batch[0], status, answer, lost=status is None)])

    network(sender)
    (only,) = _delivery().send([_chosen(1)])
    assert (only.status, only.reason) == (0xA700, "full")


def test_nothing_is_said_of_what_is_left_when_it_is_stopped(network: Callable[[Sender], None]) -> None:
    stopped = threading.Event()

    def sender(batch: list[Chosen]) -> Iterator[Sent]:
        yield Sent(batch[0], 0)
        stopped.set()

    network(sender)
    assert len([*_delivery(is_stopped=stopped.is_set).send([_chosen(1), _chosen(2), _chosen(3)])]) == 1


def test_classes_that_are_not_accepted_cost_no_others(network: Callable[[Sender], None]) -> None:
    chosen = [_chosen(number, f"1.2.840.10008.5.1.4.1.1.{number}") for number in range(1, 131)]
    batches = iter(sending.batches(chosen))

    def sender(batch: list[Chosen]) -> Iterator[Sent]:
        if len(batch) == len(next(batches).chosen) and batch[0] != chosen[0] and batch[-1] != chosen[-1]:
            raise StaticwadoError("THEY accepts nothing")
        return iter([Sent(each, 0) for each in batch])

    network(sender)
    found = [*_delivery().send(chosen)]
    failed = [each for each in found if each.is_failed]
    assert len(found) == 130
    assert {each.reason for each in failed} == {"THEY accepts nothing"}
    assert found[-1].is_completed


def test_who_can_not_be_reached_at_all_is_said_at_once(network: Callable[[Sender], None]) -> None:
    def sender(_batch: list[Chosen]) -> Iterator[Sent]:
        raise Transient("THEY can't be reached")

    network(sender)
    with pytest.raises(Transient, match="can't be reached"):
        next(_delivery().send([_chosen(1)]))
