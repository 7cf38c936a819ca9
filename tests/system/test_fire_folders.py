"""Folders that fail: no watches left, unmounted, emptied, renamed, on a file system that tells nothing."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from staticwado_daemon.inbound import folder, lookout
from staticwado_daemon.inbound.folder import InboundDir
from staticwado_daemon.inbound.mounts import Mount
from staticwado_daemon.inbound.settle import Timing
from tests.system.fire import Template, log_events, started, until_all_published, write_tree
from tests.system.inboxes import Line, content, running, until
from tests.system.programs import REPOSITORY
from tests.system.test_fire_oddities import prepare

QUICK = Timing(settle=0.2, reconcile=0.3)
WATCHES = 40

LIMITED = ("unshare", "--user", "--map-root-user", "sh", "-c", f"echo {WATCHES} > /proc/sys/user/max_inotify_watches")
"""A user namespace has a limit of its own, so that nobody else suffers."""


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbound"
    path.mkdir()
    return path


def test_where_the_network_tells_nothing_files_are_found_by_polling(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine writes: no events, no leases, times by a clock of its own."""
    monkeypatch.setattr(lookout, "mount_of", lambda _: Mount(str(inbox), "nfs4"))
    monkeypatch.setattr(folder, "being_written", lambda _: False)
    whole = content(20_000)
    with running(inbox, timing=Timing(settle=0.3, reconcile=3600, incomplete=60)) as (inbound, line):
        assert inbound.modes == {str(inbox): "polling"}
        assert inbound.degraded == [f"{inbox} is polled: nfs4 does not tell of files written by other machines"]
        paths = [inbox / f"{number}.dcm" for number in range(50)]
        for start in range(0, len(whole), 5000):
            for path in paths:
                with path.open("ab") as file:
                    file.write(whole[start : start + 5000])
            time.sleep(0.5)
        until(lambda: line.published() == set(paths))
        assert set(line.answered.values()) == {1}


