"""The table of transfer syntaxes, against pydicom's dictionary and against what viewers expect."""

import pytest
from pydicom.uid import UID, AllTransferSyntaxes

from staticwado_daemon.dicom.transfer_syntaxes import known_transfer_syntaxes, transfer_syntax

# JPIP data sets have no Pixel Data, so nothing is encapsulated; pydicom says yes to anything it doesn't call native.
REFERENCED = {f"1.2.840.10008.1.2.4.{last}" for last in (94, 95, 204, 205)}

MEDIA_TYPES = {
    "": "application/octet-stream",
    ".1": "application/octet-stream",
    ".1.99": "application/octet-stream",
    ".2": "application/octet-stream",
    ".4.50": "image/jpeg",
    ".4.51": "image/jpeg",
    ".4.57": "image/jpeg",
    ".4.70": "image/jll",
    ".4.80": "image/jls",
    ".4.81": "image/jls",
    ".4.90": "image/jp2",
    ".4.91": "image/jp2",
    ".4.201": "image/jphc",
    ".4.202": "image/jphc",
    ".4.203": "image/jphc",
    ".5": "image/dicom-rle",
    ".8.1": "application/octet-stream",
}


@pytest.mark.parametrize("uid", [uid for uid in AllTransferSyntaxes if uid not in REFERENCED])
def test_every_syntax_of_pydicom_is_known_and_encoded_alike(uid: UID) -> None:
    syntax = transfer_syntax(uid)
    assert syntax in known_transfer_syntaxes()
    assert syntax.encapsulated == uid.is_encapsulated
    assert syntax.big_endian == (not uid.is_little_endian)
    assert syntax.implicit == uid.is_implicit_VR
    assert syntax.deflated == uid.is_deflated


@pytest.mark.parametrize(("ending", "media_type"), MEDIA_TYPES.items())
def test_media_types_are_those_of_the_reference_tree(ending: str, media_type: str) -> None:
    assert transfer_syntax(f"1.2.840.10008.1.2{ending}").media_type == media_type


def test_private_htj2k_has_the_media_type_of_htj2k() -> None:
    assert transfer_syntax("3.2.840.10008.1.2.4.96").media_type == "image/jphc"


@pytest.mark.parametrize(
    ("last", "extension"),
    [*((n, "mpg") for n in (100, 101)), *((n, "mp4") for n in range(102, 107)), (107, "h265"), (108, "h265")],
)
@pytest.mark.parametrize("twin", ["", ".1"])
def test_video_has_the_extension_it_plays_under(last: int, extension: str, twin: str) -> None:
    syntax = transfer_syntax(f"1.2.840.10008.1.2.4.{last}{twin}")
    assert syntax.is_video
    assert syntax.video_extension == extension
    assert syntax.encapsulated
    assert syntax.compressed


def test_images_are_no_video() -> None:
    assert not [s.uid for s in known_transfer_syntaxes() if s.is_video != s.uid.startswith("1.2.840.10008.1.2.4.10")]


def test_native_syntaxes_need_no_codec() -> None:
    native = {s.uid.removeprefix("1.2.840.10008.1.2") for s in known_transfer_syntaxes() if not s.compressed}
    assert native == {"", ".1", ".1.98", ".1.99", ".2"}


def test_lossless_is_said_only_of_codings_that_cannot_lose() -> None:
    lossless = {s.uid.removeprefix("1.2.840.10008.1.2") for s in known_transfer_syntaxes() if s.lossless}
    compressed = {".4.57", ".4.70", ".4.80", ".4.90", ".4.92", ".4.110", ".4.201", ".4.202", ".5", ".8.1"}
    assert lossless == compressed | {"", ".1", ".1.98", ".1.99", ".2"}


def test_an_unknown_syntax_is_encapsulated_and_opaque() -> None:
    syntax = transfer_syntax("1.2.3.4.5")
    assert (syntax.uid, syntax.media_type) == ("1.2.3.4.5", "application/octet-stream")
    assert syntax.encapsulated
    assert syntax.compressed
    assert not any((syntax.big_endian, syntax.implicit, syntax.deflated, syntax.is_video, syntax.lossless))
