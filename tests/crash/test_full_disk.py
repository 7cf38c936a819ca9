"""A disk that is really full: the daemon stays, what was served is served, and work goes on when there is room."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from tests import corpus
from tests.crash.oracle import differences, leftovers, originals, tree, unreadable
from tests.crash.victim import Site, Victim
from tests.system.programs import create
from tests.system.servers import Server, free_port

pytestmark = pytest.mark.soak

BEFORE = 10
"""Files that are published while there is still room."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB and 2,000 inodes."""
    assert os.geteuid() == 0, "only root can mount a small file system; run this test as root"
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,nr_inodes=2000", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        # Lazily, because a failed test may have left a daemon that has files open there.
        subprocess.run(["umount", "--lazy", disk], check=True)


def use_up_bytes(ballast: Path, left: int) -> None:
    """Fill the disk but for this many KiB."""
    with ballast.joinpath("bytes").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(file.tell() - left * 1024)


def use_up_inodes(ballast: Path, left: int) -> None:
    """Leave this many inodes."""
    try:
        for number in count():
            ballast.joinpath(str(number)).touch()
    except OSError:
        for spare in range(number - left, number):
            ballast.joinpath(str(spare)).unlink()


@pytest.mark.parametrize("state", ["beside the root", "on another disk"])
@pytest.mark.parametrize(
    ("use_up", "left"),
    [(use_up_bytes, 0), (use_up_bytes, 200), (use_up_bytes, 700), (use_up_inodes, 0), (use_up_inodes, 100)],
)
def test_work_waits_for_room(
    tmp_path: Path, small_disk: Path, use_up: Callable[[Path, int], None], left: int, state: str
) -> None:
    sources = corpus.ct_study(tmp_path / "sources", instances=60, series=2, size=128).files
    root = small_disk / "root"
    elsewhere = tmp_path / "state" if state == "on another disk" else root / layout.PRIVATE
    site = Site(tmp_path / "site", root_elsewhere=root, state_elsewhere=elsewhere)
    server = Server("127.0.0.1", free_port())
    site.prepare(serve={"port": server.port})
    ballast = small_disk / "ballast"
    ballast.mkdir()
    with site.watched():
        victim = site.start()
        for source in sources[:BEFORE]:
            site.deliver(source)
        victim.until_published(BEFORE)
        served = _urls(root)
        before = {url: server.ask(url).body for url in served}
        use_up(ballast, left)
        for source in sources[BEFORE:]:
            site.deliver(source)
        _until_refused(victim)
        after = {url: server.ask(url) for url in served}
        assert {url: answer.status for url, answer in after.items() if answer.status != 200} == {}
        frames = [url for url in served if "/frames/" in url]
        assert [url for url in frames if after[url].body != before[url]] == []
        assert unreadable(root / "studies") == []
        shutil.rmtree(ballast)
        victim.until_published(len(sources))
        assert victim.site.status()["rejected"] == 0
        victim.stop()
    assert leftovers(root) == []
    assert unreadable(root) == []
    assert create(tmp_path / "reference", sources)["published"] == len(sources)
    assert differences(tree(root / "studies"), tree(tmp_path / "reference/studies")) == []
    assert originals(root) == originals(tmp_path / "reference")


def _until_refused(victim: Victim) -> None:
    """Wait until the status tells of what waits, and why."""

    def told() -> bool:
        now = victim.site.status()
        return now["backlog"] > 0 and not now["idle"] and any("No space left" in each for each in now["degraded"])

    victim.until(told, "the status says that files wait because the disk is full", seconds=30)


def _urls(root: Path) -> list[str]:
    """What a viewer asks for, of all that is published."""
    studies = root / "studies"
    frames = [path.relative_to(root).with_suffix("") for path in studies.rglob("frames/*.mht")]
    metadata = [path.relative_to(root).with_suffix("") for path in studies.glob("*/series/*/metadata.gz")]
    assert frames
    assert metadata
    return ["/dicomweb/studies", *(f"/dicomweb/{path}" for path in sorted(frames + metadata))]
