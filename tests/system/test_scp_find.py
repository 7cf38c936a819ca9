"""C-FIND of the real node over a real tree, asked by dcmtk's findscu, pynetdicom's, and by hand."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from staticwado_daemon.archive.query_tables import FILE
from staticwado_daemon.dimse.contexts import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from tests import corpus
from tests.objects import texts
from tests.system import asking, nodes
from tests.system.asking import Asked
from tests.system.nodes import TITLE, Node
from tests.system.programs import create

Find = Callable[..., Asked]

CT = {"PatientName": "Test^Ct", "PatientID": "TEST-CT"}
MR = {"PatientName": "Test^Mr", "PatientID": "TEST-MR"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A CT and an MR study, one of which has procedure codes, and an object in every character set."""
    directory = tmp_path_factory.mktemp("find")
    ct, mr = corpus.ct_study(directory / "ct", 3, 2, 128), corpus.mr_study(directory / "mr", 2, 1)
    for path in mr.files:
        _change(path, StudyDate="20200101", StudyTime="0815", PatientSex="F", ProcedureCodeSequence=[_code(path)])
    named = [each.path for each in texts.objects(directory / "texts")]
    node = nodes.prepare(directory / "node")
    create(node.root, [*ct.files, *mr.files, *named], "-c", str(node.config))
    with nodes.receiving(node):
        yield node


@pytest.fixture
def find(node: Node, tmp_path: Path) -> Find:
    def ask(level: str, *keys: str, **how: Any) -> Asked:
        return asking.findscu(node.port, tmp_path / str(len([*tmp_path.iterdir()])), level, *keys, **how)

    return ask


def _change(path: Path, **attributes: Any) -> None:
    image = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        setattr(image, keyword, Sequence(value) if isinstance(value, list) else value)
    image.save_as(path)


def _code(path: Path) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = path.stem, "99TEST", "A slice"
    return code


def test_studies(find: Find) -> None:
    found = find(
        "STUDY",
        *("PatientName=test^*", "PatientID", "StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "SOPClassesInStudy"),
        *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "StudyDescription", "InstanceAvailability"),
        "ReferringPhysicianName",
    )
    ct, mr = found.answers
    assert ct.PatientName == "Test^Ct"
    assert (ct.PatientID, ct.StudyInstanceUID, ct.StudyDate) == ("TEST-CT", corpus.uid("ct"), "20240229")
    assert (ct.ModalitiesInStudy, ct.SOPClassesInStudy) == ("CT", CTImageStorage)
    assert (ct.NumberOfStudyRelatedSeries, ct.NumberOfStudyRelatedInstances) == (2, 3)
    assert (ct.RetrieveAETitle, ct.InstanceAvailability, ct.QueryRetrieveLevel) == (TITLE, "ONLINE", "STUDY")
    assert mr.StudyDate == "20200101", "newest first"
    assert "ReferringPhysicianName" in ct, "asked for and known here, though there is none"
    assert not ct.ReferringPhysicianName
    assert "PatientSex" not in ct, "not asked for"
    assert "SpecificCharacterSet" not in ct, "plain ASCII"


@pytest.mark.parametrize("model", asking.MODELS)
def test_every_level_of_both_models(find: Find, model: str) -> None:
    option, study, series = asking.MODELS[model], corpus.uid("ct"), corpus.uid("ct", 1)
    above = ["PatientID=TEST-CT"] if model == "patient root" else []
    if model == "patient root":
        counts = ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")
        (patient,) = find("PATIENT", "PatientName=TEST^CT", "PatientID", *counts, model=option).answers
        assert patient.PatientID == "TEST-CT"
        assert [patient[each].value for each in counts] == [1, 2, 3]
    (found,) = find("STUDY", *above, "PatientName=TEST^CT", "StudyInstanceUID", model=option).answers
    assert found.StudyInstanceUID == study
    above.append(f"StudyInstanceUID={study}")
    listed = find("SERIES", *above, "SeriesInstanceUID", "SeriesNumber", "NumberOfSeriesRelatedInstances", model=option)
    assert listed.values("SeriesNumber") == ["1", "2"]
    assert listed.values("NumberOfSeriesRelatedInstances") == ["2", "1"]
    above.append(f"SeriesInstanceUID={series}")
    images = find("IMAGE", *above, "SOPInstanceUID", "InstanceNumber", "Rows", "SOPClassUID", model=option)
    assert images.values("SOPInstanceUID") == [corpus.uid("ct", 1, 1), corpus.uid("ct", 1, 2)]
    assert {*images.values("SOPClassUID")} == {CTImageStorage}
    assert images.values("Rows") == ["128", "128"]


