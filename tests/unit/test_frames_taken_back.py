"""A frame that doesn't come back from its coding is found while frames are written: all are stored natively then."""

import struct
from pathlib import Path

import pytest

from staticwado_daemon.archive import restore
from staticwado_daemon.archive.source_frames import stored_in
from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.inbound import source as sources
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline import ingest
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.staged import Staged
from tests import synthetic

SIDE, FRAMES = 64, 5


def frames(*, overlay_in: int) -> bytes:
    """Frames of 12 bits, of which one has something in the bits above them."""
    values = [number * 100 + pixel % 50 for number in range(FRAMES) for pixel in range(SIDE * SIDE)]
    values[overlay_in * SIDE * SIDE] |= 0x8000
    return struct.pack(f"<{len(values)}H", *values)


@pytest.mark.parametrize("whole", [1 << 30, 0])
@pytest.mark.parametrize("number", [0, 2, FRAMES - 1])
def test_no_frame_stays_that_another_spoils(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, whole: int
) -> None:
    monkeypatch.setattr(sources, "WHOLE_BYTES", whole)
    pixels = frames(overlay_in=number)
    described = {"Rows": SIDE, "Columns": SIDE, "BitsStored": 12, "HighBit": 11, "NumberOfFrames": FRAMES}
    path = tmp_path / "overlay.dcm"
    path.write_bytes(synthetic.file_of(pixels, **described))
    source = Source(path, Stamp.of(path.lstat()), "delete", final=True)
    directory = tmp_path / "task" / "0"
    staged = ingest.ingest(source, directory, ingest.Rules(Images(Choices("htj2k")), Limits()))
    assert isinstance(staged, Staged)
    names = [f"frames/{frame}.mht.gz" for frame in range(1, FRAMES + 1)]
    assert [blob.path for blob in staged.record.blobs] == [*names, "thumbnail"]
    assert sorted(str(each.relative_to(directory)) for each in directory.glob("frames/*")) == names
    pieces = restore.rebuild(staged.record, staged.remainder, stored_in(directory))
    assert b"".join(pieces) == path.read_bytes()
    assert len(staged.remainder) < path.stat().st_size - len(pixels) + 1000
