"""Files that are too large to be held: what is made of them slice by slice is what is made of them as a whole."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from staticwado_daemon.archive import gzipped, layout, multipart
from staticwado_daemon.dicom import explicit_le, frames, part10, skeleton
from staticwado_daemon.dicom.data_set import EXPLICIT_LITTLE, Limits, Rules
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from staticwado_daemon.errors import Incomplete, StaticwadoError
from staticwado_daemon.inbound import source as sources
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import ingest
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.results import Result
from staticwado_daemon.pipeline.staged import Staged
from tests import corpus
from tests.slices import Slices, outcome
from tests.staging import snapshot
from tests.unit.dicom_bytes import element, meta

FILES = corpus.test_files()
RULES = Rules(Limits(), "bulkdata/{}".format)


def segments(instance: Instance) -> Any:
    try:
        return frames.frame_segments(instance, frames.describe(instance))
    except StaticwadoError as why:
        return type(why), str(why)


def cuts(data: bytes) -> list[bytes]:
    return [data, *(data[: len(data) * part // 7] for part in range(1, 7)), data + bytes(1000)]


@pytest.mark.parametrize("name", FILES)
def test_every_file_reads_the_same(name: str) -> None:
    """Also what was cut off, or has zeros at its end: the same attributes, warnings, frames or reasons."""
    for data in cuts(FILES[name].read_bytes()):
        whole, sliced = outcome(data), outcome(Slices(data))
        if isinstance(whole, Instance) and isinstance(sliced, Instance):
            assert replace(sliced, buffer=whole.buffer) == whole
            assert segments(sliced) == segments(whole)
        else:
            assert sliced == whole


def test_a_uid_is_never_loaded_however_long_it_is() -> None:
    slices = Slices(meta(EXPLICIT_VR_LITTLE_ENDIAN, element(0x00020010, "UT", b"1" * (1 << 20))))
    assert outcome(slices) == (Incomplete, "the file ends before its data set")
    assert slices.longest <= 1024


@pytest.mark.parametrize("name", corpus.images())
def test_pixels_are_never_loaded_as_a_whole(name: str) -> None:
    slices = Slices(FILES[name].read_bytes())
    instance = outcome(slices)
    if not isinstance(instance, Instance) or not instance.pixel_data or instance.buffer is not slices:
        return
    offset, length = instance.pixel_data.offset, instance.pixel_data.length
    pixels = len(slices) - offset if length is None else length
    assert slices.longest <= max(len(slices) - pixels, 1 << 16)


def test_the_fast_reader_answers_for_what_it_would_answer_as_a_whole() -> None:
    """Otherwise large objects with a million nested elements would go the slow way."""
    answered = 0
    for path in corpus.images().values():
        instance = outcome(path.read_bytes())
        if not isinstance(instance, Instance) or instance.pixel_data is None:
            continue
        data, offset = bytes(instance.buffer[: len(instance.buffer)]), instance.dataset_offset
        if part10._encoding(data, part10._FileMeta(offset, "", instance.transfer_syntax_uid))[0] == EXPLICIT_LITTLE:
            whole = explicit_le.read(data, offset, RULES)
            assert skeleton.read(Slices(data), offset, RULES) == whole
            answered += whole is not None
    assert answered > 100


PIXELS = element(0x7FE00010, "OW", b"\x01\x02\x03\x04")
TAIL = element(0xFFFCFFFC, "OB", bytes(6))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF), b""),  # nothing after its header
        (struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x0d\xe0" + bytes(4), b""),  # no item
        (struct.pack("<HH2sHI", 0x0040, 0x0275, b"OB", 0, 0xFFFFFFFF) + b"\xfe\xff\xdd\xe0" + bytes(4), b""),
        (element(0x00400275, "ZZ", b"1234"), b""),
        (struct.pack("<HH2sHI", 0x0040, 0x0275, b"OB", 0, 1 << 20), b""),  # ends far away
        (element(0x00400275, "LO", b"1234") * 2, b""),  # twice
        (b"", element(0x00080060, "CS", b"OT")),  # out of order, behind the pixels
        (b"", struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 100)),  # padding that isn't there
    ],
)
def test_what_is_not_plainly_right_is_declined(before: bytes, after: bytes) -> None:
    data = element(0x00080018, "UI", b"1.2.3.4\0") + before + PIXELS + after
    assert skeleton.read(Slices(data), 0, RULES) is None
    good = element(0x00080018, "UI", b"1.2.3.4\0") + PIXELS + TAIL
    assert skeleton.read(Slices(good), 0, RULES) == explicit_le.read(good, 0, RULES)


def test_elements_and_depth_are_capped() -> None:
    many = element(0x00080018, "UI", b"") * 101 + PIXELS
    assert skeleton.read(Slices(many), 0, Rules(Limits(maximum_elements=100), str)) is None
    opening = struct.pack("<HH2sHIHHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    assert skeleton.read(Slices(opening * 5000 + PIXELS), 0, RULES) is None


def staged(path: Path, directory: Path) -> Result:
    source = Source(path, Stamp.of(path.lstat()), "delete", final=True)
    return ingest.ingest(source, directory / "0", ingest.Rules(Images(Choices("htj2k")), Limits()))


def without_full(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.endswith(layout.FULL_INSTANCE)}


def test_every_file_is_stored_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, record and remainder; but a large Part 10 file that is kept as such is gzipped by another engine."""
    stored = 0
    for number, path in enumerate(FILES.values()):
        results, written = [], []
        for whole in (1 << 30, 0):
            monkeypatch.setattr(sources, "WHOLE_BYTES", whole)
            directory = tmp_path / f"{number}-{whole}"
            results.append(staged(path, directory))
            written.append(snapshot(directory) if directory.exists() else {})
        one, other = results
        if not (isinstance(one, Staged) and isinstance(other, Staged)):
            assert one == other
            continue
        stored += 1
        assert without_full(written[0]) == without_full(written[1])
        assert one.remainder == other.remainder
        full = f"0/{layout.FULL_INSTANCE}"
        if full in written[1]:
            expected = multipart.wrap("application/dicom", path.read_bytes())
            assert gzipped.unpack(written[1][full]) == gzipped.unpack(written[0][full]) == expected
        else:
            assert one.record == other.record
    assert stored > 150
