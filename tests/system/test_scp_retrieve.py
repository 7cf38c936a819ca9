"""C-GET and C-MOVE: what was stored comes back, bit for bit where the receiver takes it so, at every level."""

import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from staticwado_daemon.errors import Rejected
from tests import corpus
from tests.bench.processes import peak_memory
from tests.system import dcmtk, large, nodes
from tests.system.nodes import TITLE, Node
from tests.system.programs import staticwado
from tests.system.retrieving import (
    IMPLICIT,
    OUT_OF_RESOURCES,
    SUCCESS,
    WARNING,
    Final,
    Received,
    Source,
    Witness,
    as_they_came,
    asking,
    final,
    identifier,
    listening,
    only,
)
from tests.system.servers import free_port

PATIENT_MOVE = str(PatientRootQueryRetrieveInformationModelMove)
STUDY_MOVE = str(StudyRootQueryRetrieveInformationModelMove)
PATIENT_GET = str(PatientRootQueryRetrieveInformationModelGet)
STUDY_GET = str(StudyRootQueryRetrieveInformationModelGet)

ENOUGH = 8
"""So many images of each transfer syntax have their pixels compared."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A node that gives back; WITNESS is where a test listens, ABSENT where nobody does."""

    node: Node
    witness: int
    sources: tuple[Source, ...]
    ct: tuple[Source, ...]
    pid: int

    @property
    def studies(self) -> list[str]:
        return sorted({each.uids[0] for each in self.sources})


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Every test file of pydicom that can be stored, each an instance of its own, and a CT of two series."""
    directory = tmp_path_factory.mktemp("retrieve")
    witness = free_port()
    node = nodes.prepare(directory / "node", {"WITNESS": witness, "ABSENT": free_port()})
    ct = corpus.ct_study(directory / "ct", instances=24, series=2, size=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd on purpose
        copies = corpus.distinct(directory / "copies", corpus.instances())
    staticwado("-c", node.config, "create", *copies.values(), *ct.files, expect=3)
    kept = {each.name for each in (node.root / "studies").glob("*/series/*/instances/*")}
    sources = [source for path in copies.values() if (source := _source(path)) and source.uids[2] in kept]
    assert len(sources) > 200, "or there is no tree"
    with nodes.receiving(node) as process:
        yield Archive(node, witness, tuple(sources), tuple(map(Source.of, ct.files)), process.pid)


def _source(path: Path) -> Source | None:
    try:
        return Source.of(path)
    except Rejected:
        return None


def _moved(archive: Archive, model: str, keys: Dataset, destination: str = "WITNESS") -> Final:
    with asking(archive.node, model) as association:
        return final(association.send_c_move(keys, destination, model, msg_id=77))


def _is_whole(received: dict[str, Received], sources: Iterable[Source]) -> None:
    """What arrived is what was stored, bit for bit."""
    expected = {each.uids[2]: each for each in sources}
    assert received.keys() == expected.keys()
    for uid, each in expected.items():
        assert received[uid].transfer_syntax == each.transfer_syntax, each.path
        assert received[uid].sop_class == each.sop_class
        assert received[uid].data_set == each.data_set, each.path


def test_everything_moves_bit_for_bit_to_who_takes_it_as_it_is(archive: Archive) -> None:
    with listening(archive.witness, as_they_came(archive.sources)) as witness:
        done = _moved(archive, STUDY_MOVE, identifier("STUDY", StudyInstanceUID=archive.studies))
    assert (done.status, done.counts, done.failed) == (SUCCESS, (len(archive.sources), 0, 0), [])
    _is_whole(witness.received, archive.sources)
    assert {each.originator for each in witness.received.values()} == {("ASKER", 77)}
    assert witness.callers == {TITLE}
    numbers = [each.message_id for each in witness.received.values()]
    assert len(set(numbers)) == len(numbers)
    first, *_ = done.pending
    assert sum(first) == len(archive.sources)


def test_everything_is_got_bit_for_bit_by_who_takes_it_as_it_is(archive: Archive) -> None:
    witness = Witness()
    with asking(archive.node, STUDY_GET, as_they_came(archive.sources), witness) as association:
        keys = identifier("STUDY", StudyInstanceUID=archive.studies)
        done = final(association.send_c_get(keys, STUDY_GET))
    assert (done.status, done.counts) == (SUCCESS, (len(archive.sources), 0, 0))
    _is_whole(witness.received, archive.sources)


def test_who_takes_only_implicit_vr_gets_the_same_pixels_and_private_elements(archive: Archive) -> None:
    with listening(archive.witness, only(archive.sources, IMPLICIT)) as witness:
        done = _moved(archive, STUDY_MOVE, identifier("STUDY", StudyInstanceUID=archive.studies))
    lost = [each for each in archive.sources if each.uids[2] not in witness.received]
    assert len(lost) == 1, "the one without any pixels that could be decoded"
    assert (done.status, done.counts) == (WARNING, (len(archive.sources) - 1, 1, 0))
    assert done.failed == [each.uids[2] for each in lost]
    compared: Counter[str] = Counter()
    for each in archive.sources:
        if each not in lost and compared[each.transfer_syntax] < ENOUGH:
            compared[each.transfer_syntax] += _compare(
                pydicom.dcmread(each.path, force=True), witness.received[each.uids[2]]
            )
    assert len(compared) > 10
    assert sum(compared.values()) > 50


def _compare(source: Dataset, received: Received) -> bool:
    """Compare private elements, and pixels if a decoder has an opinion about both."""
    assert received.transfer_syntax == IMPLICIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd on purpose
        copy = received.file()
        assert _private(copy) == _private(source)
        try:
            pixels = source.pixel_array
        except Exception:  # noqa: BLE001 - pydicom raises many things for what has no pixels, or none that it decodes
            return False
        if received.sop_class and source.get("PhotometricInterpretation") == "RGB" and _is_jpeg(source):
            return False  # the codestream says something else, which pydicom doesn't believe
        assert np.array_equal(copy.pixel_array, pixels)
    return True


def _is_jpeg(source: Dataset) -> bool:
    return str(source.file_meta.TransferSyntaxUID).endswith((".50", ".51"))


def _private(data_set: Dataset) -> list[int]:
    tags = [*data_set.keys()]
    return sorted(int(tag) for tag in tags if tag.is_private and tag.element)


LEVELS = [
    *(("-P", level) for level in ("PATIENT", "STUDY", "SERIES", "IMAGE")),
    *(("-S", level) for level in ("STUDY", "SERIES", "IMAGE")),
]
_KEYWORDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def _asked(archive: Archive, model: str, level: str) -> tuple[list[str], list[Source]]:
    """Keys, as tools want them, and what of the CT they ask for: two instances at most at the lowest level."""
    some = archive.ct[-1]
    depth = ("PATIENT", "STUDY", "SERIES", "IMAGE").index(level)
    values = (some.patient, *some.uids)
    used = list(zip(_KEYWORDS, values, strict=True))[model == "-S" : depth + 1]
    keys = [f"QueryRetrieveLevel={level}", *(f"{keyword}={value}" for keyword, value in used)]
    expected = [each for each in archive.ct if (each.patient, *each.uids)[: depth + 1] == values[: depth + 1]]
    if level == "IMAGE":
        other = next(each for each in archive.ct if each.uids[:2] == some.uids[:2])
        return [*keys[:-1], f"{keys[-1]}\\{other.uids[2]}"], [other, some]
    assert len(expected) >= 12
    return keys, expected


@pytest.mark.parametrize(("model", "level"), LEVELS)
def test_dcmtks_tools_at_every_level_of_both_models(archive: Archive, tmp_path: Path, model: str, level: str) -> None:
    keys, expected = _asked(archive, model, level)
    options = [part for key in keys for part in ("-k", key)]
    called = ("-aec", TITLE)
    got = tmp_path / "got"
    got.mkdir()
    dcmtk.run("getscu", "+B", model, *called, "-od", got, *options, "127.0.0.1", archive.node.port)
    assert _data_sets(got) == sorted(each.data_set for each in expected)
    with listening(archive.witness, as_they_came(expected)) as witness:
        dcmtk.run("movescu", model, *called, "-aem", "WITNESS", *options, "127.0.0.1", archive.node.port)
    _is_whole(witness.received, expected)


def _data_sets(directory: Path) -> list[bytes]:
    return sorted(Source.of(path).data_set for path in directory.iterdir())


@pytest.mark.parametrize("level", ["STUDY", "IMAGE"])
def test_pynetdicoms_applications(archive: Archive, tmp_path: Path, level: str) -> None:
    keys, expected = _asked(archive, "-S", level)
    options = [part for key in keys for part in ("-k", key)]
    where = ("127.0.0.1", str(archive.node.port), "-aec", TITLE, "-S", *options)
    run = [sys.executable, "-m", "pynetdicom"]
    subprocess.run([*run, "getscu", *where, "-od", str(tmp_path)], check=True, capture_output=True, timeout=120)
    assert sorted(str(pydicom.dcmread(path).SOPInstanceUID) for path in tmp_path.iterdir()) == sorted(
        each.uids[2] for each in expected
    )
    with listening(archive.witness, as_they_came(expected)) as witness:
        subprocess.run([*run, "movescu", *where, "-aem", "WITNESS"], check=True, capture_output=True, timeout=120)
    _is_whole(witness.received, expected)


@pytest.mark.parametrize(
    ("model", "keys", "comment"),
    [
        (STUDY_MOVE, {}, "Study Instance UID"),
        (STUDY_MOVE, {"StudyInstanceUID": "1.2.*"}, "(0020,000D) has wild cards"),
        (PATIENT_MOVE, {"StudyInstanceUID": "1.2"}, "(0010,0020) is missing"),
        (PATIENT_MOVE, {"StudyInstanceUID": "1.2", "PatientID": ["a", "b"]}, "(0010,0020) must have a single value"),
    ],
)
def test_an_identifier_against_the_rules_is_refused_and_says_where(
    archive: Archive, model: str, keys: dict[str, str | list[str]], comment: str
) -> None:
    done = _moved(archive, model, identifier("STUDY", **keys))
    assert (done.status, done.counts) == (0xA900, None)
    assert comment in done.comment or not keys


def _several(archive: Archive) -> Dataset:
    return identifier("STUDY", StudyInstanceUID=archive.ct[0].uids[0])


def test_what_nobody_has_is_no_failure(archive: Archive) -> None:
    for model, destination in ((STUDY_MOVE, "WITNESS"), (PATIENT_MOVE, "WITNESS")):
        keys = identifier("STUDY", PatientID="NOBODY", StudyInstanceUID="1.2.3.4.5")
        assert _moved(archive, model, keys, destination).status == SUCCESS


def test_a_patients_studies_are_no_other_patients(archive: Archive) -> None:
    keys = identifier("STUDY", PatientID="NOBODY", StudyInstanceUID=archive.ct[0].uids[0])
    done = _moved(archive, PATIENT_MOVE, keys)
    assert (done.status, done.counts) == (SUCCESS, (0, 0, 0))


def test_an_unknown_destination_and_one_that_is_not_there(archive: Archive) -> None:
    unknown = _moved(archive, STUDY_MOVE, _several(archive), "NOBODY")
    assert (unknown.status, unknown.counts) == (0xA801, None)
    absent = _moved(archive, STUDY_MOVE, _several(archive), "ABSENT")
    assert (absent.status, absent.counts) == (0xA702, (0, 24, 0))
    assert sorted(absent.failed) == sorted(each.uids[2] for each in archive.ct)
    assert absent.comment == "there is no association with the destination"


def test_refusals_and_warnings_are_counted_as_such(archive: Archive) -> None:
    def answer(number: int) -> int:
        return OUT_OF_RESOURCES if number % 3 == 0 else WARNING if number % 4 == 0 else SUCCESS

    with listening(archive.witness, as_they_came(archive.ct), Witness(answer)) as witness:
        done = _moved(archive, STUDY_MOVE, _several(archive))
    assert (done.status, done.counts) == (0xB000, (12, 8, 4))
    assert sorted(done.failed) == sorted({each.uids[2] for each in archive.ct} - witness.received.keys())
    with listening(archive.witness, as_they_came(archive.ct), Witness(lambda _: 0xC123)):
        assert _moved(archive, STUDY_MOVE, _several(archive)).status == 0xA702


def test_a_destination_that_drops_the_association_gets_the_rest_on_another(archive: Archive) -> None:
    with listening(archive.witness, as_they_came(archive.ct)) as witness:
        witness.answer = lambda number: None if number == 5 else SUCCESS
        done = _moved(archive, STUDY_MOVE, _several(archive))
    assert (done.status, done.counts, witness.associations) == (SUCCESS, (24, 0, 0), 2)
    _is_whole(witness.received, archive.ct)


def test_an_object_that_a_destination_cannot_stand_costs_nothing_but_itself(archive: Archive) -> None:
    with listening(archive.witness, as_they_came(archive.ct)) as witness:
        witness.answer = lambda number: None if number in {5, 6} else SUCCESS
        done = _moved(archive, STUDY_MOVE, _several(archive))
    assert (done.status, done.counts, witness.associations) == (0xB000, (23, 1, 0), 3)
    assert witness.received.keys() | {*done.failed} == {each.uids[2] for each in archive.ct}


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
        assert _moved(archive, STUDY_MOVE, _several(archive)).status == SUCCESS
    assert not [*(archive.node.state / "sending").iterdir()]


def test_several_ask_at_once(archive: Archive) -> None:
    results: list[Final] = []

    def get() -> None:
        witness = Witness()
        with asking(archive.node, STUDY_GET, as_they_came(archive.ct), witness) as association:
            results.append(final(association.send_c_get(_several(archive), STUDY_GET)))
        _is_whole(witness.received, archive.ct)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for each in threads:
        each.start()
    with listening(archive.witness, as_they_came(archive.ct)) as witness:
        results.append(_moved(archive, STUDY_MOVE, _several(archive)))
    for each in threads:
        each.join()
    assert [each.counts for each in results] == [(24, 0, 0)] * 5
    _is_whole(witness.received, archive.ct)


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
            done = _moved(archive, STUDY_MOVE, _several(archive))
    finally:
        frame.write_bytes(whole)
    assert (done.status, done.counts, done.failed) == (0xB000, (23, 1, 0), [instance])
    _is_whole(witness.received, [each for each in archive.ct if each is not victim])


def test_what_was_deleted_is_not_given(archive: Archive, tmp_path: Path) -> None:
    node = nodes.prepare(tmp_path / "node", {"WITNESS": archive.witness})
    ct = [each.path for each in archive.ct[:4]]
    staticwado("-c", node.config, "create", *ct)
    staticwado("-c", node.config, "delete", archive.ct[0].uids[2], "--reason", "test", "--yes")
    with nodes.receiving(node), listening(archive.witness, as_they_came(archive.ct)) as witness:
        with asking(node, STUDY_MOVE) as association:
            done = final(association.send_c_move(_several(archive), "WITNESS", STUDY_MOVE))
        (node.state / "query.sqlite").unlink()
        with asking(node, PATIENT_MOVE) as association:
            keys = identifier("PATIENT", PatientID=archive.ct[0].patient)
            blind = final(association.send_c_move(keys, "WITNESS", PATIENT_MOVE))
    assert (done.status, done.counts) == (SUCCESS, (3, 0, 0))
    _is_whole(witness.received, archive.ct[1:4])
    assert (blind.status, blind.counts) == (0xA701, None)
    assert "query index" in blind.comment
