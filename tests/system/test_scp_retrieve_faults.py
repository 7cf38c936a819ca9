"""C-GET and C-MOVE where something is wrong: with what is asked, who asks, who receives, or what is stored."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests import corpus
from tests.bench.processes import peak_memory
from tests.system import dcmtk, large, nodes
from tests.system.nodes import TITLE
from tests.system.programs import staticwado, told
from tests.system.retrieving import (
    OUT_OF_RESOURCES,
    PATIENT_MOVE,
    STUDY_GET,
    STUDY_MOVE,
    SUCCESS,
    WARNING,
    Archive,
    Final,
    Source,
    Witness,
    as_they_came,
    asking,
    final,
    identifier,
    is_whole,
    listening,
    moved,
)
from tests.system.servers import free_port


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A small CT."""
    directory = tmp_path_factory.mktemp("faults")
    witness = free_port()
    node = nodes.prepare(directory / "node", {"WITNESS": witness, "ABSENT": free_port()})
    ct = corpus.ct_study(directory / "ct", instances=24, series=2, size=64)
    staticwado("-c", node.config, "create", *ct.files)
    sources = tuple(map(Source.of, ct.files))
    with nodes.receiving(node):
        yield Archive(node, witness, sources, sources)


def _several(archive: Archive) -> Dataset:
    return identifier("STUDY", StudyInstanceUID=archive.ct[0].uids[0])


def test_what_nobody_has_is_no_failure(archive: Archive) -> None:
    for model, destination in ((STUDY_MOVE, "WITNESS"), (PATIENT_MOVE, "WITNESS")):
        keys = identifier("STUDY", PatientID="NOBODY", StudyInstanceUID="1.2.3.4.5")
        assert moved(archive, model, keys, destination).status == SUCCESS


def test_a_patients_studies_are_no_other_patients(archive: Archive) -> None:
    keys = identifier("STUDY", PatientID="NOBODY", StudyInstanceUID=archive.ct[0].uids[0])
    done = moved(archive, PATIENT_MOVE, keys)
    assert (done.status, done.counts) == (SUCCESS, (0, 0, 0))


def test_an_unknown_destination_and_one_that_is_not_there(archive: Archive) -> None:
    unknown = moved(archive, STUDY_MOVE, _several(archive), "NOBODY")
    assert (unknown.status, unknown.counts) == (0xA801, None)
    absent = moved(archive, STUDY_MOVE, _several(archive), "ABSENT")
    assert (absent.status, absent.counts) == (0xA702, (0, 24, 0))
    assert sorted(absent.failed) == sorted(each.uids[2] for each in archive.ct)
    assert absent.comment == "there is no association with the destination"


def test_refusals_and_warnings_are_counted_as_such(archive: Archive) -> None:
    def answer(number: int) -> int:
        return OUT_OF_RESOURCES if number % 3 == 0 else WARNING if number % 4 == 0 else SUCCESS

    with listening(archive.witness, as_they_came(archive.ct), Witness(answer)) as witness:
        done = moved(archive, STUDY_MOVE, _several(archive))
    assert (done.status, done.counts) == (0xB000, (12, 8, 4))
    assert sorted(done.failed) == sorted({each.uids[2] for each in archive.ct} - witness.received.keys())
    with listening(archive.witness, as_they_came(archive.ct), Witness(lambda _: 0xC123)):
        assert moved(archive, STUDY_MOVE, _several(archive)).status == 0xA702


def test_a_destination_that_drops_the_association_gets_the_rest_on_another(archive: Archive) -> None:
    with listening(archive.witness, as_they_came(archive.ct)) as witness:
        witness.answer = lambda number: None if number == 5 else SUCCESS
        done = moved(archive, STUDY_MOVE, _several(archive))
    assert (done.status, done.counts, witness.associations) == (SUCCESS, (24, 0, 0), 2)
    is_whole(witness.received, archive.ct)


def test_an_object_that_a_destination_cannot_stand_costs_nothing_but_itself(archive: Archive) -> None:
    poison = archive.ct[5]
    with listening(archive.witness, as_they_came(archive.ct), Witness(poison=poison.uids[2])) as witness:
        done = moved(archive, STUDY_MOVE, _several(archive))
    assert (done.status, done.counts, done.failed) == (0xB000, (23, 1, 0), [poison.uids[2]])
    is_whole(witness.received, [each for each in archive.ct if each is not poison])


def test_a_destination_that_drops_every_association_gets_everything_in_the_end(archive: Archive) -> None:
    with listening(archive.witness, as_they_came(archive.ct)) as witness:
        witness.answer = lambda number: None if number % 3 == 0 else SUCCESS
        done = moved(archive, STUDY_MOVE, _several(archive))
    assert (done.status, done.counts) == (SUCCESS, (24, 0, 0))
    is_whole(witness.received, archive.ct)


def test_cancelling_is_heard_while_a_destination_is_tried_again(archive: Archive) -> None:
    with (
        listening(archive.witness, as_they_came(archive.ct)) as witness,
        asking(archive.node, STUDY_MOVE) as association,
    ):

        def cancel(number: int) -> int | None:
            if number == 5:
                association.send_c_cancel(1, query_model=STUDY_MOVE)
            return None if number >= 5 else SUCCESS

        witness.answer = cancel
        done = final(association.send_c_move(_several(archive), "WITNESS", STUDY_MOVE))
    assert (done.status, done.counts, done.remaining) == (0xFE00, (4, 0, 0), 20)


