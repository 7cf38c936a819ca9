"""What is asked of others, and what of their answers is fetched: questions, requests, patience and rules."""

import os
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pydicom
import pytest
import structlog
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from staticwado_daemon.dicom.data_set import Encoding
from staticwado_daemon.dicom.matching import Attribute
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.dimse import contexts
from staticwado_daemon.dimse.association.command import StoreRequest
from staticwado_daemon.dimse.association.limits import Limits
from staticwado_daemon.dimse.association.messages import Answer, Reception
from staticwado_daemon.dimse.association.provider import is_over
from staticwado_daemon.dimse.association.requestor import Local, associated
from staticwado_daemon.dimse.node.acceptance import Rules as AcceptanceRules
from staticwado_daemon.dimse.node.observed import Observed
from staticwado_daemon.dimse.node.server import Node, serve
from staticwado_daemon.dimse.patience import Patience
from staticwado_daemon.dimse.peers import Peer
from staticwado_daemon.dimse.pulling import lacking, pull, retrieval
from staticwado_daemon.dimse.pulling.arrivals import Arrivals, Expected
from staticwado_daemon.dimse.pulling.inventory import Item
from staticwado_daemon.dimse.pulling.retrieval import MOST_CLASSES, Part, receiving
from staticwado_daemon.dimse.pulling.rules import Rule, Rules
from staticwado_daemon.dimse.query import dates, question
from staticwado_daemon.dimse.receiving.service import Receiver
from staticwado_daemon.errors import ConfigError, Rejected, StaticwadoError, Transient
from staticwado_daemon.inbound import drop
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
    assert found[0] == Part(UID("1"), UID("1.1"), count=3)
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
    """A storage service that keeps objects in mind, and refuses those that it is told to, for now or for good."""

    refuses: frozenset[str] = frozenset()
    detests: frozenset[str] = frozenset()
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
        if self.instance in self.memory.detests:
            return Answer(0xC000, "it is of no use")
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


def lack_of(archive: peers.Archive, here: frozenset[UID] = NOTHING) -> tuple[Peer, lacking.Lack]:
    peer = Peer("ARCHIVE", "127.0.0.1", archive.port)
    with associated(LOCAL, peer, lacking.proposals()) as association:
        assert lacking.ways(association) == ("get",)
        (study,) = lacking.studies(association, peer, {"PatientID": "TEST-CT"}, TODAY)
        return peer, lacking.lack(association, peer, study, here)


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
    rules = Rules([rule], LOCAL, Expected(memory), lambda _study: NOTHING)
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
    rules = Rules([rule], LOCAL, Expected(Memory()), lambda _study: NOTHING)
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
                target=Rules([bad, good], LOCAL, Expected(memory), lambda _study: NOTHING).run, args=(stopped,)
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


@pytest.fixture
def pair(tmp_path: Path) -> Sequence[Path]:
    """A study of two series, as files in the order of their series."""
    made = corpus.ct_study(tmp_path / "pair", instances=6, series=2, size=64).files
    return sorted(made, key=lambda path: str(pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID))


def test_a_series_that_is_refused_keeps_no_other_from_being_fetched(pair: Sequence[Path]) -> None:
    refused = pydicom.dcmread(pair[0], stop_before_pixels=True).SeriesInstanceUID
    with peers.archive(pair) as archive:
        archive.refuses = lambda asked: asked.SeriesInstanceUID == refused
        peer, lack = lack_of(archive)
        memory = Memory()
        pulled = pull.get(LOCAL, peer, lack, Arrivals(memory), AT_ONCE)
    assert pulled.fetched == len(memory.stored) == 3
    assert pulled.problem
    assert "unable to perform sub-operations" in pulled.problem


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_answer_without_a_uid_costs_nothing_but_itself(files: Sequence[Path]) -> None:
    with peers.archive(files) as archive:
        nameless = pydicom.dcmread(files[0])
        nameless.SOPInstanceUID = "1.2..3"
        archive.holdings.append(nameless)
        with structlog.testing.capture_logs() as logged:
            _, lack = lack_of(archive)
    assert (lack.total, len(lack.items)) == (8, 8)
    (line,) = logged
    assert (line["event"], line["count"]) == ("answers_passed_over", 1)
    assert line["reason"] == "SOPInstanceUID is no UID: it has a dot without a number before or after it"


