"""Sources that are to go: none goes before the archive can give it back, and what can't go is said."""

import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from staticwado_daemon.inbound import drop as drops
from tests.crash.oracle import originals
from tests.crash.victim import Victim
from tests.system.fire import Template, started, until_all_published
from tests.system.test_fire_oddities import AS_AN_ORDINARY_USER, all_receipts, make_oddities, prepare

counts = pytest.mark.parametrize("files", [100, pytest.param(1_000, marks=pytest.mark.soak)])


@pytest.fixture
def template(tmp_path: Path) -> Template:
    return Template.make(tmp_path / "template")


def files_below(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir() or path.is_symlink()}


@counts
def test_a_source_goes_when_it_can_be_given_back(tmp_path: Path, template: Template, files: int) -> None:
    site = prepare(tmp_path / "site", "delete")
    expected = Counter(template.instance(number) for number in range(files))
    with started(site) as victim:
        for number in range(files):
            (site.inbound / f"{number}.dcm").write_bytes(template.instance(number))
        until_all_published(victim, expected)
        assert files_below(site.inbound) == set()


@counts
def test_a_source_that_changes_before_its_removal_stays(tmp_path: Path, template: Template, files: int) -> None:
    """Other bytes under the same name, size and time: whatever it is that was stored, this hasn't been."""
    site = prepare(tmp_path / "site", "delete")

    def write_and_change(number: int) -> None:
        chance = random.Random(number)
        path = site.inbound / f"{number}.dcm"
        path.write_bytes(template.instance(number))
        status = path.stat()
        time.sleep(chance.uniform(0.1, 0.8))
        changed = template.instance(number)[:-1] + b"\x7f"
        try:
            with path.open("r+b") as file:
                file.write(changed)
                file.flush()
                os.utime(file.fileno(), ns=(status.st_mtime_ns, status.st_mtime_ns))
        except FileNotFoundError:
            path.write_bytes(changed)

    with started(site) as victim:
        with ThreadPoolExecutor(8) as writers:
            list(writers.map(write_and_change, range(files)))
        victim.until(lambda: not files_below(site.inbound) and site.status()["idle"], "all is stored and gone")
    contents = originals(site.root)
    assert {template.instance(number)[:-1] + b"\x7f" for number in range(files)} <= contents.keys()
    assert set(contents.values()) == {1}


def reasons_beside(drop: Path) -> dict[str, str]:
    """The reason of each file in `rejected/`; each has one, and no reason is without its file."""
    rejected = drop / drops.REJECTED
    names = files_below(rejected)
    kept = {name for name in names if not name.endswith(drops.REASON_SUFFIX)}
    assert {f"{name}{drops.REASON_SUFFIX}" for name in kept} == names - kept
    return {name: json.loads((rejected / f"{name}{drops.REASON_SUFFIX}").read_bytes())["reason"] for name in kept}


def test_the_drop_folder_is_emptied(tmp_path: Path, template: Template) -> None:
    drop = tmp_path / "drop"
    site = prepare(tmp_path / "s", dropDir=str(drop))
    with started(site) as victim:
        (tmp_path / "odd").mkdir()
        expected = make_oddities(tmp_path / "odd", template, tmp_path / "elsewhere")
        (tmp_path / "odd").rename(drop / "odd")
        victim.until(lambda: len(all_receipts(site)) == len(expected) and site.status()["idle"], "all receipts")
        found = reasons_beside(drop)
        assert files_below(drop) == {f"rejected/{name}" for name in files_below(drop / "rejected")}
        assert found.keys() == {f"odd/{name}" for name, reason in expected.items() if reason is not None}
        for name, reason in found.items():
            assert reason.startswith(expected[name.removeprefix("odd/")] or "none"), (name, reason)
        assert (drop / "rejected/odd/cut.dcm").read_bytes() == template.instance(5)[:1000]
    assert originals(site.root) == Counter(template.instance(number) for number in range(1, 5))


@contextmanager
def unwritable(drop: Path) -> Iterator[Callable[[], None]]:
    rejected = drop / drops.REJECTED
    rejected.chmod(0o500)
    yield lambda: rejected.chmod(0o750)


@contextmanager
def full(drop: Path) -> Iterator[Callable[[], None]]:
    """A small file system that is full to the last byte once the rejects have come."""
    ballast = drop / ".ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield ballast.unlink


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    assert os.geteuid() == 0, "only root can mount a small file system; run this test as root"
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("trouble", [unwritable, full])
def test_a_reject_that_cannot_be_set_aside_stays_and_is_said(
    tmp_path: Path,
    small_disk: Path,
    trouble: Callable[[Path], AbstractContextManager[Callable[[], None]]],
) -> None:
    drop = small_disk / "drop"
    site = prepare(tmp_path / "s", dropDir=str(drop))
    with started(site, *AS_AN_ORDINARY_USER) as victim:
        for number in range(3):
            (drop / f".{number}").write_bytes(b"no DICOM at all")
        with trouble(drop) as mend:
            for name in ("0", "1", "2"):
                (drop / f".{name}").rename(drop / name)
            victim.until(lambda: "files left over: 3;" in degraded(victim), "the trouble is said")
            assert files_below(drop) - {".ballast"} == {"0", "1", "2"}
            mend()
            victim.until(lambda: not degraded(victim), "all well again")
        assert set(reasons_beside(drop)) == {"0", "1", "2"}
        assert files_below(drop) == {f"rejected/{name}" for name in files_below(drop / "rejected")}
        assert len(all_receipts(site)) == 3


def degraded(victim: Victim) -> str:
    """What the status says of files that don't go."""
    return " ".join(each for each in victim.site.status()["degraded"] if "can't be emptied" in each)
