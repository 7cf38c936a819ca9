"""What is asked of others, and what of their answers is fetched: questions, requests, patience and rules."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pydicom
import pytest
import structlog
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.association.messages import Answer, Reception
from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.patience import Patience
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.pulling import pull
from staticwado_daemon.dimse.pulling.inventory import Item
from staticwado_daemon.dimse.pulling.retrieval import MOST_CLASSES, Arrivals, Part, receiving
from staticwado_daemon.dimse.pulling.rules import Rule, Rules
from staticwado_daemon.dimse.query import dates, question
from staticwado_daemon.errors import ConfigError
from tests import corpus
from tests.system import peers

TODAY = date(2026, 3, 2)
LOCAL = Local("STATICWADO", answer_seconds=20)
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
AT_ONCE = Patience(tries=3, wait=lambda _seconds: None)
NOTHING: frozenset[UID] = frozenset()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("20260131", "20260131"),
        ("20260101-20260131", "20260101-20260131"),
        ("today", "20260302"),
        ("today-7", "20260223"),
        ("today-7-", "20260223-"),
        ("-today", "-20260302"),
        ("-today-30", "-20260131"),
        ("today-7-today-1", "20260223-20260301"),
        ("20260101-today", "20260101-20260302"),
        (" today-3660- ", "20160223-"),
    ],
)
def test_dates_move_with_the_day(text: str, meant: str) -> None:
    assert dates.absolute(text, TODAY) == meant


@pytest.mark.parametrize(
    "text", ["", "-", "last week", "2026", "today+1", "today-99999", "20260101-20260131-", "todays"]
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no date: give a date"):
        dates.absolute(text, TODAY)


def test_a_question_asks_for_what_people_want_to_see() -> None:
    asked = question.identifier("STUDY", {"PatientName": "Doe*", "StudyDate": "today-7-"}, TODAY)
    assert (asked.QueryRetrieveLevel, asked.PatientName, asked.StudyDate) == ("STUDY", "Doe*", "20260223-")
    assert {each.keyword for each in asked} >= {"StudyInstanceUID", "ModalitiesInStudy", "PatientID"}
    assert "SpecificCharacterSet" not in asked
    assert [each.tag for each in asked] == sorted(each.tag for each in asked)


@pytest.mark.parametrize(("name", "terms"), [("Müller", "ISO_IR 100"), ("やまだ", "ISO_IR 192")])
def test_a_question_says_its_character_set(name: str, terms: str) -> None:
    asked = question.identifier("STUDY", {"PatientName": name}, TODAY)
    assert (asked.SpecificCharacterSet, asked.PatientName) == (terms, name)


def test_several_uids_are_several_values() -> None:
    asked = question.identifier("STUDY", {"StudyInstanceUID": "1.2\\1.3"}, TODAY)
    assert list(asked.StudyInstanceUID) == ["1.2", "1.3"]


@pytest.mark.parametrize(
    ("level", "keys", "why"),
    [
        ("STUDY", {"Patientname": "x"}, "no keyword"),
        ("STUDY", {"SpecificCharacterSet": "ISO_IR 100"}, "nothing by which"),
        ("STUDY", {"PixelData": "x"}, "nothing by which"),
        ("STUDY", {"RequestAttributesSequence": ""}, "nothing by which"),
        ("STUDY", {"StudyDate": "soon"}, "StudyDate: 'soon' is no date"),
        ("SERIES", {}, "level SERIES needs StudyInstanceUID"),
        ("IMAGE", {"StudyInstanceUID": "1.2"}, "level IMAGE needs SeriesInstanceUID"),
    ],
)
def test_what_can_not_be_asked_is_refused(level: question.Level, keys: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        question.identifier(level, keys, TODAY)


def test_studies_are_of_several_modalities() -> None:
    assert question.fitted("STUDY", {"Modality": "CT"}) == {"ModalitiesInStudy": "CT"}
    assert question.fitted("SERIES", {"Modality": "CT"}) == {"Modality": "CT"}
    with pytest.raises(ConfigError, match="among series"):
        question.fitted("STUDY", {"SeriesInstanceUID": "1.2"})


def items(series: str, count: int, sop_class: str = CT) -> list[Item]:
    return [Item(Identity(UID("1"), UID(series), UID(f"{series}.{each}")), sop_class) for each in range(1, count + 1)]


def test_whole_series_are_asked_for_as_such_and_others_by_their_instances() -> None:
    wanted = [*items("1.1", 3), *items("1.2", 250)]
    found = list(pull.parts(wanted, {UID("1.1")}))
    assert found[0] == Part(UID("1"), UID("1.1"))
    assert [len(each.instances) for each in found[1:]] == [100, 100, 50]
    assert [uid for each in found[1:] for uid in each.instances] == [each.identity.instance for each in wanted[3:]]
    assert found[0].identifier().QueryRetrieveLevel == "SERIES"
    assert found[1].identifier().QueryRetrieveLevel == "IMAGE"


def test_what_one_association_can_not_carry_is_divided_by_sop_classes() -> None:
    classes = contexts.STORAGE[: 2 * MOST_CLASSES + 1]
    wanted = [item for sop_class in classes for item in items("1.1", 2, sop_class)]
    divided = list(pull._by_classes(wanted))
    assert [len(own) for own, _ in divided] == [MOST_CLASSES, MOST_CLASSES, 1]
    assert all({item.sop_class for item in some} == set(own) for own, some in divided)
    assert list(pull._by_classes(items("1.1", 2, ""))) == [([], items("1.1", 2, ""))]


def test_what_is_proposed_fits_on_one_association() -> None:
    classes = list(contexts.STORAGE[:MOST_CLASSES])
    for proposed in (receiving(classes), receiving([])):
        assert len(proposed) < contexts.MAXIMUM
    assert {str(each.abstract_syntax) for each in receiving(classes)} == set(classes)
    assert {str(each.abstract_syntax) for each in receiving([])} == {*contexts.COMMON_STORAGE}, (
        "what is met, not by UID"
    )
    assert all(len(each.transfer_syntax) == 1 for each in receiving([CT]))


@dataclass
class Memory:
    """A storage service that keeps objects in mind, and refuses those that it is told to."""

    refuses: frozenset[str] = frozenset()
    stored: dict[str, bytes] = field(default_factory=dict)

    def begin(self, _association: Association, _context: PresentationContext, request: StoreRequest) -> Reception:
        return _Object(self, request.sop_instance_uid)


@dataclass
class _Object:
    memory: Memory
    instance: str
    data: bytearray = field(default_factory=bytearray)

    def write(self, data: memoryview) -> None:
        self.data += data

    def finish(self) -> Answer:
        if self.instance in self.memory.refuses:
            return Answer(0xA700, "too little space is left")
        self.memory.stored[self.instance] = bytes(self.data)
        return Answer(0)

    def abandon(self) -> None:
        self.data.clear()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    return corpus.ct_study(tmp_path_factory.mktemp("ct"), instances=8, series=2, size=64).files


@pytest.fixture(autouse=True)
def _everything_is_logged() -> None:
    """A command that ran in this process may have asked for warnings alone."""
    structlog.reset_defaults()


@pytest.fixture
def archive(files: Sequence[Path]) -> Iterator[peers.Archive]:
    with peers.archive(files) as archive:
        yield archive


def lack_of(archive: peers.Archive, here: frozenset[UID] = NOTHING) -> tuple[Peer, pull.Lack]:
    peer = Peer("ARCHIVE", "127.0.0.1", archive.port)
    with associated(LOCAL, peer, pull.proposals()) as association:
        assert pull.ways(association) == ("get",)
        (study,) = pull.studies(association, peer, {"PatientID": "TEST-CT"}, TODAY)
        return peer, pull.lack(association, peer, study, here)


def uids(files: Sequence[Path]) -> list[str]:
    return [str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files]


def test_only_what_is_lacking_is_fetched(archive: peers.Archive, files: Sequence[Path]) -> None:
    here = frozenset(map(UID, uids(files[:6:2])))  # three of the four of one series
    peer, lack = lack_of(archive, here)
    assert (lack.total, len(lack.items), len(lack.whole)) == (8, 5, 1)
    memory = Memory()
    assert pull.get(LOCAL, peer, lack, Arrivals(memory)) == pull.Pulled(lack, 5)
    assert set(memory.stored) == set(uids(files)) - here
    assert archive.given == 5


def test_what_comes_is_what_is_there(archive: peers.Archive, files: Sequence[Path]) -> None:
    peer, lack = lack_of(archive)
    memory = Memory()
    pull.get(LOCAL, peer, lack, Arrivals(memory))
    for uid, path in zip(uids(files), files, strict=True):
        assert path.read_bytes().endswith(memory.stored[uid]), path
        assert len(memory.stored[uid]) > 64 * 64 * 2


def test_a_lost_association_costs_nothing_that_came(archive: peers.Archive) -> None:
    peer, lack = lack_of(archive)
    archive.gives = 3
    memory = Memory()
    assert pull.get(LOCAL, peer, lack, Arrivals(memory), AT_ONCE) == pull.Pulled(lack, 8)
    assert (len(memory.stored), archive.given) == (8, 8)


def test_an_association_that_is_lost_again_and_again_is_given_up(archive: peers.Archive) -> None:
    peer, lack = lack_of(archive)
    archive.gives, archive.always = 0, True
    pulled = pull.get(LOCAL, peer, lack, Arrivals(Memory()), AT_ONCE)
    assert pulled.fetched == 0
    assert pulled.problem
    assert "aborted the association" in pulled.problem
    assert archive.associations == 1 + AT_ONCE.tries


def test_what_we_refuse_is_told_and_not_asked_for_again(archive: peers.Archive, files: Sequence[Path]) -> None:
    peer, lack = lack_of(archive)
    pulled = pull.get(LOCAL, peer, lack, Arrivals(Memory(frozenset(uids(files)[:2]))), AT_ONCE)
    assert (pulled.fetched, pulled.problem) == (6, "2 refused here: too little space is left")
    assert archive.given == 8


def test_pauses_double_up_to_the_longest() -> None:
    waited: list[float] = []
    patience = Patience(tries=5, first_seconds=1, longest_seconds=4, wait=waited.append)
    assert [patience.pause(each) for each in range(1, 6)] == [True, True, True, True, False]
    assert waited == [1, 2, 4, 4]


def test_nobody_waits_when_the_end_has_come() -> None:
    stopped = threading.Event()
    stopped.set()
    assert not Patience(wait=stopped.wait).pause(1)


def test_a_rule_fetches_what_is_new_and_says_so_in_one_line(archive: peers.Archive, files: Sequence[Path]) -> None:
    rule = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 60, {"PatientID": "TEST-CT"})
    memory, stopped = Memory(), threading.Event()
    rules = Rules([rule], LOCAL, memory, lambda _study: NOTHING)
    with structlog.testing.capture_logs() as logged:
        assert rules.keep(rule, stopped)
        assert rules.keep(rule, stopped)
        archive.holdings.append(_another(files[0]))
        assert rules.keep(rule, stopped)
    lines = [(each["event"], each["studies"], each["lacked"], each["fetched"]) for each in logged]
    assert lines == [("pulled", 1, 8, 8), ("pulled", 1, 0, 0), ("pulled", 1, 1, 1)]
    assert "TEST-CT" not in str(logged)
    assert len(memory.stored) == archive.given == 9


@pytest.mark.parametrize("gives", [0, 3])
def test_a_round_that_brought_something_is_no_failure_though_it_was_cut_off(archive: peers.Archive, gives: int) -> None:
    rule = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 60, {"PatientID": "TEST-CT"})
    archive.gives, archive.always = gives, True
    rules = Rules([rule], LOCAL, Memory(), lambda _study: NOTHING)
    with structlog.testing.capture_logs() as logged:
        assert rules.keep(rule, threading.Event()) == (gives > 0)
    assert [(each["event"], each["fetched"]) for each in logged] == [("pull_incomplete", gives)]


def _another(path: Path) -> pydicom.Dataset:
    copy = pydicom.dcmread(path)
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    return copy


def test_rules_go_on_after_a_failure_and_end_when_they_are_told_to(files: Sequence[Path]) -> None:
    stopped, memory = threading.Event(), Memory()
    with peers.archive(files) as archive:
        good = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 3600, {"PatientID": "TEST-CT"})
        bad = Rule(Peer("NOBODY", "127.0.0.1", 1), 0.05, {"PatientID": "TEST-CT"})
        with structlog.testing.capture_logs() as logged:
            thread = threading.Thread(
                target=Rules([bad, good], LOCAL, memory, lambda _study: NOTHING).run, args=(stopped,)
            )
            thread.start()
            assert _within(lambda: len(memory.stored) == 8 and sum(_failed(each) for each in logged) > 1)
            stopped.set()
            thread.join(10)
    assert not thread.is_alive()
    assert next(each for each in logged if _failed(each))["reason"].startswith("NOBODY at 127.0.0.1:1 can't be reached")


def _failed(line: object) -> bool:
    return isinstance(line, dict) and line["event"] == "pull_incomplete"


def _within(condition: object) -> bool:
    for _ in range(200):
        if callable(condition) and condition():
            return True
        threading.Event().wait(0.05)
    return False
