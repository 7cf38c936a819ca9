"""A made-up tree with every kind of file once or more, and both servers on it.

The contents only tell the files apart: nothing here is DICOM, for nothing in a static server looks inside.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.archive.multipart import BOUNDARY
from tests.system.servers import Server, start_embedded, start_nginx_for

JSON = "application/dicom+json"
PART = f'multipart/related; type="application/octet-stream"; boundary={BOUNDARY}'
PART_10 = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
REVALIDATE = "private, no-cache"
IMMUTABLE = "private, max-age=31536000, immutable"

STUDY = "studies/1.2.840.1"
SERIES = f"{STUDY}/series/1.2.840.2"
BULK = "bulkdata/012/34/" + "56789abcdef" * 5 + "0123"
PACKED_BULK = "bulkdata/fed/cb/" + "a9876543210" * 5 + "0123"


def instance(number: int) -> str:
    return f"{SERIES}/instances/1.2.840.3.{number}"


@dataclass(frozen=True, slots=True)
class Sample:
    """A file of the tree and how it must be served: by which row, below /dicomweb, as what."""

    row: str
    url: str
    file: str
    media_type: str
    cache: str = REVALIDATE
    accept: str = "*/*"
    vary: str | None = "Accept-Encoding"
    ranges: bool = False
    policy: str | None = None
    saved_as: str | None = None

    @property
    def target(self) -> str:
        return f"/dicomweb/{self.url}"

    @property
    def gzipped(self) -> bool:
        return self.file.endswith(".gz")

    @property
    def content(self) -> bytes:
        """What the client must end up with; the first frame is larger than what a server reads at once."""
        repeat = 40_000 if self.url.endswith(("frames/1", "frames/2")) else 50
        return f"[{self.file}]\n".encode() * repeat

    def __str__(self) -> str:
        return self.file


SAMPLES = (
    Sample("search for studies", "studies", "studies/index.json.gz", JSON),
    Sample("search for studies", "studies/", "studies/index.json.gz", JSON),
    Sample(
        "search for studies", "studies?StudyInstanceUID=1.2.840.1&includefield=00080005", f"{STUDY}/index.json.gz", JSON
    ),
    Sample("the record of a study", STUDY, f"{STUDY}/index.json.gz", JSON, accept=JSON, vary="Accept-Encoding, Accept"),
    Sample("metadata of a study", f"{STUDY}/metadata", f"{STUDY}/metadata.gz", JSON),
    Sample("search for series", f"{STUDY}/series", f"{STUDY}/series/index.json.gz", JSON),
    Sample(
        "search for series",
        f"{STUDY}/series?SeriesInstanceUID=1.2.840.2",
        f"{SERIES}/series-singleton.json.gz",
        JSON,
    ),
    Sample(
        "the record of a series",
        SERIES,
        f"{SERIES}/series-singleton.json.gz",
        JSON,
        accept=f"text/html, {JSON}",
        vary="Accept-Encoding, Accept",
    ),
    Sample("metadata of a series", f"{SERIES}/metadata", f"{SERIES}/metadata.gz", JSON),
    Sample("search for instances of a study", f"{STUDY}/instances", f"{STUDY}/instances/index.json.gz", JSON),
    Sample(
        "search for instances of a study",
        f"{STUDY}/instances?0020000E=1.2.840.2",
        f"{SERIES}/instances/index.json.gz",
        JSON,
    ),
    Sample("search for instances of a series", f"{SERIES}/instances", f"{SERIES}/instances/index.json.gz", JSON),
    Sample("metadata of an instance", f"{instance(1)}/metadata", f"{instance(1)}/metadata.gz", JSON),
    Sample(
        "an instance as DICOM Part 10",
        instance(1),
        f"{instance(1)}/index.mht.gz",
        PART_10,
        vary="Accept-Encoding, Accept",
    ),
    Sample(
        "an instance as DICOM Part 10",
        instance(2),
        f"{instance(2)}/index.mht",
        PART_10,
        vary="Accept-Encoding, Accept",
        ranges=True,
    ),
    Sample("a frame", f"{instance(1)}/frames/1", f"{instance(1)}/frames/1.mht", PART, ranges=True),
    Sample("a frame", f"{instance(1)}/frames/2", f"{instance(1)}/frames/2.mht.gz", PART),
    Sample("a frame", f"{instance(1)}/frames/10", f"{instance(1)}/frames/10.mht", PART, ranges=True),
    Sample(
        "an alternate rendition of a frame", f"{instance(1)}/lossy/1", f"{instance(1)}/lossy/1.mht", PART, ranges=True
    ),
    Sample("an alternate rendition of a frame", f"{instance(1)}/lossy/2", f"{instance(1)}/lossy/2.mht.gz", PART),
    *(
        Sample(
            "a video, document or image as it is shown",
            f"{instance(number)}/rendered",
            f"{instance(number)}/rendered/{name}",
            media_type,
            vary=None,
            ranges=True,
        )
        for number, name, media_type in (
            (1, "index.mp4", "video/mp4"),
            (2, "index.mpg", "video/mpeg"),
            (3, "index.h265", "video/H265"),
            (4, "index.pdf", "application/pdf"),
            (5, "index.ts", "video/MP2T"),
            (6, "index.h264", "video/H264"),
            (7, "index.stl", "model/stl"),
            (8, "1.jpg", "image/jpeg"),
        )
    ),
    *(
        Sample(
            "a video, document or image as it is shown",
            f"{instance(number)}/rendered",
            f"{instance(number)}/rendered/index.{extension}",
            "application/octet-stream",
            vary=None,
            ranges=True,
            policy="sandbox",
            saved_as=f'attachment; filename="document.{extension}"',
        )
        for number, extension in ((11, "xml"), (12, "bin"))
    ),
    Sample(
        "a frame as it is shown",
        f"{instance(8)}/frames/3/rendered?window=40,400,linear",
        f"{instance(8)}/rendered/3.jpg",
        "image/jpeg",
        vary=None,
    ),
    Sample("thumbnail of a study", f"{STUDY}/thumbnail", f"{STUDY}/thumbnail", "image/jpeg", vary=None),
    Sample("thumbnail of a series", f"{SERIES}/thumbnail", f"{SERIES}/thumbnail", "image/jpeg", vary=None),
    Sample(
        "thumbnail of an instance",
        f"{instance(1)}/thumbnail?viewport=256%2C256",
        f"{instance(1)}/thumbnail",
        "image/jpeg",
        vary=None,
    ),
    Sample("bulk data", f"{STUDY}/{BULK}", f"{STUDY}/{BULK}", PART, cache=IMMUTABLE, ranges=True, policy="sandbox"),
    Sample("bulk data", f"{STUDY}/{PACKED_BULK}", f"{STUDY}/{PACKED_BULK}.gz", PART, cache=IMMUTABLE, policy="sandbox"),
)

NOT_SERVED = (
    "instances/1.2.840.1/" + "0" * 64 + ".gz",
    "deduplicated/1.2.840.1/" + "0" * 64 + ".gz",
    "restore/1.2.840.1/" + "0" * 64,
    ".staticwado/format.json",
    "studies/.hidden",
    "studies/1.2.840.1/notes.txt",
)
"""Files that are in the tree but have no URL."""

VIEWER = {
    "index.html": b"<!doctype html><title>viewer</title>" * 100,
    "app-config.js": b"window.config = { demo: true }",
    "app.bundle.0123456789abcdef.js": b"viewer();\n" * 200,
    "app.bundle.css": b"body { color: white }\n" * 100,
    "assets/logo.png": b"\x89PNG" * 100,
    "0123456789abcdef.wasm": b"\0asm" * 500,
    ".hidden": b"hidden",
}


def build(root: Path) -> None:
    """Write the tree."""
    for sample in SAMPLES:
        put(root / sample.file, gzip.compress(sample.content, mtime=0) if sample.gzipped else sample.content)
    for file in NOT_SERVED:
        put(root / file, b"secret")


def build_viewer(folder: Path) -> None:
    """Write something that is laid out as OHIF is; what compresses well is there gzipped as well."""
    for name, content in VIEWER.items():
        put(folder / name, content)
        if name.endswith((".html", ".js", ".css", ".wasm")) and len(content) > 1024:
            put(folder / f"{name}.gz", gzip.compress(content, mtime=0))


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@dataclass(frozen=True, slots=True)
class Site:
    """Both servers on one tree."""

    root: Path
    prefix: Path
    nginx: Server
    embedded: Server
    allow_origin: str | None


@contextmanager
def serve_both(directory: Path, *, viewer: bool, allow_origin: str | None = None) -> Iterator[Site]:
    """Build the tree in this empty directory and serve it; nginx starts in a directory with nothing in it."""
    root, prefix, ohif = directory / "tree", directory / "prefix", directory / "ohif" if viewer else None
    build(root)
    prefix.mkdir()
    if ohif:
        build_viewer(ohif)
    with (
        start_nginx_for(root, prefix, ohif, allow_origin) as nginx,
        start_embedded(root, ohif, allow_origin) as embedded,
    ):
        yield Site(root, prefix, nginx, embedded, allow_origin)