def test_pynetdicoms_own(node: Node, tmp_path: Path) -> None:
    keys = ("PatientName=TEST^*", "PatientID", "StudyInstanceUID", "ModalitiesInStudy")
    found = asking.findscu_of_pynetdicom(node.port, tmp_path / "found", "STUDY", *keys)
    assert found.values("PatientID") == ["TEST-CT", "TEST-MR"]
    found = asking.findscu_of_pynetdicom(node.port, tmp_path / "patients", "PATIENT", *keys[:2], model="-P")
    assert {*found.values("PatientID")} == {"TEST-CT", "TEST-MR"}


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (["PatientName=TEST^CT"], ["TEST-CT"]),
        (["PatientName=*^?t"], ["TEST-CT"]),
        (["PatientName=test^mr^^^"], ["TEST-MR"]),
        (["PatientName=Test"], []),
        (["PatientID=TEST-?R", "PatientName"], ["TEST-MR"]),
        (["PatientID=test-ct"], []),
        (["PatientName=Test^*", "StudyDate=20200101"], ["TEST-MR"]),
        (["PatientName=Test^*", "StudyDate=20240201-20240229"], ["TEST-CT"]),
        (["PatientName=Test^*", "StudyDate=-20231231"], ["TEST-MR"]),
        (["PatientName=Test^*", "StudyDate=20200102-"], ["TEST-CT"]),
        (["PatientName=Test^*", "StudyTime=0800-0900"], ["TEST-MR"]),
        (["PatientName=Test^*", "StudyTime=081500"], ["TEST-MR"]),
        ([f"StudyInstanceUID={corpus.uid('mr')}\\{corpus.uid('ct')}\\1.2.3"], ["TEST-CT", "TEST-MR"]),
        (["ModalitiesInStudy=MR"], ["TEST-MR"]),
        ([f"SOPClassesInStudy={MRImageStorage}"], ["TEST-MR"]),
        (["PatientName=Test^*", "NumberOfStudyRelatedInstances=3"], ["TEST-CT"]),
        (["PatientName=Test^*", "PatientSex=F"], ["TEST-MR"]),
        (["StudyDescription=MR*"], ["TEST-MR"]),
        (["PatientName=Test^*", "PatientSex=X"], []),
    ],
)
def test_matching(find: Find, keys: list[str], found: list[str]) -> None:
    asked = keys if any(key.startswith("PatientID") for key in keys) else [*keys, "PatientID"]
    assert find("STUDY", *asked).values("PatientID") == found


def test_sequences(find: Find) -> None:
    above = f"StudyInstanceUID={corpus.uid('mr')}", f"SeriesInstanceUID={corpus.uid('mr', 1)}"
    (found,) = find("IMAGE", *above, "ProcedureCodeSequence[0].CodeValue=1-0002", "SOPInstanceUID").answers
    assert found.SOPInstanceUID == corpus.uid("mr", 1, 2)
    assert [element.keyword for element in found.ProcedureCodeSequence[0]] == ["CodeValue"], "only what was asked for"
    whole = find("IMAGE", *above, "ProcedureCodeSequence").answers
    assert [each.ProcedureCodeSequence[0].CodeMeaning for each in whole] == ["A slice", "A slice"]


