"""Transfer syntaxes: what each UID says about a data set's encoding and its pixel data.

One table (PS3.6 table A-1) with the media types of PS3.18 section 8.7.3 in the spelling that DICOMweb viewers
expect in a frame's part header. An unknown UID is no error: its frames pass through as opaque bytes.
"""

from dataclasses import dataclass

from staticwado_daemon.dicom.data_set import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_FIRST_ORDER = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K_ANY = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
PRIVATE_HTJ2K = "3.2.840.10008.1.2.4.96"
HTJ2K = frozenset((HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K_ANY, PRIVATE_HTJ2K))
"""Under whatever label, lossless or not."""

_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """What one Transfer Syntax UID stands for.

    Attributes:
        uid: The Transfer Syntax UID (0002,0010).
        name: The standard's name, shortened.
        media_type: Of one frame's bytes, for the part header beside `transfer-syntax=`.
        encapsulated: Pixel Data is a sequence of items (PS3.5 A.4), not one value of known length.
        compressed: The frames need a codec; false for native frames, encapsulated or not.
        encoding: Of the data set, native pixel data included.
        deflated: The data set after the file meta information is one deflate stream (PS3.5 A.5).
        video_extension: For one elementary stream instead of frames, the file name extension it plays under.
    """

    uid: str
    name: str
    media_type: str = _OCTETS
    encapsulated: bool = True
    compressed: bool = True
    encoding: Encoding = EXPLICIT_LITTLE
    deflated: bool = False
    video_extension: str | None = None

    @property
    def part_type(self) -> str:
        """The Content-Type of a multipart part that holds one frame."""
        return f"{self.media_type};transfer-syntax={self.uid}"

    @property
    def is_video(self) -> bool:
        """Whether Pixel Data is one elementary stream of all frames (PS3.5 8.2.5 and following)."""
        return self.video_extension is not None


def _native(uid: str, name: str, encoding: Encoding, *, deflated: bool = False) -> TransferSyntax:
    return TransferSyntax(uid, name, encapsulated=False, compressed=False, encoding=encoding, deflated=deflated)


def _image(last: str, name: str, media_type: str) -> TransferSyntax:
    return TransferSyntax(f"1.2.840.10008.1.2.{last}", name, media_type)


def _video(last: str, name: str, extension: str) -> tuple[TransferSyntax, TransferSyntax]:
    # Each video syntax has a "Fragmentable" twin, whose UID is the same with .1 appended.
    uid = f"1.2.840.10008.1.2.4.{last}"
    whole = TransferSyntax(uid, name, video_extension=extension)
    return whole, TransferSyntax(f"{uid}.1", f"Fragmentable {name}", video_extension=extension)


_TABLE = {
    syntax.uid: syntax
    for syntax in (
        _native(IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian", IMPLICIT_LITTLE),
        _native(EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian", EXPLICIT_LITTLE),
        TransferSyntax(
            ENCAPSULATED_UNCOMPRESSED, "Encapsulated Uncompressed Explicit VR Little Endian", compressed=False
        ),
        _native(
            DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian", EXPLICIT_LITTLE, deflated=True
        ),
        _native(EXPLICIT_VR_BIG_ENDIAN, "Explicit VR Big Endian", EXPLICIT_BIG),
        _image("4.50", "JPEG Baseline (Process 1)", "image/jpeg"),
        _image("4.51", "JPEG Extended (Process 2 and 4)", "image/jpeg"),
        _image("4.57", "JPEG Lossless (Process 14)", "image/jpeg"),
        _image("4.70", "JPEG Lossless (Process 14, First-Order Prediction)", "image/jll"),
        _image("4.80", "JPEG-LS Lossless", "image/jls"),
        _image("4.81", "JPEG-LS Near-Lossless", "image/jls"),
        _image("4.90", "JPEG 2000 (Lossless Only)", "image/jp2"),
        _image("4.91", "JPEG 2000", "image/jp2"),
        _image("4.92", "JPEG 2000 Part 2 Multi-component (Lossless Only)", "image/jpx"),
        _image("4.93", "JPEG 2000 Part 2 Multi-component", "image/jpx"),
        # A JPIP data set refers to its pixels by URL and holds none.
        TransferSyntax("1.2.840.10008.1.2.4.94", "JPIP Referenced", encapsulated=False),
        TransferSyntax("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", encapsulated=False, deflated=True),
        *_video("100", "MPEG2 Main Profile / Main Level", "mpg"),
        *_video("101", "MPEG2 Main Profile / High Level", "mpg"),
        *_video("102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", "mp4"),
        *_video("103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "mp4"),
        *_video("104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "mp4"),
        *_video("105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "mp4"),
        *_video("106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "mp4"),
        *_video("107", "HEVC/H.265 Main Profile / Level 5.1", "h265"),
        *_video("108", "HEVC/H.265 Main 10 Profile / Level 5.1", "h265"),
        _image("4.110", "JPEG XL Lossless", "image/jxl"),
        _image("4.111", "JPEG XL JPEG Recompression", "image/jxl"),
        _image("4.112", "JPEG XL", "image/jxl"),
        _image("4.201", "HTJ2K (Lossless Only)", "image/jphc"),
        _image("4.202", "HTJ2K with RPCL Options (Lossless Only)", "image/jphc"),
        _image("4.203", "HTJ2K", "image/jphc"),
        TransferSyntax("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced", encapsulated=False),
        TransferSyntax("1.2.840.10008.1.2.4.205", "JPIP HTJ2K Referenced Deflate", encapsulated=False, deflated=True),
        _image("5", "RLE Lossless", "image/dicom-rle"),
        # Flows of real-time video (PS3.22); listed because somebody may save one.
        _image("7.1", "SMPTE ST 2110-20 Uncompressed Progressive Active Video", _OCTETS),
        _image("7.2", "SMPTE ST 2110-20 Uncompressed Interlaced Active Video", _OCTETS),
        _image("7.3", "SMPTE ST 2110-30 PCM Digital Audio", _OCTETS),
        _image("8.1", "Deflated Image Frame Compression", _OCTETS),
        # Used in the field before the standard had UIDs for it.
        TransferSyntax(PRIVATE_HTJ2K, "HTJ2K (private)", "image/jphc"),
    )
}


def transfer_syntax(uid: str) -> TransferSyntax:
    """Return what `uid` stands for; an unknown UID is an encapsulated syntax of opaque frames.

    All syntaxes added to the standard since 1993 are Explicit VR Little Endian with encapsulated Pixel Data
    (PS3.5 A.4), so that is what an unknown UID is taken for.
    """
    known = _TABLE.get(uid)
    return known if known is not None else TransferSyntax(uid, "unknown")


def known() -> tuple[TransferSyntax, ...]:
    """Every transfer syntax that has a name here, in the order of PS3.6 table A-1."""
    return tuple(_TABLE.values())
