"""Staged instances as a worker leaves them, made by hand, and what is read back of a tree."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import orjson

from staticwado_daemon.archive import gzipped, layout, restore, summary
from staticwado_daemon.archive.record import Blob
from staticwado_daemon.archive.stage import Stage
from staticwado_daemon.inbound.source import Source, Stamp
from staticwado_daemon.pipeline.staged import Staged, bulk_directory
from tests.records import make_dataset, make_record

_numbers = itertools.count()


def stage(
    root: Path,
    *,
    content: str = "c0",
    study: str = "1.2",
    series: str = "1.2.3",
    instance: str = "1.2.3.4",
    bulk: tuple[str, ...] = (),
    source: Source | None = None,
    **values: Any,
) -> Staged:
    """Stage an instance below `root`: one frame that holds `content`, a thumbnail, bulk data files named `bulk`."""
    directory = root / layout.STAGING / f"task{next(_numbers)}" / "0"
    writer = Stage(directory)
    writer.write("frames/1.mht", [content.encode()])
    writer.write("thumbnail", [b"jpeg " + content.encode()])
    dataset = make_dataset(study, series, instance, **values)
    writer.write("metadata.gz", [gzipped.pack(summary.array([dataset]))])
    bulk_writer = Stage(bulk_directory(directory))
    for name in bulk:
        bulk_writer.write(name, [b"bulk"])
    remainder = restore.whole(content.encode())
    paths = [directory / "frames/1.mht", directory / "thumbnail", *(bulk_directory(directory) / name for name in bulk)]
    made = make_record(
        study,
        series,
        instance,
        content,
        revision=0,
        blobs=tuple(map(_blob, paths, ("frames/1.mht", "thumbnail", *bulk))),
        remainder=(hashlib.sha256(remainder).hexdigest(), len(remainder)),
        dataset=dataset,
    )
    source = source or Source(Path("/in") / f"{instance}-{content}", Stamp(1, 2, 3, 4))
    return Staged(source, directory, made, bulk, remainder, ())


def load(root: Path, path: str) -> Any:
    """The JSON of a published file."""
    return orjson.loads(gzipped.unpack((root / path).read_bytes()))


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file below a directory, by its relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _blob(path: Path, name: str) -> Blob:
    data = path.read_bytes()
    return Blob(name, len(data), hashlib.sha256(data).hexdigest())