@contextmanager
def shown_by_fuse(source: Path, mount_point: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.system.fuse", source, mount_point]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "mounted\n", "FUSE is needed for this test, and root to mount with it"
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", mount_point], check=True)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                raise AssertionError("something in there is still open") from None


def test_a_folder_on_fuse_is_polled(inbox: Path, tmp_path: Path) -> None:
    """The real file system: what comes to the other side raises no event here."""
    other_side = tmp_path / "other side"
    (other_side / "deep").mkdir(parents=True)
    (other_side / "before.dcm").write_bytes(content())
    timing = Timing(settle=0.3, reconcile=3600, incomplete=60)
    with shown_by_fuse(other_side, inbox), running(inbox, timing=timing) as (inbound, line):
        assert inbound.modes == {str(inbox): "polling"}
        assert inbound.degraded == [
            f"{inbox} is polled: fuse.elsewhere does not tell of files written by other machines"
        ]
        until(lambda: line.published() == {inbox / "before.dcm"})
        for number in range(100):
            (other_side / "deep" / f"{number}.dcm").write_bytes(content())
        until(lambda: len(line.published()) == 101)
        assert set(line.answered.values()) == {1}


@contextmanager
def mounted(directory: Path, *options: str) -> Iterator[None]:
    assert os.geteuid() == 0, "only root can mount; run this test as root"
    subprocess.run(["mount", *options, directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


DROP_WATCHES = 4
"""The drop folder, what is in it, and the directory that it stands in."""


def test_when_the_kernel_has_no_watches_left_the_rest_is_scanned(tmp_path: Path) -> None:
    template = Template.make(tmp_path / "template")
    site = prepare(tmp_path / "site", reconcileSeconds=3600)
    *wrapper, script = LIMITED
    done = subprocess.run([*LIMITED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"user namespaces are needed for this test: {done.stderr}"
    expected = write_tree(site.inbound, template, range(150), per_directory=2)
    with started(site, *wrapper, f'{script}; exec "$@"', "limited") as victim:
        (said,) = [each for each in site.status()["degraded"] if str(site.inbound) in each]
        assert "polled in part" in said
        assert "fs.inotify.max_user_watches" in said
        (entry,) = [each for each in log_events(site, "inbound_degraded") if each["folder"] == str(site.inbound)]
        directories = sum(1 for path in site.inbound.rglob("*") if path.is_dir()) + 1
        # The drop folder may have some of the watches.
        assert 0 <= entry["unwatched"] - (directories - WATCHES) <= DROP_WATCHES
        expected += write_tree(tmp_path / "more", template, range(150, 300), per_directory=2)
        for path in sorted((tmp_path / "more").rglob("*.dcm")):  # into directories that are watched, or not, or new
            name = path.relative_to(tmp_path / "more")
            number = int(path.stem.removeprefix("IM")) % 150 // 2
            target = site.inbound / f"patient{number // 10}" / f"series{number}" / name.name
            if number % 5 == 0:
                target = site.inbound / name
                target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        until_all_published(victim, expected)


def test_an_unmounted_folder_is_neither_empty_nor_deleted(inbox: Path, tmp_path: Path) -> None:
    (inbox / "beneath.dcm").write_bytes(content())
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "tmpfs"):
        line = Line()
        bind = ["mount", "--bind", disk, inbox]
        subprocess.run(bind, check=True)
        try:
            with running(InboundDir(inbox, "delete"), timing=QUICK, line=line) as (inbound, _):
                (inbox / "a.dcm").write_bytes(content())
                until(lambda: line.published() == {inbox / "a.dcm"})
                subprocess.run(["umount", inbox], check=True)
                until(lambda: inbound.modes[str(inbox)] == "unavailable")
                assert "its mount is gone" in inbound.degraded[0]
                (inbox / "into-the-hole.dcm").write_bytes(content())
                time.sleep(1.0)
                assert len(line.receipts) == 1  # what lies beneath the mount point is none of its files
                (disk / "b.dcm").write_bytes(content())
                subprocess.run(bind, check=True)
                until(lambda: line.published() == {inbox / "a.dcm", inbox / "b.dcm"})
                until(lambda: inbound.modes[str(inbox)] == "inotify")
                assert inbound.degraded == []
        finally:
            subprocess.run(["umount", "--lazy", inbox], check=True)
    assert {path.name for path in inbox.iterdir()} == {"beneath.dcm", "into-the-hole.dcm"}


def test_a_disk_that_is_mounted_over_a_watched_folder(inbox: Path) -> None:
    with running(inbox, timing=QUICK) as (inbound, line):
        (inbox / "a.dcm").write_bytes(content())
        until(lambda: len(line.receipts) == 1)
        with mounted(inbox, "-t", "tmpfs", "tmpfs"):
            (inbox / "b.dcm").write_bytes(content())
            until(lambda: inbox / "b.dcm" in line.published())
            assert inbound.modes[str(inbox)] == "inotify"
        until(lambda: inbound.modes[str(inbox)] == "unavailable")


def test_a_disk_that_is_mounted_inside_a_watched_folder(inbox: Path) -> None:
    """Its watches are those of the directory beneath: only scans find what it holds, and they do."""
    (inbox / "disk").mkdir()
    with running(inbox, timing=QUICK) as (_, line), mounted(inbox / "disk", "-t", "tmpfs", "tmpfs"):
        (inbox / "disk" / "a.dcm").write_bytes(content())
        until(lambda: inbox / "disk" / "a.dcm" in line.published())


def test_an_emptied_folder_stays_as_it_was(inbox: Path) -> None:
    paths = {inbox / f"{number}" / f"{number}.dcm" for number in range(50)}
    with running(inbox, timing=QUICK) as (inbound, line):
        for path in paths:
            path.parent.mkdir()
            path.write_bytes(content())
        until(lambda: line.published() == paths)
        kept = inbox.with_name("kept")
        shutil.copytree(inbox, kept, copy_function=shutil.copy2)
        for path in paths:
            shutil.rmtree(path.parent)
        time.sleep(1.0)
        assert inbound.idle
        assert inbound.degraded == []
        assert line.published() == paths
        for path in paths:
            shutil.copytree(kept / path.parent.name, path.parent, copy_function=shutil.copy2)
        until(lambda: set(line.answered.values()) == {2})  # restored files are looked at again
        assert line.published() == paths


def test_a_directory_that_is_renamed_within_a_watched_folder_goes_on(inbox: Path) -> None:
    """The scans are rare here: hints have to tell of files under the new name."""
    with running(inbox) as (inbound, line):
        (inbox / "one" / "deep").mkdir(parents=True)
        (inbox / "one" / "deep" / "a.dcm").write_bytes(content())
        until(lambda: len(line.receipts) == 1 and inbound.idle)
        (inbox / "one").rename(inbox / "two")
        until(lambda: inbox / "two/deep/a.dcm" in line.published())
        for number in range(20):
            (inbox / "two" / "deep" / f"{number}.dcm").write_bytes(content())
        until(lambda: len(line.receipts) == 22, 5.0)
        assert all((inbox / f"two/deep/{number}.dcm") in line.published() for number in range(20))
