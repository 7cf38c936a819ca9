"""Identifiers: what peers ask, in every encoding and character set, and what they are told."""

import io
import struct

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.dsutils import decode, encode

from staticwado_daemon.dicom.matching import Key, Unmatchable, matches
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.dimse.query import identifier
from staticwado_daemon.dimse.query.encoding import encoded
from staticwado_daemon.errors import Rejected
from tests.objects import texts
from tests.searching import SYNTAXES

NAME, PATIENT_ID, STUDY = "00100010", "00100020", "0020000D"


def asked(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def read(dataset, syntax=EXPLICIT_VR_LITTLE_ENDIAN):
    return identifier.read(encode(dataset, *SYNTAXES[syntax]), syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_keys_in_every_transfer_syntax(syntax):
    item = asked(CodeValue="CT1", CodingSchemeDesignator=None)
    found = read(
        asked(
            SpecificCharacterSet="ISO_IR 100",
            QueryRetrieveLevel="STUDY",
            StudyDate="20240101-20240131",
            PatientName="Müller*",
            PatientID="",
            StudyInstanceUID=["1.2.3", "1.2.4"],
            NumberOfStudyRelatedInstances="5",
            PatientWeight="70.5",
            Rows=512,
            FrameIncrementPointer=0x00181063,
            ProcedureCodeSequence=Sequence([item]),
            ReferencedStudySequence=Sequence([Dataset()]),
            AnatomicRegionSequence=Sequence([]),
        ),
        syntax,
    )
    assert found.level == "STUDY"
    assert found.terms == ("ISO_IR 100",)
    assert found.keys == (
        Key("00080020", "DA", ("20240101-20240131",)),
        Key("00081032", "SQ", items=((Key("00080100", "SH", ("CT1",)), Key("00080102", "SH")),)),
        Key("00081110", "SQ", items=((),)),
        Key("00082218", "SQ"),
        Key(NAME, "PN", ("Müller*",)),
        Key(PATIENT_ID, "LO"),
        Key("00101030", "DS", ("70.5",)),
        Key(STUDY, "UI", ("1.2.3", "1.2.4")),
        Key("00201208", "IS", ("5",)),
        Key("00280009", "AT", ("00181063",)),
        Key("00280010", "US", ("512",)),
    )
    assert found.key(PATIENT_ID) == Key(PATIENT_ID, "LO")
    assert found.key("00100040") is None


TEXTS = {kind: text for kind, text in texts.texts().items() if not text.warns}
UNWRITTEN = {kind for kind in TEXTS if "203" in kind} | {"ISO 2022 IR 58"}
"""Which pydicom doesn't write, or not so that it can be read again."""


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.filterwarnings("error")
def test_names_there_and_back_in_the_requestors_character_set(kind):
    text = TEXTS[kind]
    declared = text.declared.encode() + b" " * (len(text.declared) % 2)
    stored = text.stored + b" " * (len(text.stored) % 2)
    question = b"\x08\x00\x05\x00CS" + len(declared).to_bytes(2, "little") + declared
    question += b"\x10\x00\x10\x00PN" + len(stored).to_bytes(2, "little") + stored
    found = identifier.read(question, EXPLICIT_VR_LITTLE_ENDIAN)
    assert found.key(NAME).values == (text.name,)
    assert found.terms == (tuple(text.declared.split("\\")) if text.declared else ())
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), text.name.split("="), strict=False))
    for syntax in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
        implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN
        answer = encoded({NAME: {"vr": "PN", "Value": [groups]}}, found.terms, implicit=implicit)
        told = identifier.read(answer, syntax)
        assert told.key(NAME).values == (text.name,)
        plain = () if text.name.isascii() else found.terms
        assert told.terms == (("ISO_IR 192",) if kind in UNWRITTEN else plain)


