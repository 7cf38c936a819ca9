"""Damage of any kind is refused with a reason, or read the same by both readers; it never surprises."""

import re
from dataclasses import dataclass, replace
from functools import cache

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from staticwado_daemon.dicom import explicit_le, part10, with_pydicom
from staticwado_daemon.dicom.data_set import EXPLICIT_LITTLE, Limits, Rules
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.errors import Ignored, Rejected
from tests import corpus
from tests.slices import Slices, outcome

RULES = Rules(Limits(), "bulkdata/{}".format)
SEEDS = (
    "pydicom/test_files/CT_small.dcm",
    "pydicom/test_files/MR_small_RLE.dcm",
    "pydicom/test_files/MR_small_bigendian.dcm",
    "pydicom/test_files/UN_sequence.dcm",
    "pydicom/test_files/liver_1frame.dcm",
    "pydicom/test_files/rtplan.dcm",
    "pydicom/test_files/test-SR.dcm",
    "pydicom/test_files/image_dfl.dcm",
    "pydicom/charset_files/chrH32.dcm",
)
SENTENCE = re.compile(r"[ -~]{8,200}")
TELLING = (
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    b"\x08\x00\x05\x00",
    b"\xe0\x7f\x10\x00",
    b"SQ\0\0\xff\xff\xff\xff",
    b"UN\0\0",
)


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `new` in the place of `length` bytes, at a fraction of the file's head."""

    fraction: float
    length: int
    new: bytes


EDITS = st.builds(
    Edit,
    st.floats(0, 1, exclude_max=True),
    st.sampled_from((0, 0, 1, 2, 4, 8, 100)),
    st.one_of(st.sampled_from(TELLING), st.binary(max_size=8)),
)


@cache
def seed(name: str) -> bytes:
    return corpus.test_files()[name].read_bytes()


def damaged(name: str, edits: list[Edit], cut: float) -> bytes:
    """The file with edits in the 8 kB after its preamble, and the last part missing."""
    data = bytearray(seed(name))
    for edit in edits:
        position = 132 + int(edit.fraction * min(len(data) - 132, 8192))
        data[position : position + edit.length] = edit.new
    return bytes(data[: len(data) - int(cut * len(data))])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), st.lists(EDITS, min_size=1, max_size=6), st.one_of(st.just(0.0), st.floats(0, 0.9)))
def test_damage_never_surprises(name: str, edits: list[Edit], cut: float) -> None:
    data = damaged(name, edits, cut)
    try:
        instance = part10.read(data, RULES.limits, RULES.bulk_uri)
    except (Ignored, Rejected) as refusal:
        reason = refusal.reason
        assert SENTENCE.fullmatch(reason)
        return
    assert list(instance.attributes) == sorted(instance.attributes)
    orjson.loads(instance.attributes.to_json())
    answer = explicit_le.read(instance.buffer, instance.dataset_offset, RULES)
    if answer is not None:
        assert answer == with_pydicom.read(instance.buffer, instance.dataset_offset, EXPLICIT_LITTLE, RULES)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), st.lists(EDITS, max_size=6), st.one_of(st.just(0.0), st.floats(0, 0.9)))
def test_damage_is_the_same_slice_by_slice(name: str, edits: list[Edit], cut: float) -> None:
    data = damaged(name, edits, cut)
    whole, sliced = outcome(data), outcome(Slices(data))
    if isinstance(whole, Instance) and isinstance(sliced, Instance):
        sliced = replace(sliced, buffer=whole.buffer)
    assert sliced == whole
