"""Videos that play (PS3.5 8.2.5 to 8.2.8): MPEG-2, H.264 and HEVC, two seconds of a real echocardiogram."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import VideoEndoscopicImageStorage

from tests.objects.compressed import encapsulated
from tests.objects.made import Object, encode, image, picture, write

RATE, COUNT = 25, 50
_PREFIX = "1.2.840.10008.1.2.4."
_BIT_EXACT = 1 << 23
"""AV_CODEC_FLAG_BITEXACT: the same bytes whenever they are made."""
_X264 = {"profile": "high", "level": "4.1", "qp": "24", "x264-params": "mbtree=0:aq-mode=0:rc-lookahead=0"}
"""Constant: what x264 decides adaptively isn't the same each time."""
_X265 = {"x265-params": "log-level=none:info=0:pools=none:frame-threads=1"}


@dataclass(frozen=True, slots=True)
class Stream:
    """How a video is encoded: codec and container in ffmpeg's words, and the transfer syntaxes it goes with."""

    codec: str
    container: str
    syntaxes: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    pixels: str = "yuv420p"


STREAMS = {
    "mpeg-2": Stream("mpeg2video", "mpeg", ("100", "101")),
    "h.264 mp4": Stream("libx264", "mp4", ("102", "103", "104", "105", "106"), tuple(_X264.items())),
    "h.264 transport stream": Stream("libx264", "mpegts", ("102",), tuple(_X264.items())),
    "hevc mp4": Stream("libx265", "mp4", ("107",), tuple(_X265.items())),
    "hevc": Stream("libx265", "hevc", ("107",), tuple(_X265.items())),
    "hevc main 10": Stream("libx265", "mp4", ("108",), tuple(_X265.items()), "yuv420p10le"),
}


def objects(directory: Path) -> Iterator[Object]:
    for kind, stream in STREAMS.items():
        payload = encoded(stream)
        for last in stream.syntaxes:
            yield _video(directory, f"video/{kind} {last}", f"{_PREFIX}{last}", payload, fragments=1)
            if stream.container != "mpegts":
                yield _video(directory, f"video/{kind} {last} fragmentable", f"{_PREFIX}{last}.1", payload, fragments=4)


def _video(directory: Path, name: str, uid: str, payload: bytes, *, fragments: int) -> Object:
    first = _pictures()[0]
    made = image(name, VideoEndoscopicImageStorage, "ES", [first], NumberOfFrames=COUNT)
    made.PhotometricInterpretation = "YBR_PARTIAL_420"
    made.CineRate, made.FrameTime, made.FrameIncrementPointer = RATE, 1000 / RATE, 0x00181063
    made.LossyImageCompression, made.LossyImageCompressionRatio = "01", "20"
    made.LossyImageCompressionMethod = {"100": "ISO_13818_2", "107": "ISO_23008_2"}.get(uid[20:23], "ISO_14496_10")
    encapsulated(made, [payload], fragments, table="none")
    return write(directory, name, encode(made, uid), payloads=(payload + bytes(len(payload) % 2),))


def encoded(stream: Stream) -> bytes:
    """The elementary stream or container file, the same bytes each time."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "video")
        options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if stream.container == "mp4" else {})}
        with av.open(str(path), "w", format=stream.container, options=options) as container:
            video = container.add_stream(stream.codec, rate=RATE, options=dict(stream.options))
            video.height, video.width = _pictures()[0].shape[:2]
            video.pix_fmt = stream.pixels
            video.codec_context.thread_count = 1
            video.codec_context.flags |= _BIT_EXACT
            for picture_ in _pictures():
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture_, format="rgb24")))
            container.mux(video.encode())
        return path.read_bytes()


def _pictures() -> list[NDArray[np.uint8]]:
    still = np.ascontiguousarray(picture(10))
    return [np.ascontiguousarray(np.roll(still, number, axis=1)) for number in range(COUNT)]
