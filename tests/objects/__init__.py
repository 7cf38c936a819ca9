"""Objects of every kind that pydicom and pydicom-data don't carry, made from their real pixels.

One module per family. `objects` is the way in; the names it gives are those of docs/formats.md.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.objects import (
    compressed,
    documents,
    files,
    microscopy,
    multi_frame,
    native_pixels,
    presentation,
    radiotherapy,
    reports,
    segmentation,
    series,
    texts,
    video,
    waveforms,
)
from tests.objects.made import Object

__all__ = ["Object", "objects"]


def objects(directory: Path) -> Iterator[Object]:
    """Write every object below `directory`, each in a file of its own: the same bytes on every machine."""
    ct = series.ct(directory)
    yield from ct.objects()
    for referring in (segmentation, reports, radiotherapy, multi_frame, presentation):
        yield from referring.objects(directory, ct)
    for family in (native_pixels, compressed, microscopy, waveforms, video, documents, texts, files):
        yield from family.objects(directory)
