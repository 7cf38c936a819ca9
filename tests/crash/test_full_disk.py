"""A disk that is really full: the daemon stays, what was served is served, and work goes on when there is room."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.cli import execute
from staticwado_daemon.cli import staticwado as app
from tests import corpus
from tests.crash.oracle import differences, leftovers, originals, tree, unreadable
from tests.crash.victim import Site, Victim
from tests.system.programs import create
from tests.system.servers import Server, free_port

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


BESIDE, ELSEWHERE = "beside the root", "on another disk"

soak = pytest.mark.soak


@pytest.mark.parametrize(
    ("use_up", "left", "state"),
    [
        (use_up_bytes, 0, BESIDE),
        (use_up_inodes, 0, BESIDE),
        pytest.param(use_up_bytes, 0, ELSEWHERE, marks=soak),
        pytest.param(use_up_inodes, 0, ELSEWHERE, marks=soak),
        *(pytest.param(use_up_bytes, left, state, marks=soak) for left in (200, 700) for state in (BESIDE, ELSEWHERE)),
        *(pytest.param(use_up_inodes, 100, state, marks=soak) for state in (BESIDE, ELSEWHERE)),
    ],
)
def test_work_waits_for_room(
    tmp_path: Path, small_disk: Path, use_up: Callable[[Path, int], None], left: int, state: str
) -> None:
    sources = corpus.ct_study(tmp_path / "sources", instances=60, series=2, size=128).files
    root = small_disk / "root"
    elsewhere = tmp_path / "state" if state == ELSEWHERE else root / layout.PRIVATE
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


@pytest.mark.parametrize(
    ("minimum", "use_up", "left"),
    [((16_000_000, 0), use_up_bytes, 12_000), ((0, 1000), use_up_inodes, 800)],
    ids=["bytes", "inodes"],
)
def test_intake_stops_before_the_disk_is_full(
    tmp_path: Path, small_disk: Path, minimum: tuple[int, int], use_up: Callable[[Path, int], None], left: int
) -> None:
    first, second = corpus.ct_study(tmp_path / "sources", instances=2, series=1, size=128).files
    site = Site(tmp_path / "site", root_elsewhere=small_disk / "root", minimum=minimum).prepare()
    ballast = small_disk / "ballast"
    ballast.mkdir()
    with site.watched():
        victim = site.start()
        site.deliver(first)
        victim.until_published(1)
        before = tree(site.root / "studies")
        use_up(ballast, left)
        _until_degraded(victim, "minFree")
        site.deliver(second)
        victim.until(lambda: site.status()["backlog"] == 1, "the file is seen")
        assert differences(tree(site.root / "studies"), before) == []
        shutil.rmtree(ballast)
        victim.until_published(2)
        assert site.status()["degraded"] == []
        victim.stop()


def test_create_takes_nothing_in_when_the_disk_is_nearly_full(
    tmp_path: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = corpus.ct_study(tmp_path / "sources", instances=1, series=1, size=128).files[0]
    assert execute(app, "staticwado", ["create", str(source), "--root", str(small_disk / "root")]) == 1
    assert "minFreeBytes is 1.0 GB; make room or lower it" in capfd.readouterr().err
    assert list(tree(small_disk / "root/studies")) == ["index.json.gz"]


def _until_refused(victim: Victim) -> None:
    """Wait until the status tells of what waits, and why."""
    _until_degraded(victim, "No space left")
    victim.until(lambda: victim.site.status()["backlog"] > 0, "the status says that files wait")


def _until_degraded(victim: Victim, words: str) -> None:
    def told() -> bool:
        return any(words in each for each in victim.site.status()["degraded"])

    victim.until(told, f"the status says: {words}", seconds=30)


def _urls(root: Path) -> list[str]:
    """What a viewer asks for, of all that is published."""
    studies = root / "studies"
    frames = [path.relative_to(root).with_suffix("") for path in studies.rglob("frames/*.mht")]
    metadata = [path.relative_to(root).with_suffix("") for path in studies.glob("*/series/*/metadata.gz")]
    assert frames
    assert metadata
    return ["/dicomweb/studies", *(f"/dicomweb/{path}" for path in sorted(frames + metadata))]
