"""A file that is still arriving: no beginning of an image is published as if it were all of it."""

from pathlib import Path

from staticwado_daemon.dicom.part10 import Limits
from staticwado_daemon.dicom.transcode import Choices
from staticwado_daemon.inbound.receipt import Receipt
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline.images import Images
from staticwado_daemon.pipeline.ingest import Rules, ingest
from staticwado_daemon.pipeline.staged import Staged, Unfinished
from tests.system.fire import Template

RULES = Rules(Images(Choices("none")), Limits())


def taken(path: Path, stage: Path, *, final: bool = False) -> Staged | Receipt | Unfinished:
    return ingest(Source(path, Stamp.of(path.lstat()), final=final), stage, RULES)


def test_no_beginning_of_an_image_is_taken_for_the_whole(tmp_path: Path) -> None:
    whole = Template.make(tmp_path).instance(1)
    path = tmp_path / "arriving.dcm"
    published = []
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        if isinstance(taken(path, tmp_path / "stage" / str(length)), Staged):
            published.append(length)
    assert published == []
    path.write_bytes(whole)
    assert isinstance(taken(path, tmp_path / "stage" / "whole"), Staged)


def test_an_image_without_pixels_that_does_not_change_is_taken_as_it_is(tmp_path: Path) -> None:
    whole = Template.make(tmp_path).instance(1)
    path = tmp_path / "header.dcm"
    path.write_bytes(whole[: whole.index(b"\xe0\x7f\x10\x00OW")])
    assert taken(path, tmp_path / "stage" / "1") == Unfinished("an image without Pixel Data", incomplete=True)
    assert isinstance(taken(path, tmp_path / "stage" / "2", final=True), Staged)
