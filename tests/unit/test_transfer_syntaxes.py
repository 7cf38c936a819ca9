"""The table of transfer syntaxes, against pydicom's dictionary and against what viewers expect."""

import pytest
from pydicom.uid import UID, AllTransferSyntaxes

from staticwado_daemon.dicom.data_set import EXPLICIT_LITTLE, Encoding
from staticwado_daemon.dicom.transfer_syntaxes import ENCAPSULATED_UNCOMPRESSED, transfer_syntax

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
    assert syntax.name != "unknown"
    assert syntax.encapsulated == uid.is_encapsulated
    assert syntax.encoding == Encoding(implicit=uid.is_implicit_VR, little_endian=uid.is_little_endian)
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
    videos = {uid for uid in AllTransferSyntaxes if transfer_syntax(uid).is_video}
    assert videos == {uid for uid in AllTransferSyntaxes if uid.startswith("1.2.840.10008.1.2.4.10")}


def test_native_syntaxes_need_no_codec() -> None:
    uids = (*AllTransferSyntaxes, ENCAPSULATED_UNCOMPRESSED)  # which pydicom doesn't know
    native = {uid.removeprefix("1.2.840.10008.1.2") for uid in uids if not transfer_syntax(uid).compressed}
    assert native == {"", ".1", ".1.98", ".1.99", ".2"}


@pytest.mark.parametrize("last", [95, 205])
def test_the_data_set_of_two_referenced_syntaxes_is_deflated(last: int) -> None:
    syntax = transfer_syntax(f"1.2.840.10008.1.2.4.{last}")
    assert syntax.deflated
    assert not syntax.encapsulated


def test_an_unknown_syntax_is_encapsulated_and_opaque() -> None:
    syntax = transfer_syntax("1.2.3.4.5")
    assert (syntax.uid, syntax.media_type) == ("1.2.3.4.5", "application/octet-stream")
    assert syntax.encapsulated
    assert syntax.compressed
    assert syntax.encoding == EXPLICIT_LITTLE
    assert not any((syntax.deflated, syntax.is_video))
