"""Files as they come: whole, cut off, compressed, mislabelled, hostile, or no DICOM at all."""

import mmap
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from staticwado_daemon.dicom.data_set import Limits, PixelData
from staticwado_daemon.dicom.part10 import Instance
from staticwado_daemon.dicom.part10 import read as read_instance
from staticwado_daemon.dicom.uids import UID, Identity
from staticwado_daemon.errors import Ignored, Incomplete, Rejected
from tests.unit.dicom_bytes import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM_DELIMITER,
    JPEG_BASELINE,
    SEQUENCE_DELIMITER,
    SERIES,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY,
    UNDEFINED,
    element,
    file,
    fragments,
    implicit,
    item,
    meta,
    sequence,
)

URI = "bulkdata/{}".format
PIXEL_DATA = element(0x7FE00010, "OW", bytes(range(16)))
IMPLICIT_UIDS = implicit(0x00080018, b"1.2.3.4\0") + implicit(0x0020000D, b"1.2\0") + implicit(0x0020000E, b"1.2.3\0")
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def read(data: bytes, limits: Limits | None = None) -> Instance:
    return read_instance(data, limits or Limits(), URI)


def path_of(name: str) -> Path:
    return Path(str(get_testdata_file(name)))


def test_an_instance() -> None:
    data = file(PIXEL_DATA)
    instance = read(data)
    assert instance.identity == Identity(UID("1.2"), UID("1.2.3"), UID("1.2.3.4"))
    assert instance.transfer_syntax_uid == EXPLICIT_LITTLE
    assert instance.buffer is data
    assert data[instance.dataset_offset :].startswith(SOP_CLASS)
    assert instance.pixel_data == PixelData("7FE00010", "OW", len(data) - 16, 16)
    assert list(instance.attributes) == ["00080016", "00080018", "0020000D", "0020000E"]
    assert instance.bulk_values == ()
    assert instance.warnings == ()


@pytest.mark.parametrize("padding", [b"", bytes(100)], ids=["by the fast reader", "by the thorough one"])
def test_a_mapped_file_reads_the_same(tmp_path: Path, padding: bytes) -> None:
    data = file(PIXEL_DATA, element(0x00290010, "LO", b"ACME"), element(0x00291001, "OB", bytes(100))) + padding
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as stored, mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        instance, expected = read_instance(mapped, Limits(), URI), read(data)
    assert instance.attributes == expected.attributes
    assert instance.bulk_values == expected.bulk_values
    assert instance.pixel_data == expected.pixel_data


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        (STUDY, r"no Study Instance UID \(0020,000D\)"),
        (SERIES, r"no Series Instance UID \(0020,000E\)"),
        (SOP_INSTANCE, r"no SOP Instance UID \(0008,0018\)"),
    ],
)
def test_a_missing_uid_is_named(missing: bytes, name: str) -> None:
    with pytest.raises(Rejected, match=name):
        read(file().replace(missing, b""))
    with pytest.raises(Rejected, match=name):
        read(file().replace(missing, missing[:6] + b"\0\0"))


@pytest.mark.parametrize("uid", [b"../../etc/passwd", b"1..2", b"1.2/3 ", b"1.2\\1.3\\..", b"1" * 66])
def test_a_uid_that_is_none_goes_no_further(uid: bytes) -> None:
    data = file().replace(STUDY, element(0x0020000D, "UI", uid))
    if uid.startswith(b"1.2\\"):
        assert read(data).identity.study == "1.2"
    else:
        with pytest.raises(Rejected, match="is no UID"):
            read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"Hello, I am a text file that somebody left here.\n" * 10,
        b"PK\3\4" + bytes(200),
        b"{}",
        b"\n",
        b'"""A package."""\n',
        b"\0\0\0notes",
        bytes(128) + b"DIX",
        b"\x08\0",
        b"\x08\0\x05\0" + b"\xff\xff\xff\x7f" + bytes(300),
        bytes(500),
    ],
)
def test_what_is_not_dicom_is_ignored(data: bytes) -> None:
    with pytest.raises(Ignored, match="not a DICOM file"):
        read(data)


@pytest.mark.parametrize("path", sorted(TEST_FILES.glob("dicomdirtests/DICOMDIR*")), ids=lambda path: path.name)
def test_a_dicomdir_is_ignored(path: Path) -> None:
    with pytest.raises(Ignored, match="DICOMDIR"):
        read(path.read_bytes())


