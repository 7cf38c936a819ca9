"""A disk that is really full: the daemon stays, what was served is served, and work goes on when there is room."""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from staticwado_daemon.archive import layout
from staticwado_daemon.cli import execute
from staticwado_daemon.cli import staticwado as app
from tests import corpus
from tests.crash.oracle import differences, leftovers, originals, tree, unreadable
from tests.crash.victim import PATIENCE, Site, Victim, wait_for
from tests.system.programs import REPOSITORY, STATICWADO, create, write_config
from tests.system.servers import Server, free_port

BEFORE = 10
"""Files that are published while there is still room."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB and 2,000 inodes."""
    with mounted(tmp_path / "disk", "size=32m,nr_inodes=2000") as disk:
        yield disk


@contextmanager
def mounted(disk: Path, options: str) -> Iterator[Path]:
    """A file system of its own."""
    assert os.geteuid() == 0, "only root can mount a small file system; run this test as root"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
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
        with asked(site, second) as answer:
            victim.until(lambda: "minFree" in answer.said(), "who asks is told what is waited for")
            assert differences(tree(site.root / "studies"), before) == []
            shutil.rmtree(ballast)
            assert answer.outcomes() in (["published"], ["duplicate"])
            assert answer.said().count("minFree") == 1
        victim.until_published(2)
        assert site.status()["degraded"] == []
        victim.stop()


@dataclass(frozen=True, slots=True)
class Asked:
    """A `create --json` that a daemon carries out."""

    process: subprocess.Popen[str]
    errors: Path

    def said(self) -> str:
        """What it has said on stderr so far."""
        return self.errors.read_text()

    def outcomes(self) -> list[str]:
        """What became of its files, from the one object that it prints."""
        printed, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, self.said()
        return [each["outcome"] for each in json.loads(printed)["receipts"]]


@contextmanager
def asked(site: Site, source: Path) -> Iterator[Asked]:
    """Have the running daemon take a file."""
    errors = site.directory / "create.errors"
    command = [*STATICWADO, "-c", str(site.config), "create", str(source), "--json"]
    with errors.open("wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, cwd=REPOSITORY)
    try:
        yield Asked(process, errors)
    finally:
        process.kill()
        process.wait()


def test_receipts_wait_for_room_in_the_state_directory(tmp_path: Path) -> None:
    sources = corpus.ct_study(tmp_path / "sources", instances=8, series=2, size=32).files
    with mounted(tmp_path / "small", "size=1m") as small:
        site = Site(tmp_path / "site", after_ingest="delete", state_elsewhere=small / "state").prepare()
        ballast = small / "ballast"
        ballast.mkdir()
        with site.watched():
            victim = site.start()
            for source in sources[:2]:
                site.deliver(source)
            victim.until_published(2)
            use_up_bytes(ballast, 0)
            for source in sources[2:7]:
                site.deliver(source)
            _until_degraded(victim, str(site.state))
            victim.until(lambda: site.status()["backlog"] == 5, "files wait")
            with asked(site, sources[7]) as answer:
                victim.until(lambda: str(site.state) in answer.said(), "who asks is told what is waited for")
                now = site.status()
                assert (now["state"], now["published"], now["idle"]) == ("degraded", 2, False)
                assert "database or disk is full" in now["degraded"][0]
                assert {path.name for path in site.inbound.iterdir()} == {each.name for each in sources[2:7]}
                shutil.rmtree(ballast)
                assert answer.outcomes() == ["published"]
            victim.until_published(len(sources))
            assert site.status()["degraded"] == []
            assert list(site.inbound.iterdir()) == []
            victim.stop()
            assert site.log.read_text().count("journal_refused") == 1
    assert create(tmp_path / "reference", sources)["published"] == len(sources)
    assert differences(tree(site.root / "studies"), tree(tmp_path / "reference/studies")) == []


TIMES = 20
"""How often each file is there, so that a command has something to do for a while."""


def test_create_finishes_what_it_has_taken_when_the_disk_gets_full(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    files = corpus.ct_study(sources / "0", instances=150, series=1, size=64).files
    for number in range(1, TIMES):
        (sources / str(number)).mkdir()
        for file in files:
            (sources / str(number) / file.name).hardlink_to(file)
    with mounted(tmp_path / "disk", "size=64m") as disk:
        root, errors = disk / "root", tmp_path / "errors"
        write_config(
            tmp_path, {"rootDir": str(root), "minFreeBytes": 30_000_000}, {"stateDir": str(tmp_path / "state")}
        )
        command = [*STATICWADO, "-c", str(tmp_path / "static-wado.json5"), "create", "-j", "1", "--json", str(sources)]
        with errors.open("wb") as file:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, cwd=REPOSITORY)
        wait_for(lambda: any(root.glob("studies/*/series")), "the first is published", PATIENCE)
        use_up_bytes(disk, 20_000)
        printed, _ = process.communicate(timeout=PATIENCE)
        receipts = json.loads(printed)["receipts"]
        assert process.returncode == 1
        outcomes = Counter(each["outcome"] for each in receipts)
        assert set(outcomes) <= {"published", "duplicate"}
        left = len(files) * TIMES - outcomes.total()
        assert left > 0
        assert f"{left:,} files not taken: intake waits for space" in errors.read_text()
        found = [path for path in root.glob("studies/*/series/*/instances/*") if path.is_dir()]
        assert len(found) == outcomes["published"] > 0
        assert unreadable(root) == []
        assert leftovers(root) == []


def test_create_takes_nothing_in_when_the_disk_is_nearly_full(
    tmp_path: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = corpus.ct_study(tmp_path / "sources", instances=1, series=1, size=128).files[0]
    assert execute(app, "staticwado", ["create", str(source), "--root", str(small_disk / "root")]) == 1
    assert "minFreeBytes is 1 GB; make room or lower it" in capfd.readouterr().err
    assert list(tree(small_disk / "root/studies")) == ["index.json.gz"]


def test_what_there_is_no_room_to_try_again_keeps_its_receipt(
    tmp_path: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = corpus.ct_study(tmp_path / "sources", instances=1, series=1, size=128).files[0]
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole.read_bytes()[:-1000])
    static = {"rootDir": str(small_disk / "root"), "minFreeBytes": 0, "minFreeInodes": 0}
    config = str(write_config(tmp_path, static, {}))
    assert execute(app, "staticwado", ["-c", config, "create", str(cut)]) == 3
    write_config(tmp_path, {**static, "minFreeBytes": 10**9}, {})
    capfd.readouterr()
    assert execute(app, "staticwado", ["-c", config, "rejected", "retry", "--all", "--json"]) == 1
    printed = capfd.readouterr()
    assert json.loads(printed.out)["receipts"] == []
    assert "1 file not taken: intake waits for space" in printed.err
    assert execute(app, "staticwado", ["-c", config, "rejected", "list", "--json"]) == 0
    assert [each["path"] for each in json.loads(capfd.readouterr().out)["rejected"]] == [str(cut)]


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