def test_an_association_that_ends_between_two_requests_is_no_fault_of_ours(archive: peers.Archive) -> None:
    peer, lack = lack_of(archive)
    proposed = contexts.messages([contexts.STUDY_ROOT_GET]) + receiving([CT])
    memory = Memory()
    with associated(LOCAL, peer, proposed, provides=[CT], storage=memory) as association:
        archive.abort()
        assert _within(lambda: not association.is_established)
        with pytest.raises(Transient, match="aborted"):
            retrieval.get(association, peer, Part(lack.study, UID("1.2")), Arrivals(memory), 5)
        with pytest.raises(Transient, match="aborted"):
            lacking.lack(association, peer, lack.study, NOTHING)


def test_who_releases_the_association_is_told_to_have_done_that(archive: peers.Archive) -> None:
    peer, lack = lack_of(archive)
    with associated(LOCAL, peer, lacking.proposals()) as association:
        archive.release()
        assert _within(lambda: is_over(association))
        with pytest.raises(Transient, match="released the association"):
            lacking.lack(association, peer, lack.study, NOTHING)


def test_after_an_unreadable_answer_the_others_are_read_and_the_next_question_is_answered(
    archive: peers.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, lack = lack_of(archive)
    read, spoilt = question.attributes, iter([True])

    def attributes(data: bytes, encoding: Encoding) -> Mapping[str, Attribute]:
        if next(spoilt, False):
            raise Rejected("spoilt")
        return read(data, encoding)

    monkeypatch.setattr(question, "attributes", attributes)
    asked = question.identifier("SERIES", {"StudyInstanceUID": lack.study}, TODAY)
    with associated(LOCAL, peer, lacking.proposals()) as association:
        answers = question.ask(association, peer, asked)
        assert len([next(answers)]) == 1
        with pytest.raises(StaticwadoError, match="can't be read: spoilt"):
            next(answers)
        assert len(list(question.ask(association, peer, asked))) == 2


def test_what_waits_is_found_among_files_of_any_kind(tmp_path: Path, files: Sequence[Path]) -> None:
    whole = files[0].read_bytes()
    (tmp_path / "whole.dcm").write_bytes(whole)
    (tmp_path / "folder.dcm").mkdir()
    os.mkfifo(tmp_path / "pipe.dcm")
    for length in (0, 100, 132, 133, 139, 150, 170):
        (tmp_path / f"{length}.dcm").write_bytes(whole[:length])
    chance = random.Random(3)
    for number in range(200):
        (tmp_path / f"random{number}.dcm").write_bytes(whole[:132] + b"\2\0" + chance.randbytes(60))
    assert uids(files[:1])[0] in lacking.waiting(tmp_path)


@contextmanager
def node(directory: Path) -> Iterator[tuple[int, Expected]]:
    """Our own node, which receives into a drop folder."""
    observed = Observed("STATICWADO", "127.0.0.1", tls=False)
    drop.prepare(directory)
    with closing(Receiver(directory, [], 1 << 30, observed)) as receiver:
        expected = Expected(receiver)
        ours = Node("STATICWADO", "127.0.0.1", 0, AcceptanceRules(), Limits(), 10.0)
        with serve(ours, [receiver], observed, expected) as port:
            yield port, expected


MOVES = (contexts.STUDY_ROOT_FIND, contexts.STUDY_ROOT_MOVE)


def test_what_a_rule_has_had_sent_to_us_is_not_asked_for_again_while_the_daemon_rests(
    tmp_path: Path, files: Sequence[Path]
) -> None:
    with node(tmp_path / "drop") as (port, expected), peers.archive(files, offers=MOVES) as archive:
        archive.moves_to = port
        rules = Rules([], LOCAL, expected, lambda _study: NOTHING)
        rule = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 60, {"PatientID": "TEST-CT"})
        with structlog.testing.capture_logs() as logged:
            assert rules.keep(rule, threading.Event())
            for path in (tmp_path / "drop").glob("*.dcm"):
                path.unlink()  # as the daemon does, which stores it in another study, or rejects it
            assert rules.keep(rule, threading.Event())
    assert [(each["lacked"], each["fetched"]) for each in logged if each["event"] == "pulled"] == [(8, 8), (0, 0)]
    assert archive.given == 8


def test_a_rule_says_when_a_peer_sends_elsewhere(
    tmp_path: Path, files: Sequence[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "_ARRIVAL_SECONDS", 0.1)
    with (
        node(tmp_path / "drop") as (_, expected),
        peers.archive() as other,
        peers.archive(files, offers=MOVES) as archive,
    ):
        archive.moves_to = other.port
        rules = Rules([], LOCAL, expected, lambda _study: NOTHING)
        rule = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 60, {"PatientID": "TEST-CT"})
        with structlog.testing.capture_logs() as logged:
            assert not rules.keep(rule, threading.Event())
    assert [each["reason"] for each in logged if each["event"] == "pull_incomplete"] == [
        "8 were sent, but didn't come here: compare our host and port there"
    ]