def test_what_is_not_known_at_a_level_is_left_out_and_said(association: Association) -> None:
    asked = _asked("STUDY", PatientName="test^ct", Modality="XX", ImageComments=None, SeriesInstanceUID=None)
    (status, answer), (last, _) = association.send_c_find(asked, STUDY_ROOT_FIND)
    assert (status.Status, last.Status) == (0xFF01, 0x0000)
    assert {each.keyword for each in answer} == {"QueryRetrieveLevel", "RetrieveAETitle", "PatientName"}
    asked = _asked("STUDY", PatientName="test^ct", AccessionNumber=None)
    (status, _), _ = association.send_c_find(asked, STUDY_ROOT_FIND)
    assert status.Status == 0xFF00


_UNWRITTEN = ("203", "ISO 2022 IR 58")  # what pynetdicom can't ask in
_TEXTS = {
    kind: text
    for kind, text in texts.texts().items()
    if not (text.warns or text.name.isascii() or any(term in kind for term in _UNWRITTEN))
}


@pytest.fixture(scope="module")
def association(node: Node) -> Iterator[Association]:
    with _associated(node) as made:
        yield made


@pytest.mark.parametrize("kind", _TEXTS)
def test_a_name_is_found_and_told_in_every_character_set(association: Association, kind: str) -> None:
    text = _TEXTS[kind]
    terms = text.declared.split("\\")
    asked = _asked("STUDY", SpecificCharacterSet=terms, PatientName=text.name, PatientID=None)
    status, found = _ask(association, asked)
    assert status == 0x0000
    assert text.name in {str(each.PatientName) for each in found}
    # Whoever names no character set gets it all the same, in Latin-1 or else in UTF-8.
    status, found = _ask(association, _asked("STUDY", PatientID=found[0].PatientID, PatientName=None))
    assert text.name in {str(each.PatientName) for each in found}
    for each in found:
        name = str(each.PatientName)
        needed = "ISO_IR 100" if max(name) < "\u0100" else "ISO_IR 192"
        assert each.get("SpecificCharacterSet") == (None if name.isascii() else needed)


def _asked(level: str, **keys: Any) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


