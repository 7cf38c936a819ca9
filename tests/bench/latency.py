"""One more file: from its closing until nginx tells of it, and which files of the tree that rewrites."""

import math
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePath

import deflate

from tests import corpus
from tests.bench.table import Row, at_most
from tests.system.programs import Daemon, running, write_config
from tests.system.servers import Server, start_nginx_for

VISIBLE_SECONDS = 0.5
_LOOK_SECONDS = 0.005
_REPORT_SECONDS = 1.0  # what a daemon says of itself is no older than this


def measure(files: Sequence[Path], more: int, scratch: Path) -> Iterator[Row]:
    """Publish all but the last `more` files with a daemon, then those one by one.

    The folder is watched with the settle time that a configuration has by default.
    """
    inbound, root = scratch / "inbound", scratch / "root"
    inbound.mkdir(parents=True)
    settings = {"inbound": [{"dir": str(inbound)}], "settleSeconds": 2}
    config = write_config(scratch, {"rootDir": str(root)}, settings)
    for path in files[:-more]:
        shutil.copyfile(path, inbound / path.name)
    with running(config) as daemon, start_nginx_for(root, scratch / "nginx") as server:
        daemon.until(lambda: daemon.status()["published"] == len(files) - more, "the study to be published")
        _rest(daemon)
        seconds = [_one(path, inbound, server) for path in files[-more:-1]]
        _rest(daemon)
        before = _states(root)
        seconds.append(_one(files[-1], inbound, server))
        _rest(daemon)
        after = _states(root)
    yield at_most("file closed → visible through nginx, p50, s", statistics.median(seconds), VISIBLE_SECONDS)
    yield Row("the same, p95, s", f"{sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]:.2f}")
    rewritten = sorted(path for path in after if path in before and after[path] != before[path])
    yield Row("files below studies/ rewritten, once all is quiet", ", ".join(_short(path) for path in rewritten))
    yield Row("files below studies/ added", str(sum(path not in before for path in after)))


def _rest(daemon: Daemon) -> None:
    """Wait until nothing is under way and the cold files are written, too."""
    time.sleep(_REPORT_SECONDS)
    daemon.wait_until_idle()


def _one(path: Path, inbound: Path, server: Server) -> float:
    """Write one file, and ask for its series' metadata until they know it."""
    series_number, instance_number = (int(part) for part in path.stem.split("-"))
    study, series = corpus.uid("ct"), corpus.uid("ct", series_number)
    own = corpus.uid("ct", series_number, instance_number).encode()
    url = f"/dicomweb/studies/{study}/series/{series}/metadata"
    shutil.copyfile(path, inbound / path.name)
    closed = time.perf_counter()
    while own not in body(server, url):
        time.sleep(_LOOK_SECONDS)
    return time.perf_counter() - closed


def body(server: Server, url: str) -> bytes:
    """What a server answers, unpacked; by a client that costs next to nothing."""
    answer = server.ask(url, {"Accept-Encoding": "gzip", "Accept": "application/dicom+json"})
    packed = answer.headers.get("content-encoding") == "gzip"
    return bytes(deflate.gzip_decompress(answer.body)) if packed else answer.body


def _states(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file that is served; a rewritten one has another inode."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (root / "studies").rglob("*")
        if path.is_file()
    }


def _short(path: str) -> str:
    """A path with S, X and I for its UIDs."""
    letters = {"studies": "S", "series": "X", "instances": "I"}
    parts = list(PurePath(path).parts)
    for place, (kind, name) in enumerate(pairwise(parts), start=1):
        if kind in letters and name.startswith("2.25."):
            parts[place] = letters[kind]
    return "/".join(parts[1:])
