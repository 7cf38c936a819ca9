"""No small file asks for much: caps, and what is said when one is reached."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from staticwado_daemon.dicom import frames, part10, second_decoder
from staticwado_daemon.dicom.codestreams import jpeg2000_header
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transfer_syntaxes import RLE_LOSSLESS
from staticwado_daemon.dicom.uids import UID
from staticwado_daemon.dicom.voi import LookupTable
from staticwado_daemon.errors import Corrupt, Ignored, Rejected
from staticwado_daemon.inbound import source as sources
from staticwado_daemon.inbound.source import Source, Stamp
from tests.fuzz.by_hand import image
from tests.unit.dicom_bytes import DEFLATED, EXPLICIT_LITTLE, JPEG_BASELINE, element, fragments, meta


def _read(data: bytes, limits: Limits | None = None) -> part10.Instance:
    return part10.read(data, limits or Limits(), "bulkdata/{}".format)


def _segments(data: bytes) -> int:
    instance = _read(data)
    return len(frames.frame_segments(instance, frames.describe(instance)))


def _many_frames(count: int, pixels: bytes, transfer_syntax_uid: str = EXPLICIT_LITTLE, side: int = 8) -> bytes:
    changes = {tag: element(tag, "US", struct.pack("<H", side)) for tag in (0x00280010, 0x00280011)}
    text = b"%d" % count
    changes[0x00280008] = element(0x00280008, "IS", text + b" " * (len(text) % 2))
    return image({**changes, 0x7FE00010: pixels}, transfer_syntax_uid=transfer_syntax_uid)


@pytest.mark.parametrize(("count", "side"), [(10_000, 1), (10_001, 8)])
def test_small_frames_may_be_many_or_large_ones_more(count: int, side: int) -> None:
    pixels = element(0x7FE00010, "OW", bytes(count * side * side + count % 2))
    assert _segments(_many_frames(count, pixels, side=side)) == count


@pytest.mark.parametrize(
    ("pixels", "transfer_syntax_uid"),
    [
        (element(0x7FE00010, "OW", bytes(10_002)), EXPLICIT_LITTLE),
        (fragments(*[b"\xff\xd8\xff\xd9"] * 10_001), JPEG_BASELINE),
    ],
)
def test_frames_without_content_are_no_files(pixels: bytes, transfer_syntax_uid: str) -> None:
    with pytest.raises(Rejected, match=r"10001 frames in .* bytes of Pixel Data: too little for a file each"):
        _segments(_many_frames(10_001, pixels, transfer_syntax_uid, side=1))


def _deflated(inflated: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = len(meta())
    return meta(DEFLATED) + compressor.compress(image()[start:] + inflated) + compressor.flush()


@pytest.mark.parametrize(
    ("limits", "accepted"),
    [
        (Limits(inflate_floor=2 << 20), True),
        (Limits(inflate_floor=1 << 20), True),
        (Limits(inflate_floor=1 << 19, inflate_ratio=100, inflate_plain_ratio=10), False),
        (Limits(inflate_floor=1 << 19, inflate_ceiling=1 << 19), False),
        (Limits(inflate_floor=1 << 19, inflate_ceiling=1 << 19, inflate_plain_ratio=2000), True),
    ],
)
def test_a_deflated_data_set_swells_within_limits(limits: Limits, *, accepted: bool) -> None:
    bomb = _deflated(element(0x7FE10010, "OB", bytes((1 << 20) - 4000)))
    if accepted:
        assert len(_read(bomb, limits).buffer) > 1 << 19
    else:
        with pytest.raises(Rejected, match="swells to more than"):
            _read(bomb, limits)


def test_a_bomb_is_not_inflated_to_its_end() -> None:
    bomb = _deflated(element(0x7FE10010, "OB", bytes(200 << 20)))
    tracemalloc.start()
    with pytest.raises(Rejected, match="swells to more than"):
        _read(bomb, Limits(inflate_floor=1 << 20, inflate_ceiling=1 << 20, inflate_plain_ratio=1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_tiles_are_counted_before_a_decoder_makes_room_for_them() -> None:
    def header(tile: int) -> bytes:
        size = struct.pack(">HHH8IHBBB", 0xFF51, 41, 0, 65535, 1, 0, 0, tile, 1, 0, 0, 1, 7, 1, 1)
        return b"\xff\x4f" + size + b"\xff\x90\0\0"

    assert jpeg2000_header(header(16)).columns == 65535
    with pytest.raises(Corrupt, match="tiles"):
        jpeg2000_header(header(15))


class PanicException(BaseException):
    """What no `except Exception` sees."""


def _panicking(_payload: bytes, **_options: Any) -> NoReturn:
    raise PanicException("index out of bounds")


def _interrupted(_payload: bytes, **_options: Any) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("decoder", "error"), [(_panicking, Corrupt), (_interrupted, KeyboardInterrupt)])
def test_a_panic_of_the_second_decoder_is_a_frame_that_can_not_be_decoded(
    monkeypatch: pytest.MonkeyPatch, decoder: Callable[..., NoReturn], error: type[BaseException]
) -> None:
    monkeypatch.setattr(second_decoder, "_decoders", lambda: {RLE_LOSSLESS: decoder})
    description = frames.describe(_read(image()))
    with pytest.raises(error):
        second_decoder.decode_planes(b"", RLE_LOSSLESS, description)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it is empty"),
        ("Doe^Jane", "it has characters other than digits and dots"),
        ("\u0661.\u0662", "it has characters other than digits and dots"),
        ("1." * 40 + "1", "it has 81 characters, more than 64"),
        ("1..2", "it has a dot without a number before or after it"),
        (".", "it has a dot without a number before or after it"),
    ],
)
def test_what_is_wrong_with_a_uid_is_said_without_it(text: str, fault: str) -> None:
    with pytest.raises(Rejected) as refusal:
        UID(text)
    assert refusal.value.reason == f"no UID: {fault}"


def test_a_number_of_a_hundred_digits_is_not_repeated() -> None:
    data = image({0x00280008: element(0x00280008, "IS", b"9" * 300)})
    with pytest.raises(Rejected, match=r"is absurd; at most"):
        _segments(data)


def test_what_is_no_number_has_the_first_grey_of_a_table() -> None:
    table = LookupTable(0, np.array([0.25, 1], np.float32))
    values = np.array([np.nan, -np.inf, np.inf, 1], np.float32)
    assert table.apply(values).tolist() == [0.25, 0.25, 1, 1]


def test_a_file_that_is_no_dicom_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as sparse:
        sparse.truncate(10 << 30)
    tracemalloc.start()
    with pytest.raises(Ignored), sources.opened(Source(path, Stamp.of(path.lstat())), part10.look):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
