"""Identifiers come from anybody: whatever bytes they are, they are keys or are refused."""

from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.dsutils import encode

from staticwado_daemon.dicom.matching import Key, matcher
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from staticwado_daemon.dimse.query import identifier
from staticwado_daemon.dimse.query.encoding import encoded
from staticwado_daemon.errors import Rejected
from tests.searching import SYNTAXES


def _honest() -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "CT1", None
    asked = Dataset()
    asked.SpecificCharacterSet, asked.QueryRetrieveLevel = "ISO_IR 100", "STUDY"
    asked.StudyDate, asked.StudyTime, asked.PatientName = "20240101-20240131", "0800-", "Mül*"
    asked.StudyInstanceUID, asked.NumberOfStudyRelatedInstances = ["1.2", "1.3"], "5"
    asked.PatientWeight, asked.Rows, asked.FrameIncrementPointer = "70.5", 512, 0x00181063
    asked.ProcedureCodeSequence = Sequence([code])
    return asked


HONEST = {syntax: encode(_honest(), *how) or b"" for syntax, how in SYNTAXES.items()}
CHANGES = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=4)


def _changed(data: bytes, changes: list[tuple[int, bytes, int]]) -> bytes:
    for where, inserted, removed in changes:
        place = where % (len(data) + 1)
        data = data[:place] + inserted + data[place + removed :]
    return data


def _keys(data: bytes, syntax: str) -> tuple[Key, ...]:
    try:
        keys = identifier.read(data, syntax).keys
        matcher(keys)({})
    except Rejected:
        return ()
    return keys


@given(st.binary(max_size=200), st.sampled_from([*SYNTAXES]))
@example(b"\x08\x00\x05\x00CS\x02\x00", EXPLICIT_VR_LITTLE_ENDIAN)
def test_any_bytes(data, syntax):
    _keys(data, syntax)


@given(CHANGES, st.sampled_from([*SYNTAXES]))
def test_an_honest_query_that_was_damaged(changes, syntax):
    _keys(_changed(HONEST[syntax], changes), syntax)


@given(st.sampled_from([*SYNTAXES]))
def test_an_honest_query_as_it_is(syntax):
    assert len(_keys(HONEST[syntax], syntax)) == 9


VALUES = st.one_of(
    st.none(), st.text(max_size=20), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)
)
NAMES = st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]), st.text(max_size=8))
TEXT_VRS = st.sampled_from("AE AS CS DA DT LO LT SH ST TM UC UI UR UT".split())
TERMS = st.lists(st.sampled_from(["", "ISO_IR 100", "ISO 2022 IR 87", "ISO 2022 IR 149", "GB18030", "XX", "ISO_IR 13"]))


@given(TEXT_VRS, st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=3), TERMS)
def test_every_text_can_be_told(vr, values, terms):
    assert _is_whole(encoded({"00091001": {"vr": vr, "Value": values}}, terms, implicit=False))


@given(st.lists(NAMES, max_size=3), TERMS)
def test_every_name_can_be_told(names, terms):
    assert _is_whole(encoded({"00100010": {"vr": "PN", "Value": names}}, terms, implicit=False))


@given(st.sampled_from(["DS", "IS"]), st.lists(VALUES, max_size=3))
def test_every_number_can_be_told(vr, values):
    assert _is_whole(encoded({"00091001": {"vr": vr, "Value": values}}, implicit=False))


def _is_whole(data: bytes) -> bool:
    return bool(identifier.attributes(data, transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN).encoding))
