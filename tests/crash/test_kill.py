"""kill -9 at random moments: the next daemon ends with the very tree of one that was never disturbed."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest

from staticwado_daemon.archive import layout
from tests import corpus
from tests.crash.oracle import differences, leftovers, originals, records, tree, unreadable
from tests.crash.victim import ENDING_SECONDS, Site, Victim, exported, outcomes, through_kills
from tests.system.programs import create

FEW = [pytest.param(10, 50, seed, id=f"10-kills-50-files-seed-{seed}") for seed in (1,)]
MANY = [pytest.param(100, 500, seed, id=f"100-kills-500-files-seed-{seed}", marks=pytest.mark.soak) for seed in (2, 3)]
counts = pytest.mark.parametrize(("kills", "files", "seed"), [*FEW, *MANY])


def make_sources(directory: Path, files: int, seed: int) -> list[Path]:
    """Small images of two studies, in an order of arrival that the seed decides."""
    mr = corpus.mr_study(directory, instances=files // 5, series=2)
    (directory / "ct").mkdir()
    for path in mr.files:
        path.rename(directory / f"mr-{path.name}")
    corpus.ct_study(directory, instances=files - len(mr.files), series=4, size=128)
    sources = sorted(directory.glob("*.dcm"))
    random.Random(seed).shuffle(sources)
    return sources


def make_other_contents(directory: Path, sources: Sequence[Path]) -> list[Path]:
    """For each source another content of the same instance."""
    directory.mkdir()
    others = []
    for source in sources:
        image = pydicom.dcmread(source)
        image.ImageComments = "corrected"
        others.append(directory / f"corrected-{source.name}")
        image.save_as(others[-1])
    return others


def undisturbed(root: Path, *deliveries: Sequence[Path]) -> Path:
    """The tree that `create` makes of the same deliveries, one after the other."""
    for delivery in deliveries:
        assert create(root, delivery)["published"] == len(delivery)
    return root


def assert_same_archive(site: Site, reference: Path, sources: Sequence[Path]) -> None:
    """Published files, kept ones and records are those of the reference, and every source can be rebuilt."""
    assert leftovers(site.root) == []
    assert unreadable(site.root) == []
    for part in ("studies", layout.KEPT):
        assert differences(tree(site.root / part), tree(reference / part)) == []
    assert records(site.root) == records(reference)
    assert originals(site.root) == Counter(path.read_bytes() for path in sources)


@counts
def test_files_that_stay(tmp_path: Path, kills: int, files: int, seed: int) -> None:
    sources = make_sources(tmp_path / "sources", files, seed)
    site = Site(tmp_path / "site").prepare()
    through_kills(site, sources, kills, seed)
    status = site.status()
    assert (status["published"], status["instances"], status["rejected"]) == (files, files, 0)
    assert_same_archive(site, undisturbed(tmp_path / "reference", sources), sources)
    assert outcomes(site, sources) <= {"published", "duplicate"}
    assert exported(site, tmp_path / "exported") == Counter(path.read_bytes() for path in sources)


@counts
def test_files_that_are_deleted(tmp_path: Path, kills: int, files: int, seed: int) -> None:
    sources = make_sources(tmp_path / "sources", files, seed)
    site = Site(tmp_path / "site", after_ingest="delete").prepare()
    through_kills(site, sources, kills, seed)
    assert [path.name for path in site.inbound.iterdir()] == []
    assert_same_archive(site, undisturbed(tmp_path / "reference", sources), sources)
    assert exported(site, tmp_path / "exported") == Counter(path.read_bytes() for path in sources)


@counts
def test_conflicting_contents(tmp_path: Path, kills: int, files: int, seed: int) -> None:
    first = make_sources(tmp_path / "first", files // 2, seed)
    second = make_other_contents(tmp_path / "second", first)
    site = Site(tmp_path / "site").prepare()
    # Which content wins is decided by the order of arrival, so the second ones come when the first are in.
    through_kills(site, first, kills // 2, seed)
    through_kills(site, second, kills - kills // 2, seed + 1000)
    assert_same_archive(site, undisturbed(tmp_path / "reference", first, second), first + second)
    assert outcomes(site, first) <= {"superseded", "duplicate"}
    assert outcomes(site, second) <= {"published", "duplicate"}
    assert exported(site, tmp_path / "exported") == Counter(path.read_bytes() for path in second)


@pytest.mark.parametrize("deaths", [3, pytest.param(25, marks=pytest.mark.soak)])
def test_the_death_of_a_worker_costs_nothing(tmp_path: Path, deaths: int) -> None:
    """One at work and then one with nothing to do, as the kernel chooses them when memory is short."""
    sources = make_sources(tmp_path / "sources", 30 * deaths, seed=4)
    chance = random.Random(4)
    site = Site(tmp_path / "site").prepare()
    with site.watched():
        victim = site.start()
        for number in range(deaths):
            busy: list[int] = []
            for source in sources[30 * number : 30 * (number + 1)]:
                site.deliver(source)
                if not busy and (busy := _workers_on_files(victim)):
                    os.kill(chance.choice(busy), signal.SIGKILL)
            # A file that costs two workers their lives is rejected, so each death waits for the last one's files.
            victim.until_published(30 * (number + 1))
            if idle := victim.workers():
                os.kill(chance.choice(idle), signal.SIGKILL)
        victim.stop()
    assert site.status()["rejected"] == 0
    assert_same_archive(site, undisturbed(tmp_path / "reference", sources), sources)


@pytest.mark.parametrize("deaths", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_the_death_of_the_publisher_ends_the_daemon_and_the_next_one_goes_on(tmp_path: Path, deaths: int) -> None:
    sources = make_sources(tmp_path / "sources", 40 * deaths, seed=5)
    chance = random.Random(5)
    site = Site(tmp_path / "site").prepare()
    with site.watched():
        for number in range(deaths):
            victim = site.start()
            victim.until_ready()
            for source in sources[40 * number : 40 * (number + 1)]:
                site.deliver(source)
            time.sleep(chance.uniform(0.1, 1.0))
            os.kill(victim.publisher(), signal.SIGKILL)
            assert victim.process.wait(ENDING_SECONDS) == 1
            victim.until_gone()
            sentence = site.log.read_text().splitlines()[-1]
            assert "publisher" in sentence, sentence
        assert "Traceback" not in site.log.read_text()
        following = site.start()
        following.until_ready()
        following.until_published(len(sources))
        following.stop()
    assert_same_archive(site, undisturbed(tmp_path / "reference", sources), sources)


def _workers_on_files(victim: Victim) -> list[int]:
    """Busy workers, once there is something staged: before, they load their modules."""
    staging = victim.site.root / layout.STAGING
    if not (staging.is_dir() and any(staging.iterdir())):
        return []
    return [each for each in victim.workers() if victim.computes(each)]