def test_a_dicomdir_without_meta_information_is_ignored() -> None:
    with pytest.raises(Ignored, match="DICOMDIR"):
        read(meta() + element(0x00041220, "SQ") + SOP_INSTANCE + STUDY + SERIES)


@pytest.mark.parametrize("length", [0, 1, 2, 127, 128, 129, 131])
def test_a_few_zeros_may_become_anything(length: int) -> None:
    with pytest.raises(Incomplete, match="inside its preamble"):
        read(bytes(length))


@pytest.mark.parametrize("cut", range(8, len(SOP_CLASS)))
def test_a_bare_data_set_that_hardly_begins_is_incomplete(cut: int) -> None:
    with pytest.raises(Incomplete):
        read(SOP_CLASS[:cut])


@pytest.mark.parametrize("length", [0, 1, 127, 128, 131, 132, 133, 139, 144, 150])
def test_a_file_that_hardly_begins_is_incomplete(length: int) -> None:
    with pytest.raises(Incomplete):
        read(file(PIXEL_DATA)[:length])


def test_wherever_a_file_is_cut_it_is_incomplete() -> None:
    """Only at the end of a whole element nobody can know that another one was to follow."""
    inner = item(element(0x00080100, "SH", b"AB"))
    parts = [
        element(0x00180050, "DS", b"1.25"),
        sequence(0x00081140, inner, inner),
        sequence(0x00081111, inner, inner, undefined=True),
        sequence(0x00081115, item(element(0x00080100, "SH", b"AB"), undefined=True)),
    ]
    data = file(*parts, PIXEL_DATA)
    boundaries, position = set(), len(meta())
    for part in sorted(
        (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES, *parts, PIXEL_DATA), key=lambda p: struct.unpack("<HH", p[:4])
    ):
        position += len(part)
        boundaries.add(position)
    for length in range(len(data)):
        if length in boundaries:
            continue
        with pytest.raises(Incomplete):
            read(data[:length])


@pytest.mark.parametrize(
    "name", ["MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"]
)
def test_real_truncated_files_are_incomplete(name: str) -> None:
    with pytest.raises(Incomplete):
        read(path_of(name).read_bytes())


def test_incomplete_says_by_how_much() -> None:
    with pytest.raises(Incomplete, match=r"the file ends 5 bytes before \(7FE0,0010\) does"):
        read(file(PIXEL_DATA)[:-5])


def test_encapsulated_pixel_data() -> None:
    data = file(fragments(b"\xff\xd8ab"), transfer_syntax_uid=JPEG_BASELINE)
    instance = read(data)
    assert instance.transfer_syntax_uid == JPEG_BASELINE
    assert instance.pixel_data == PixelData("7FE00010", "OB", len(data) - 8 - 12 - 8, None)
    assert data[instance.pixel_data.offset :].startswith(b"\xfe\xff\0\xe0\0\0\0\0")


@pytest.mark.parametrize("cut", range(1, 29))
def test_encapsulated_pixel_data_without_its_end_is_incomplete(cut: int) -> None:
    with pytest.raises(Incomplete):
        read(file(fragments(b"\xff\xd8ab"), transfer_syntax_uid=JPEG_BASELINE)[:-cut])


def test_a_delimiter_inside_a_codestream_fools_nobody() -> None:
    trap = implicit(SEQUENCE_DELIMITER) + element(0x7FE10010, "LO", b"no")
    after = element(0x7FE10010, "LO", b"ACME")
    instance = read(file(fragments(b"\xff\xd8" + trap) + after, transfer_syntax_uid=JPEG_BASELINE))
    assert instance.attributes.text("7FE10010") == "ACME"


def test_anything_but_items_among_the_fragments_is_rejected() -> None:
    broken = fragments(b"\xff\xd8ab", delimited=False) + implicit(0x12345678) + implicit(SEQUENCE_DELIMITER)
    with pytest.raises(Rejected, match=r"\(1234,5678\) in place of an item") as caught:
        read(file(broken, transfer_syntax_uid=JPEG_BASELINE))
    assert not isinstance(caught.value, Incomplete)


