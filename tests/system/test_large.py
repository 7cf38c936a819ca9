"""Objects larger than memory go through the line a frame at a time, and come back byte for byte."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.system import large
from tests.system.large import FRAME, Large
from tests.system.usage import Usage, run

MEMORY = 300 * 1000 * 1000
"""Bytes that a process may have at once, besides one frame."""
PATIENCE = 7200.0


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


OPENED_LATER = 2 + 3
"""Descriptors; three are the query index's, which is opened when the first object is published."""


def check_use(usages: dict[int, Usage], frame: int) -> None:
    """A bounded peak, and no more descriptors in the end than early on."""
    assert usages
    for usage in usages.values():
        assert usage.peak <= MEMORY + frame
        early, late = usage.descriptors[: len(usage.descriptors) // 2], usage.descriptors[len(usage.descriptors) // 2 :]
        assert max(late) <= max(early, default=64) + OPENED_LATER


def there_and_back(directory: Path, objects: Sequence[Large]) -> None:
    root, out = directory / "root", directory / "out"
    frame = max(each.frame for each in objects)
    for each in objects:
        assert each.path.stat().st_size > MEMORY
    check_use(run("create", *(each.path for each in objects), "--root", root, patience=PATIENCE), frame)
    for each in objects:
        check_use(run("export", each.uid, "--root", root, "-o", out, patience=PATIENCE), frame)
        copy = out / f"{each.uid}.dcm"
        assert digest(copy) == digest(each.path)
        copy.unlink()


def test_large_objects_stream(tmp_path: Path) -> None:
    slide = large.slide(tmp_path / "slide.dcm", 320)
    encapsulated = large.encapsulated_slide(tmp_path / "encapsulated.dcm", 320)
    video = large.video(tmp_path / "video.dcm", 320 * FRAME)
    document = large.document(tmp_path / "document.dcm", 320 * FRAME)
    there_and_back(tmp_path, [slide, encapsulated, video, document])


@pytest.mark.soak
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (large.slide, 4_000),  # as much as one element can hold
        (large.encapsulated_slide, 20_000),
        (large.video, 4_000 * FRAME),
        (large.document, 2_000 * FRAME),
    ],
)
def test_the_largest_objects_stream(tmp_path: Path, make: Callable[[Path, int], Large], size: int) -> None:
    """Of 2 to 20 GiB. The zeros of slides weigh nothing, neither in the source nor in what is stored of it."""
    there_and_back(tmp_path, [make(tmp_path / "large.dcm", size)])
