"""Frames that OHIF shows wrong as they came: real OHIF shows every pixel of what is published instead."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, JPEGLSLossless

from tests import corpus
from tests.corpus import PYDICOM, PYDICOM_DATA
from tests.synthetic import described, file_of
from tests.system import browser as browsers
from tests.system.programs import create
from tests.system.servers import start_embedded

pytestmark = [pytest.mark.browser, pytest.mark.soak]

RAMP = np.add.outer(np.arange(64), np.arange(96))
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


@dataclass(frozen=True, slots=True)
class Served:
    """Where the studies are served, their UIDs, and the pixels of each."""

    origin: str
    studies: dict[str, str]
    pixels: dict[str, NDArray[Any]]


def compressed(payload: bytes, samples: NDArray[Any], syntax: str, **attributes: Any) -> bytes:
    value = encapsulate([payload + bytes(len(payload) % 2)])
    return file_of(value, transfer_syntax=syntax, vr="OB", **described(samples, **attributes))


def parsed(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def made() -> Iterator[tuple[str, Dataset, NDArray[Any]]]:
    signed, bits = (RAMP - 80).astype("i1"), (RAMP // 8 % 2).astype(np.uint8)
    deep, colours = (COLOURS * 400).astype("<u2"), COLOURS.astype(np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    one = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    planes = bytes(imagecodecs.htj2k_encode(colours, reversible=True, rgb=False, planar=False))
    yield "signed bytes", parsed(file_of(signed.tobytes(), vr="OB", **described(signed))), signed
    yield "bits", parsed(file_of(packed, vr="OB", **described(bits, **one))), bits
    yield "deep colours", parsed(file_of(deep.tobytes(), **described(deep))), np.rint(deep / 257)
    yield "HTJ2K without transform", parsed(compressed(planes, colours, HTJ2KLossless)), colours
    interleaved = bytes(imagecodecs.jpegls_encode(colours))
    yield "JPEG-LS by pixel", parsed(compressed(interleaved, colours, JPEGLSLossless, PlanarConfiguration=1)), colours


def found() -> Iterator[tuple[str, Dataset, NDArray[Any]]]:
    for name, path in (
        ("shared colours", PYDICOM / "test_files/SC_ybr_full_422_uncompressed.dcm"),
        ("spacing of zero", PYDICOM_DATA / "RG1_UNCR.dcm"),
        ("deep colours in RLE", PYDICOM / "test_files/SC_rgb_rle_32bit.dcm"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd on purpose
            source = pydicom.dcmread(path)
            samples = source.pixel_array
        yield name, source, samples if samples.itemsize < 4 else np.rint(samples / np.iinfo(samples.dtype).max * 255)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, ohif: Path) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("forms")
    (directory / "in").mkdir()
    studies, pixels = {}, {}
    for name, source, samples in (*made(), *found()):
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(source, keyword, corpus.uid("forms", name, keyword))
        source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
        source.save_as(directory / "in" / f"{len(studies)}.dcm")
        studies[name], pixels[name] = str(source.StudyInstanceUID), samples
    assert create(directory / "root", [directory / "in"])["published"] == len(studies)
    with start_embedded(directory / "root", ohif) as server:
        yield Served(server.url, studies, pixels)


@pytest.mark.parametrize("name", [name for name, *_ in (*made(), *found())])
def test_every_pixel_is_shown(chromium: Browser, served: Served, name: str) -> None:
    with browsers.visit(chromium, served.origin) as visitor:
        visitor.open_study(served.studies[name])
        visitor.wait_for_picture()
        shown = visitor.shown().pixels
        expected = served.pixels[name].reshape(*shown.shape[:2], -1)
        assert np.abs(shown[..., : expected.shape[2]].astype(float) - expected).max() <= 1e-3
        assert visitor.problems == []
