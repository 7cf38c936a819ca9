"""Search at the four levels, over a small tree and the real query index."""

import orjson
import pytest
from pydicom.dataset import Dataset

from staticwado_daemon.archive import gzipped, layout, query_index
from staticwado_daemon.archive.search import is_supported, search
from staticwado_daemon.dicom.attributes import first_text
from staticwado_daemon.dicom.matching import Key, Unmatchable
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.errors import Corrupt
from tests.searching import instance, make_tree

STUDY, SERIES, INSTANCE, NAME, PATIENT_ID = "0020000D", "0020000E", "00080018", "00100010", "00100020"
DATE, MODALITY, MODALITIES, CLASSES, DESCRIPTION = "00080020", "00080060", "00080061", "00080062", "0008103E"
MR, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.66.4"


def code(value):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, "LOCAL"
    return item


ANNA = {"PatientName": "Ångström^Anna", "PatientID": "A1", "PatientSex": "F", "PatientBirthDate": "19700101"}
OLD = ANNA | {"StudyDate": "20230101", "StudyTime": "0800", "PatientName": "Maiden^Anna", "StudyDescription": "Head"}
NEW = ANNA | {"StudyDate": "20240229", "StudyTime": "0900", "AccessionNumber": "ACC2", "StudyDescription": "Chest"}
BERT = {"PatientName": "Bert^B", "PatientID": "B1", "StudyDate": "20240301"}
INSTANCES = [
    instance("1.1", "1.1.1", "1.1.1.1", InstanceNumber=1, **OLD),
    instance("1.2", "1.2.1", "1.2.1.1", InstanceNumber=1, SeriesDescription="thin", Rows=512, **NEW),
    instance("1.2", "1.2.1", "1.2.1.2", InstanceNumber=2, SeriesDescription="thin", Rows=256, **NEW),
    instance("1.2", "1.2.2", "1.2.2.1", SOPClassUID=SEGMENTATION, Modality="SEG", ImageComments="late", **NEW),
    instance("1.3", "1.3.1", "1.3.1.1", Modality="MR", SOPClassUID=MR, ProcedureCodeSequence=[code("K1")], **BERT),
    instance("1.3", "1.3.1", "1.3.1.2", Modality="MR", SOPClassUID=MR, ProcedureCodeSequence=[code("K2")], **BERT),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    with query_index.QueryIndex(make_tree(root, INSTANCES)) as index:
        yield root, index


def find(tree, level, *keys, unique=None):
    root, index = tree
    unique = unique or {"PATIENT": PATIENT_ID, "STUDY": STUDY, "SERIES": SERIES, "IMAGE": INSTANCE}[level]
    return [first_text(answer, unique) for answer in search(index, root, level, keys)]


@pytest.mark.parametrize(
    ("level", "keys", "found"),
    [
        ("PATIENT", [], ["B1", "A1"]),
        ("PATIENT", [Key(NAME, "PN", ("ångström*",))], ["A1"]),
        ("PATIENT", [Key(NAME, "PN", ("maiden*",))], ["A1"]),  # her name in an earlier study
        ("PATIENT", [Key("00201200", "IS", ("2",))], ["A1"]),
        ("STUDY", [], ["1.3", "1.2", "1.1"]),  # newest first
        ("STUDY", [Key(DATE, "DA", ("20240101-",))], ["1.3", "1.2"]),
        ("STUDY", [Key(STUDY, "UI", ("1.1", "1.3", "9.9"))], ["1.3", "1.1"]),
        ("STUDY", [Key(MODALITIES, "CS", ("SEG",))], ["1.2"]),
        ("STUDY", [Key(CLASSES, "UI", (SEGMENTATION,))], ["1.2"]),
        ("STUDY", [Key("00201208", "IS", ("3",))], ["1.2"]),
        ("STUDY", [Key("00080050", "SH", ('""',))], ["1.3", "1.1"]),
        ("SERIES", [], ["1.3.1", "1.2.1", "1.2.2", "1.1.1"]),
        ("SERIES", [Key(PATIENT_ID, "LO", ("A1",)), Key(MODALITY, "CS", ("CT",))], ["1.2.1", "1.1.1"]),
        ("SERIES", [Key(DESCRIPTION, "LO", ("th?n",))], ["1.2.1"]),
        ("SERIES", [Key(SERIES, "UI", ("1.2.2",))], ["1.2.2"]),  # without its study
        ("IMAGE", [], ["1.3.1.1", "1.3.1.2", "1.2.1.1", "1.2.1.2", "1.2.2.1", "1.1.1.1"]),
        ("IMAGE", [Key(INSTANCE, "UI", ("1.2.1.2",))], ["1.2.1.2"]),  # with nothing but its UID
        ("IMAGE", [Key(INSTANCE, "UI", ("1.2.1.2", "1.1.1.1", "9.9"))], ["1.2.1.2", "1.1.1.1"]),
        ("IMAGE", [Key(INSTANCE, "UI", ("9.9",))], []),
        ("IMAGE", [Key(SERIES, "UI", ("1.2.1",)), Key(INSTANCE, "UI", ("*",))], ["1.2.1.1", "1.2.1.2"]),
        ("IMAGE", [Key(SERIES, "UI", ("*",)), Key(INSTANCE, "UI", ("1.2.1.2",))], ["1.2.1.2"]),
        ("STUDY", [Key(STUDY, "UI", ("*",)), Key(DATE, "DA", ("*",)), Key(NAME, "PN", ("bert*",))], ["1.3"]),
        ("IMAGE", [Key(INSTANCE, "UI", ("1..1",))], []),
        ("IMAGE", [Key(SERIES, "UI", ("1.2.1",)), Key(INSTANCE, "UI", ("1.1.1.1",))], []),
        ("IMAGE", [Key("00280010", "US", ("512",))], ["1.2.1.1"]),
        ("IMAGE", [Key("00204000", "LT", ("l*",))], ["1.2.2.1"]),  # an attribute that no list has
        ("IMAGE", [Key(NAME, "PN", ("bert*",)), Key("00200013", "IS", ("1",))], []),
        ("IMAGE", [Key("00081032", "SQ", items=((Key("00080100", "SH", ("K2",)),),))], ["1.3.1.2"]),
    ],
)
def test_what_is_found(tree, level, keys, found):
    assert find(tree, level, *keys) == found


def test_answers_have_the_attributes_of_the_levels_above(tree):
    root, index = tree
    (patient,) = search(index, root, "PATIENT", [Key(PATIENT_ID, "LO", ("A1",))])
    assert patient[NAME]["Value"] == [{"Alphabetic": "Ångström^Anna"}], "as the newest study has it"
    assert [first_text(patient, tag) for tag in ("00201200", "00201202", "00201204")] == ["2", "3", "4"]
    assert STUDY not in patient
    (study,) = search(index, root, "STUDY", [Key(STUDY, "UI", ("1.2",)), Key(CLASSES, "UI")])
    assert study[MODALITIES]["Value"] == ["CT", "SEG"]
    assert study[CLASSES]["Value"] == ["1.2.840.10008.5.1.4.1.1.2", SEGMENTATION]
    (series,) = search(index, root, "SERIES", [Key(SERIES, "UI", ("1.2.2",))])
    (image,) = search(index, root, "IMAGE", [Key(INSTANCE, "UI", ("1.2.2.1",))])
    for answer in (study, series, image):
        assert first_text(answer, "00081030") == "Chest"
        assert answer[MODALITIES]["Value"] == ["CT", "SEG"]
        assert [first_text(answer, tag) for tag in ("00201206", "00201208")] == ["2", "3"]
    for answer in (series, image):
        assert first_text(answer, "00201209") == "1"
        assert first_text(answer, MODALITY) == "SEG"
    assert first_text(image, "00204000") == "late"


def test_a_study_speaks_for_all_that_is_in_it(tmp_path):
    one = instance("1.1", "1.1.1", "1.1.1.1", InstanceNumber=1, PatientID="RIGHT", StudyDescription="A")
    other = instance("1.1", "1.1.1", "1.1.1.2", InstanceNumber=2, PatientID="WRONG", ImageComments="its own")
    with query_index.QueryIndex(make_tree(tmp_path, [one, other])) as index:
        found = list(search(index, tmp_path, "IMAGE", [Key(PATIENT_ID, "LO", ("RIGHT",))]))
        assert [first_text(each, INSTANCE) for each in found] == ["1.1.1.1", "1.1.1.2"]
        assert [first_text(each, PATIENT_ID) for each in found] == ["RIGHT", "RIGHT"]
        assert [first_text(each, "00081030") for each in found] == ["A", "A"]
        assert not list(search(index, tmp_path, "IMAGE", [Key(PATIENT_ID, "LO", ("WRONG",))]))


def test_a_series_is_found_by_what_it_says_otherwise_than_its_study(tmp_path):
    one = instance("1.1", "1.1.1", "1.1.1.1", SeriesNumber=1, ReferringPhysicianName="First")
    other = instance("1.1", "1.1.2", "1.1.2.1", SeriesNumber=2, ReferringPhysicianName="Second")
    with query_index.QueryIndex(make_tree(tmp_path, [one, other])) as index:
        asked = Key("00080090", "PN", ("second",))
        assert find((tmp_path, index), "SERIES", asked) == ["1.1.2"]
        assert find((tmp_path, index), "IMAGE", asked) == ["1.1.2.1"]
        assert find((tmp_path, index), "STUDY", asked) == []


@pytest.mark.parametrize("uid", [" 1.2.1.2", "1.2.1.2\0", "1.2.1.2 "])
def test_padding_of_a_uid_means_nothing(tree, uid):
    for tag in (INSTANCE, SERIES, STUDY):
        asked = Key(tag, "UI", (uid.replace("1.2.1.2", {INSTANCE: "1.2.1.2", SERIES: "1.2.1", STUDY: "1.2"}[tag]),))
        assert "1.2.1.2" in find(tree, "IMAGE", asked)


def test_a_series_that_has_just_left_has_no_instances_and_a_broken_one_is_an_error(tmp_path):
    with query_index.QueryIndex(make_tree(tmp_path, INSTANCES[:3])) as index:
        file = tmp_path / layout.series_dir(UID("1.2"), UID("1.2.1")) / layout.METADATA
        file.unlink()
        assert find((tmp_path, index), "IMAGE") == ["1.1.1.1"]
        file.write_bytes(gzipped.pack(b"{}"))
        with pytest.raises(Corrupt):
            find((tmp_path, index), "IMAGE")
        file.unlink()
        file.mkdir()
        with pytest.raises(Corrupt, match="can't be read"):
            find((tmp_path, index), "IMAGE")


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_a_key_that_cannot_be_matched_with_is_an_error_at_every_level(tree, level):
    with pytest.raises(Unmatchable):
        find(tree, level, Key("00100030", "DA", ("yesterday",)))


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_whoever_waits_can_end_it_though_nothing_is_found(tree, level):
    class EnoughError(Exception):
        pass

    def attend():
        raise EnoughError

    root, index = tree
    nothing = {"PATIENT": Key("00201200", "IS", ("99",)), "IMAGE": Key("00280010", "US", ("99",))}
    keys = [nothing.get(level, Key("00201208", "IS", ("99",)))]
    assert not list(search(index, root, level, keys))
    with pytest.raises(EnoughError):
        list(search(index, root, level, keys, attend))


def test_answers_come_one_at_a_time(tmp_path):
    """The first answer needs nothing of the last series."""
    with query_index.QueryIndex(make_tree(tmp_path, INSTANCES)) as index:
        (tmp_path / layout.series_dir(UID("1.1"), UID("1.1.1")) / layout.METADATA).write_bytes(b"broken")
        answers = search(index, tmp_path, "IMAGE", [])
        assert first_text(next(answers), INSTANCE) == "1.3.1.1"


def test_instances_with_much_to_say_are_read_piece_by_piece(tmp_path):
    said = [f"{number}\n" + "x" * 200_000 * number for number in range(4)]
    many = [instance("1.1", "1.1.1", f"1.1.1.{number}", TextValue=text) for number, text in enumerate(said)]
    with query_index.QueryIndex(make_tree(tmp_path, many)) as index:
        answers = list(search(index, tmp_path, "IMAGE", []))
    assert [first_text(answer, "0040A160") for answer in answers] == said


def test_what_each_level_knows():
    assert is_supported("PATIENT", PATIENT_ID)
    assert not is_supported("PATIENT", DATE)
    assert is_supported("STUDY", NAME)
    assert is_supported("STUDY", CLASSES)
    assert not is_supported("STUDY", SERIES)
    assert not is_supported("STUDY", "00204000")
    assert is_supported("SERIES", MODALITIES)
    assert is_supported("IMAGE", "00091001")
    assert not is_supported("IMAGE", "00201200")


def test_an_answer_is_dicom_json(tree):
    root, index = tree
    for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
        for answer in search(index, root, level, []):
            Dataset.from_json(orjson.dumps(answer).decode())