@pytest.mark.parametrize("get", [False, True])
def test_cancelling_ends_it_with_what_is_left_counted(archive: Archive, get: bool) -> None:
    model = STUDY_GET if get else STUDY_MOVE
    witness = Witness()
    with listening(archive.witness, as_they_came(archive.ct), Witness()) as listener:
        seen = witness if get else listener
        offered = as_they_came(archive.ct) if get else None
        with asking(archive.node, model, offered, witness if get else None) as association:

            def cancel_and_wait(number: int) -> int:
                if number == 7:
                    association.send_c_cancel(1, query_model=model)
                    time.sleep(0.3)
                return SUCCESS

            seen.answer = cancel_and_wait
            if get:
                done = final(association.send_c_get(_several(archive), model))
            else:
                done = final(association.send_c_move(_several(archive), "WITNESS", model))
            assert association.is_established
    assert (done.status, done.counts, done.remaining) == (0xFE00, (7, 0, 0), 17)
    assert seen.requests == 7


def test_a_requestor_who_goes_leaves_nothing_behind(archive: Archive) -> None:
    with listening(archive.witness, as_they_came(archive.ct)) as witness:
        with asking(archive.node, STUDY_MOVE) as association:

            def abort(number: int) -> int:
                if number == 3:
                    association.abort()
                    time.sleep(0.3)
                return SUCCESS

            witness.answer, association.dimse_timeout = abort, 1
            with pytest.raises(AssertionError, match="the association ended"):
                final(association.send_c_move(_several(archive), "WITNESS", STUDY_MOVE))
        assert witness.requests == 3
        witness.answer = lambda _: SUCCESS
        assert moved(archive, STUDY_MOVE, _several(archive)).status == SUCCESS
    assert not [*(archive.node.state / "sending").iterdir()]


def test_several_ask_at_once(archive: Archive) -> None:
    results: list[Final] = []

    def get() -> None:
        witness = Witness()
        with asking(archive.node, STUDY_GET, as_they_came(archive.ct), witness) as association:
            results.append(final(association.send_c_get(_several(archive), STUDY_GET)))
        is_whole(witness.received, archive.ct)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for each in threads:
        each.start()
    with listening(archive.witness, as_they_came(archive.ct)) as witness:
        results.append(moved(archive, STUDY_MOVE, _several(archive)))
    for each in threads:
        each.join()
    assert [each.counts for each in results] == [(24, 0, 0)] * 5
    is_whole(witness.received, archive.ct)


def test_without_the_scp_role_nothing_is_sent_on_the_association(archive: Archive) -> None:
    """A context without a role selection is for objects that the requestor sends (PS3.7 D.3.3.4)."""
    entity_classes = as_they_came(archive.ct)
    witness = Witness()
    with asking(archive.node, STUDY_GET, entity_classes, witness, roles=False) as association:
        done = final(association.send_c_get(_several(archive), STUDY_GET))
    assert (done.status, done.counts, witness.requests) == (0xA702, (0, 24, 0), 0)
    assert done.comment == "the receiver doesn't accept its SOP class"


def _given_back_in_little_memory(directory: Path, frames: int) -> None:
    """An object that has to be converted: as it came and as it goes out it would fill what the SCP may have."""
    node = nodes.prepare(directory / "node")
    slide = large.encapsulated_slide(directory / "slide.dcm", frames)
    staticwado("-c", node.config, "create", slide.path)
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={slide.uid}.1")
    with nodes.receiving(node) as process:
        before = peak_memory(process.pid)
        said = dcmtk.run("getscu", "-v", "--ignore", "-aec", TITLE, "-S", *keys, "127.0.0.1", node.port)
        grown = peak_memory(process.pid) - before
    assert "Number of Completed Suboperations : 1" in said
    assert grown < 96e6 < frames * large.FRAME
    assert not [*(node.state / "sending").iterdir()]


def test_an_object_larger_than_memory_costs_little_of_it(tmp_path: Path) -> None:
    _given_back_in_little_memory(tmp_path, 128)


@pytest.mark.soak
def test_an_object_of_two_gigabytes_costs_no_more(tmp_path: Path) -> None:
    _given_back_in_little_memory(tmp_path, 2000)


def test_damage_is_never_sent(archive: Archive) -> None:
    victim = archive.ct[3]
    study, series, instance = victim.uids
    frames = archive.node.root / "studies" / study / "series" / series / "instances" / instance / "frames"
    (frame,) = frames.iterdir()
    whole = frame.read_bytes()
    frame.write_bytes(whole[:-100] + bytes(40) + whole[-60:])
    try:
        with listening(archive.witness, as_they_came(archive.ct)) as witness:
            done = moved(archive, STUDY_MOVE, _several(archive))
    finally:
        frame.write_bytes(whole)
    assert (done.status, done.counts, done.failed) == (0xB000, (23, 1, 0), [instance])
    is_whole(witness.received, [each for each in archive.ct if each is not victim])


def test_what_was_deleted_is_not_given(archive: Archive, tmp_path: Path) -> None:
    node = nodes.prepare(tmp_path / "node", {"WITNESS": archive.witness})
    ct = [each.path for each in archive.ct[:4]]
    staticwado("-c", node.config, "create", *ct)
    told("-c", node.config, "delete", archive.ct[0].uids[2], "--reason", "test", "--yes")
    with nodes.receiving(node), listening(archive.witness, as_they_came(archive.ct)) as witness:
        with asking(node, STUDY_MOVE) as association:
            done = final(association.send_c_move(_several(archive), "WITNESS", STUDY_MOVE))
        (node.state / "query.sqlite").unlink()
        with asking(node, PATIENT_MOVE) as association:
            keys = identifier("PATIENT", PatientID=archive.ct[0].patient)
            blind = final(association.send_c_move(keys, "WITNESS", PATIENT_MOVE))
    assert (done.status, done.counts) == (SUCCESS, (3, 0, 0))
    is_whole(witness.received, archive.ct[1:4])
    assert (blind.status, blind.counts) == (0xA701, None)
    assert "query index" in blind.comment