@pytest.mark.parametrize(
    ("terms", "name", "chosen"),
    [
        ((), "Plain", None),
        (("ISO_IR 100",), "Plain", None),
        ((), "Jérôme", "ISO_IR 100"),  # who says nothing is old
        ((), "Διονυσιος", "ISO_IR 192"),
        (("ISO_IR 6",), "Jérôme", "ISO_IR 192"),
        (("ISO_IR 100",), "Jérôme", "ISO_IR 100"),
        (("ISO_IR 100",), "Διονυσιος", "ISO_IR 192"),
        (("ISO_IR 999",), "Jérôme", "ISO_IR 192"),
        (("", "ISO 2022 IR 87"), "Jérôme", "ISO_IR 192"),
        (("ISO-IR 100",), "Jérôme", "ISO_IR 192"),  # understood, but not repeated
        (("ISO_IR 192",), "Διονυσιος", "ISO_IR 192"),
    ],
)
def test_the_character_set_of_an_answer(terms, name, chosen):
    inside = {"00080104": {"vr": "LO", "Value": [name]}}
    for attributes in (
        {NAME: {"vr": "PN", "Value": [{"Alphabetic": name}]}},
        {"00081030": {"vr": "LO", "Value": [None, name]}},
        {"00081032": {"vr": "SQ", "Value": [inside]}},
    ):
        made = encoded({"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}} | attributes, terms, implicit=False)
        assert decode(io.BytesIO(made), False, True).get("SpecificCharacterSet") == chosen


@pytest.mark.parametrize("implicit", [False, True])
def test_every_value_representation_of_an_answer(implicit):
    made = encoded(
        {
            "00080054": {"vr": "AE", "Value": ["SCP"]},
            "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, {}]},
            "00080061": {"vr": "CS", "Value": ["CT", None, "MR"]},
            "00101030": {"vr": "DS", "Value": [70.5, "1,5", 3]},
            "00181164": {"vr": "DS", "Value": [1 / 3]},
            "00200013": {"vr": "IS", "Value": [7]},
            "00200032": {"vr": "DS"},
            "00280009": {"vr": "AT", "Value": ["00181063"]},
            "00280010": {"vr": "US", "Value": [512]},
            "00091001": {"vr": "UN", "InlineBinary": "AQI="},
            "00091002": {"vr": "OB", "BulkDataURI": "bulkdata/1"},
            "00189073": {"vr": "FD", "Value": [None, 0.25]},
            "00089458": {"vr": "SV", "Value": ["-9007199254740993"]},
        },
        implicit=implicit,
    )
    told = decode(io.BytesIO(made), implicit, True)
    assert [*told.keys()] == sorted(told.keys())
    assert told.RetrieveAETitle == "SCP"
    assert told.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2"
    assert len(told.ReferencedImageSequence) == 2
    assert told.ModalitiesInStudy == ["CT", "", "MR"]
    assert told.get_item(0x00101030).value.strip() == b"70.5\\\\3"
    assert len(told.get_item(0x00181164).value) == 16
    assert told.InstanceNumber == 7
    assert told[0x00200032].VM == 0
    assert told.FrameIncrementPointer == 0x00181063
    assert told.Rows == 512
    assert told.get_item(0x00091001).value == b"\x01\x02"
    assert not told.get_item(0x00091002).value
    assert told[0x00189073].value == 0.25
    assert told.get_item(0x00089458).value == struct.pack("<q", -9007199254740993)


def test_what_is_longer_than_its_vr_allows_is_told_all_the_same():
    long = "x" * 70_001
    made = encoded({"00081030": {"vr": "LO", "Value": [long]}}, implicit=False)
    assert made == struct.pack("<HH2sHI", 0x0008, 0x1030, b"UN", 0, 70_002) + long.encode() + b" "


def test_a_key_is_what_the_dictionary_says_whatever_it_is_called():
    """Some write every key as LO or UN."""
    encoded = b"\x08\x00\x20\x00LO\x08\x0020240229" + b"\x10\x00\x10\x00UN\x00\x00\x04\x00\x00\x00Doe*"
    assert identifier.read(encoded, EXPLICIT_VR_LITTLE_ENDIAN).keys == (
        Key("00080020", "DA", ("20240229",)),
        Key(NAME, "PN", ("Doe*",)),
    )


def test_private_keys_have_the_creators_vr():
    made = asked(QueryRetrieveLevel="IMAGE")
    made.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    assert read(made, IMPLICIT_VR_LITTLE_ENDIAN).keys == (
        Key("00190010", "LO", ("SIEMENS MR HEADER",)),
        Key("0019100C", "IS", ("1000",)),
    )


def test_a_private_key_that_nobody_knows_is_none_to_match_by():
    made = asked(QueryRetrieveLevel="IMAGE")
    made.private_block(0x0019, "NOBODY", create=True).add_new(0x0C, "LO", "1000")
    key = read(made, IMPLICIT_VR_LITTLE_ENDIAN).keys[1]
    assert (key.tag, key.vr) == ("0019100C", "UN")
    assert key.values, "so that the answer can say that it wasn't matched"
    assert matches([key], {})
    assert read(made, EXPLICIT_VR_LITTLE_ENDIAN).keys[1] == Key("0019100C", "LO", ("1000",))


def test_a_sequence_of_several_items_is_refused_with_its_tag():
    made = asked(ProcedureCodeSequence=Sequence([asked(CodeValue="1"), asked(CodeValue="2")]))
    with pytest.raises(Unmatchable, match=r"^\(0008,1032\) has more than one item$") as refused:
        read(made)
    assert refused.value.tag == "00081032"


def test_what_should_be_a_sequence_and_is_not():
    with pytest.raises(Unmatchable, match=r"^\(0008,1032\) is no sequence$"):
        identifier.read(b"\x08\x00\x32\x10LO\x02\x00AB", EXPLICIT_VR_LITTLE_ENDIAN)


def test_sequences_nested_too_deep():
    made = asked(CodeValue="1")
    for _ in range(20):
        made = asked(ConceptNameCodeSequence=Sequence([made]))
    with pytest.raises(Rejected, match="nested more than 8 deep"):
        read(made)


def test_too_many_elements():
    made = Dataset()
    for element in range(3000):
        made.add_new(0x00090000 + 0x1000 + element, "LO", "x")
    with pytest.raises(Rejected, match="more than 2048 elements"):
        read(made)


def test_too_long_an_identifier():
    with pytest.raises(Rejected, match="too long"):
        identifier.read(bytes(identifier.MOST_BYTES + 1), IMPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x08",
        b"\x08\x00\x20\x00DA\xff\xff20240229",
        b"\x08\x00\x32\x10SQ\x00\x00\xff\xff\xff\xff",
        b"\x08\x00\x05\x00CS",
    ],
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_garbage_is_refused(encoded, syntax):
    with pytest.raises(Rejected):
        identifier.read(encoded, syntax)


def test_an_empty_identifier_asks_for_nothing():
    assert identifier.read(b"", EXPLICIT_VR_LITTLE_ENDIAN) == identifier.Identifier("", ())