def test_a_series_that_is_not_moved_keeps_no_other_from_it(tmp_path: Path, pair: Sequence[Path]) -> None:
    refused = pydicom.dcmread(pair[0], stop_before_pixels=True).SeriesInstanceUID
    with node(tmp_path / "drop") as (port, _), peers.archive(pair, offers=MOVES) as archive:
        archive.moves_to, archive.refuses = port, lambda asked: asked.SeriesInstanceUID == refused
        peer = Peer("ARCHIVE", "127.0.0.1", archive.port)
        with associated(LOCAL, peer, lacking.proposals()) as association:
            (study,) = lacking.studies(association, peer, {"PatientID": "TEST-CT"}, TODAY)
            lack = lacking.lack(association, peer, study, NOTHING)
        told: list[int] = []
        pulled = pull.move(LOCAL, peer, lack, told.append, AT_ONCE)
        assert len(lacking.waiting(tmp_path / "drop")) == 3
    assert (pulled.fetched, told[-1]) == (3, 3)
    assert pulled.problem
    assert "unable to perform sub-operations" in pulled.problem


def test_what_we_refuse_for_good_is_not_asked_for_again(archive: peers.Archive, files: Sequence[Path]) -> None:
    """Each time it would be kept among the refused files."""
    bad, full = uids(files)[:2]
    rule = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 60, {"PatientID": "TEST-CT"})
    memory = Memory(frozenset({full}), frozenset({bad}))
    rules = Rules([], LOCAL, Expected(memory), lambda _study: NOTHING)
    with structlog.testing.capture_logs() as logged:
        assert rules.keep(rule, threading.Event())
        assert not rules.keep(rule, threading.Event()), "without room nothing comes of the others either"
        memory.refuses = NOTHING
        assert rules.keep(rule, threading.Event())
    assert [(each["lacked"], each["fetched"]) for each in logged] == [(8, 6), (1, 0), (1, 1)]


def test_a_study_that_a_peer_fails_to_list_keeps_no_other_from_being_fetched(
    tmp_path: Path, files: Sequence[Path]
) -> None:
    mr = corpus.mr_study(tmp_path / "mr", instances=2, series=1)
    with peers.archive([*mr.files, *files]) as archive:
        archive.fails = lambda asked: asked.QueryRetrieveLevel == "SERIES" and asked.StudyInstanceUID == mr.uid
        rule = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 60, {"StudyInstanceUID": ""})
        rules = Rules([], LOCAL, Expected(Memory()), lambda _study: NOTHING)
        with structlog.testing.capture_logs() as logged:
            assert rules.keep(rule, threading.Event())
    (line,) = logged
    assert (line["event"], line["studies"], line["fetched"]) == ("pull_incomplete", 2, 8)
    assert "answers C-FIND with" in line["reason"]


def test_what_is_lacked_of_the_first_studies_is_fetched_before_the_others_are_looked_at(
    tmp_path: Path, files: Sequence[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("staticwado_daemon.dimse.pulling.rules._STUDIES_AT_ONCE", 1)
    mr = corpus.mr_study(tmp_path / "mr", instances=2, series=1)
    with peers.archive([*files, *mr.files]) as archive:

        def fails(asked: pydicom.Dataset) -> bool:
            if asked.get("StudyInstanceUID") == mr.uid:
                archive.abort()
            return False

        archive.fails = fails
        rule = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 60, {"StudyDate": "19000101-"})
        memory = Memory()
        with structlog.testing.capture_logs() as logged:
            assert Rules([], LOCAL, Expected(memory), lambda _study: NOTHING).keep(rule, threading.Event())
    assert (logged[-1]["event"], logged[-1]["studies"], logged[-1]["fetched"]) == ("pull_incomplete", 2, 8)
    assert sorted(memory.stored) == sorted(uids(files))


def test_what_can_not_be_had_delays_nothing_else(pair: Sequence[Path]) -> None:
    """A round that brings nothing for that alone is no failure, after which the next one would come later."""
    refused = pydicom.dcmread(pair[0], stop_before_pixels=True).SeriesInstanceUID
    with peers.archive(pair) as archive:
        archive.refuses = lambda asked: asked.SeriesInstanceUID == refused
        rule = Rule(Peer("ARCHIVE", "127.0.0.1", archive.port), 60, {"PatientID": "TEST-CT"})
        rules = Rules([], LOCAL, Expected(Memory()), lambda _study: NOTHING)
        with structlog.testing.capture_logs() as logged:
            assert [rules.keep(rule, threading.Event()) for _ in range(2)] == [True, True]
    assert [(each["event"], each["fetched"]) for each in logged] == [("pull_incomplete", 3), ("pull_incomplete", 0)]