def _undelayed(event: evt.Event) -> None:
    """Send what is short at once: as it is, pynetdicom waits 40 ms for an acknowledgement within each request."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def _associated(node: Node, *extended: SOPClassExtendedNegotiation) -> Iterator[Association]:
    entity = AE()
    models = [build_context(model) for model in (PATIENT_ROOT_FIND, STUDY_ROOT_FIND)]
    handlers = [(evt.EVT_CONN_OPEN, _undelayed)]
    made = entity.associate("127.0.0.1", node.port, models, TITLE, ext_neg=[*extended], evt_handlers=handlers)
    assert made.is_established
    try:
        yield made
    finally:
        made.release()


def _ask(made: Association, asked: Dataset, model: str = STUDY_ROOT_FIND) -> tuple[int, list[Dataset]]:
    """The last status and the answers."""
    *pending, (last, _) = made.send_c_find(asked, model)
    return int(last.Status), [answer for _, answer in pending if answer is not None]


@pytest.mark.parametrize(
    ("model", "level", "keys", "comment"),
    [
        (STUDY_ROOT_FIND, "PATIENT", {}, "(0008,0052) is none of STUDY, SERIES, IMAGE"),
        (STUDY_ROOT_FIND, "WORKLIST", {}, "(0008,0052) is none of STUDY, SERIES, IMAGE"),
        (STUDY_ROOT_FIND, "", {}, "(0008,0052) is none of STUDY, SERIES, IMAGE"),
        (PATIENT_ROOT_FIND, "STUDY", {}, "(0010,0020) is missing"),
        (
            *(PATIENT_ROOT_FIND, "STUDY", {"PatientID": "T*"}),
            "(0010,0020) has wild cards, and must be exact at this level",
        ),
        (STUDY_ROOT_FIND, "SERIES", {}, "(0020,000D) is missing"),
        (
            *(STUDY_ROOT_FIND, "IMAGE", {"StudyInstanceUID": ["1.2", "1.3"], "SeriesInstanceUID": "1.4"}),
            "(0020,000D) must have a single value at this level",
        ),
        (STUDY_ROOT_FIND, "IMAGE", {"StudyInstanceUID": "1.2"}, "(0020,000E) is missing"),
        (STUDY_ROOT_FIND, "STUDY", {"StudyDate": "2024*"}, "(0008,0020) is no date or range of dates"),
        (STUDY_ROOT_FIND, "STUDY", {"StudyInstanceUID": "1.*"}, "(0020,000D) is no UID or list of UIDs"),
        (
            *(STUDY_ROOT_FIND, "STUDY", {"ProcedureCodeSequence": Sequence([Dataset(), Dataset()])}),
            "(0008,1032) has more than one item",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom says that these values are wrong; so they are
def test_rules_of_the_models(
    association: Association, model: str, level: str, keys: dict[str, Any], comment: str
) -> None:
    ((status, answer),) = association.send_c_find(_asked(level, **keys), model)
    assert answer is None
    assert (status.Status, status.ErrorComment) == (0xA900, comment)
    assert f"{status.OffendingElement:08X}" == comment[1:10].replace(",", "")


def test_relational_queries_where_they_are_agreed_upon(node: Node) -> None:
    negotiation = SOPClassExtendedNegotiation()
    negotiation.sop_class_uid = STUDY_ROOT_FIND
    negotiation.service_class_application_information = b"\x01\x01\x01\x01\x01\x01\x01"
    image = _asked("IMAGE", SOPInstanceUID=corpus.uid("ct", 2, 1), StudyInstanceUID=None)
    with _associated(node, negotiation) as made:
        assert made.acceptor.sop_class_extended == {STUDY_ROOT_FIND: b"\x01\0\0\0\0\x01\0"}
        status, (found,) = _ask(made, image)
        assert (status, found.StudyInstanceUID) == (0, corpus.uid("ct"))
        status, found = _ask(made, _asked("SERIES", Modality="MR", SeriesInstanceUID=None))
        assert (status, [each.SeriesInstanceUID for each in found]) == (0, [corpus.uid("mr", 1)])
        assert _ask(made, _asked("STUDY", PatientName=None), PATIENT_ROOT_FIND)[0] == 0xA900, "not agreed for this"


def test_cancel(find: Find, node: Node) -> None:
    found = find("STUDY", "PatientName", options=("--cancel", "2"))
    assert len(found.answers) >= 2
    with _associated(node) as made:
        answers = made.send_c_find(_asked("STUDY", PatientName=None), STUDY_ROOT_FIND, msg_id=7)
        statuses = [next(answers)[0].Status]
        made.send_c_cancel(7, query_model=STUDY_ROOT_FIND)
        statuses += [status.Status for status, _ in answers]
    assert {*statuses[:-1]} == {0xFF00}
    assert statuses[-1] in (0xFE00, 0x0000), "the few answers of this tree may all have been under way"


def test_many_ask_at_once(node: Node, tmp_path: Path) -> None:
    # By dcmtk: pynetdicom's requestor may lose an answer on a busy machine.
    def ask(number: int) -> int:
        keys = "PatientName=*", "StudyDate=19000101-"
        return len(asking.findscu(node.port, tmp_path / str(number), "STUDY", *keys).answers)

    with ThreadPoolExecutor(6) as threads:
        counts = [*threads.map(ask, range(30))]
    assert len({*counts}) == 1
    assert counts[0] > 2


def test_while_the_index_is_not_there(tmp_path: Path) -> None:
    node = nodes.prepare(tmp_path / "node")
    with nodes.receiving(node), _associated(node) as made:
        ((status, _),) = made.send_c_find(_asked("STUDY", PatientName="SECRET^*"), STUDY_ROOT_FIND)
        assert (status.Status, status.ErrorComment) == (0xA700, "the query index isn't ready: ask again later")
        assert not (node.state / FILE).exists()
    assert "query_not_answered" in node.scp_log.read_text()


def test_nothing_of_patients_is_logged(find: Find, node: Node, association: Association) -> None:
    find("STUDY", "PatientName=test^ct", "PatientID", "StudyInstanceUID")
    assert _ask(association, _asked("STUDY", AccessionNumber="SECRET"))[0] == 0x0000
    time.sleep(0.2)
    logged = node.scp_log.read_text()
    for word in ("SECRET", "TEST-CT", "test^ct", "Test^Ct", corpus.uid("ct")):
        assert word not in logged
