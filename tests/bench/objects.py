"""What isn't a series of slices: one object of very many frames, thumbnails, and the bytes that each modality takes."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pydicom

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom import frames, part10, render
from staticwado_daemon.dicom.data_set import Limits
from tests import corpus
from tests.bench import material
from tests.bench.processes import create, run
from tests.bench.table import Row, at_most

FRAME_BYTES = 512 * 512 * 2
PROCESS_BYTES = 300e6
_THUMBNAIL_SECONDS = 2.0


def multi_frame(slices: Sequence[Path], scratch: Path) -> Iterator[Row]:
    """An enhanced CT object of as many frames as there are slices; one worker does it all, for it is one file."""
    scratch.mkdir()
    source = scratch / "enhanced.dcm"
    material.enhanced_ct(source, slices)
    for mode in ("none", "htj2k"):
        usage = create([source], scratch / mode, mode)
        name = f"one object of {len(slices):,} frames, {mode}"
        yield Row(f"{name}: frames per second, start-up included", f"{len(slices) / usage.wall:.0f}")
        limit = PROCESS_BYTES + FRAME_BYTES
        yield at_most(f"{name}: peak memory of the worker, MB", usage.peaks["worker"] / 1e6, limit / 1e6, ".0f")


def thumbnails(slices: Sequence[Path]) -> Iterator[Row]:
    """How many thumbnails one process makes of slices that it has read."""
    instance = part10.read(slices[0].read_bytes(), Limits(), layout.bulk_uri)
    description = frames.describe(instance)
    segments = frames.frame_segments(instance, description)
    made, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < _THUMBNAIL_SECONDS:
        render.instance_thumbnail(instance, description, segments, 256)
        made += 1
    yield Row("thumbnails of 512 x 512 slices, per second and process", f"{made / seconds:.0f}")


def modalities(scratch: Path, most: int | None) -> Iterator[Row]:
    """What the whole tree takes of the source's bytes, for each modality in the test data, summaries included."""
    by_modality: Mapping[str, list[Path]] = defaultdict(list)
    files = dict(islice(corpus.instances().items(), most))
    for path in corpus.distinct(scratch / "modalities", files).values():
        image = pydicom.dcmread(path, force=True, specific_tags=["Modality"])
        by_modality[str(image.get("Modality") or "none")].append(path)
    for modality, files in sorted(by_modality.items()):
        shares = []
        for mode in ("none", "htj2k"):
            root = scratch / f"modality-{len(shares)}-{modality}"
            taken = _taken(files, root, mode)
            shares.append(f"{taken / sum(path.stat().st_size for path in files):.0%}")
        yield Row(f"{modality}, {len(files)} files: bytes stored, % of the source (none / htj2k)", " / ".join(shares))


def _taken(files: Sequence[Path], root: Path, mode: str) -> int:
    """Bytes of all files of the tree but the journal and the query index; some sources may be rejected."""
    output = root.with_name(f"{root.name}.json")
    run("create", "--json", "--root", root, "-t", mode, *files, output=output, codes=(0, 3))
    derived = sum(path.stat().st_size for path in (root / layout.PRIVATE).glob("*.sqlite*"))
    return sum(Path(folder, name).stat().st_size for folder, _, names in os.walk(root) for name in names) - derived
