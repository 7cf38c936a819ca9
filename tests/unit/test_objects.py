"""The objects made for the tests are what they say they are."""

import json
from pathlib import Path

import av
import numpy as np
import pydicom
import pytest

from staticwado_daemon.dicom.part10 import Limits, read
from tests.objects import Object, objects, texts, video
from tests.synthetic import bulk_uri

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
"""Some are odd on purpose."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Object]:
    every = list(objects(tmp_path_factory.mktemp("objects")))
    by_name = {each.name: each for each in every}
    assert len(by_name) == len({each.path for each in every}) == len(every) > 290
    return by_name


def test_they_are_the_same_bytes_each_time(made: dict[str, Object], tmp_path: Path) -> None:
    again = {each.name: each.path.read_bytes() for each in objects(tmp_path)}
    assert again == {name: each.path.read_bytes() for name, each in made.items()}


def test_pydicom_decodes_them_as_what_is_known(made: dict[str, Object]) -> None:
    decoded = 0
    for each in made.values():
        if not each.frames or each.payloads or each.name.startswith(("file/", "native/1-bit odd")):
            continue
        image = pydicom.dcmread(each.path)
        pixels = pydicom.pixels.pixel_array(image, raw=True, correct_unused_bits=False)
        known = np.stack(each.frames)
        assert np.array_equal(pixels.reshape(known.shape), known), each.name
        decoded += 1
    assert decoded > 100


@pytest.mark.parametrize("kind", texts.texts())
def test_names_are_read_in_every_character_set(made: dict[str, Object], kind: str) -> None:
    text = texts.texts()[kind]
    instance = read(made[f"text/{kind}"].path.read_bytes(), Limits(), bulk_uri)
    attributes = json.loads(instance.attributes.to_json())
    (name,) = attributes["00100010"]["Value"]
    if text.name:
        groups = [name[group] for group in ("Alphabetic", "Ideographic", "Phonetic") if group in name]
        assert "=".join(groups) == text.name
    assert bool(instance.warnings) == text.warns
    if not json.dumps(name, ensure_ascii=False).isascii():
        assert attributes["00080005"]["Value"] == ["ISO_IR 192"]


@pytest.mark.parametrize("kind", video.STREAMS)
def test_videos_play_for_two_seconds(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "video"
    path.write_bytes(video.encoded(video.STREAMS[kind]))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == video.COUNT == 2 * video.RATE
    assert frames[0].to_ndarray(format="rgb24").std() > 10