@pytest.mark.parametrize("transfer_syntax_uid", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_encapsulated_pixel_data_needs_a_transfer_syntax(transfer_syntax_uid: str) -> None:
    with pytest.raises(Rejected, match="without a transfer syntax"):
        read(file(fragments(b"\xff\xd8ab"), transfer_syntax_uid=transfer_syntax_uid))


def test_elements_after_the_pixel_data_are_read() -> None:
    after = element(0x7FE10010, "LO", b"ACME")
    instance = read(file(PIXEL_DATA, after))
    assert instance.attributes.text("7FE10010") == "ACME"
    assert instance.pixel_data is not None
    assert instance.pixel_data.length == 16


@pytest.mark.parametrize(("tag", "vr"), [(0x7FE00008, "OF"), (0x7FE00009, "OD"), (0x7FE00010, "OB")])
def test_pixel_data_of_every_kind(tag: int, vr: str) -> None:
    data = file(element(tag, vr, bytes(16)))
    assert read(data).pixel_data == PixelData(f"{tag:08X}", vr, len(data) - 16, 16)
    bare = meta(IMPLICIT_LITTLE) + IMPLICIT_UIDS + implicit(tag, bytes(16))
    assert read(bare).pixel_data == PixelData(f"{tag:08X}", "OW" if vr == "OB" else vr, len(bare) - 16, 16)


def test_a_second_pixel_data_element_is_noted() -> None:
    instance = read(file(element(0x7FE00008, "OF", bytes(4)), PIXEL_DATA))
    assert instance.pixel_data is not None
    assert instance.pixel_data.tag == "7FE00008"
    assert instance.warnings == ("(7FE0,0010): more than one pixel data element",)


@pytest.mark.parametrize(
    "padding",
    [
        element(0xFFFCFFFC, "OB", bytes(30)),
        bytes(3),
        bytes(8),
        bytes(1000),
        implicit(ITEM_DELIMITER),
        implicit(SEQUENCE_DELIMITER),
    ],
    ids=["data set trailing padding", "3 zeros", "8 zeros", "zeros", "item delimiter", "sequence delimiter"],
)
def test_padding_at_the_end_is_tolerated(padding: bytes) -> None:
    expected = read(file(PIXEL_DATA))
    instance = read(file(PIXEL_DATA) + padding)
    assert instance.attributes == expected.attributes
    assert instance.pixel_data == expected.pixel_data


def test_real_big_endian_pixels_are_found() -> None:
    instance = read(path_of("MR_small_bigendian.dcm").read_bytes())
    assert instance.transfer_syntax_uid == EXPLICIT_BIG
    assert instance.attributes.integer("00280010") == 64
    pixel_data = instance.pixel_data
    assert pixel_data is not None
    pixels = np.frombuffer(instance.buffer, ">i2", 64 * 64, pixel_data.offset).reshape(64, 64)
    assert np.array_equal(pixels, pydicom.dcmread(path_of("MR_small_bigendian.dcm")).pixel_array)


def test_a_real_deflated_file() -> None:
    path = path_of("image_dfl.dcm")
    instance = read(path.read_bytes())
    assert instance.transfer_syntax_uid == DEFLATED
    assert instance.buffer[: instance.dataset_offset] == path.read_bytes()[: instance.dataset_offset]
    pixel_data = instance.pixel_data
    assert pixel_data is not None
    assert pixel_data.length is not None
    expected = pydicom.dcmread(path)
    assert instance.buffer[pixel_data.offset : pixel_data.offset + pixel_data.length] == expected.PixelData
    assert instance.attributes.text("00080018") == expected.SOPInstanceUID


def deflated(*elements: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    content = SOP_CLASS + SOP_INSTANCE + STUDY + SERIES + b"".join(elements)
    return meta(DEFLATED) + compressor.compress(content) + compressor.flush()


def test_a_deflated_file_that_was_cut_is_incomplete() -> None:
    with pytest.raises(Incomplete):
        read(deflated(PIXEL_DATA)[:-2])


def test_a_deflated_file_that_is_damaged_is_rejected() -> None:
    with pytest.raises(Rejected, match="damaged"):
        read(meta(DEFLATED) + b"\xff" * 100)


def test_a_deflated_file_may_be_padded() -> None:
    assert read(deflated(PIXEL_DATA) + b"\0").attributes.text("00080018") == "1.2.3.4"


def test_a_deflate_bomb_is_rejected_before_it_bursts() -> None:
    bomb = deflated(element(0x7FE00010, "OW", bytes(1 << 20)))
    assert len(bomb) < 3000
    read(bomb)
    with pytest.raises(Rejected, match="swells to more than 1000000 bytes"):
        read(bomb, Limits(inflate_floor=1_000_000, inflate_ratio=10))
    read(bomb, Limits(inflate_floor=10, inflate_ratio=1000))


@pytest.mark.parametrize(
    ("name", "transfer_syntax_uid"),
    [
        ("ExplVR_LitEndNoMeta.dcm", EXPLICIT_LITTLE),
        ("ExplVR_BigEndNoMeta.dcm", EXPLICIT_BIG),
        ("rtstruct.dcm", IMPLICIT_LITTLE),
    ],
)
def test_real_files_without_meta_information(name: str, transfer_syntax_uid: str) -> None:
    instance = read(path_of(name).read_bytes())
    assert instance.transfer_syntax_uid == transfer_syntax_uid
    assert instance.attributes.text("00080018") == pydicom.dcmread(path_of(name), force=True).SOPInstanceUID


@pytest.mark.parametrize("prefix", [b"", meta(EXPLICIT_LITTLE)[132:]], ids=["bare", "meta without preamble"])
def test_a_data_set_without_preamble(prefix: bytes) -> None:
    instance = read(prefix + SOP_CLASS + SOP_INSTANCE + STUDY + SERIES + PIXEL_DATA)
    assert instance.identity.instance == "1.2.3.4"
    assert instance.transfer_syntax_uid == EXPLICIT_LITTLE


def test_a_data_set_without_preamble_needs_an_identity() -> None:
    with pytest.raises(Ignored, match="not a DICOM file"):
        read(SOP_CLASS + PIXEL_DATA)
    with pytest.raises(Rejected, match="no Study Instance UID"):
        read(SOP_CLASS + SOP_INSTANCE + PIXEL_DATA)


def test_meta_information_needs_no_group_length_and_no_explicit_vr() -> None:
    data_set = SOP_INSTANCE + STUDY + SERIES
    prefix = bytes(128) + b"DICM"
    version = element(0x00020001, "OB", b"\0\1")
    explicit = prefix + version + element(0x00020010, "UI", EXPLICIT_LITTLE.encode() + b"\0")
    assert read(explicit + data_set).transfer_syntax_uid == EXPLICIT_LITTLE
    without_vr = prefix + implicit(0x00020010, EXPLICIT_LITTLE.encode() + b"\0")
    assert read(without_vr + data_set).transfer_syntax_uid == EXPLICIT_LITTLE
    assert read(prefix + data_set).transfer_syntax_uid == EXPLICIT_LITTLE


MISLABELLED = {
    "explicit, declared implicit": (IMPLICIT_LITTLE, SOP_INSTANCE + STUDY + SERIES, EXPLICIT_LITTLE),
    "implicit, declared explicit": (EXPLICIT_LITTLE, IMPLICIT_UIDS, IMPLICIT_LITTLE),
    "implicit, declared big endian": (EXPLICIT_BIG, IMPLICIT_UIDS, IMPLICIT_LITTLE),
    "implicit, declared JPEG": (JPEG_BASELINE, IMPLICIT_UIDS, JPEG_BASELINE),
}


@pytest.mark.parametrize(("declared", "data_set", "found"), MISLABELLED.values(), ids=MISLABELLED.keys())
def test_the_looks_of_a_data_set_decide(declared: str, data_set: bytes, found: str) -> None:
    instance = read(meta(declared) + data_set)
    assert instance.identity.instance == "1.2.3.4"
    assert instance.transfer_syntax_uid == found
    assert len(instance.warnings) == 1


def test_elements_out_of_order_and_twice() -> None:
    twice = element(0x00180050, "DS", b"1 ") + element(0x00180050, "DS", b"2 ")
    instance = read(meta() + SERIES + STUDY + twice + SOP_INSTANCE + SOP_CLASS)
    assert list(instance.attributes) == ["00080016", "00080018", "00180050", "0020000D", "0020000E"]
    assert instance.attributes.numbers("00180050") == [2.0]


def nested(depth: int, *, undefined: bool) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = sequence(0x00081140, item(inner, undefined=undefined), undefined=undefined)
    return inner


@pytest.mark.parametrize("undefined", [False, True])
def test_depth_is_capped(undefined: bool) -> None:
    at_the_cap = read(file(nested(64, undefined=undefined))).attributes["00081140"]
    assert at_the_cap.count(b'"SQ"') == 64
    for depth in (65, 150, 5000):
        with pytest.raises(Rejected, match="nested more than 64 deep"):
            read(file(nested(depth, undefined=undefined)))


@pytest.mark.parametrize("vr", ["SQ", "UN"])
def test_the_number_of_elements_is_capped(vr: str) -> None:
    many = element(0x00081140, vr, b"".join(item(element(0x00080100, "SH", b"AB")) for _ in range(300)))
    assert len(read(file(many)).attributes.sequence("00081140")) == 300
    with pytest.raises(Rejected, match="elements"):
        read(file(many), Limits(maximum_elements=500))
    undefined = element(0x00081140, vr, many[12:], length=UNDEFINED) + implicit(SEQUENCE_DELIMITER)
    with pytest.raises(Rejected, match="elements"):
        read(file(undefined), Limits(maximum_elements=50))


def test_the_length_of_values_is_capped_but_not_that_of_pixels() -> None:
    data = file(element(0x00420010, "UT", bytes(2000)), element(0x7FE00010, "OW", bytes(4000)))
    read(data)
    with pytest.raises(Rejected, match=r"\(0042,0010\) is 2000 bytes long"):
        read(data, Limits(maximum_element_length=1000))
    read(file(element(0x7FE00010, "OW", bytes(4000))), Limits(maximum_element_length=1000))


def test_warnings_are_few() -> None:
    bad = [element(0x00280000 + number, "US", b"\0") for number in range(0x10, 0x100)]
    assert len(read(file(*bad)).warnings) == 20


def test_an_instance_without_pixels() -> None:
    instance = read(path_of("rtplan.dcm").read_bytes())
    assert instance.pixel_data is None
    assert instance.attributes.sequence("300A00B0")


class TestHostileIdentifiers:
    @pytest.mark.parametrize("uid", ["1.2.3\r\nX-Evil: y", "1.2.840.10008.1.2.4.50\xe9", "1.2..3"])
    def test_a_transfer_syntax_that_is_no_uid_is_rejected_because_frames_would_carry_it(self, uid: str) -> None:
        data = file(PIXEL_DATA)
        bad = element(0x00020010, "UI", uid.encode("latin-1"))
        good = element(0x00020010, "UI", EXPLICIT_LITTLE.encode() + b"\0")
        assert good in data
        with pytest.raises(Rejected, match="Transfer Syntax UID"):
            read(data.replace(good, bad))

    def test_identifiers_read_in_the_metadata_as_in_the_paths(self) -> None:
        instance = read(file(PIXEL_DATA).replace(STUDY, element(0x0020000D, "UI", b"1.2.99\t\0")))
        assert instance.identity.study == "1.2.99"
        assert instance.attributes["0020000D"] == b'{"vr":"UI","Value":["1.2.99"]}'

    def test_a_name_of_a_hundred_kilobytes_is_kept_but_is_no_name(self) -> None:
        name = implicit(0x00100010, b"\x01" * 100_000)
        data = meta(IMPLICIT_LITTLE) + IMPLICIT_UIDS[: IMPLICIT_UIDS.index(b"\x20\x00\x0d\x00")] + name
        instance = read(data + IMPLICIT_UIDS[IMPLICIT_UIDS.index(b"\x20\x00\x0d\x00") :])
        assert instance.attributes.value("00100010")["vr"] == "UN"

    @pytest.mark.parametrize("text", [b"1_0 ", "\uff11".encode()])
    def test_a_number_is_written_in_plain_digits(self, text: bytes) -> None:
        frames = element(0x00280008, "IS", text)
        instance = read(file(frames))
        assert instance.attributes.integer("00280008") is None


@pytest.mark.parametrize("undefined", [False, True])
def test_a_character_set_that_can_not_be_one_is_no_crash(undefined: bool) -> None:
    """pydicom converts that of an item while it reads."""
    numbers = sequence(0x00081140, item(element(0x00080005, "FD", b"12")), undefined=undefined)
    data = meta() + numbers + SOP_CLASS + SOP_INSTANCE + STUDY + SERIES
    if undefined:
        with pytest.raises(Rejected, match="unreadable data set"):
            read(data)
    else:
        assert read(data).warnings == ("(0008,1140): not a sequence of items",)
